//! What the chart lets the controller do. Every controller of these tests is to the API server the service account of a release
//! in the namespace that it works on, which may do there what the chart says, and nothing else anywhere.
//!
//! Where [`crate::shared`] writes requests down, a controller must have been refused none when it ends.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read as _, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use k8s_openapi::api::authorization::v1::{
    LocalSubjectAccessReview, ResourceAttributes, SubjectAccessReviewSpec,
};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, Config};
use serde_json::{Value, json};
use serin::sandbox::control_plane::Identity;
use tokio::time::timeout;

use crate::helm::render;
use crate::shared::{DEADLINE, audit_log};

/// Name of the release, its role and its service account.
const RELEASE: &str = "serin";

/// How often the log is looked at for requests that must be in it.
const LOOKS: usize = 100;
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// Who a controller of this namespace is.
pub(crate) fn identity(namespace: &str) -> Identity {
    Identity::service_account(namespace, RELEASE)
}

/// An administrator's configuration, acting as the controller of this namespace and in it, as a pod does.
pub(crate) fn config(mut admin: Config, namespace: &str) -> Config {
    let Identity { user, groups } = identity(namespace);
    admin.auth_info.impersonate = Some(user);
    admin.auth_info.impersonate_groups = Some(groups);
    namespace.clone_into(&mut admin.default_namespace);
    admin
}

/// An administrator's kubeconfig, acting as the controller of this namespace and in it, as a pod does.
pub(crate) fn kubeconfig(admin: &str, namespace: &str) -> String {
    kubeconfig_of(admin, namespace, identity(namespace))
}

/// The same for whoever else is in this namespace.
pub(crate) fn kubeconfig_of(admin: &str, namespace: &str, Identity { user, groups }: Identity) -> String {
    let acting = format!("  user:\n    as: {user}\n    as-groups: {}\n", json!(groups));
    let place = format!("    namespace: {namespace}\n");
    let replaced = [("  user:\n", &acting), ("    namespace: default\n", &place)];
    replaced.iter().fold(admin.to_owned(), |text, (old, new)| {
        assert_eq!(text.matches(old).count(), 1, "{old} in the kubeconfig");
        text.replace(old, new)
    })
}

/// Gives the controller of a namespace the rights that the chart says, and returns once it has them.
pub(crate) async fn grant(admin: &Client, namespace: &str) {
    let (mut role, mut binding) = roles().clone();
    role.metadata.namespace = Some(namespace.to_owned());
    binding.metadata.namespace = Some(namespace.to_owned());
    for subject in binding.subjects.iter_mut().flatten() {
        subject.namespace = Some(namespace.to_owned());
    }
    let params = PatchParams::apply("test").force();
    let roles: Api<Role> = Api::namespaced(admin.clone(), namespace);
    roles.patch(RELEASE, &params, &Patch::Apply(role)).await.unwrap();
    let bindings: Api<RoleBinding> = Api::namespaced(admin.clone(), namespace);
    bindings.patch(RELEASE, &params, &Patch::Apply(binding)).await.unwrap();
    until_in_force(admin, namespace).await;
}

/// Waits until the controller of a namespace has the rights that it was given there.
pub(crate) async fn until_in_force(admin: &Client, namespace: &str) {
    // They reach the authorizer through watches of its own, whose state it tells by its answers alone.
    let granted = async {
        while !may_watch_rollouts(admin, namespace).await {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, granted).await.expect("the roles of the chart are not in force");
}

/// What the chart makes for a controller of one namespace.
fn roles() -> &'static (Role, RoleBinding) {
    static ROLES: OnceLock<(Role, RoleBinding)> = OnceLock::new();
    ROLES.get_or_init(|| {
        let rendered = rendered(&["--set=controller.namespaced=true"]);
        let of_kind = |kind: &str| {
            let mut objects = rendered.iter().filter(|object| object["kind"] == kind);
            let object = objects.next().unwrap().clone();
            assert!(objects.next().is_none(), "more than one {kind}");
            object
        };
        let [role, binding] = ["Role", "RoleBinding"].map(of_kind);
        (serde_json::from_value(role).unwrap(), serde_json::from_value(binding).unwrap())
    })
}

/// The objects of the chart with these flags.
pub(crate) fn rendered(more: &[&str]) -> Vec<Value> {
    let own = ["--set=image.repository=serin", "--set=crds.install=false"];
    let rendered =
        render("delivery", &[&own, more].concat()).unwrap_or_else(|complaint| panic!("{complaint}"));
    serde_saphyr::from_multiple(&rendered).unwrap()
}

async fn may_watch_rollouts(admin: &Client, namespace: &str) -> bool {
    let Identity { user, groups } = identity(namespace);
    let reviews: Api<LocalSubjectAccessReview> = Api::namespaced(admin.clone(), namespace);
    let asked = ResourceAttributes {
        namespace: Some(namespace.to_owned()),
        verb: Some("watch".to_owned()),
        group: Some("argoproj.io".to_owned()),
        resource: Some("rollouts".to_owned()),
        ..ResourceAttributes::default()
    };
    let spec = SubjectAccessReviewSpec {
        user: Some(user),
        groups: Some(groups),
        resource_attributes: Some(asked),
        ..SubjectAccessReviewSpec::default()
    };
    let mut review = LocalSubjectAccessReview { spec, ..LocalSubjectAccessReview::default() };
    review.metadata.namespace = Some(namespace.to_owned());
    let answer = reviews.create(&PostParams::default(), &review).await.unwrap();
    answer.status.is_some_and(|status| status.allowed)
}

/// Which test needs which right.
const NEEDED: &str = include_str!("rights.txt");

/// The requests of one controller: what was asked for, and the codes of the answers.
type Requests = BTreeMap<String, BTreeSet<u64>>;

/// Fails when the API server has refused the controller of this namespace a right, or when it has not made use of one that
/// `rights.txt` says this test needs.
///
/// # Panics
/// When that is so; the message names the rights.
pub(crate) fn assert_sufficed(namespace: &str) {
    if let Some(log) = audit_log() {
        assert_sufficed_in(log, namespace);
    }
}

/// The same of a control plane that writes its requests there.
pub(crate) fn assert_sufficed_in(log: &Path, namespace: &str) {
    let user = identity(namespace).user;
    let asked = requests(log, &user);
    let refused = asked.iter().filter(|(_, codes)| codes.contains(&403)).map(|(right, _)| right);
    let refused: Vec<_> = refused.collect();
    assert!(refused.is_empty(), "the chart does not let the controller of {namespace} {refused:?}");
    let thread = std::thread::current();
    let test = thread.name().unwrap_or_default();
    let needed: Vec<_> = needed().filter(|(_, by)| *by == test).map(|(right, _)| right).collect();
    let unused = || {
        let asked = requests(log, &user);
        needed.iter().filter(|right| !asked.contains_key(**right)).copied().collect::<Vec<_>>()
    };
    // A request is written down a moment after it was answered.
    for _ in 0..LOOKS {
        if unused().is_empty() {
            return;
        }
        std::thread::sleep(BETWEEN_LOOKS);
    }
    panic!(
        "rights.txt says that {test} needs these rights, and its controller has used none of them: {:?}",
        unused()
    );
}

/// Fails when somebody was refused a right, or has not used each of those given, where requests are written down.
///
/// # Panics
/// When that is so; the message names the rights.
pub(crate) fn assert_all_used(user: &str, given: &BTreeSet<String>) {
    let Some(log) = audit_log() else { return };
    let unused = || -> Vec<String> {
        let asked = requests(log, user);
        given.iter().filter(|right| !asked.contains_key(*right)).cloned().collect()
    };
    // A request is written down a moment after it was answered.
    for _ in 0..LOOKS {
        if unused().is_empty() {
            break;
        }
        std::thread::sleep(BETWEEN_LOOKS);
    }
    assert!(unused().is_empty(), "{user} uses none of these rights: {:?}", unused());
    let asked = requests(log, user);
    let refused: Vec<_> =
        asked.iter().filter(|(_, codes)| codes.contains(&403)).map(|(right, _)| right).collect();
    assert!(refused.is_empty(), "the chart does not let {user} {refused:?}");
}

/// The rights of `rights.txt`, each with the test that needs it, or the reason why none does in parentheses.
fn needed() -> impl Iterator<Item = (&'static str, &'static str)> {
    let lines = NEEDED.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split_once(": ").unwrap_or_else(|| panic!("rights.txt: {line}")))
}

#[test]
fn every_right_of_the_chart_is_needed_by_a_test() {
    let given: BTreeSet<String> =
        [&[][..], &["--set=controller.namespaced=true"]].into_iter().flat_map(given).collect();
    let needed: BTreeMap<_, _> = needed().collect();
    let unproven: Vec<_> = given.iter().filter(|right| !needed.contains_key(right.as_str())).collect();
    assert!(unproven.is_empty(), "rights.txt names no test that needs these rights: {unproven:#?}");
    let absent: Vec<_> = needed.keys().filter(|right| !given.contains(**right)).collect();
    assert!(absent.is_empty(), "the chart does not give these rights of rights.txt: {absent:#?}");

    let listed = std::process::Command::new(std::env::current_exe().unwrap()).arg("--list").output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let tests: BTreeSet<_> = listed.lines().filter_map(|line| line.strip_suffix(": test")).collect();
    let is_no_test = |by: &&&str| !by.starts_with('(') && !tests.contains(**by);
    let unknown: Vec<_> = needed.values().filter(is_no_test).collect();
    assert!(unknown.is_empty(), "rights.txt names tests that are none: {unknown:#?}");
}

/// The rights in the roles of the chart with these flags.
fn given(more: &[&str]) -> Vec<String> {
    rights_in(&rendered(more))
}

/// The rights in the roles among these objects.
pub(crate) fn rights_in(objects: &[Value]) -> Vec<String> {
    let texts = |value: &Value| -> Vec<String> { serde_json::from_value(value.clone()).unwrap() };
    let mut given = Vec::new();
    for object in objects {
        for rule in object["rules"].as_array().into_iter().flatten() {
            for group in texts(&rule["apiGroups"]) {
                for resource in texts(&rule["resources"]) {
                    given.extend(texts(&rule["verbs"]).iter().map(|verb| right(verb, &group, &resource)));
                }
            }
        }
    }
    given
}

/// What somebody has asked the control plane for until now that writes its requests there.
fn requests(log: &Path, user: &str) -> Requests {
    /// Up to where a log was read, and what each user has asked for until there.
    type Read = (u64, BTreeMap<String, Requests>);
    static READ: Mutex<BTreeMap<PathBuf, Read>> = Mutex::new(BTreeMap::new());
    let mut read = READ.lock().unwrap();
    let (position, all) = read.entry(log.to_owned()).or_default();
    let mut file = File::open(log).unwrap();
    file.seek(SeekFrom::Start(*position)).unwrap();
    let mut text = Vec::new();
    file.read_to_end(&mut text).unwrap();
    // The last line may not be whole yet.
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    *position += whole as u64;
    for line in String::from_utf8_lossy(&text[..whole]).lines() {
        if let Some((user, what, code)) = impersonated(line) {
            all.entry(user).or_default().entry(what).or_default().insert(code);
        }
    }
    all.get(user).cloned().unwrap_or_default()
}

/// Who asked for what, and the code of the answer, in a line of the log about somebody who is impersonated.
fn impersonated(line: &str) -> Option<(String, String, u64)> {
    if !line.contains("\"impersonatedUser\"") {
        return None;
    }
    let event: Value = serde_json::from_str(line).unwrap();
    let user = event["impersonatedUser"]["username"].as_str()?.to_owned();
    let code = event["responseStatus"]["code"].as_u64().unwrap_or_default();
    let verb = event["verb"].as_str()?;
    let object = &event["objectRef"];
    // Discovery is about no object; everybody may ask for it.
    let resource = object["resource"].as_str()?;
    let resource = match object["subresource"].as_str() {
        Some(part) => format!("{resource}/{part}"),
        None => resource.to_owned(),
    };
    Some((user, right(verb, object["apiGroup"].as_str().unwrap_or_default(), &resource), code))
}

/// How a right is written: `patch rollouts/status.argoproj.io`, `get secrets`.
pub(crate) fn right(verb: &str, group: &str, resource: &str) -> String {
    let group = if group.is_empty() { String::new() } else { format!(" of {group}") };
    format!("{verb} {resource}{group}")
}
