//! The library chart `serin-analysis`: what it makes of its values and of a Deployment, and what it refuses.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::helm::{charts, helm};

/// The library.
fn library() -> PathBuf {
    charts().join("serin-analysis")
}

/// A chart with these files and the library, as `charts/example` has it.
fn chart(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for part in ["templates", "charts"] {
        fs::create_dir(folder.path().join(part)).unwrap();
    }
    fs::write(folder.path().join("Chart.yaml"), "{apiVersion: v2, name: shop, version: 0.1.0}").unwrap();
    symlink(library(), folder.path().join("charts/serin-analysis")).unwrap();
    for (name, text) in files {
        fs::write(folder.path().join("templates").join(name), text).unwrap();
    }
    folder
}

/// The objects of the chart, or what Helm says against it.
fn objects(chart: &Path, values: &[&str]) -> Result<Vec<Value>, String> {
    let own = ["template", "shop", chart.to_str().unwrap()].into_iter();
    let arguments: Vec<_> = own.chain(values.iter().flat_map(|value| ["--set", *value])).collect();
    let objects: Vec<Value> = serde_saphyr::from_multiple(&helm(&arguments)?).unwrap();
    Ok(objects.into_iter().filter(|object| !object.is_null()).collect())
}

/// What `serin-analysis.rollout` makes of a Deployment.
fn canary_of(deployment: &str, values: &[&str]) -> Result<Vec<Value>, String> {
    let files =
        [("_deployment.yaml", deployment), ("rollout.yaml", "{{ include \"serin-analysis.rollout\" . }}")];
    objects(chart(&files).path(), values)
}

fn plain_templates() -> Vec<(String, Value)> {
    let mut files: Vec<PathBuf> = fs::read_dir(library().join("analysis-templates"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let name = |file: &Path| file.file_stem().unwrap().to_str().unwrap().to_owned();
    let object = |file: &Path| serde_saphyr::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    files.iter().map(|file| (name(file), object(file))).collect()
}

#[test]
fn with_its_default_values_the_library_renders_the_plain_templates() {
    let plain = plain_templates();
    for (name, expected) in &plain {
        let file = format!("{{{{ include \"serin-analysis.{name}\" . }}}}");
        assert_eq!(
            objects(chart(&[("one.yaml", &file)]).path(), &[]).as_deref(),
            Ok([expected.clone()].as_slice())
        );
    }
    // The values repeat every argument that has a default, with its meaning.
    let values = fs::read_to_string(library().join("values.yaml")).unwrap();
    let values: Value = serde_saphyr::from_str(&values).unwrap();
    for argument in plain.iter().flat_map(|(_, object)| object["spec"]["args"].as_array().unwrap()) {
        let (name, has_default) = (argument["name"].as_str().unwrap(), argument.get("value").is_some());
        assert_eq!(values["args"].get(name).is_some(), has_default, "{name}");
    }
    for metric in plain.iter().flat_map(|(_, object)| object["spec"]["metrics"].as_array().unwrap()) {
        let name = metric["name"].as_str().unwrap();
        assert!(values["metrics"].get(name).is_some(), "{name}");
    }
}

#[test]
fn every_value_of_the_library_is_in_its_schema() {
    let read = |name: &str| fs::read_to_string(library().join(name)).unwrap();
    let values: Value = serde_saphyr::from_str(&read("values.yaml")).unwrap();
    let schema: Value = serde_json::from_str(&read("values.schema.json")).unwrap();
    let mut problems = Vec::new();
    crate::compare("", &values, &schema, &mut problems);
    // Helm hands values of that name to every chart of a tree.
    assert_eq!(problems, [".global is in the schema alone"]);
}

#[test]
fn values_change_arguments_and_metrics_and_nothing_else() {
    let file = "{{ include \"serin-analysis.success-rate\" . }}";
    let values = [
        "serin-analysis.namePrefix=team-",
        "serin-analysis.args.min-success-rate=0.999",
        "serin-analysis.args.min-requests=1000000",
        "serin-analysis.metrics.success-rate.count=0",
        "serin-analysis.metrics.success-rate.provider.prometheus.timeout=5",
    ];
    let (_, mut expected) = plain_templates().into_iter().find(|(name, _)| name == "success-rate").unwrap();
    expected["metadata"]["name"] = json!("team-success-rate");
    for argument in expected["spec"]["args"].as_array_mut().unwrap() {
        match argument["name"].as_str().unwrap() {
            "min-success-rate" => argument["value"] = json!("0.999"),
            "min-requests" => argument["value"] = json!("1000000"),
            _ => {}
        }
    }
    expected["spec"]["metrics"][0]["count"] = json!(0);
    expected["spec"]["metrics"][0]["provider"]["prometheus"]["timeout"] = json!(5);
    assert_eq!(objects(chart(&[("one.yaml", file)]).path(), &values), Ok(vec![expected]));
}

/// A Deployment with what a Rollout takes over, and what it does not have.
const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}, annotations: {team: shop}}
spec:
  minReadySeconds: 5
  strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      securityContext: {runAsUser: 1000680000}
      containers: [{name: main, image: 'app:v1'}]
";

#[test]
fn a_deployment_becomes_a_canary_with_all_that_it_says() {
    let values =
        ["serin-analysis.rollout.weights={20}", "serin-analysis.rollout.canary.scaleDownDelaySeconds=60"];
    let objects = canary_of(DEPLOYMENT, &values).unwrap();
    let rollout = objects.iter().find(|object| object["kind"] == "Rollout").unwrap();
    let argument = |name, from| json!({"name": name, "valueFrom": from});
    let field = |name, path| argument(name, json!({"fieldRef": {"fieldPath": path}}));
    let expected = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
        "metadata": {"name": "web", "labels": {"app": "web"}, "annotations": {"team": "shop"}},
        "spec": {
            "minReadySeconds": 5,
            "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"canary": {
                "maxSurge": 1, "maxUnavailable": 0, "scaleDownDelaySeconds": 60,
                "steps": [{"setWeight": 20}, {"analysis": {
                    "templates": [{"templateName": "web-success-rate"}],
                    "args": [
                        field("rollout", "metadata.name"),
                        field("namespace", "metadata.namespace"),
                        argument("canary-hash", json!({"podTemplateHashValue": "Latest"})),
                    ],
                }}],
            }},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {
                "securityContext": {"runAsUser": 1_000_680_000},
                "containers": [{"name": "main", "image": "app:v1"}],
            }},
        },
    });
    assert_eq!(rollout, &expected);
    let template = objects.iter().find(|object| object["kind"] == "AnalysisTemplate").unwrap();
    assert_eq!(template["metadata"], json!({"name": "web-success-rate", "labels": {"app": "web"}}));
    assert_eq!(objects.len(), 2);
    assert_eq!(canary_of("{{ if .Values.off }}x{{ end }}", &[]), Ok(vec![]));
}

#[test]
fn what_cannot_be_a_canary_is_refused_with_its_place() {
    let with = |from: &str, to: &str| DEPLOYMENT.replace(from, to);
    let long = "a-name-that-has-just-one-character-more-than-46";
    for (deployment, values, told) in [
        (
            with("", ""),
            vec!["serin-analysis.args.min-succes-rate=1"],
            "additional properties 'min-succes-rate' not allowed",
        ),
        (with("", ""), vec!["serin-analysis.args.min-success-rate=95"], "at '/args/min-success-rate'"),
        (with("", ""), vec!["serin-analysis.args.objective=1"], "at '/args/objective'"),
        (with("", ""), vec!["serin-analysis.args.window=1d"], "at '/args/window'"),
        (with("", ""), vec!["serin-analysis.rollout.analyses={success}"], "at '/rollout/analyses/0'"),
        (with("", ""), vec!["serin-analysis.metrics.success-rate.intervall=1m"], "'intervall' not allowed"),
        (
            with("", ""),
            vec!["serin-analysis.metrics.success-rate.interval=soon"],
            "at '/metrics/success-rate/interval'",
        ),
        (with("", ""), vec!["serin-analysis.args.max-memory=90"], "at '/args/max-memory'"),
        (with("", ""), vec!["serin-analysis.args.window=0s"], "at '/args/window'"),
        (
            with("", ""),
            vec!["serin-analysis.rollout.analyses={error-budget-burn}", "serin-analysis.args.objective=0.9"],
            "max-burn-rate: with an objective of 0.9 nothing burns faster than 10.0, so that 14.4 is never exceeded",
        ),
        (
            with("kind: Deployment", "kind: StatefulSet"),
            vec![],
            "_deployment.yaml: must hold a Deployment, not StatefulSet",
        ),
        (format!("{DEPLOYMENT}---\nkind: Service\n"), vec![], "_deployment.yaml: holds more than one object"),
        (
            with("type: RollingUpdate", "type: Recreate"),
            vec![],
            "spec.strategy.type: Recreate allows no two versions",
        ),
        (with("name: web,", &format!("name: {long},")), vec![], "metadata.name: a-name-that"),
        (with("spec:\n", "spec: }\n"), vec![], "_deployment.yaml: must hold a Deployment, not error"),
    ] {
        let error = canary_of(&deployment, &values).unwrap_err();
        assert!(error.contains(told), "{told}\n{error}");
    }
}

#[test]
fn a_dependency_under_another_name_is_refused_with_its_chart() {
    let uses = ["{{ include \"serin-analysis.rollout\" . }}", "{{ include \"serin-analysis.restarts\" . }}"];
    for template in uses {
        let chart = chart(&[("_deployment.yaml", DEPLOYMENT), ("one.yaml", template)]);
        let renamed = "{apiVersion: v2, name: shop, version: 0.1.0, dependencies: \
            [{name: serin-analysis, alias: analyses, version: 0.1.0, repository: 'file://..'}]}";
        fs::write(chart.path().join("Chart.yaml"), renamed).unwrap();
        let error = objects(chart.path(), &[]).unwrap_err();
        assert!(error.contains("chart shop: the dependency must be called serin-analysis"), "{error}");
    }
}
