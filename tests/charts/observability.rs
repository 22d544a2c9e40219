//! The alerts and the dashboards of the chart: each alert fires and clears, on series that `alerts.yaml` beside this holds, and
//! leads to its runbook; each dashboard becomes a `ConfigMap`. What the queries of the panels find is tests/cluster/boards.rs.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::NamedTempFile;

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

/// Lets `promtool` say whether what a file expects is so.
fn test_rules(file: &Path) {
    let tested = Command::new(pinned::program("promtool"))
        .args(["test", "rules"])
        .arg(file)
        .current_dir(root())
        .output()
        .unwrap();
    let said = [tested.stdout, tested.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(tested.status.success(), "{}", said.concat());
}

#[test]
fn alerts_fire_and_clear_as_is_written_down() {
    test_rules(Path::new("tests/charts/alerts.yaml"));
}

/// The queries of a dashboard that contain this text, for the Rollout `web` of the namespace `shop`.
fn queries(dashboard: &str, with: &str) -> Vec<String> {
    let board = fs::read_to_string(chart().join("dashboards").join(dashboard)).unwrap();
    let board: Value = serde_json::from_str(&board).unwrap();
    let targets = board["panels"].as_array().unwrap().iter().filter_map(|panel| panel["targets"].as_array());
    let queries = targets.flatten().map(|target| text(target, "expr")).filter(|query| query.contains(with));
    let values = [
        ("$__rate_interval", "2m"),
        ("$__range", "10m"),
        ("$namespace", "shop"),
        ("$name", "web"),
        ("$requests", "requests"),
        ("$failed", "status=~\"5..\""),
        ("${durations}", "durations"),
        ("$job", "serin"),
    ];
    let fill =
        |query: &str| values.iter().fold(query.to_owned(), |query, (name, value)| query.replace(name, value));
    let queries: Vec<_> = queries.map(fill).collect();
    assert!(!queries.is_empty(), "{dashboard} has no query with {with}");
    queries
}

/// Lets `promtool` say whether each of these, asked at `at`, is 1 on these series.
fn all_are_one(queries: &[String], series: &[(&str, &str)], at: &str) {
    let input: Vec<_> =
        series.iter().map(|(name, values)| json!({"series": name, "values": values})).collect();
    let one = json!([{"labels": "{}", "value": 1}]);
    let asked = |query: &String| json!({"expr": query, "eval_time": at, "exp_samples": one});
    let cases: Vec<_> = queries.iter().map(asked).collect();
    let tests = json!({"tests": [{"interval": "1m", "input_series": input, "promql_expr_test": cases}]});
    let file = NamedTempFile::new().unwrap();
    fs::write(file.path(), tests.to_string()).unwrap();
    test_rules(file.path());
}

#[test]
fn versions_are_told_apart_while_one_replica_still_tells_of_the_time_before_a_promotion() {
    let info = |role: &str, hash: &str, replica: &str| {
        let labels =
            format!("namespace=\"shop\",name=\"web\",revision=\"2\",role=\"{role}\",hash=\"{hash}\"");
        format!("rollout_revision_info{{{labels},instance=\"{replica}\"}}")
    };
    let [before, after] = ["1x4 stale", "_x5 1x20"];
    let mut series: Vec<(String, &str)> = vec![
        (info("stable", "old", "a"), before),
        (info("canary", "new", "a"), before),
        (info("stable", "new", "a"), after),
        (info("stable", "old", "b"), "1x5 stale"),
        (info("canary", "new", "b"), "1x5 stale"),
    ];
    for pod in ["web-old-x1", "web-new-x2"] {
        let of = |more: &str| format!("{{namespace=\"shop\",pod=\"{pod}\"{more}}}");
        series.push((format!("requests{}", of(",status=\"200\"")), "0+60x20"));
        series.push((format!("requests{}", of(",status=\"500\"")), "0+6x20"));
        series.push((format!("durations_bucket{}", of(",le=\"0.1\"")), "0+60x20"));
        series.push((format!("durations_bucket{}", of(",le=\"+Inf\"")), "0+60x20"));
    }
    let series: Vec<_> = series.iter().map(|(name, values)| (name.as_str(), *values)).collect();
    let joined = queries("rollout.json", "group_left (role)");
    assert_eq!(joined.len(), 3);
    let shown: Vec<_> = joined.iter().map(|query| format!("count({query}) >= bool 1")).collect();
    for at in ["3m", "5m", "8m"] {
        all_are_one(&shown, &series, at);
    }
}

#[test]
fn a_board_of_one_rollout_shows_no_analysis_of_a_namesake() {
    let of = |series: &str, run: &str| {
        let labels = format!("namespace=\"shop\",name=\"{run}\",metric=\"errors\",type=\"Prometheus\"");
        format!("{series}{{{labels},phase=\"Failed\"}}")
    };
    let mine = ["web-6d8f-2", "web-6d8f-2-1", "web-6d8f-2-pre.1", "web-6d8f-2.1", "web-6d8f-2-1-errors"];
    let shows = ["analysis_run_metric_value", "analysis_run_metric_phase"];
    let all =
        shows.iter().flat_map(|series| mine.iter().chain(&["web-api-6d8f-2-1"]).map(|run| of(series, run)));
    let all: Vec<_> = all.collect();
    let all: Vec<_> = all.iter().map(|series| (series.as_str(), "1x10")).collect();
    for series in shows {
        let [query] = &queries("rollout.json", series)[..] else { panic!("{series} is asked for twice") };
        all_are_one(&[format!("count({query}) == bool {}", mine.len())], &all, "5m");
    }
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
fn requests_per_update_are_those_of_updates_and_nothing_where_none_ended() {
    let requests = |kind: &str, verb: &str| {
        let labels = format!("kind=\"{kind}\",verb=\"{verb}\",status_code=\"200\",job=\"serin\"");
        format!("controller_clientset_k8s_request_total{{{labels}}}")
    };
    let updates = r#"rollout_updates_total{namespace="shop",name="web",result="Promoted",job="serin"}"#;
    let [lease, watch, patch] = [("leases", "Update"), ("rollouts", "Watch"), ("rollouts", "Patch")]
        .map(|(kind, verb)| requests(kind, verb));
    let series = [(&*lease, "0+30x20"), (&*watch, "0+2x20"), (&*patch, "0+6x20")];
    let [query] = &queries("controller.json", "rollout_updates_total")[..] else {
        panic!("there are several")
    };
    let some = [&series[..], &[(updates, "0+2x20")]].concat();
    all_are_one(&[format!("round({query}) == bool 3")], &some, "15m");
    let none = [&series[..], &[(updates, "0x20")]].concat();
    all_are_one(&[format!("absent({query})")], &none, "15m");
}

#[test]
fn alerts_on_the_controller_watch_the_release_that_the_chart_scrapes() {
    let jobs_of = |flags: &[&str]| {
        let flags = [&["--set=image.repository=serin", "--set=prometheusRule.enabled=true"], flags].concat();
        let documents: Vec<Value> =
            serde_saphyr::from_multiple(&render("delivery", &flags).unwrap()).unwrap();
        let rule = documents.into_iter().find(|object| object["kind"] == "PrometheusRule").unwrap();
        let monitor = format!("job=\"{}/", text(&rule["metadata"], "namespace"));
        let monitor = format!("{monitor}{}\"", text(&rule["metadata"], "name"));
        let rules = rule["spec"]["groups"][0]["rules"].as_array().unwrap();
        let on_controller = rules.iter().filter(|rule| text(rule, "alert").starts_with("Serin"));
        let asks = |job: &str| on_controller.clone().all(|rule| text(rule, "expr").contains(job));
        [asks(&monitor), asks(r#"job=~".+""#)]
    };
    assert_eq!(jobs_of(&["--set=podMonitor.enabled=true"]), [true, false]);
    assert_eq!(jobs_of(&["--set=podMonitor.enabled=false"]), [false, true]);
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
