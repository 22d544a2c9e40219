//! Which object of Flux a Rollout belongs to, and where in Git that comes from.
//!
//! Flux writes it into labels of what it applies. Anybody may write labels, so that the inventory of the Kustomization must
//! name the Rollout, too. Deliberately absent: `HelmReleases`, whose values are in Git somewhere else than the chart is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use super::application::{Source, is_name};
use super::paths::join;
use crate::units::Timestamp;

/// How long a version may have been applied before it was seen. What ended that long before it was seen was without it.
const UNSEEN: Duration = Duration::from_mins(1);
/// Fewest digits of a commit's full name.
const SHORTEST_COMMIT: usize = 40;

/// The name of an object of Flux.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What of Flux has applied an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A Kustomization.
    Kustomization(ObjectName),
    /// A `HelmRelease`, of which nothing can be written back.
    HelmRelease(ObjectName),
}

/// What the labels of an object say of who has applied it; `None` where they name nothing of Flux.
#[must_use]
pub fn owner(labels: &BTreeMap<String, String>) -> Option<Owner> {
    let named = |controller: &str| {
        let label = |key: &str| labels.get(&format!("{controller}.toolkit.fluxcd.io/{key}"));
        object_name(label("namespace")?, label("name")?)
    };
    named("kustomize").map(Owner::Kustomization).or_else(|| named("helm").map(Owner::HelmRelease))
}

/// `None` where Kubernetes takes one of them as no name, so that it cannot be put in a request's path.
fn object_name(namespace: &str, name: &str) -> Option<ObjectName> {
    let are_names = is_name(namespace) && is_name(name);
    are_names.then(|| ObjectName { namespace: namespace.to_owned(), name: name.to_owned() })
}

/// What is read of a Kustomization.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Kustomization {
    spec: Spec,
    status: Status,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    path: String,
    components: Vec<String>,
    source_ref: SourceRef,
    /// Another cluster than the one that the Kustomization is in.
    kube_config: Option<serde_json::Value>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct SourceRef {
    kind: String,
    name: String,
    namespace: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    last_applied_revision: Option<String>,
    /// Newer than the applied one while health checks run, and after they have failed.
    last_attempted_revision: Option<String>,
    inventory: Inventory,
    history: Vec<Snapshot>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Inventory {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Entry {
    id: String,
}

/// The last of the reconciliations that gave the same objects with the same end; absent before Flux 2.7.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Snapshot {
    last_reconciled: String,
    metadata: BTreeMap<String, String>,
}

impl Snapshot {
    /// When it ended, and with which commit.
    fn end(&self) -> Option<(Timestamp, &str)> {
        let commit = self.metadata.get("revision").and_then(|revision| commit(revision))?;
        Some((Timestamp::parse(&self.last_reconciled)?, commit))
    }
}

/// The commit of a revision, `<branch>@sha1:<commit>`.
fn commit(revision: &str) -> Option<&str> {
    let (_, commit) = revision.rsplit_once(':')?;
    let is_full = commit.len() >= SHORTEST_COMMIT && commit.bytes().all(|b| b.is_ascii_hexdigit());
    is_full.then_some(commit)
}

/// What is read of a `GitRepository`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct GitRepository {
    metadata: Metadata,
    spec: RepositorySpec,
    status: RepositoryStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Metadata {
    generation: i64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RepositoryStatus {
    observed_generation: i64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct RepositorySpec {
    url: String,
    r#ref: Reference,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Reference {
    branch: Option<String>,
    tag: Option<String>,
    semver: Option<String>,
    name: Option<String>,
    commit: Option<String>,
}

impl GitRepository {
    /// Whether Flux has fetched it as it is written now.
    #[must_use]
    pub fn is_observed(&self) -> bool {
        self.status.observed_generation == self.metadata.generation
    }
}

impl Reference {
    /// The branch that is followed, or words that are no name of a branch. The later one of these fields wins in Flux.
    fn target(&self) -> String {
        let words =
            [("commit", &self.commit), ("name", &self.name), ("semver", &self.semver), ("tag", &self.tag)];
        let set = words.into_iter().find_map(|(field, value)| Some((field, given(value.as_ref())?)));
        let Some((field, value)) = set else {
            return given(self.branch.as_ref()).unwrap_or("master").to_owned();
        };
        let branch = value.strip_prefix("refs/heads/").filter(|_| field == "name");
        branch.map_or_else(|| format!("{field} {value}"), str::to_owned)
    }
}

fn given(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| !text.is_empty())
}

impl Kustomization {
    /// Whether Flux itself says that it manages this Rollout, in this cluster.
    #[must_use]
    pub fn manages(&self, namespace: &str, name: &str) -> bool {
        let id = format!("{namespace}_{name}_argoproj.io_Rollout");
        self.spec.kube_config.is_none() && self.status.inventory.entries.iter().any(|entry| entry.id == id)
    }

    /// The `GitRepository` that it comes from; `namespace` is its own.
    ///
    /// # Errors
    /// Where it comes from something else; the message names the field.
    pub fn repository(&self, namespace: &str) -> Result<ObjectName, String> {
        let SourceRef { kind, name, namespace: other } = &self.spec.source_ref;
        if kind != "GitRepository" {
            return Err(format!("spec.sourceRef.kind is {kind}: only a GitRepository can be written to"));
        }
        object_name(given(other.as_ref()).unwrap_or(namespace), name)
            .ok_or_else(|| "spec.sourceRef names no object".to_owned())
    }

    /// Where in that repository it comes from. `begun_at` is when the version was first seen; `None` where that is not known.
    ///
    /// # Errors
    /// Where it comes from outside of the repository; the message names the field.
    pub fn source(&self, repository: &GitRepository, begun_at: Option<Timestamp>) -> Result<Source, String> {
        let path = join("", &self.spec.path)
            .ok_or_else(|| format!("spec.path {} leads out of the repository", self.spec.path))?;
        let components = self.spec.components.iter().filter_map(|component| join(&path, component));
        let paths = components.chain([path.clone()]).collect::<BTreeSet<_>>();
        let (synced, before) = self.syncs(begun_at);
        let (url, target) = (repository.spec.url.clone(), repository.spec.r#ref.target());
        Ok(Source { url, target, paths, synced, before })
    }

    /// A commit that had the version and one before it that was without: the nearest ones that are certain, as a snapshot
    /// tells only when it ended last, after its health checks.
    fn syncs(&self, begun_at: Option<Timestamp>) -> (Option<String>, Option<String>) {
        let mut ends: Vec<_> = self.status.history.iter().filter_map(Snapshot::end).collect();
        ends.sort_unstable();
        let after = ends.iter().find(|(at, _)| begun_at.is_some_and(|begun| *at > begun));
        let status = &self.status;
        let newest = given(status.last_attempted_revision.as_ref())
            .or_else(|| given(status.last_applied_revision.as_ref()))
            .and_then(commit);
        let synced = after.map(|(_, commit)| *commit).or(newest);
        let is_before = |(at, _): &&(Timestamp, &str)| begun_at.is_some_and(|begun| at.plus(UNSEEN) <= begun);
        let before = ends.iter().rev().find(is_before).map(|(_, commit)| *commit);
        (synced.map(str::to_owned), before.filter(|before| Some(*before) != synced).map(str::to_owned))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn named(namespace: &str, name: &str) -> ObjectName {
        ObjectName { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    #[test]
    fn an_owner_is_found_by_its_two_labels() {
        let of = |controller: &str, namespace: &str, name: &str| {
            let labels = [("namespace", namespace), ("name", name)];
            labels.map(|(key, value)| (format!("{controller}.toolkit.fluxcd.io/{key}"), value.to_owned()))
        };
        let kustomize = of("kustomize", "flux-system", "apps");
        let expected = Owner::Kustomization(named("flux-system", "apps"));
        assert_eq!(owner(&BTreeMap::from(kustomize.clone())), Some(expected.clone()));
        let helm = of("helm", "shop", "cart");
        assert_eq!(owner(&BTreeMap::from(helm.clone())), Some(Owner::HelmRelease(named("shop", "cart"))));
        assert_eq!(owner(&kustomize.into_iter().chain(helm).collect()), Some(expected));
        let one = BTreeMap::from([("kustomize.toolkit.fluxcd.io/name".to_owned(), "apps".to_owned())]);
        assert_eq!(owner(&one), None);
        for bad in ["", "../secrets", "a/b", "Apps", "a?x=1"] {
            assert_eq!(owner(&BTreeMap::from(of("kustomize", "flux-system", bad))), None, "{bad}");
            assert_eq!(owner(&BTreeMap::from(of("kustomize", bad, "apps"))), None, "{bad}");
        }
    }

    #[allow(clippy::needless_pass_by_value, reason = "objects of tests are written where they are passed")]
    fn kustomization(spec: Value, status: Value) -> Kustomization {
        serde_json::from_value(json!({"spec": spec, "status": status})).unwrap()
    }

    #[allow(clippy::needless_pass_by_value, reason = "objects of tests are written where they are passed")]
    fn repository(reference: Value) -> GitRepository {
        serde_json::from_value(json!({"spec": {"url": "https://h/shop.git", "ref": reference}})).unwrap()
    }

    #[test]
    fn labels_alone_make_no_rollout_part_of_a_kustomization() {
        let status = json!({"inventory": {"entries": [
            {"id": "shop_cart_argoproj.io_Rollout", "v": "v1alpha1"}, {"id": "shop_basket__Service", "v": "v1"},
        ]}});
        let here = kustomization(json!({}), status.clone());
        assert!(here.manages("shop", "cart"));
        assert!(!here.manages("shop", "basket") && !here.manages("other", "cart"));
        let elsewhere = kustomization(json!({"kubeConfig": {"secretRef": {"name": "production"}}}), status);
        assert!(!elsewhere.manages("shop", "cart"));
        assert!(!kustomization(json!({}), json!({})).manages("shop", "cart"));
    }

    #[test]
    fn only_a_git_repository_is_written_to() {
        let of = |source: Value| kustomization(json!({"sourceRef": source}), json!({})).repository("shop");
        assert_eq!(of(json!({"kind": "GitRepository", "name": "apps"})), Ok(named("shop", "apps")));
        let elsewhere = json!({"kind": "GitRepository", "name": "apps", "namespace": "flux-system"});
        assert_eq!(of(elsewhere), Ok(named("flux-system", "apps")));
        for kind in ["OCIRepository", "Bucket"] {
            let why = of(json!({"kind": kind, "name": "apps"})).unwrap_err();
            assert!(why.contains("spec.sourceRef.kind") && why.contains(kind), "{why}");
        }
        let why = of(json!({"kind": "GitRepository", "name": "../secrets"})).unwrap_err();
        assert_eq!(why, "spec.sourceRef names no object");
    }

    #[test]
    fn a_source_is_its_folder_and_components_on_a_branch() {
        let spec = json!({"path": "./overlays/dev", "components": ["../../canary"]});
        let source =
            kustomization(spec, json!({})).source(&repository(json!({"branch": "main"})), None).unwrap();
        assert_eq!((&*source.url, &*source.target), ("https://h/shop.git", "main"));
        let paths: Vec<_> = source.paths.iter().map(String::as_str).collect();
        assert_eq!(paths, ["canary", "overlays/dev"]);
        let root = kustomization(json!({}), json!({})).source(&repository(json!({})), None).unwrap();
        assert_eq!(root.paths, BTreeSet::from([String::new()]));
        let why = kustomization(json!({"path": "../x"}), json!({})).source(&repository(json!({})), None);
        assert_eq!(why.unwrap_err(), "spec.path ../x leads out of the repository");
    }

    #[test]
    fn a_repository_that_flux_has_not_fetched_since_it_changed_is_not_used() {
        let is_observed = |generation: i64, seen: i64| {
            let status = json!({"observedGeneration": seen});
            let object = json!({"metadata": {"generation": generation}, "status": status});
            serde_json::from_value::<GitRepository>(object).unwrap().is_observed()
        };
        assert!(is_observed(2, 2) && !is_observed(3, 2));
    }

    #[test]
    fn what_is_followed_is_what_flux_takes_first() {
        let target = |reference: Value| repository(reference).spec.r#ref.target();
        assert_eq!(target(json!({})), "master");
        assert_eq!(target(json!({"branch": "main", "tag": ""})), "main");
        assert_eq!(target(json!({"branch": "main", "tag": "v1"})), "tag v1");
        assert_eq!(target(json!({"tag": "v1", "semver": "1.x"})), "semver 1.x");
        assert_eq!(target(json!({"branch": "main", "name": "refs/heads/release"})), "release");
        assert_eq!(target(json!({"name": "refs/pull/4/head"})), "name refs/pull/4/head");
        assert_eq!(target(json!({"branch": "main", "commit": "aaa"})), "commit aaa");
    }

    /// The commits between which the version came, by their first digits, with a history as `(end, digit)`.
    fn between(history: &[(&str, char)], newest: char, begun_at: Option<&str>) -> [String; 2] {
        let commit = |digit: char| digit.to_string().repeat(SHORTEST_COMMIT);
        let revision = |digit: char| format!("main@sha1:{}", commit(digit));
        let history: Vec<_> = history
            .iter()
            .map(|(at, digit)| {
                json!({"lastReconciled": format!("2026-11-26T{at}Z"), "metadata": {"revision": revision(*digit)}})
            })
            .collect();
        let status = json!({"history": history, "lastAttemptedRevision": revision(newest)});
        let begun_at = begun_at.map(|at| Timestamp::parse(&format!("2026-11-26T{at}Z")).unwrap());
        let source = kustomization(json!({}), status).source(&repository(json!({})), begun_at).unwrap();
        [source.synced, source.before].map(|commit| commit.unwrap_or_default().chars().take(1).collect())
    }

    #[test]
    fn a_version_came_after_what_ended_well_before_it_and_until_what_ended_after_it() {
        let history = [("12:00:00", 'd'), ("11:30:00", 'c'), ("11:00:00", 'b'), ("10:50:00", 'a')];
        assert_eq!(between(&history, 'd', Some("11:10:00")), ["c", "b"]);
        // What has just ended may have brought it.
        assert_eq!(between(&history, 'd', Some("11:00:30")), ["c", "a"]);
        assert_eq!(between(&history, 'd', Some("11:00:00")), ["c", "a"]);
        // Nothing has ended yet: its health checks run.
        assert_eq!(between(&history, 'e', Some("12:10:00")), ["e", "d"]);
        assert_eq!(between(&history, 'd', Some("12:00:00")), ["d", "c"]);
        assert_eq!(between(&history, 'd', Some("10:00:00")), ["a", ""]);
    }

    #[test]
    fn without_a_history_or_a_time_no_commit_is_certain_to_be_without_it() {
        assert_eq!(between(&[], 'd', Some("11:10:00")), ["d", ""]);
        assert_eq!(between(&[("11:00:00", 'b')], 'd', None), ["d", ""]);
        assert_eq!(commit("v1@sha256:abc"), None);
        assert_eq!(commit("main/aaa"), None);
    }
}
