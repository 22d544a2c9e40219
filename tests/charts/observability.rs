//! The alerts and the dashboards of the chart: each alert fires and clears, on series that `alerts.yaml` beside this holds, and
//! leads to its runbook; each dashboard becomes a `ConfigMap`. What the queries of the panels find is tests/cluster/boards.rs.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::helm::{chart, render};
use crate::pinned;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read_yaml(path: &str) -> Value {
    serde_saphyr::from_str(&fs::read_to_string(root().join(path)).unwrap()).unwrap()
}

/// The alerts, as the chart has them.
fn alerts() -> Vec<Value> {
    let file = read_yaml("charts/serin/alerts.yaml");
    let groups = file["groups"].as_array().unwrap();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object[field].as_str().unwrap_or_else(|| panic!("{field} is no text in {object:#}"))
}

#[test]
fn alerts_fire_and_clear_as_is_written_down() {
    let tested = Command::new(pinned::program("promtool"))
        .args(["test", "rules", "tests/charts/alerts.yaml"])
        .current_dir(root())
        .output()
        .unwrap();
    let said = [tested.stdout, tested.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(tested.status.success(), "{}", said.concat());
}

#[test]
fn every_alert_is_tried_where_it_fires_and_where_it_clears() {
    let written = read_yaml("tests/charts/alerts.yaml");
    let tests = written["tests"].as_array().unwrap();
    let cases: Vec<_> = tests.iter().flat_map(|test| test["alert_rule_test"].as_array().unwrap()).collect();
    let tried = |fires: bool| -> BTreeSet<&str> {
        let expected = |case: &&&Value| case["exp_alerts"].as_array().is_some_and(|all| !all.is_empty());
        cases.iter().filter(|case| expected(case) == fires).map(|case| text(case, "alertname")).collect()
    };
    let alerts = alerts();
    let all: BTreeSet<&str> = alerts.iter().map(|alert| text(alert, "alert")).collect();
    assert_eq!(tried(true), all);
    assert_eq!(tried(false), all);
}

#[test]
fn every_alert_leads_to_its_runbook() {
    let page = fs::read_to_string(root().join("docs/runbooks.md")).unwrap();
    for alert in alerts() {
        let name = text(&alert, "alert");
        assert!(page.contains(&format!("\n## {name}\n")), "docs/runbooks.md has no section {name}");
        let expected = format!("docs/runbooks.md#{}", name.to_lowercase());
        assert_eq!(text(&alert["annotations"], "runbook_url"), expected);
    }
}

#[test]
fn every_dashboard_becomes_a_config_map_that_grafana_finds() {
    let flags = ["--set=image.repository=serin", "--set=crds.install=false", "--set=dashboards.enabled=true"];
    let folder = ["--set=dashboards.annotations.grafana_folder=delivery"];
    let rendered = render("delivery", &[&flags[..], &folder].concat()).unwrap();
    let documents: Vec<Value> = serde_saphyr::from_multiple(&rendered).unwrap();
    let maps: Vec<_> = documents.iter().filter(|object| object["kind"] == "ConfigMap").collect();
    let files: Vec<_> = fs::read_dir(chart().join("dashboards")).unwrap().map(Result::unwrap).collect();
    assert_eq!(maps.len(), files.len());
    for file in files {
        let name = file.file_name().into_string().unwrap();
        let key = format!("serin-{name}");
        let map = maps.iter().find(|map| map["data"].get(&key).is_some()).unwrap();
        assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], "1");
        assert_eq!(map["metadata"]["annotations"]["grafana_folder"], "delivery");
        assert_eq!(text(&map["data"], &key).trim(), fs::read_to_string(file.path()).unwrap().trim());
    }
}

#[test]
fn every_panel_says_what_it_shows_and_in_which_unit() {
    let mut identities = BTreeSet::new();
    for file in fs::read_dir(chart().join("dashboards")).unwrap() {
        let board: Value = serde_json::from_str(&fs::read_to_string(file.unwrap().path()).unwrap()).unwrap();
        assert!(identities.insert(text(&board, "uid").to_owned()), "{} is there twice", board["uid"]);
        assert!(board["schemaVersion"].as_u64().unwrap() >= 36);
        assert_eq!(board["templating"]["list"][0]["type"], "datasource");
        let panels = board["panels"].as_array().unwrap();
        for panel in panels.iter().filter(|panel| panel["type"] != "row") {
            assert!(!text(panel, "description").is_empty(), "{}", panel["title"]);
            assert!(!text(&panel["fieldConfig"]["defaults"], "unit").is_empty(), "{}", panel["title"]);
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
        }
    }
}
