//! An API server without streaming lists, as that of Kubernetes 1.33 and those before 1.32 are unless somebody switches them
//! on: every kind is listed in pages, for which the chart gives the rights.

use serde_json::{Value, json};
use serin::sandbox::cluster::define;
use serin::sandbox::control_plane::{Audit, ControlPlane, ControlPlaneOptions};

use crate::controller_process::ControllerProcess;
use crate::rollouts::{Subject, merge, says};
use crate::routers::definitions::install_file;
use crate::shared::{namespace, options};

/// Definitions of every kind that a router has.
const DEFINITIONS: [&str; 12] = [
    "ambassador-mappings.yaml",
    "apisix-routes.yaml",
    "contour/crds.yaml#HTTPProxy",
    "gateway-api/grpcroutes.yaml",
    "gateway-api/httproutes.yaml",
    "gateway-api/tcproutes.yaml",
    "gateway-api/tlsroutes.yaml",
    "istio/crds.yaml#DestinationRule",
    "istio/crds.yaml#VirtualService",
    "skipper-routegroups.yaml",
    "smi/trafficsplits.yaml",
    "traefik/traefikservices.yaml",
];

/// Rollouts that refer to something of every kind that is watched for them alone. Nothing of it is there.
fn referring() -> Vec<(&'static str, Value)> {
    let routed = |routing: Value| json!({"strategy": {"canary": {"trafficRouting": routing}}});
    let plugin = |name: &str, config: Value| routed(json!({"plugins": {name: config}}));
    let gateway = |routes: Value| plugin("argoproj-labs/gatewayAPI", routes);
    let workload = |version: &str, kind: &str| json!({"template": null, "selector": null, "workloadRef": {"apiVersion": version, "kind": kind, "name": "x"}});
    let rule = json!({"name": "x", "canarySubsetName": "canary", "stableSubsetName": "stable"});
    vec![
        ("ambassador", routed(json!({"ambassador": {"mappings": ["x"]}}))),
        ("apisix", routed(json!({"apisix": {"route": {"name": "x"}}}))),
        ("contour", plugin("argoproj-labs/contour", json!({"httpProxies": ["x"]}))),
        ("grpc", gateway(json!({"grpcRoute": "x"}))),
        ("http", gateway(json!({"httpRoute": "x"}))),
        ("tcp", gateway(json!({"tcpRoute": "x"}))),
        ("tls", gateway(json!({"tlsRoute": "x"}))),
        ("istio", routed(json!({"istio": {"virtualService": {"name": "x"}, "destinationRule": rule}}))),
        ("nginx", routed(json!({"nginx": {"stableIngress": "x"}}))),
        ("skipper", plugin("zalando/skipper", json!({"routeGroups": ["x"]}))),
        ("smi", routed(json!({"smi": {}}))),
        ("traefik", routed(json!({"traefik": {"weightedTraefikServiceName": "x"}}))),
        ("deployment", workload("apps/v1", "Deployment")),
        ("pod-template", workload("v1", "PodTemplate")),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_without_streaming_lists_is_listed_in_pages() {
    let more_arguments = vec!["--feature-gates=WatchList=false".to_owned()];
    let options = ControlPlaneOptions { audit: Audit::Requests, more_arguments, ..options() };
    let control_plane = ControlPlane::start(options).await.unwrap();
    let client = control_plane.client();
    define(&client).await.unwrap();
    for file in DEFINITIONS {
        install_file(&client, file).await;
    }
    let namespace = namespace(&client, "listing").await;
    let controller = ControllerProcess::start_on(&control_plane, &namespace);

    for (name, spec) in referring() {
        let mut whole = json!({"strategy": {"canary": {}}});
        merge(&mut whole, spec);
        Subject::create_named(name, &client, &namespace, "v1", whole).await.until_phase("Degraded").await;
    }
    // One that can be worked with gets its pods, which no node runs here.
    let plain = Subject::create_named("web", &client, &namespace, "v1", json!({"strategy": {"canary": {}}}));
    plain.await.until(says("updated replicas are still becoming available")).await;
    // It looks that every right was used which rights.txt says this test needs.
    drop(controller);
    control_plane.stop().await.unwrap();
}
