//! `docs/compatibility.md` lists every field of a Rollout's spec, with what becomes of it. The list comes from the schema
//! and from what the controller really answers to each field; `UPDATE=1 cargo test --test compatibility` rewrites it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, and its functions are part of it"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use kube::CustomResourceExt;
use serde_json::{Map, Value, json};
use serin::api::Rollout;
use serin::rollout::pods::Pods;
use serin::rollout::snapshot::Settings;
use serin::rollout::{self, Snapshot};
use serin::traffic::PLUGINS;
use serin::units::Timestamp;

const HEAD: &str = "# Compatibility with Argo Rollouts, field by field

Every field of `Rollout.spec`. A field that is *refused* makes the Rollout invalid with a message that names it; nothing is
ignored in silence. Where a field is *better* than there, the reason is in [differences.md](differences.md).

| field of `spec` | Serin |
|---|---|
";

/// Fields that do more than they do elsewhere, or safer; each is explained in differences.md.
const BETTER: [(&str, &str); 21] = [
    ("strategy.canary.steps[]", "an edit that leaves the steps behind the position alone continues there"),
    (
        "strategy.canary.steps[].setWeight",
        "a share rises only with its pods, and pods go only once the share was seen to be gone (#1838, #4867)",
    ),
    (
        "strategy.canary.dynamicStableScale",
        "follows the observed share; a third version never gets a stable that is too small (#3926, #3372)",
    ),
    ("strategy.canary.maxSurge", "never exceeded, whatever fails"),
    ("strategy.canary.stableService", "never selects a version without pods"),
    ("strategy.canary.canaryService", "never selects a version that is being drained"),
    ("strategy.canary.scaleDownDelaySeconds", "starts when the share was seen to be gone (#4867)"),
    ("strategy.canary.abortScaleDownDelaySeconds", "starts when the share was seen to be gone (#4867)"),
    ("strategy.canary.analysis", "counts while the rollout is paused and while the spec is invalid"),
    ("strategy.canary.steps[].analysis", "one that was stopped before it measured is no success (#3724)"),
    (
        "strategy.blueGreen.activeService",
        "goes back after an abort even when the new pods are all dead (#4750)",
    ),
    (
        "strategy.blueGreen.prePromotionAnalysis",
        "one that was stopped before it measured is no success (#3724)",
    ),
    ("rollbackWindow", "never fast-tracks to a revision that was aborted (#3039)"),
    ("progressDeadlineAbort", "is evaluated whatever the router says (#4128)"),
    ("paused", "an analysis that fails meanwhile still takes the version back"),
    ("template", "kept as it is written; a malformed quantity breaks nothing"),
    ("restartAt", "replaces pods that serve nobody first, and says when a disruption budget keeps pods"),
    ("strategy.canary.canaryMetadata", "what it hides of the template comes back when the role ends"),
    ("strategy.canary.stableMetadata", "what it hides of the template comes back when the role ends"),
    ("strategy.blueGreen.activeMetadata", "what it hides of the template comes back when the role ends"),
    ("strategy.blueGreen.previewMetadata", "what it hides of the template comes back when the role ends"),
];

/// The field whose parts are named after routers; what has no name here is refused.
const ROUTER_PLUGINS: &str = "strategy.canary.trafficRouting.plugins";

/// Fields whose content is nobody's business here, or belongs to Kubernetes.
const OPAQUE: [&str; 3] = ["template", "selector", "strategy.canary.steps[].experiment.templates[].selector"];

/// The fields of the schema by path, each with the path of values that leads to it.
fn fields(schema: &Value, path: &str, found: &mut BTreeMap<String, Value>) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    for (name, field) in properties {
        let mut path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let mut field = field;
        if let Some(items) = field.get("items") {
            path.push_str("[]");
            field = items;
        }
        found.insert(path.clone(), field.clone());
        if !OPAQUE.contains(&path.as_str()) {
            fields(field, &path, found);
        }
    }
}

/// A value that has the type of the schema.
fn sample(schema: &Value) -> Value {
    match schema.get("type").and_then(Value::as_str) {
        Some("integer") => json!(1),
        Some("boolean") => json!(true),
        Some("string") if schema.get("format").is_some() => json!("2026-01-01T00:00:00Z"),
        Some("string") => json!("x"),
        // A map by names of the user's own needs one.
        Some("object") if schema.get("additionalProperties").is_some() => json!({"x": {}}),
        _ => {
            let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
            let required = required.filter_map(Value::as_str);
            required.map(|name| (name.to_owned(), sample(&schema["properties"][name]))).collect()
        }
    }
}

/// A spec with the field set, and all that is around it.
fn spec_with(path: &str, value: Value) -> Value {
    let mut spec = json!({
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "web:v1"}]},
        },
    });
    if !path.starts_with("strategy.blueGreen") {
        spec["strategy"] = json!({"canary": {}});
    }
    let mut place = &mut spec;
    for part in path.split('.') {
        let name = part.trim_end_matches("[]");
        let object = place.as_object_mut().expect("the parents are objects");
        place = object.entry(name).or_insert_with(|| Value::Object(Map::new()));
        if part.ends_with("[]") {
            *place = json!([{}]);
            place = &mut place[0];
        }
    }
    *place = value;
    spec
}

/// Whether the controller answers that it does not support the field.
fn is_refused(path: &str, schema: &Value) -> bool {
    is_value_refused(path, sample(schema))
}

fn is_value_refused(path: &str, value: Value) -> bool {
    let rollout = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
        "metadata": {"name": "web", "namespace": "shop", "uid": "u", "generation": 1},
        "spec": spec_with(path, value),
    });
    let Ok(rollout) = serde_json::from_value::<Rollout>(rollout) else { return false };
    let snapshot = Snapshot {
        leaves_route: false,
        now: Timestamp::from_millis(0),
        rollout,
        replica_sets: vec![],
        analysis_runs: vec![],
        experiments: vec![],
        stable_template: None,
        templates: BTreeMap::new(),
        services: BTreeMap::new(),
        traffic: None,
        route_problems: Vec::new(),
        told: None,
        refusal: None,
        taken_names: [].into(),
        route_refusal: None,
        pods: Pods::default(),
        workload: serin::rollout::workload::Referenced::Nothing,
        endpoints: serin::rollout::endpoints::Endpoints::default(),
        counts_pending_since: None,
        settings: Settings::default(),
    };
    let message = rollout::decide(&snapshot).status.and_then(|status| status.message).unwrap_or_default();
    let path = path.trim_end_matches("[]").replace("[]", "[0]");
    let answers = [format!("spec.{path}: is not supported"), format!("spec.{path}.x: is no router")];
    answers.iter().any(|answer| message.contains(answer))
}

fn table() -> String {
    let definition = serde_json::to_value(Rollout::crd()).unwrap();
    let schema = definition.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec").unwrap();
    let mut all = BTreeMap::new();
    fields(schema, "", &mut all);
    for (path, _) in BETTER {
        let known = all.contains_key(path) || all.contains_key(&format!("{path}[]"));
        assert!(known, "{path} is said to be better, and is no field");
    }
    let mut text = HEAD.to_owned();
    let mut refused: Vec<String> = Vec::new();
    for (path, schema) in &all {
        if refused.iter().any(|parent| path.starts_with(parent)) {
            continue;
        }
        let better = BETTER.iter().find(|(better, _)| better == path);
        let says = if path == ROUTER_PLUGINS {
            let is_known = |name: &&str| !is_value_refused(path, json!({*name: {}}));
            assert!(PLUGINS.iter().all(is_known) && is_refused(path, schema));
            format!("supported: `{}`; others are **refused**", PLUGINS.join("`, `"))
        } else if is_refused(path, schema) {
            refused.push(format!("{path}."));
            refused.push(format!("{path}[]."));
            if path.ends_with("appMesh") {
                "**refused**: AWS ended App Mesh in September 2026"
            } else {
                "**refused**: not supported yet"
            }
            .to_owned()
        } else {
            better.map_or_else(|| "supported".to_owned(), |(_, why)| format!("better: {why}"))
        };
        writeln!(text, "| `{path}` | {says} |").unwrap();
    }
    text
}

#[test]
fn the_list_says_what_becomes_of_every_field() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/compatibility.md");
    let table = table();
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&file, &table).unwrap();
    }
    let written = fs::read_to_string(&file).unwrap_or_default();
    assert!(written == table, "docs/compatibility.md is stale: UPDATE=1 cargo test --test compatibility");
    assert!(table.contains("**refused**") || !table.contains("not supported"), "{table}");
}
