//! Which Application of Argo CD a Rollout belongs to, and where in Git that comes from.
//!
//! Argo CD writes it into an annotation of what it applies. The annotation must name the Rollout itself: a copy of the
//! object, or one that a template made with the annotations of another one, belongs to no Application.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::paths::join;
use crate::units::Timestamp;

/// The annotation in which Argo CD says what an object belongs to.
pub const TRACKING_ID: &str = "argocd.argoproj.io/tracking-id";

/// The name of an Application.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApplicationName {
    /// Its namespace; `None` is the namespace of Argo CD.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

/// The Application that `tracking_id` names, if it is the annotation of the Rollout `namespace`/`name`.
///
/// Its form is `<app>:<group>/<kind>:<namespace>/<name>`; an Application outside of Argo CD's namespace is
/// `<namespace>_<app>`, which is told apart because no name of Kubernetes has an underscore.
#[must_use]
pub fn owner(tracking_id: &str, namespace: &str, name: &str) -> Option<ApplicationName> {
    let (app, object) = tracking_id.split_once(':')?;
    if object != format!("argoproj.io/Rollout:{namespace}/{name}") {
        return None;
    }
    let (of, app) = match app.split_once('_') {
        Some((of, app)) => (Some(of), app),
        None => (None, app),
    };
    let named = is_name(app) && of.is_none_or(is_name);
    named.then(|| ApplicationName { namespace: of.map(str::to_owned), name: app.to_owned() })
}

/// Whether Kubernetes takes `text` as the name of an object, so that it can be put in a request's path.
pub(super) fn is_name(text: &str) -> bool {
    let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let ends = |b: Option<&u8>| b.is_some_and(|b| letter(*b));
    let bytes = text.as_bytes();
    text.len() <= 253
        && ends(bytes.first())
        && ends(bytes.last())
        && bytes.iter().all(|b| letter(*b) || matches!(b, b'-' | b'.'))
}

/// The annotation in which people name what else the manifests are made of, relative to the path, with `;` between.
const GENERATE_PATHS: &str = "argocd.argoproj.io/manifest-generate-paths";

/// What is read of an Application.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Application {
    metadata: Metadata,
    spec: Spec,
    status: Status,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Metadata {
    annotations: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Spec {
    source: Option<WrittenSource>,
    sources: Vec<WrittenSource>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct WrittenSource {
    #[serde(rename = "repoURL")]
    repo_url: String,
    path: Option<String>,
    target_revision: Option<String>,
    chart: Option<String>,
    r#ref: Option<String>,
    helm: Option<Helm>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Helm {
    value_files: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[serde(rename_all = "camelCase")]
struct Status {
    history: Vec<Sync>,
    sync: Comparison,
    operation_state: Operation,
    resources: Vec<Managed>,
}

/// What Argo CD has compared the cluster with.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Comparison {
    status: String,
    compared_to: Spec,
}

/// The newest sync, which the history has only once it is over.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Operation {
    started_at: Option<String>,
    sync_result: Sync,
}

/// An object that Argo CD manages for it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Managed {
    group: String,
    kind: String,
    namespace: String,
    name: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Sync {
    revision: Option<String>,
    revisions: Vec<String>,
    deploy_started_at: Option<String>,
    deployed_at: Option<String>,
}

impl Sync {
    /// The commit of the source at this place.
    fn commit(&self, place: usize) -> Option<&String> {
        self.revisions.get(place).or(self.revision.as_ref()).filter(|commit| !commit.is_empty())
    }

    fn begun_at(&self) -> Option<Timestamp> {
        let text = self.deploy_started_at.as_deref().or(self.deployed_at.as_deref());
        text.and_then(Timestamp::parse)
    }
}

/// Where in Git something comes from that a sync engine applies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The repository's address.
    pub url: String,
    /// What is followed in it: a branch, `HEAD`, or something that nobody can commit to.
    pub target: String,
    /// The files and folders that it is made of, from the root.
    pub paths: BTreeSet<String>,
    /// The commit whose sync brought the version; of Flux, at the latest.
    pub synced: Option<String>,
    /// The commit of the sync before, another one; of Flux, one that was without the version.
    pub before: Option<String>,
}

impl Spec {
    /// The sources that count: of an Application with several, the one beside them is empty.
    fn sources(&self) -> Vec<&WrittenSource> {
        if self.sources.is_empty() { self.source.iter().collect() } else { self.sources.iter().collect() }
    }
}

impl Application {
    /// Its annotations.
    #[must_use]
    pub fn annotations(&self) -> &BTreeMap<String, String> {
        &self.metadata.annotations
    }

    /// Whether Argo CD itself says that it manages this Rollout: anybody may write an annotation.
    #[must_use]
    pub fn manages(&self, namespace: &str, name: &str) -> bool {
        let is_it = |managed: &Managed| {
            (&*managed.group, &*managed.kind, &*managed.namespace, &*managed.name)
                == ("argoproj.io", "Rollout", namespace, name)
        };
        self.status.resources.iter().any(is_it)
    }

    /// Whether Argo CD has looked at its sources as they are written now: it asks the project whether they may be used.
    #[must_use]
    pub fn is_compared(&self) -> bool {
        matches!(&*self.status.sync.status, "Synced" | "OutOfSync")
            && self.status.sync.compared_to.sources() == self.spec.sources()
    }

    /// The repositories of Git that it comes from. `begun_at` is when the version was first seen; `None` takes the newest sync.
    #[must_use]
    pub fn sources(&self, begun_at: Option<Timestamp>) -> Vec<Source> {
        let written = self.spec.sources();
        let of_git = written.iter().enumerate().filter(|(_, source)| source.chart.is_none());
        of_git
            .map(|(place, source)| {
                let (synced, before) = self.syncs(place, begun_at);
                Source {
                    url: source.repo_url.clone(),
                    target: source
                        .target_revision
                        .clone()
                        .filter(|target| !target.is_empty())
                        .unwrap_or_else(|| "HEAD".to_owned()),
                    paths: self.paths(source, &written),
                    synced,
                    before,
                }
            })
            .filter(|source| !source.paths.is_empty())
            .collect()
    }

    /// The commit that was synced when the version began, and that of the sync before; the latter only where it is known when
    /// that was.
    fn syncs(&self, place: usize, begun_at: Option<Timestamp>) -> (Option<String>, Option<String>) {
        let operation = &self.status.operation_state;
        let newest =
            Sync { deploy_started_at: operation.started_at.clone(), ..operation.sync_result.clone() };
        let is_recorded = self.status.history.last().is_none_or(|last| last.begun_at() >= newest.begun_at());
        let running = Some(&newest).filter(|sync| sync.commit(place).is_some() && !is_recorded);
        let is_begun =
            |sync: &&Sync| begun_at.is_none_or(|begun| sync.begun_at().is_none_or(|at| at <= begun));
        let newest_first = running.into_iter().chain(self.status.history.iter().rev());
        let mut until_then =
            newest_first.skip_while(|sync| !is_begun(sync)).filter_map(|sync| sync.commit(place));
        let (synced, before) = (until_then.next(), until_then.next());
        (synced.cloned(), before.filter(|_| begun_at.is_some()).cloned())
    }

    fn paths(&self, source: &WrittenSource, all: &[&WrittenSource]) -> BTreeSet<String> {
        let base = source.path.as_deref();
        let own_values =
            source.helm.iter().flat_map(|helm| &helm.value_files).filter(|file| !file.starts_with('$'));
        let generate =
            self.metadata.annotations.get(GENERATE_PATHS).into_iter().flat_map(|list| list.split(';'));
        let relative =
            own_values.map(String::as_str).chain(generate.map(str::trim).filter(|path| !path.is_empty()));
        let own = base.into_iter().flat_map(|base| {
            let base = base.to_owned();
            std::iter::once(join(&base, "")).chain(relative.clone().map(move |path| join(&base, path)))
        });
        let referred = source.r#ref.as_deref().into_iter().flat_map(|name| {
            all.iter().filter_map(|other| other.helm.as_ref()).flat_map(|helm| &helm.value_files).filter_map(
                move |file| {
                    let (of, path) = file.strip_prefix('$')?.split_once('/')?;
                    (of == name).then(|| join("", path))
                },
            )
        });
        own.chain(referred).flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(tracking_id: &str, expected: Option<(Option<&str>, &str)>) {
        let expected = expected.map(|(namespace, name)| ApplicationName {
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
        });
        assert_eq!(owner(tracking_id, "shop", "cart"), expected, "{tracking_id}");
    }

    #[test]
    fn an_application_is_found_by_the_annotation_of_the_rollout_itself() {
        check("store:argoproj.io/Rollout:shop/cart", Some((None, "store")));
        check("team-a_store:argoproj.io/Rollout:shop/cart", Some((Some("team-a"), "store")));
    }

    #[test]
    fn an_annotation_of_another_object_names_no_application() {
        check("store:argoproj.io/Rollout:shop/basket", None);
        check("store:argoproj.io/Rollout:other/cart", None);
        check("store:apps/Deployment:shop/cart", None);
        check("store:argoproj.io/Rollout:shop/cart:more", None);
    }

    #[test]
    fn what_is_no_name_is_never_asked_for() {
        for bad in ["", "_store", "team-a_", "../secrets", "Store", "-store", "a_b_c", "store?x=1"] {
            check(&format!("{bad}:argoproj.io/Rollout:shop/cart"), None);
        }
        check("store", None);
    }

    fn application(spec: &Value, history: &Value) -> Application {
        let status = json!({"history": history});
        serde_json::from_value(json!({"metadata": {}, "spec": spec, "status": status})).unwrap()
    }

    fn paths(paths: &[&str]) -> BTreeSet<String> {
        paths.iter().map(|path| (*path).to_owned()).collect()
    }

    #[test]
    fn a_source_is_its_folder_and_its_value_files() {
        let source = json!({"repoURL": "https://h/shop.git", "path": "charts/cart", "targetRevision": "main",
            "helm": {"valueFiles": ["values.yaml", "../../env/dev.yaml", "https://h/values.yaml"]}});
        let sources = application(&json!({"source": source}), &json!([])).sources(None);
        assert_eq!(sources.len(), 1);
        assert_eq!((sources[0].url.as_str(), sources[0].target.as_str()), ("https://h/shop.git", "main"));
        assert!(sources[0].paths.is_superset(&paths(&[
            "charts/cart",
            "charts/cart/values.yaml",
            "env/dev.yaml"
        ])));
        assert_eq!((&sources[0].synced, &sources[0].before), (&None, &None));
    }

    #[test]
    fn values_of_another_repository_belong_to_that_one_and_charts_to_none() {
        let sources = json!([
            {"repoURL": "https://charts", "chart": "cart", "helm": {"valueFiles": ["$values/env/dev.yaml"]}},
            {"repoURL": "https://h/values.git", "ref": "values"},
        ]);
        let history = json!([{"revisions": ["1.0.0", "aaa"]}, {"revisions": ["1.0.0", "bbb"]}]);
        let sources = application(&json!({"sources": sources}), &history).sources(None);
        assert_eq!(sources.len(), 1);
        assert_eq!((sources[0].target.as_str(), &sources[0].paths), ("HEAD", &paths(&["env/dev.yaml"])));
        assert_eq!((sources[0].synced.as_deref(), &sources[0].before), (Some("bbb"), &None));
    }

    #[test]
    fn the_sync_that_brought_a_version_is_the_last_that_began_before_it() {
        let sync = |commit: &str, at: &str| json!({"revision": commit, "deployStartedAt": at, "deployedAt": "2026-11-26T23:00:00Z"});
        let history = json!([
            sync("aaa", "2026-11-26T20:00:00Z"),
            sync("bbb", "2026-11-26T21:00:00Z"),
            sync("bbb", "2026-11-26T21:05:00Z"),
            sync("ccc", "2026-11-26T22:00:00Z")
        ]);
        let application = application(&json!({"source": {"repoURL": "https://h/x", "path": "."}}), &history);
        let at = |time: Option<&str>| {
            let source = application.sources(time.and_then(Timestamp::parse)).remove(0);
            (source.synced.unwrap_or_default(), source.before.unwrap_or_default())
        };
        assert_eq!(at(Some("2026-11-26T21:01:00Z")), ("bbb".to_owned(), "aaa".to_owned()));
        // Synced once more without a change of Git, and a version of which nobody knows when it began.
        assert_eq!(at(Some("2026-11-26T21:06:00Z")), ("bbb".to_owned(), "bbb".to_owned()));
        assert_eq!(at(None), ("ccc".to_owned(), String::new()));
        assert_eq!(at(Some("2026-11-26T19:00:00Z")), (String::new(), String::new()));
    }

    #[test]
    fn what_people_name_beside_the_folder_belongs_to_it() {
        let application: Application = serde_json::from_value(json!({
            "metadata": {"annotations": {GENERATE_PATHS: ".;../base; /shared"}},
            "spec": {"source": {"repoURL": "https://h/x", "path": "apps/web"}},
        }))
        .unwrap();
        assert_eq!(application.sources(None)[0].paths, paths(&["apps/base", "apps/web", "shared"]));
    }

    #[test]
    fn an_annotation_alone_makes_no_rollout_part_of_an_application() {
        let application: Application = serde_json::from_value(json!({"status": {"resources": [
            {"group": "argoproj.io", "kind": "Rollout", "namespace": "shop", "name": "cart"},
            {"kind": "Service", "namespace": "shop", "name": "basket"},
        ]}}))
        .unwrap();
        assert!(application.manages("shop", "cart"));
        assert!(!application.manages("shop", "basket") && !application.manages("other", "cart"));
    }

    #[test]
    fn a_sync_that_is_not_over_counts_too() {
        let application: Application = serde_json::from_value(json!({
            "spec": {"source": {"repoURL": "https://h/x", "path": "."}},
            "status": {
                "history": [{"revision": "aaa", "deployStartedAt": "2026-11-26T20:00:00Z"}],
                "operationState": {"startedAt": "2026-11-26T21:00:00Z", "syncResult": {"revision": "bbb"}},
            },
        }))
        .unwrap();
        let source = application.sources(Timestamp::parse("2026-11-26T21:00:01Z")).remove(0);
        assert_eq!((source.synced.as_deref(), source.before.as_deref()), (Some("bbb"), Some("aaa")));
    }

    #[test]
    fn sources_that_argo_cd_has_not_looked_at_are_not_used() {
        let source = |url: &str| json!({"source": {"repoURL": url, "path": "web"}});
        let is_compared = |status: &str, compared: &str| {
            let mut to = source(compared);
            to["destination"] = json!({"server": "https://kubernetes.default.svc"});
            let sync = json!({"status": status, "comparedTo": to});
            let application: Application =
                serde_json::from_value(json!({"spec": source("https://h/x"), "status": {"sync": sync}}))
                    .unwrap();
            application.is_compared()
        };
        assert!(is_compared("Synced", "https://h/x") && is_compared("OutOfSync", "https://h/x"));
        assert!(!is_compared("Unknown", "https://h/x") && !is_compared("Synced", "https://h/other"));
        // Of several sources, Argo CD writes an empty one beside them.
        let sources = json!([{"repoURL": "https://h/x", "path": "web"}, {"repoURL": "https://h/values", "ref": "values"}]);
        let to = json!({"source": {"repoURL": ""}, "sources": sources});
        let several: Application = serde_json::from_value(json!({
            "spec": {"sources": sources}, "status": {"sync": {"status": "Synced", "comparedTo": to}}}))
        .unwrap();
        assert!(several.is_compared());
    }
}
