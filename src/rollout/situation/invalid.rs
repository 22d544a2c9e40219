//! The spec cannot be worked with: nothing is begun, nothing is taken away, and everything heals when the cause goes.
//!
//! An analysis that is already running still counts: a bad version is taken back even while the spec is broken. Users are
//! taken off pods that are all dead. And where only the router's objects are in the way, the progress deadline counts, as
//! the update itself is legal.

use super::super::deadline::{self, Deadline, Wake};
use super::super::progress::Progress;
use super::super::references;
use super::super::runs;
use super::super::status;
use super::super::targets::{ProgressClock, Targets};
use super::super::valid::OnDeadline;
use super::super::world::World;
use super::{Outcome, aborted, holding};
use crate::units::{ReplicaCount, Timestamp, Weight};

/// Holds everything as it is, and keeps the runs that go on.
pub(super) fn act(world: &World, progress: &Progress) -> Outcome {
    match runs::failures(world, progress) {
        runs::Watched::Failed(why) => return aborted::enter(world, progress, why),
        runs::Watched::Moved(next, events) => return Outcome::Move(*next, events),
        runs::Watched::Going(_) => {}
    }
    let ends = deadline_without_routes(world, progress);
    if ends.is_some_and(|ends| ends <= world.now())
        && let Some(why) = deadline::abort(world, progress)
    {
        return aborted::enter(world, progress, why);
    }
    let rescued =
        if world.knows_the_split() { holding::rescued_at(world, progress, Weight::ZERO) } else { None };
    Outcome::Stay(Targets {
        // A ReplicaSet that was refused is tried again, empty, while everything else still says so.
        create: world.retries.then_some(ReplicaCount::ZERO),
        wakes: ends
            .filter(|at| *at > world.now())
            .map(|at| Wake { at, why: Deadline::ProgressDeadline })
            .into_iter()
            .chain(references::wake(world))
            .collect(),
        clock: ProgressClock::Stopped,
        ..rescued.unwrap_or_default().relieved(world, progress).keeping(progress)
    })
}

/// When an update that lacks only the router's objects is taken back: not before it has lacked them for as long as it may
/// take to progress, as it may have waited for something else until then. `None` where it is not.
fn deadline_without_routes(world: &World, progress: &Progress) -> Option<Timestamp> {
    let is_bound = world.lacks_only_routes && progress.stable.is_some() && !progress.is_settled();
    if !is_bound || world.spec.on_deadline != OnDeadline::Abort {
        return None;
    }
    let before = world.snapshot.rollout.status.as_ref()?;
    let since = status::condition(before, "InvalidSpec")?.last_transition_time?;
    deadline::stuck_at(world).max(Some(since.plus(world.spec.progress_deadline)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use crate::events::{AbortCause, Event};
    use crate::rollout::tests::Bench;
    use crate::rollout::{Plan, decide};
    use crate::traffic::Problem;
    use crate::units::ReplicaCount;

    /// A canary with a share of 20 of 100, on its way to 40.
    fn update() -> Bench {
        let mut bench = Bench::new(5, &json!([{"setWeight": 20}, {"setWeight": 40}, {"pause": {}}]));
        bench.settle();
        bench.snapshot.rollout.spec.progress_deadline_abort = Some(true);
        bench.route(20);
        bench.release("v2");
        bench.pass_with_the_canary_on(1);
        assert_eq!(bench.status().current_step_index, Some(1));
        bench
    }

    fn is_aborted(plan: &Plan) -> bool {
        let mut aborts = plan.events.iter().filter_map(|event| match event {
            Event::Aborted { why, .. } => Some(why.cause),
            _ => None,
        });
        let cause = aborts.next();
        assert!(cause.is_none_or(|cause| cause == AbortCause::Deadline), "{cause:?}");
        cause.is_some()
    }

    #[test]
    fn a_first_version_has_all_listed_steps_behind_it_and_none_once_the_spec_is_mended() {
        let position = |bench: &Bench| decide(&bench.snapshot).status.unwrap().current_step_index;
        let mut bench = Bench::new(5, &json!([{"setWeight": 200}, {"pause": {}}]));
        assert_eq!(position(&bench), Some(2), "none is skipped by hand");
        bench.settle();
        bench.snapshot.rollout.spec.strategy =
            Bench::new(5, &json!([{"setWeight": 20}, {"pause": {}}, {"pause": {}}]))
                .snapshot
                .rollout
                .spec
                .strategy;
        bench.settle();
        assert_eq!(bench.status().current_step_index, Some(3));
        assert_eq!(position(&Bench::new(5, &json!([]))), Some(0), "also where none is listed");
    }

    #[test]
    fn users_are_taken_off_dead_pods_whatever_is_wrong_with_the_spec() {
        let mut bench = update();
        bench.snapshot.rollout.spec.progress_deadline_seconds = Some(-1);
        assert_eq!(decide(&bench.snapshot).traffic(), None, "they are alive");
        bench.snapshot.replica_sets[1].available = ReplicaCount::ZERO;
        let plan = decide(&bench.snapshot);
        assert_eq!(plan.traffic().map(|target| target.weight.get()), Some(0));
        assert!(!plan.creates_replica_set() && !is_aborted(&plan));
    }

    #[test]
    fn the_route_of_another_rollout_is_left_alone() {
        let mut bench = update();
        bench.snapshot.replica_sets[1].available = ReplicaCount::ZERO;
        bench.snapshot.services.get_mut("canary").unwrap().managed_by = Some("another".to_owned());
        let plan = decide(&bench.snapshot);
        assert!(plan.events.iter().any(|event| matches!(event, Event::InvalidSpec { .. })));
        assert_eq!(plan.traffic(), None);
    }

    #[test]
    fn the_deadline_counts_while_a_route_is_missing_and_not_while_the_spec_is_illegal() {
        let mut bench = update();
        bench.snapshot.route_problems =
            vec![Problem { field: "nginx.stableIngress".to_owned(), message: "not found".to_owned() }];
        // Whatever it waited for until now, the route has not been missing for long.
        bench.pass_seconds(3600);
        let plan = decide(&bench.snapshot);
        assert!(!is_aborted(&plan));
        bench.apply(plan);
        let plan = decide(&bench.snapshot);
        assert!(!is_aborted(&plan));
        let wake = plan.wake.expect("looks again by itself");
        bench.snapshot.now = wake.at.plus(Duration::from_millis(1));
        assert!(is_aborted(&decide(&bench.snapshot)));
        bench.snapshot.rollout.spec.min_ready_seconds = Some(-1);
        assert!(!is_aborted(&decide(&bench.snapshot)));
    }
}
