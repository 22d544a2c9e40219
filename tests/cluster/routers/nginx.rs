//! NGINX: a canary Ingress beside the stable one.

use serde_json::{Value, json};

use super::{Case, Kind, walk};

const INGRESS: Kind = ("networking.k8s.io", "v1", "Ingress", "ingresses");
const CANARY: &str = "web-shop-canary";
const WEIGHT: &str = "/metadata/annotations/nginx.ingress.kubernetes.io~1canary-weight";

fn path(path: &str, service: &str) -> Value {
    let backend = json!({"service": {"name": service, "port": {"number": 80}}});
    json!({"path": path, "pathType": "Prefix", "backend": backend})
}

fn ingress() -> Value {
    let paths = [path("/", "stable"), path("/docs", "docs")];
    json!({
        "metadata": {"name": "shop"},
        "spec": {"ingressClassName": "nginx", "rules": [{"host": "shop.example", "http": {"paths": paths}}]},
    })
}

fn case() -> Case {
    Case {
        name: "nginx",
        definitions: &[],
        objects: vec![(INGRESS, ingress())],
        routing: json!({"nginx": {"stableIngress": "shop"}}),
        weight: (INGRESS, CANARY, WEIGHT),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_follows_every_step_and_goes_back_from_each() {
    Box::pin(walk(case())).await;
}
