//! Pod status as a kubelet reports it. Pure: stages and times in, the body of a status patch out.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

/// The address of the node, also `status.hostIP` of its pods.
pub(super) const HOST_ADDRESS: &str = "127.0.0.1";

/// Where the containers of a pod are.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Stage {
    /// They wait and have never run.
    Waiting(ImageTrouble),
    /// They run.
    Running { started_at: Time, ready: Readiness },
    /// They ended and are to be started again after a delay.
    BackingOff,
    /// They ended for good.
    Finished(Exit),
}

/// Why a container cannot be created; a kubelet reports the error first, then that it waits before the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ImageTrouble {
    JustFailed,
    BackingOff,
}

/// Whether running containers are ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    Ready,
    NotReady,
}

/// How containers ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Exit {
    pub(super) code: i32,
    pub(super) started_at: Time,
    pub(super) finished_at: Time,
}

/// Everything that the status of a pod is made of.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    pub(super) ip: IpAddr,
    /// When the node took the pod.
    pub(super) accepted_at: Time,
    /// When `Ready` last changed.
    pub(super) ready_changed_at: Time,
    pub(super) restarts: u32,
    /// How the containers ended last time.
    pub(super) last_exit: Option<Exit>,
    pub(super) stage: Stage,
}

impl Observed {
    /// A pod that the node has just taken.
    pub(super) fn accepted(ip: IpAddr, at: Time, stage: Stage) -> Self {
        Self { ip, accepted_at: at.clone(), ready_changed_at: at, restarts: 0, last_exit: None, stage }
    }

    /// The next stage, reached `at`.
    pub(super) fn advance(&mut self, stage: Stage, at: Time) {
        if is_ready(&stage) != is_ready(&self.stage) {
            self.ready_changed_at = at;
        }
        self.stage = stage;
    }

    fn phase(&self) -> &'static str {
        match &self.stage {
            Stage::Waiting(_) => "Pending",
            Stage::Running { .. } | Stage::BackingOff => "Running",
            Stage::Finished(exit) if exit.code == 0 => "Succeeded",
            Stage::Finished(_) => "Failed",
        }
    }

    fn state(&self) -> Value {
        match &self.stage {
            Stage::Waiting(ImageTrouble::JustFailed) => waiting("ErrImagePull", "no such image"),
            Stage::Waiting(ImageTrouble::BackingOff) => waiting("ImagePullBackOff", "back-off pulling image"),
            Stage::Running { started_at, .. } => json!({"running": {"startedAt": started_at}}),
            Stage::BackingOff => waiting("CrashLoopBackOff", "back-off restarting failed container"),
            Stage::Finished(exit) => terminated(exit),
        }
    }
}

fn is_ready(stage: &Stage) -> bool {
    matches!(stage, Stage::Running { ready: Readiness::Ready, .. })
}

fn waiting(reason: &str, message: &str) -> Value {
    json!({"waiting": {"reason": reason, "message": message}})
}

fn terminated(exit: &Exit) -> Value {
    let reason = if exit.code == 0 { "Completed" } else { "Error" };
    let (code, started_at, finished_at) = (exit.code, &exit.started_at, &exit.finished_at);
    json!({"terminated": {"exitCode": code, "reason": reason, "startedAt": started_at, "finishedAt": finished_at}})
}

/// The strategic merge patch that brings a pod's status to what was `observed`. It fails on a pod of the same name with
/// another `uid`.
pub(super) fn patch(pod: &Pod, observed: &Observed) -> Value {
    let spec = pod.spec.as_ref();
    let containers = spec.map_or(&[][..], |spec| &spec.containers);
    let init_containers = spec.and_then(|spec| spec.init_containers.as_deref()).unwrap_or_default();
    let address = observed.ip.to_string();
    let mut status = json!({
        "phase": observed.phase(),
        "conditions": conditions(observed, containers),
        "hostIP": HOST_ADDRESS,
        "hostIPs": [{"ip": HOST_ADDRESS}],
        "podIP": address,
        "podIPs": [{"ip": address}],
        "startTime": observed.accepted_at,
        "containerStatuses": containers.iter().map(|main| container(pod, main, observed)).collect::<Vec<_>>(),
    });
    if let Value::Object(fields) = &mut status {
        if !init_containers.is_empty() {
            let statuses: Vec<Value> =
                init_containers.iter().map(|first| init_container(first, observed)).collect();
            fields.insert("initContainerStatuses".to_owned(), Value::Array(statuses));
        }
        if let Some(generation) = pod.metadata.generation {
            fields.insert("observedGeneration".to_owned(), generation.into());
        }
    }
    json!({"metadata": {"uid": pod.metadata.uid}, "status": status})
}

/// All conditions but `PodScheduled`, which the API server sets when a pod is bound.
fn conditions(observed: &Observed, containers: &[Container]) -> Value {
    let (reason, message) = match &observed.stage {
        Stage::Running { ready: Readiness::Ready, .. } => (Value::Null, Value::Null),
        Stage::Finished(exit) if exit.code == 0 => ("PodCompleted".into(), Value::Null),
        Stage::Finished(_) => ("PodFailed".into(), Value::Null),
        Stage::Waiting(_) | Stage::Running { .. } | Stage::BackingOff => {
            let names: Vec<&str> = containers.iter().map(|container| container.name.as_str()).collect();
            let message = format!("containers with unready status: [{}]", names.join(" "));
            ("ContainersNotReady".into(), message.into())
        }
    };
    let ready = if is_ready(&observed.stage) { "True" } else { "False" };
    let follows_containers = |kind: &str| {
        let changed_at = &observed.ready_changed_at;
        json!({"type": kind, "status": ready, "reason": reason, "message": message, "lastTransitionTime": changed_at})
    };
    let holds =
        |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": observed.accepted_at});
    json!([
        holds("PodReadyToStartContainers"),
        holds("Initialized"),
        follows_containers("Ready"),
        follows_containers("ContainersReady"),
    ])
}

fn container(pod: &Pod, container: &Container, observed: &Observed) -> Value {
    let image = container.image.as_deref().unwrap_or_default();
    let runs = matches!(observed.stage, Stage::Running { .. });
    let mut status = json!({
        "name": container.name,
        "image": image,
        "imageID": "",
        "ready": is_ready(&observed.stage),
        "started": runs,
        "restartCount": observed.restarts,
        "state": observed.state(),
    });
    if let Value::Object(fields) = &mut status {
        if !matches!(observed.stage, Stage::Waiting(_)) {
            let uid = pod.metadata.uid.as_deref().unwrap_or_default();
            let id = format!("sandbox://{uid}/{}/{}", container.name, observed.restarts);
            fields.insert("containerID".to_owned(), id.into());
            fields.insert("imageID".to_owned(), format!("sandbox://{image}").into());
        }
        if let Some(exit) = &observed.last_exit {
            fields.insert("lastState".to_owned(), terminated(exit));
        }
    }
    status
}

/// Init containers have done their work by the time that anything is reported; those that run along still run.
fn init_container(container: &Container, observed: &Observed) -> Value {
    let runs_along = container.restart_policy.as_deref() == Some("Always");
    let at = observed.accepted_at.clone();
    let state = if runs_along {
        json!({"running": {"startedAt": at}})
    } else {
        terminated(&Exit { code: 0, started_at: at.clone(), finished_at: at })
    };
    let image = container.image.as_deref().unwrap_or_default();
    let image_id = format!("sandbox://{image}");
    json!({
        "name": container.name, "image": image, "imageID": image_id, "ready": true, "started": runs_along,
        "restartCount": 0, "state": state,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Time {
        Time(k8s_openapi::jiff::Timestamp::from_second(second).unwrap())
    }

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "uid": "u1", "generation": 1},
            "spec": {
                "initContainers": [{"name": "setup", "image": "setup:1"}],
                "containers": [{"name": "main", "image": "app:1"}, {"name": "proxy", "image": "proxy:1"}],
            },
        }))
        .unwrap()
    }

    fn observed(stage: Stage) -> Observed {
        Observed::accepted(IpAddr::from([127, 0, 1, 2]), at(100), stage)
    }

    fn condition<'a>(patch: &'a Value, kind: &str) -> &'a Value {
        patch["status"]["conditions"].as_array().unwrap().iter().find(|entry| entry["type"] == kind).unwrap()
    }

    #[test]
    fn a_ready_pod_says_since_when_and_clears_the_reason_for_not_being_ready() {
        let mut observed = observed(Stage::Running { started_at: at(101), ready: Readiness::NotReady });
        let before = patch(&pod(), &observed);
        assert_eq!(condition(&before, "Ready")["message"], "containers with unready status: [main proxy]");
        observed.advance(Stage::Running { started_at: at(101), ready: Readiness::Ready }, at(105));
        let after = patch(&pod(), &observed);
        let ready = json!({"type": "Ready", "status": "True", "reason": null, "message": null,
            "lastTransitionTime": "1970-01-01T00:01:45Z"});
        assert_eq!(condition(&after, "Ready"), &ready);
        assert_eq!(condition(&after, "Initialized")["lastTransitionTime"], "1970-01-01T00:01:40Z");
        assert_eq!(after["status"]["podIP"], "127.0.1.2");
        assert_eq!(after["status"]["observedGeneration"], 1);
        assert_eq!(after["metadata"]["uid"], "u1");
        assert_eq!(after["status"]["initContainerStatuses"][0]["state"]["terminated"]["reason"], "Completed");
    }

    #[test]
    fn a_crash_loop_shows_the_wait_and_how_it_ended_before() {
        let mut observed = observed(Stage::Running { started_at: at(101), ready: Readiness::Ready });
        observed.last_exit = Some(Exit { code: 1, started_at: at(101), finished_at: at(102) });
        observed.restarts = 3;
        observed.advance(Stage::BackingOff, at(102));
        let patch = patch(&pod(), &observed);
        let main = &patch["status"]["containerStatuses"][0];
        assert_eq!(main["state"]["waiting"]["reason"], "CrashLoopBackOff");
        assert_eq!(main["lastState"]["terminated"]["exitCode"], 1);
        assert_eq!((&main["restartCount"], &main["ready"]), (&json!(3), &json!(false)));
        assert_eq!(patch["status"]["phase"], "Running");
        assert_eq!(condition(&patch, "ContainersReady")["lastTransitionTime"], "1970-01-01T00:01:42Z");
    }

    #[test]
    fn an_image_that_cannot_be_pulled_leaves_the_pod_pending_without_a_container() {
        let patch = patch(&pod(), &observed(Stage::Waiting(ImageTrouble::JustFailed)));
        let main = &patch["status"]["containerStatuses"][0];
        assert_eq!(main["state"]["waiting"]["reason"], "ErrImagePull");
        assert_eq!(main.get("containerID"), None);
        assert_eq!(patch["status"]["phase"], "Pending");
    }

    #[test]
    fn the_exit_code_decides_between_succeeded_and_failed() {
        for (code, phase, reason) in [(0, "Succeeded", "Completed"), (3, "Failed", "Error")] {
            let exit = Exit { code, started_at: at(101), finished_at: at(102) };
            let patch = patch(&pod(), &observed(Stage::Finished(exit)));
            assert_eq!(patch["status"]["phase"], phase);
            assert_eq!(patch["status"]["containerStatuses"][0]["state"]["terminated"]["reason"], reason);
        }
    }
}
