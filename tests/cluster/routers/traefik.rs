//! Traefik: weights in a `TraefikService` that users have.

use serde_json::{Value, json};

use super::{Case, Kind, Routed, create, leave_in_order, survive_a_second_writer, walk};
use crate::rollouts::{is_in, message_of};

const SERVICE: Kind = ("traefik.io", "v1alpha1", "TraefikService", "traefikservices");

fn service(services: &[Value; 2]) -> Value {
    json!({"metadata": {"name": "shop"}, "spec": {"weighted": {"services": services}}})
}

/// As Git has it: all on stable.
fn settled() -> Value {
    let of = |name: &str, weight: u32| json!({"name": name, "port": 80, "weight": weight});
    service(&[of("stable", 100), of("canary", 0)])
}

fn case() -> Case {
    Case {
        name: "traefik",
        definitions: &["traefik/traefikservices.yaml"],
        objects: vec![(
            SERVICE,
            service(&["stable", "canary"].map(|name| json!({"name": name, "port": 80}))),
        )],
        routing: json!({"traefik": {"weightedTraefikServiceName": "shop"}}),
        weight: (SERVICE, "shop", "/spec/weighted/services/1/weight"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_weighted_service_follows_every_step_and_goes_back_from_each() {
    Box::pin(walk(case())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_weighted_service_is_left_on_stable() {
    Box::pin(leave_in_order(case())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_ends_while_somebody_else_applies_the_weighted_service() {
    let objects = vec![(SERVICE, settled())];
    Box::pin(survive_a_second_writer(Case { objects, ..case() })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_weighted_service_that_is_missing_is_named_and_the_rollout_heals_once_it_is_there() {
    let routed = Box::pin(Routed::create(Case { objects: vec![], ..case() }, json!({}))).await;
    let subject = &routed.subject;
    let refused = subject.until(is_in("Degraded")).await;
    let message = message_of(&refused);
    let expected = "trafficRouting.traefik.weightedTraefikServiceName: TraefikService \"shop\" not found";
    assert!(message.contains(expected), "{message}");
    create(&subject.client, &subject.namespace, SERVICE, settled()).await;
    subject.until_phase("Healthy").await;
}
