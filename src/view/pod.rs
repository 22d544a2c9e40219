//! The state of a pod in one word, as `kubectl get pods` says it, and what is wrong with it.

use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateTerminated, ContainerStatus, Pod, PodSpec, PodStatus,
};

use super::text::Sign;

/// The state of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PodState {
    pub(super) sign: Sign,
    pub(super) word: String,
    /// What the cluster says of it, when something holds it up.
    pub(super) detail: Option<String>,
    pub(super) ready: usize,
    pub(super) containers: usize,
    pub(super) restarts: i32,
}

/// Reads the state of a pod.
pub(super) fn state(pod: &Pod) -> PodState {
    let status = pod.status.clone().unwrap_or_default();
    let containers = status.container_statuses.as_deref().unwrap_or_default();
    let ready = containers.iter().filter(|container| container.ready).count();
    let total = pod.spec.as_ref().map_or(containers.len(), |spec| spec.containers.len());
    let word = word(pod, &status);
    let is_ready = total > 0 && ready == total;
    PodState {
        sign: sign(&word, is_ready),
        detail: if is_ready { None } else { detail(&status) },
        word,
        ready,
        containers: total,
        restarts: containers.iter().map(|container| container.restart_count).sum(),
    }
}

fn word(pod: &Pod, status: &PodStatus) -> String {
    if pod.metadata.deletion_timestamp.is_some() {
        return if status.reason.as_deref() == Some("NodeLost") { "Unknown" } else { "Terminating" }
            .to_owned();
    }
    if let Some(word) = init_word(pod.spec.as_ref(), status) {
        return word;
    }
    let phase =
        status.reason.clone().or_else(|| status.phase.clone()).unwrap_or_else(|| "Unknown".to_owned());
    let containers = status.container_statuses.as_deref().unwrap_or_default();
    let stopped = containers.iter().find_map(|container| stop_word(container.state.as_ref()?));
    match stopped {
        // A container that is done beside one that serves says nothing about the pod.
        Some(word) if word == "Completed" && containers.iter().any(serves) => "Running".to_owned(),
        Some(word) => word,
        None => phase,
    }
}

/// The word while init containers run; `None` once they are done.
fn init_word(spec: Option<&PodSpec>, status: &PodStatus) -> Option<String> {
    let inits = status.init_container_statuses.as_deref().unwrap_or_default();
    let (index, open) = inits.iter().enumerate().find(|(_, container)| !is_init_done(container))?;
    let total = spec.and_then(|spec| spec.init_containers.as_ref()).map_or(inits.len(), Vec::len);
    let stopped = open.state.as_ref().and_then(stop_word).filter(|word| word != "PodInitializing");
    Some(stopped.map_or_else(|| format!("Init:{index}/{total}"), |word| format!("Init:{word}")))
}

fn is_init_done(container: &ContainerStatus) -> bool {
    let terminated = container.state.as_ref().and_then(|state| state.terminated.as_ref());
    let is_running_beside =
        container.started == Some(true) && container.state.as_ref().is_some_and(|s| s.running.is_some());
    terminated.is_some_and(|end| end.exit_code == 0) || is_running_beside
}

/// Why a container does not run.
fn stop_word(state: &ContainerState) -> Option<String> {
    if let Some(waiting) = &state.waiting {
        return waiting.reason.clone().filter(|reason| !reason.is_empty());
    }
    let end = state.terminated.as_ref()?;
    Some(end.reason.clone().unwrap_or_else(|| match end.signal {
        Some(signal) if signal != 0 => format!("Signal:{signal}"),
        _ => format!("ExitCode:{}", end.exit_code),
    }))
}

fn serves(container: &ContainerStatus) -> bool {
    container.ready && container.state.as_ref().is_some_and(|state| state.running.is_some())
}

fn sign(word: &str, is_ready: bool) -> Sign {
    match word.strip_prefix("Init:").unwrap_or(word) {
        "Running" if is_ready => Sign::Good,
        "Succeeded" | "Completed" => Sign::Good,
        "Unknown" | "NodeLost" => Sign::Unknown,
        "Running" | "Pending" | "ContainerCreating" | "PodInitializing" | "Terminating" => Sign::Moving,
        // The next attempt may succeed: another registry answer, a Secret that appears.
        word if word.contains("Image") || word.starts_with("CreateContainer") => Sign::Warning,
        word if word.contains('/') => Sign::Moving,
        _ => Sign::Bad,
    }
}

/// What the cluster says of a pod that is not ready: why it waits, how it ended, or why no node takes it.
fn detail(status: &PodStatus) -> Option<String> {
    let inits = status.init_container_statuses.iter().flatten();
    let mut containers =
        inits.chain(status.container_statuses.iter().flatten()).filter(|container| !container.ready);
    containers.find_map(container_detail).or_else(|| unscheduled(status)).or_else(|| status.message.clone())
}

fn container_detail(container: &ContainerStatus) -> Option<String> {
    let state = container.state.as_ref()?;
    let ended = container.last_state.as_ref().and_then(|last| last.terminated.as_ref());
    let waits = state.waiting.as_ref().and_then(|waiting| waiting.message.clone());
    match (state.terminated.as_ref().or(ended).filter(|end| end.exit_code != 0), waits) {
        (Some(end), _) => Some(end_in_words(&container.name, end)),
        (None, waits) => waits.filter(|message| !message.is_empty()),
    }
}

fn end_in_words(container: &str, end: &ContainerStateTerminated) -> String {
    let reason = end.reason.as_deref().filter(|reason| *reason != "Error");
    let reason = reason.map_or_else(String::new, |reason| format!(", {reason}"));
    format!("container '{container}' ended with exit code {}{reason}", end.exit_code)
}

fn unscheduled(status: &PodStatus) -> Option<String> {
    let scheduled = status.conditions.iter().flatten().find(|condition| condition.type_ == "PodScheduled")?;
    (scheduled.status == "False").then(|| scheduled.message.clone()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(status: &Value, expected: (Sign, &str, Option<&str>)) {
        let pod =
            json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c"}]}, "status": status});
        let state = state(&serde_json::from_value(pod).unwrap());
        assert_eq!((state.sign, state.word.as_str(), state.detail.as_deref()), expected);
    }

    fn container(ready: bool, state: &Value, last: &Value) -> Value {
        json!({"name": "c", "ready": ready, "restartCount": 0, "image": "", "imageID": "", "state": state, "lastState": last})
    }

    #[test]
    fn a_ready_pod_is_well() {
        let status = json!({"phase": "Running", "containerStatuses": [container(true, &json!({"running": {}}), &json!({}))]});
        check(&status, (Sign::Good, "Running", None));
    }

    #[test]
    fn a_running_pod_that_is_not_ready_is_under_way() {
        let status = json!({"phase": "Running", "containerStatuses": [container(false, &json!({"running": {}}), &json!({}))]});
        check(&status, (Sign::Moving, "Running", None));
    }

    #[test]
    fn an_image_that_cannot_be_pulled_is_named() {
        let waiting = json!({"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}});
        let status =
            json!({"phase": "Pending", "containerStatuses": [container(false, &waiting, &json!({}))]});
        check(&status, (Sign::Warning, "ImagePullBackOff", Some("no such image")));
    }

    #[test]
    fn a_crash_tells_how_the_container_ended() {
        let waiting = json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s"}});
        let last = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}});
        let status = json!({"phase": "Running", "containerStatuses": [container(false, &waiting, &last)]});
        let detail = "container 'c' ended with exit code 137, OOMKilled";
        check(&status, (Sign::Bad, "CrashLoopBackOff", Some(detail)));
    }

    #[test]
    fn a_pod_that_no_node_takes_says_why() {
        let condition = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"});
        check(
            &json!({"phase": "Pending", "conditions": [condition]}),
            (Sign::Moving, "Pending", Some("0/3 nodes")),
        );
    }

    #[test]
    fn init_containers_are_counted() {
        let init = container(false, &json!({"running": {}}), &json!({}));
        check(
            &json!({"phase": "Pending", "initContainerStatuses": [init]}),
            (Sign::Moving, "Init:0/1", None),
        );
    }
}
