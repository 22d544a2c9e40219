//! The virtual node: pods become what their image tag says, as controllers and people see it.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ContainerStatus, Namespace, Pod};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;

use crate::shared::{client, deploy, is_pod_ready, is_ready, namespace, pods, wait_for};

fn main_container(pod: &Pod) -> Option<&ContainerStatus> {
    pod.status.as_ref()?.container_statuses.as_ref()?.first()
}

fn waiting_reason(pod: &Pod) -> Option<&str> {
    main_container(pod)?.state.as_ref()?.waiting.as_ref()?.reason.as_deref()
}

/// The one pod of a Deployment with this tag, once it has a status as `expected`.
async fn pod_when(tag: &str, expected: impl Fn(&Pod) -> bool) -> Pod {
    let client = client();
    let namespace = namespace(&client, tag).await;
    let pods: Api<Pod> = Api::namespaced(client, &namespace);
    let containers = json!([{"name": "main", "image": format!("app:{tag}")}]);
    let pod =
        serde_json::from_value(json!({"metadata": {"name": "one"}, "spec": {"containers": containers}}))
            .unwrap();
    pods.create(&PostParams::default(), &pod).await.unwrap();
    wait_for(&pods, "one", |pod: Option<&Pod>| pod.is_some_and(&expected)).await.unwrap()
}

#[tokio::test]
async fn a_deployment_of_three_pods_becomes_ready_each_at_its_own_address() {
    let client = client();
    let namespace = namespace(&client, "ready").await;
    let deployments = deploy(&client, &namespace, "web", "v1", 3).await;
    wait_for(&deployments, "web", is_ready(3)).await;
    let pods = pods(&client, &namespace, "web").await;
    let mut addresses: Vec<&str> =
        pods.values().filter_map(|pod| pod.status.as_ref()?.pod_ip.as_deref()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    assert_eq!(addresses.len(), 3);
    for pod in pods.values() {
        assert_eq!(pod.spec.as_ref().unwrap().node_name.as_deref(), Some("sandbox"));
        assert_eq!(pod.status.as_ref().unwrap().phase.as_deref(), Some("Running"));
    }
}

#[tokio::test]
async fn a_ready_pod_has_the_conditions_that_a_kubelet_sets() {
    let pod = pod_when("v1", |pod| is_pod_ready(Some(pod))).await;
    let status = pod.status.unwrap();
    let mut conditions: Vec<(String, String)> =
        status.conditions.unwrap().into_iter().map(|condition| (condition.type_, condition.status)).collect();
    conditions.sort();
    let all = ["ContainersReady", "Initialized", "PodReadyToStartContainers", "PodScheduled", "Ready"];
    assert_eq!(conditions, all.map(|kind| (kind.to_owned(), "True".to_owned())));
    assert!(status.start_time.is_some());
}

#[tokio::test]
async fn a_crashing_pod_ends_up_in_a_crash_loop_and_counts_its_restarts() {
    let pod = pod_when("v1-crash", |pod| waiting_reason(pod) == Some("CrashLoopBackOff")).await;
    let container = main_container(&pod).unwrap();
    // At least: the wait may have begun after a later crash.
    assert!(container.restart_count >= 1 && !container.ready, "{container:?}");
    let last = container.last_state.as_ref().unwrap().terminated.as_ref().unwrap();
    assert_eq!((last.exit_code, last.reason.as_deref()), (1, Some("Error")));
}

#[tokio::test]
async fn a_pod_whose_image_cannot_be_pulled_stays_pending() {
    let pod = pod_when("badimage", |pod| waiting_reason(pod) == Some("ImagePullBackOff")).await;
    assert_eq!(pod.status.unwrap().phase.as_deref(), Some("Pending"));
}

#[tokio::test]
async fn a_pod_that_never_becomes_ready_runs_all_the_same() {
    let pod =
        pod_when("never", |pod| main_container(pod).is_some_and(|main| main.started == Some(true))).await;
    assert!(!is_pod_ready(Some(&pod)));
    assert_eq!(pod.status.unwrap().phase.as_deref(), Some("Running"));
}

#[tokio::test]
async fn a_job_completes_when_its_pod_exits_with_zero_and_fails_otherwise() {
    let client = client();
    let namespace = namespace(&client, "jobs").await;
    let jobs: Api<Job> = Api::namespaced(client, &namespace);
    for (name, tag, condition) in [("good", "exit-0", "Complete"), ("bad", "exit-3", "Failed")] {
        let containers = json!([{"name": "main", "image": format!("check:{tag}")}]);
        let job = serde_json::from_value(json!({
            "metadata": {"name": name},
            "spec": {"backoffLimit": 0, "template": {"spec": {"restartPolicy": "Never", "containers": containers}}},
        }))
        .unwrap();
        jobs.create(&PostParams::default(), &job).await.unwrap();
        let ended = move |job: Option<&Job>| {
            let conditions = job.and_then(|job| job.status.as_ref()?.conditions.as_ref());
            conditions.is_some_and(|all| all.iter().any(|one| one.type_ == condition && one.status == "True"))
        };
        wait_for(&jobs, name, ended).await;
    }
}

#[tokio::test]
async fn pods_go_when_their_namespace_goes() {
    let client = client();
    let namespace = namespace(&client, "goes").await;
    let deployments = deploy(&client, &namespace, "web", "v1", 2).await;
    wait_for(&deployments, "web", is_ready(2)).await;
    let namespaces: Api<Namespace> = Api::all(client);
    namespaces.delete(&namespace, &DeleteParams::default()).await.unwrap();
    wait_for(&namespaces, &namespace, |namespace: Option<&Namespace>| namespace.is_none()).await;
}
