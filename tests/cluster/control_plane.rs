//! The control plane itself: who may do what, and what survives a crash of the API server.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use serin::sandbox::control_plane::{Audit, ControlPlane, ControlPlaneOptions, Identity};
use serin::sandbox::node::{QuickWorkload, VirtualNode};
use std::sync::Arc;
use std::time::Duration;

use crate::shared::{deploy, is_ready, namespace, options, wait_for};

#[tokio::test]
async fn controllers_and_node_go_on_after_a_crash_of_the_api_server() {
    let mut control_plane = ControlPlane::start(options()).await.unwrap();
    let client = control_plane.client();
    let workload = Arc::new(QuickWorkload::ready_after(Duration::from_millis(50)));
    let _node = VirtualNode::start(client.clone(), workload).await.unwrap();
    let deployments = deploy(&client, "default", "web", "v1", 1).await;
    wait_for(&deployments, "web", is_ready(1)).await;

    control_plane.restart_api_server().await.unwrap();

    let three = Patch::Merge(json!({"spec": {"replicas": 3}}));
    deployments.patch("web", &PatchParams::default(), &three).await.unwrap();
    wait_for(&deployments, "web", is_ready(3)).await;
    control_plane.stop().await.unwrap();
}

#[tokio::test]
async fn an_identity_may_do_what_its_roles_say_and_its_requests_are_written_down() {
    let options = ControlPlaneOptions { audit: Audit::Requests, ..options() };
    let control_plane = ControlPlane::start(options).await.unwrap();
    let admin = control_plane.client();
    let namespace = namespace(&admin, "roles").await;
    let identity = Identity::service_account(&namespace, "reader");
    let reader = Client::try_from(control_plane.config_for(&identity)).unwrap();
    let config_maps: Api<ConfigMap> = Api::namespaced(reader, &namespace);

    let refused = config_maps.list(&ListParams::default()).await.unwrap_err();
    assert!(matches!(&refused, kube::Error::Api(status) if status.code == 403), "{refused}");

    allow_reading(&admin, &namespace, "reader").await;
    // Roles reach the authorizer through a watch of its own, which nothing outside can wait on.
    let allowed = async {
        while config_maps.list(&ListParams::default()).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::shared::DEADLINE, allowed).await.unwrap();

    let state = control_plane.state_dir().to_owned();
    let audit = std::fs::read_to_string(control_plane.audit_log()).unwrap();
    let user = format!("\"username\":\"{}\"", identity.user);
    assert!(audit.lines().any(|line| line.contains(&user) && line.contains("\"resource\":\"configmaps\"")));
    control_plane.stop().await.unwrap();
    assert!(!state.exists());
}

async fn allow_reading(admin: &Client, namespace: &str, account: &str) {
    use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
    let params = PatchParams::apply("test").force();
    let roles: Api<Role> = Api::namespaced(admin.clone(), namespace);
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "read"},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}],
    });
    roles.patch("read", &params, &Patch::Apply(role)).await.unwrap();
    let bindings: Api<RoleBinding> = Api::namespaced(admin.clone(), namespace);
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "read"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "read"},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
    });
    bindings.patch("read", &params, &Patch::Apply(binding)).await.unwrap();
}
