//! Which pods go in a pass, and when the next look is due.

use super::super::pods::{Pod, Refused, are_needed};
use super::super::tests::{Bench, steps};
use super::super::{Effect, Plan, decide};
use crate::units::{ReplicaCount, Timestamp};

/// A Rollout of four pods at rest, with a restart asked for now. One pod may be missing.
fn restarting() -> Bench {
    let mut bench = Bench::new(4, &steps());
    bench.settle();
    ask(&mut bench);
    bench
}

/// Asks for a restart after a minute, and lists the pods.
fn ask(bench: &mut Bench) {
    bench.pass_seconds(60);
    bench.snapshot.rollout.spec.restart_at = Some(bench.snapshot.now);
    list(bench);
}

/// Lists pods as the ReplicaSets count them: all are ready, and older than the restart.
fn list(bench: &mut Bench) {
    let mut pods = Vec::new();
    for set in &bench.snapshot.replica_sets {
        for number in 0..set.size.get() {
            let created_at = Timestamp::from_millis(1_000_000 + i64::from(number) * 1000);
            pods.push(Pod {
                name: format!("{}-{number}", set.revision),
                uid: format!("uid-{}-{number}", set.revision),
                replica_set: set.name.clone(),
                created_at,
                ready_since: Some(created_at),
                is_active: true,
                labels: [].into(),
                annotations: [].into(),
            });
        }
    }
    bench.snapshot.pods.listed = Some(pods);
}

fn pod<'a>(bench: &'a mut Bench, name: &str) -> &'a mut Pod {
    bench.snapshot.pods.listed.as_mut().unwrap().iter_mut().find(|pod| pod.name == name).unwrap()
}

fn evicted(plan: &Plan) -> Vec<String> {
    let names = plan.stages.iter().flatten().filter_map(|effect| match effect {
        Effect::EvictPod { name, uid } => {
            assert_eq!(*uid, format!("uid-{name}"));
            Some(name.clone())
        }
        _ => None,
    });
    names.collect()
}

fn check(bench: &Bench, expected: &[&str]) {
    assert_eq!(evicted(&decide(&bench.snapshot)), expected);
}

/// Seconds until the next look.
fn wake(bench: &Bench) -> u64 {
    decide(&bench.snapshot).wake.unwrap().at.since(bench.snapshot.now).as_secs()
}

#[test]
fn the_oldest_pod_goes_first_and_one_is_missing_at_most() {
    let mut bench = restarting();
    assert!(are_needed(&bench.snapshot));
    check(&bench, &["1-0"]);
    pod(&mut bench, "1-0").is_active = false;
    let set = &mut bench.snapshot.replica_sets[0];
    (set.replicas, set.available) = (ReplicaCount::new(3), ReplicaCount::new(3));
    check(&bench, &[]);
}

#[test]
fn max_unavailable_is_how_many_go_at_once() {
    let mut bench = restarting();
    let strategy = bench.snapshot.rollout.spec.strategy.as_mut().unwrap();
    strategy.canary.as_mut().unwrap().max_unavailable = Some(serde_json::from_value(3.into()).unwrap());
    check(&bench, &["1-0", "1-1", "1-2"]);
    bench.snapshot.replica_sets[0].available = ReplicaCount::new(2);
    check(&bench, &["1-0"]);
}

#[test]
fn stable_pods_go_first_and_then_those_of_the_new_version() {
    let mut bench = Bench::new(4, &steps());
    bench.settle();
    bench.release("v2");
    bench.settle();
    ask(&mut bench);
    check(&bench, &["1-0"]);
    let now = bench.snapshot.now;
    for name in ["1-0", "1-1", "1-2"] {
        pod(&mut bench, name).created_at = now;
    }
    check(&bench, &["2-0"]);
}

#[test]
fn a_pod_that_is_not_available_goes_without_counting() {
    let mut bench = restarting();
    bench.snapshot.replica_sets[0].available = ReplicaCount::new(3);
    pod(&mut bench, "1-2").ready_since = None;
    check(&bench, &["1-2"]);
}

#[test]
fn a_pod_counts_as_available_only_after_min_ready_seconds() {
    let mut bench = restarting();
    bench.snapshot.rollout.spec.min_ready_seconds = Some(30);
    bench.snapshot.replica_sets[0].min_ready_seconds = 30;
    let now = bench.snapshot.now;
    for name in ["1-0", "1-3"] {
        let young = pod(&mut bench, name);
        (young.created_at, young.ready_since) = (now, Some(now));
    }
    check(&bench, &[]);
}

#[test]
fn nothing_goes_while_sizes_change_or_are_not_acted_on() {
    let mut bench = restarting();
    bench.snapshot.replica_sets[0].observed = false;
    check(&bench, &[]);
    bench.snapshot.replica_sets[0].observed = true;
    bench.snapshot.rollout.spec.replicas = Some(5);
    check(&bench, &[]);
}

#[test]
fn a_list_that_is_too_short_or_missing_ends_no_restart() {
    let mut bench = restarting();
    bench.snapshot.pods.listed = Some(vec![]);
    let plan = decide(&bench.snapshot);
    assert_eq!(plan.status.unwrap().restarted_at, None);
    assert_eq!(wake(&bench), 5);
    bench.snapshot.pods.listed = None;
    check(&bench, &[]);
    assert_eq!(wake(&bench), 30);
}

#[test]
fn a_restart_is_over_when_no_older_pod_is_left() {
    let mut bench = restarting();
    let now = bench.snapshot.now;
    for name in ["1-0", "1-1", "1-2"] {
        pod(&mut bench, name).created_at = now;
    }
    let going = decide(&bench.snapshot).status.unwrap();
    assert_eq!(going.restarted_at, None);
    assert_eq!(
        (going.phase.as_deref(), going.message.as_deref()),
        (Some("Progressing"), Some("rollout is restarting"))
    );
    pod(&mut bench, "1-3").is_active = false;
    bench.snapshot.replica_sets[0].replicas = ReplicaCount::new(3);
    assert_eq!(decide(&bench.snapshot).status.unwrap().restarted_at, Some(now));
}

#[test]
fn a_time_with_a_fraction_of_a_second_comes_to_an_end() {
    let mut bench = restarting();
    let now = bench.snapshot.now;
    bench.snapshot.rollout.spec.restart_at = Some(now.plus(std::time::Duration::from_millis(500)));
    bench.pass_seconds(1);
    bench.status().restarted_at = Some(now);
    assert!(!are_needed(&bench.snapshot) && decide(&bench.snapshot).is_idle());
}

#[test]
fn a_restart_that_is_over_needs_no_look_at_pods() {
    let mut bench = restarting();
    let at = bench.snapshot.rollout.spec.restart_at;
    bench.status().restarted_at = at;
    assert!(!are_needed(&bench.snapshot));
    bench.snapshot.pods.listed = None;
    let plan = decide(&bench.snapshot);
    assert!(plan.is_idle() && plan.wake.is_none(), "{plan:?}");
}

#[test]
fn a_restart_in_the_future_is_waited_for() {
    let mut bench = restarting();
    bench.snapshot.rollout.spec.restart_at =
        Some(Timestamp::from_millis(bench.snapshot.now.as_millis() + 60_000));
    assert!(!are_needed(&bench.snapshot));
    check(&bench, &[]);
    assert_eq!(wake(&bench), 60);
    assert!(decide(&bench.snapshot).is_idle());
}

#[test]
fn a_new_version_cancels_a_restart() {
    let mut bench = restarting();
    bench.release("v2");
    let plan = decide(&bench.snapshot);
    assert_eq!(evicted(&plan), Vec::<String>::new());
    assert_eq!(plan.status.unwrap().restarted_at, bench.snapshot.rollout.spec.restart_at);
}

#[test]
fn no_pod_goes_while_the_spec_is_invalid() {
    let mut bench = restarting();
    bench.snapshot.rollout.spec.min_ready_seconds = Some(-1);
    check(&bench, &[]);
}

#[test]
fn a_budget_is_asked_every_few_seconds_and_after_half_a_minute_every_half_minute() {
    let mut bench = restarting();
    let start = bench.snapshot.now;
    let mut asked = Vec::new();
    let mut told = 0;
    while bench.snapshot.now.since(start).as_secs() <= 120 {
        let plan = decide(&bench.snapshot);
        let refused = evicted(&plan).len();
        let now = bench.snapshot.now;
        if refused > 0 {
            asked.push(now.since(start).as_secs());
        }
        told += plan.events.iter().filter(|event| event.reason() == "RestartBlocked").count();
        bench.snapshot.pods.refused = Refused::after(bench.snapshot.pods.refused, refused, 0, now);
        bench.pass_seconds(i64::try_from(plan.wake.unwrap().at.since(now).as_secs()).unwrap());
    }
    assert_eq!(asked, [0, 5, 10, 15, 20, 25, 30, 60, 90, 120]);
    assert_eq!(told, 1);
    assert_eq!(
        Refused::after(bench.snapshot.pods.refused, 0, 1, start),
        None,
        "it is forgotten once one goes"
    );
}
