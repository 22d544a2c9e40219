//! AWS Load Balancer Controller: weights in the action of Ingresses that users have.

use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use super::stub_aws::{Mood, StubAws, ingress_status};
use super::{Case, Kind, Routed, api, create, leave_in_order, survive_a_second_writer, walk};
use crate::controller_process::ControllerProcess;
use crate::rollouts::{is_in, message_of};
use crate::shared::{client, kubeconfig, wait_for};

const INGRESS: Kind = ("networking.k8s.io", "v1", "Ingress", "ingresses");
const WEIGHT: &str =
    "/metadata/annotations/alb.ingress.kubernetes.io~1actions.stable#/ForwardConfig/TargetGroups/0/Weight";

fn path(path: &str, service: &str, port: Value) -> Value {
    json!({"path": path, "pathType": "Prefix", "backend": {"service": {"name": service, "port": port}}})
}

fn ingress() -> Value {
    let paths = [
        path("/docs", "docs", json!({"number": 80})),
        path("/", "stable", json!({"name": "use-annotation"})),
    ];
    json!({
        "metadata": {"name": "shop", "annotations": {"alb.ingress.kubernetes.io/scheme": "internal"}},
        "spec": {"ingressClassName": "alb", "rules": [{"host": "shop.example", "http": {"paths": paths}}]},
    })
}

fn case() -> Case {
    Case {
        name: "alb",
        definitions: &[],
        objects: vec![(INGRESS, ingress())],
        routing: json!({"alb": {"ingress": "shop", "servicePort": 80}}),
        weight: (INGRESS, "shop", WEIGHT),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_follows_every_step_and_goes_back_from_each() {
    Box::pin(walk(case())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_is_left_on_stable() {
    Box::pin(leave_in_order(case())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_ends_while_somebody_else_applies_the_ingress() {
    let mut ours = ingress();
    let groups = json!([
        {"ServiceName": "canary", "ServicePort": "80", "Weight": 0},
        {"ServiceName": "stable", "ServicePort": "80", "Weight": 100},
    ]);
    let action = json!({"Type": "forward", "ForwardConfig": {"TargetGroups": groups}});
    ours["metadata"]["annotations"]["alb.ingress.kubernetes.io/actions.stable"] = json!(action.to_string());
    Box::pin(survive_a_second_writer(Case { objects: vec![(INGRESS, ours)], ..case() })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_by_header_comes_before_its_path_and_goes_with_the_update() {
    let header = json!({"headerName": "X-Tester", "headerValue": {"exact": "yes"}});
    let steps = json!([
        {"setWeight": 20}, {"setHeaderRoute": {"name": "testers", "match": [header]}}, {"pause": {}},
    ]);
    let routing = json!({"managedRoutes": [{"name": "testers"}]});
    let routed =
        Routed::deploy(case(), json!({"strategy": {"canary": {"steps": steps, "trafficRouting": routing}}}));
    let routed = Box::pin(routed).await;
    let subject = &routed.subject;
    let found = async || {
        let found = api(&subject.client, &subject.namespace, INGRESS).get("shop").await.unwrap();
        serde_json::to_value(&found).unwrap()
    };
    let before = found().await;
    subject.release("v2").await;
    routed.until_at_step(2).await;
    let during = found().await;
    let paths = during["spec"]["rules"][0]["http"]["paths"].as_array().unwrap();
    let backends: Vec<_> = paths.iter().map(|path| &path["backend"]["service"]["name"]).collect();
    assert_eq!(backends, ["docs", "testers", "stable"]);
    let condition = &during["metadata"]["annotations"]["alb.ingress.kubernetes.io/conditions.testers"];
    assert!(condition.as_str().unwrap().contains("X-Tester"), "{condition}");
    routed.resume().await;
    subject.until_phase("Healthy").await;
    // Stable takes over after it was seen to lead to the new pods, so the last write comes after the status.
    let is_as_before = move |object: Option<&DynamicObject>| {
        let now = serde_json::to_value(object).unwrap();
        ["/spec", "/metadata/annotations"]
            .into_iter()
            .all(|field| now.pointer(field) == before.pointer(field))
    };
    let ingresses = api(&subject.client, &subject.namespace, INGRESS);
    Box::pin(wait_for(&ingresses, "shop", is_as_before)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ingress_that_is_missing_is_named_and_the_rollout_heals_once_it_is_there() {
    let routed = Box::pin(Routed::create(Case { objects: vec![], ..case() }, json!({}))).await;
    let subject = &routed.subject;
    let refused = subject.until(is_in("Degraded")).await;
    let message = message_of(&refused);
    assert!(message.contains("trafficRouting.alb.ingress: Ingress \"shop\" not found"), "{message}");
    create(&subject.client, &subject.namespace, INGRESS, ingress()).await;
    subject.until_phase("Healthy").await;
    let found = api(&subject.client, &subject.namespace, INGRESS).get("shop").await.unwrap();
    assert_eq!(found.data["spec"], ingress()["spec"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_weight_counts_once_the_load_balancer_has_it() {
    let aws = StubAws::start(client()).await;
    let start = |namespace: &str| {
        let flags = ["--aws-verify-target-group"];
        ControllerProcess::start_in(aws.environment(namespace), &kubeconfig(), namespace, &flags)
    };
    let routed = Box::pin(Routed::create_under(start, case(), json!({}))).await;
    let subject = &routed.subject;
    subject.until_phase("Healthy").await;
    let ingresses = api(&subject.client, &subject.namespace, INGRESS);
    let status = Patch::Merge(ingress_status());
    ingresses.patch_status("shop", &PatchParams::default(), &status).await.unwrap();
    aws.set(Mood::Stays);
    subject.release("v2").await;
    routed.until_weight(20).await;
    aws.until_asked(2).await;
    let is_seen = |rollout: Option<&serin::api::Rollout>| {
        let status = rollout.and_then(|rollout| rollout.status.as_ref());
        status.and_then(|status| status.canary.as_ref()?.weights.as_ref()?.verified)
    };
    let found = subject.until(move |rollout: Option<&_>| is_seen(rollout) == Some(false)).await;
    assert_eq!(found.status.unwrap().current_step_index, Some(0));

    aws.set(Mood::Denies);
    let is_told = |rollout: Option<&serin::api::Rollout>| {
        rollout.is_some_and(|rollout| message_of(rollout).contains("AccessDenied: not authorized"))
    };
    let told = subject.until(is_told).await;
    assert_eq!(told.status.unwrap().current_step_index, Some(0));

    aws.set(Mood::Follows);
    routed.until_at_step(1).await;
    let seen = subject.until(move |rollout: Option<&_>| is_seen(rollout) == Some(true)).await;
    assert!(!message_of(&seen).contains("AccessDenied"), "{}", message_of(&seen));
    routed.resume().await;
    routed.until_at_step(3).await;
    routed.resume().await;
    subject.until_phase("Healthy").await;
    routed.until_weight(0).await;
    subject.until_sizes(&[("2", 4)]).await;
    subject.until(move |rollout: Option<&_>| is_seen(rollout) == Some(true)).await;
}
