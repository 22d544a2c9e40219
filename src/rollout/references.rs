//! Objects that the spec refers to and that are not there yet: a sync engine applies them together with the Rollout, in an order
//! of its own. A new Rollout waits for them for a moment before it counts as degraded, which would fail a sync.

use std::time::Duration;

use super::deadline::{Deadline, Wake};
use super::world::World;
use crate::units::Timestamp;

/// How long after its creation a Rollout waits for what it refers to: longer than a sync takes to apply it, shorter than
/// anybody takes to wonder. By this machine's clock, while the API server's has the time of the creation.
const GRACE: Duration = Duration::from_secs(10);

/// Until when the spec is not degraded although it cannot be worked with; `None` when it is, or when nothing is wrong.
#[must_use]
pub(super) fn arrive_until(world: &World) -> Option<Timestamp> {
    let rollout = &world.snapshot.rollout;
    let is_deployed = rollout.status.as_ref().is_some_and(|status| status.stable_rs.is_some());
    let may_pass = !world.problems.is_empty() && world.problems.iter().all(|problem| problem.may_pass);
    let until = Timestamp::from(rollout.metadata.creation_timestamp.as_ref()?).plus(GRACE);
    (may_pass && !is_deployed && world.now() < until).then_some(until)
}

/// When it is degraded if nothing comes.
pub(super) fn wake(world: &World) -> Option<Wake> {
    arrive_until(world).map(|at| Wake { at, why: Deadline::References })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff;
    use serde_json::json;

    use super::GRACE;
    use crate::rollout::decide;
    use crate::rollout::tests::Bench;

    /// Has the Rollout be created just now, and name a Service that is not there.
    fn be_new_and_refer(bench: &mut Bench) {
        let now = jiff::Timestamp::from_millisecond(bench.snapshot.now.as_millis()).unwrap();
        bench.snapshot.rollout.metadata.creation_timestamp = Some(Time(now));
        let strategy = bench.snapshot.rollout.spec.strategy.as_mut().unwrap();
        strategy.canary.as_mut().unwrap().canary_service = Some("late".to_owned());
    }

    fn new_rollout() -> Bench {
        let mut bench = Bench::new(5, &json!([{"setWeight": 20}]));
        be_new_and_refer(&mut bench);
        bench
    }

    fn phase(bench: &Bench) -> (String, String) {
        let status = decide(&bench.snapshot).status.unwrap();
        (status.phase.unwrap(), status.message.unwrap_or_default())
    }

    #[test]
    fn a_new_rollout_waits_for_what_it_refers_to_before_it_is_degraded() {
        let mut bench = new_rollout();
        let (waiting, message) = phase(&bench);
        assert_eq!(waiting, "Progressing");
        assert!(message.contains("Service \"late\" not found"), "{message}");
        let plan = decide(&bench.snapshot);
        let wake = plan.wake.expect("looks again by itself");
        bench.apply(plan);
        bench.snapshot.now = wake.at;
        assert_eq!(phase(&bench).0, "Degraded");
    }

    #[test]
    fn a_spec_that_is_wrong_itself_is_degraded_at_once() {
        let mut bench = new_rollout();
        bench.snapshot.rollout.spec.progress_deadline_seconds = Some(-1);
        assert_eq!(phase(&bench).0, "Degraded");
    }

    #[test]
    fn one_that_has_run_is_degraded_at_once() {
        let mut bench = Bench::new(5, &json!([{"setWeight": 20}]));
        bench.settle();
        be_new_and_refer(&mut bench);
        assert_eq!(phase(&bench).0, "Degraded");
    }

    #[test]
    fn an_old_rollout_is_degraded_at_once() {
        let mut bench = new_rollout();
        bench.snapshot.now = bench.snapshot.now.plus(GRACE + Duration::from_secs(1));
        assert_eq!(phase(&bench).0, "Degraded");
    }
}
