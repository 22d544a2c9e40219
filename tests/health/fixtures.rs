//! Argo CD's own tests of its scripts: they pass here as there, so what runs the scripts here does as Argo CD does.

use std::collections::BTreeSet;

use serde_json::Value;
use serin::sim::merge_patch::merge;

use crate::lua;

const KINDS: [&str; 3] = ["Rollout", "AnalysisRun", "Experiment"];

fn read(kind: &str, name: &str) -> Value {
    serde_saphyr::from_str(&lua::file(kind, name)).unwrap()
}

fn text<'a>(test: &'a Value, key: &str) -> &'a str {
    test[key].as_str().unwrap_or_default()
}

#[test]
fn health_is_what_argo_cd_expects() {
    let mut count = 0;
    for kind in KINDS {
        let tests = read(kind, "health_test.yaml");
        for test in tests["tests"].as_array().unwrap() {
            let (input, expected) = (text(test, "inputPath"), &test["healthStatus"]);
            let health = lua::health(&read(kind, input));
            let found = (health.status.as_str(), health.message.as_str());
            assert_eq!(found, (text(expected, "status"), text(expected, "message")), "{kind} {input}");
            count += 1;
        }
    }
    assert!(count > 30, "{count}");
}

#[test]
fn what_is_offered_is_what_argo_cd_expects() {
    let mut count = 0;
    for kind in ["Rollout", "AnalysisRun"] {
        let tests = read(kind, "actions/action_test.yaml");
        for test in tests["discoveryTests"].as_array().unwrap() {
            let input = text(test, "inputPath");
            let actions = test["result"].as_array().unwrap().iter();
            let expected: BTreeSet<&str> = actions
                .filter(|action| action["disabled"] != true)
                .map(|action| text(action, "name"))
                .collect();
            let offered = lua::offered(&read(kind, &format!("actions/{input}"))).unwrap();
            assert_eq!(
                offered.iter().map(String::as_str).collect::<BTreeSet<_>>(),
                expected,
                "{kind} {input}"
            );
            count += 1;
        }
    }
    assert!(count > 8, "{count}");
}

/// An object without what is null, and without when a restart was asked for.
fn plain(mut object: Value) -> Value {
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        spec.remove("restartAt");
    }
    let mut plain = Value::Null;
    merge(&mut plain, &object);
    plain
}

#[test]
fn actions_change_what_argo_cd_expects() {
    let mut count = 0;
    for kind in ["Rollout", "AnalysisRun"] {
        let tests = read(kind, "actions/action_test.yaml");
        for test in tests["actionTests"].as_array().unwrap() {
            let object = |key| read(kind, &format!("actions/{}", text(test, key)));
            let mut changed = object("inputPath");
            let patch = lua::action(&changed, text(test, "action"), 0).unwrap().unwrap();
            merge(&mut changed, &patch);
            assert_eq!(plain(changed), plain(object("expectedOutputPath")), "{kind}: {test}");
            count += 1;
        }
    }
    assert!(count > 8, "{count}");
}
