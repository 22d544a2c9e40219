//! What statements of a script do, apart from users' actions and the passing of time.

use super::script::Statement;
use super::simulation::Simulation;

impl Simulation {
    /// What happens in the world outside the controller.
    pub(super) fn change_world(&mut self, statement: &Statement) {
        let simulation = self;
        match statement {
            Statement::Image(tag, image) => simulation.cluster.set_image(tag, *image),
            Statement::Metric(name, source) => simulation.metrics.set(name, source.clone()),
            Statement::MetricsServer(error) => simulation.metrics.set_down(error.clone()),
            Statement::Pods(count, tag, disturbance) => {
                simulation.cluster.disturb_pods(tag, *count, *disturbance);
            }
            Statement::Forbid(why) => simulation.cluster.forbid_replica_sets(why.clone()),
            Statement::DeleteReplicaSet(tag) => simulation.cluster.delete_replica_sets_of(tag),
            Statement::ResizeReplicaSet(tag, size) => simulation.cluster.resize_replica_sets_of(tag, *size),
            Statement::DeleteRuns => simulation.cluster.delete_runs(),
            Statement::StopRuns => simulation.cluster.stop_runs(),
            Statement::EndExperiments(phase, why) => {
                simulation.cluster.end_experiments(*phase, why.as_deref());
            }
            Statement::Quota(quota) => simulation.cluster.set_quota(*quota),
            Statement::Budget(budget) => simulation.cluster.set_budget(*budget),
            Statement::AutoscaleWorkload(least) => simulation.cluster.autoscale_workload(*least),
            Statement::RouterDelay(delay) => simulation.cluster.set_router_delay(*delay),
            Statement::RouterRefusal(why) => simulation.cluster.set_router_refusal(why.clone()),
            Statement::RouterReadable(readable) => simulation.cluster.set_router_readable(*readable),
            Statement::EndpointsLag(lag) => simulation.cluster.set_endpoints_lag(*lag),
            Statement::EndpointsReadable(readable) => simulation.cluster.set_endpoints_readable(*readable),
            Statement::Route(shares) => simulation.cluster.rewrite_route(shares.clone()),
            _ => {}
        }
    }

    /// What goes wrong from now on.
    pub(super) fn arm(&mut self, statement: &Statement) {
        let now = self.now();
        let simulation = self;
        let faults = &mut simulation.controller.faults;
        match statement {
            Statement::Crash(None) => simulation.controller.crash(now),
            Statement::Crash(after) => faults.crash_after = *after,
            Statement::Clock(step) => simulation.cluster.step_clock(*step),
            Statement::Lag(kinds, lag) => {
                for kind in kinds {
                    simulation.cluster.set_lag(*kind, *lag);
                }
            }
            Statement::WatchesDown(duration) => simulation.cluster.break_watches(now.plus(*duration)),
            Statement::Delivery(delivery) => simulation.delivery = *delivery,
            Statement::Conflicts(count) => faults.conflicts += count,
            Statement::Refusals(count) => faults.refusals += count,
            Statement::LostAnswers(count) => faults.lost_answers += count,
            Statement::ServerDown(duration) => faults.down_until = Some(now.plus(*duration)),
            _ => {}
        }
    }
}
