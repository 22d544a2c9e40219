//! The chart's dashboards on a real Prometheus that scrapes a real controller: no panel, no annotation and no variable is empty,
//! and alerts ask for series that are there.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use kube::api::{Api, Patch, PatchParams, PostParams};
use prometheus_http_query::Client;
use prometheus_http_query::response::{Data, RangeVector};
use regex::Regex;
use serde_json::{Value, json};
use serin::api::{AnalysisTemplate, Experiment};
use serin::sandbox::prometheus::{Prometheus, PrometheusOptions};
use tempfile::NamedTempFile;
use tokio::time::{Instant, sleep};

use crate::analysis_queries::now;
use crate::controller_process::ControllerProcess;
use crate::helm::chart;
use crate::rollouts::{Subject, is_restored, says, template_of};
use crate::sandbox::{client_and_namespace, expose, sandbox, tools, traffic};
use crate::shared::DEADLINE;

/// Requests per second of the users.
const RATE: u32 = 100;
/// How often panels that are still empty are asked for again.
const POLL: Duration = Duration::from_secs(1);
/// Seconds between two points of a graph.
const STEP: f64 = 2.0;
/// What Grafana puts into queries, here.
const TIMES: [(&str, &str); 2] = [("$__rate_interval", "1m"), ("$__range", "10m")];

/// Has no series while every pass gets through.
const ONLY_WITH_ERRORS: &str = "controller_pass_errors_total";

/// What an answer must have.
#[derive(Debug)]
enum Wanted {
    /// A number.
    Number,
    /// A series of the canary beside one of stable.
    BothVersions,
    /// A value of this label, which a variable takes its values from.
    Label(String),
}

/// What a board asks Prometheus.
#[derive(Debug)]
struct Query {
    /// Board and panel.
    place: String,
    expression: String,
    wanted: Wanted,
}

/// Every query of every dashboard, for the Rollout `web` of a namespace.
fn queries(namespace: &str) -> Vec<Query> {
    let files = fs::read_dir(chart().join("dashboards")).unwrap();
    let boards = files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap());
    let of_boards = boards.flat_map(|board| of_board(&serde_json::from_str(&board).unwrap(), namespace));
    of_boards.chain(of_alerts()).collect()
}

/// The series that alerts ask for. Whether they fire on them is tests/charts/alerts.yaml.
fn of_alerts() -> Vec<Query> {
    let file = fs::read_to_string(chart().join("alerts.yaml")).unwrap();
    let file: Value = serde_saphyr::from_str(&file).unwrap();
    let series = Regex::new(r"\b(?:rollout|analysis_run|controller|workqueue)_\w+").unwrap();
    let mut found = Vec::new();
    for alert in file["groups"][0]["rules"].as_array().unwrap() {
        let expression = alert["expr"].as_str().unwrap();
        let names = series.find_iter(expression).map(|name| name.as_str().to_owned());
        let place = || format!("alert {}", alert["alert"]);
        let query = |expression| Query { place: place(), expression, wanted: Wanted::Number };
        found.extend(names.filter(|name| name != ONLY_WITH_ERRORS).map(query));
    }
    found
}

fn of_board(board: &Value, namespace: &str) -> Vec<Query> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let variables = list(&board["templating"]["list"]);
    let mut values: BTreeMap<String, String> =
        TIMES.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    for variable in &variables {
        let value = match (variable["name"].as_str().unwrap(), variable["type"].as_str().unwrap()) {
            ("namespace", _) => namespace.to_owned(),
            ("name", _) => "web".to_owned(),
            (_, "textbox") => variable["query"].as_str().unwrap().to_owned(),
            _ => ".*".to_owned(),
        };
        values.insert(format!("${}", variable["name"].as_str().unwrap()), value);
    }
    let filled = |text: &Value| fill(text.as_str().unwrap(), &values);
    let title = board["title"].as_str().unwrap();
    let mut found = Vec::new();
    for panel in list(&board["panels"]) {
        for target in list(&panel["targets"]) {
            let place = format!("{title}, {}", panel["title"]);
            let wanted = match target["legendFormat"].as_str() {
                Some("{{role}}") => Wanted::BothVersions,
                _ => Wanted::Number,
            };
            found.push(Query { place, expression: filled(&target["expr"]), wanted });
        }
    }
    for annotation in list(&board["annotations"]["list"]) {
        let place = format!("{title}, annotation {}", annotation["name"]);
        found.push(Query { place, expression: filled(&annotation["expr"]), wanted: Wanted::Number });
    }
    let label_values = Regex::new(r"^label_values\((.+), (\w+)\)$").unwrap();
    for variable in variables.iter().filter(|variable| variable["type"] == "query") {
        let place = format!("{title}, variable {}", variable["name"]);
        let query = filled(&variable["query"]["query"]);
        let parts = label_values.captures(&query).unwrap_or_else(|| panic!("{place}: {query}"));
        let wanted = Wanted::Label(parts[2].to_owned());
        found.push(Query { place, expression: parts[1].to_owned(), wanted });
    }
    found
}

/// A query with Grafana's variables replaced, the longest names first, as one may be the beginning of another.
fn fill(query: &str, values: &BTreeMap<String, String>) -> String {
    let mut names: Vec<_> = values.keys().collect();
    names.sort_by_key(|name| std::cmp::Reverse(name.len()));
    let filled = names.into_iter().fold(query.to_owned(), |query, name| {
        let braced = format!("${{{}}}", name.trim_start_matches('$'));
        query.replace(&braced, &values[name]).replace(name, &values[name])
    });
    assert!(!Regex::new(r"\$\{?[a-z_]").unwrap().is_match(&filled), "a variable that is not known: {filled}");
    filled
}

/// Whether Prometheus has anything to show since `begin`, in seconds since 1970.
async fn shows_something(client: &Client, query: &Query, begin: u64) -> bool {
    let seconds = |time: u64| i64::try_from(time).unwrap();
    let asked = client.query_range(&query.expression, seconds(begin), seconds(now()), STEP);
    let answer =
        asked.get().await.unwrap_or_else(|error| panic!("{}: {}: {error}", query.place, query.expression));
    let Data::Matrix(series) = answer.data() else { panic!("{}: no series", query.place) };
    let has_number = |series: &&RangeVector| series.samples().iter().any(|sample| !sample.value().is_nan());
    let has = |label: &str, is_wanted: &dyn Fn(&str) -> bool| {
        series
            .iter()
            .filter(has_number)
            .any(|series| series.metric().get(label).is_some_and(|value| is_wanted(value)))
    };
    match &query.wanted {
        Wanted::Number => series.iter().any(|series| has_number(&series)),
        Wanted::BothVersions => ["canary", "stable"].iter().all(|role| has("role", &|value| value == *role)),
        Wanted::Label(label) => has(label, &|value| !value.is_empty()),
    }
}

/// Waits until every query finds something. A rate needs two scrapes with a pass in between, and the Experiment's may all have
/// been before the first: it is changed as long as something is missing.
async fn until_all_show_something(client: &Client, rollout: &Subject, begin: u64) {
    let namespace = &rollout.namespace;
    let experiments: Api<Experiment> = Api::namespaced(rollout.client.clone(), namespace);
    let mut empty = queries(namespace);
    assert!(empty.len() > 50, "{}", empty.len());
    let deadline = Instant::now() + DEADLINE;
    loop {
        let mut still = Vec::new();
        for query in empty {
            if !shows_something(client, &query, begin).await {
                still.push(query);
            }
        }
        empty = still;
        if empty.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "these show nothing: {empty:#?}");
        let change = Patch::Merge(json!({"metadata": {"annotations": {"changed": now().to_string()}}}));
        experiments.patch("compare", &PatchParams::default(), &change).await.unwrap();
        sleep(POLL).await;
    }
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// Asks for another version, which comes in through these steps.
async fn release(rollout: &Subject, tag: &str, steps: Value) {
    let canary = json!({"steps": steps, "maxSurge": 1, "maxUnavailable": 0});
    rollout.change(json!({"template": template_of("web", tag), "strategy": {"canary": canary}})).await;
}

/// A good update, a bad one that its analysis takes back, the mended one, and one that waits for a person.
async fn play(rollout: &Subject) {
    let canary = json!({"name": "canary", "valueFrom": {"podTemplateHashValue": "Latest"}});
    let analysis = json!({"templates": [{"templateName": "success"}], "args": [canary]});
    let judged = || json!([{"setWeight": 50}, {"analysis": analysis}]);
    rollout.until_phase("Healthy").await;
    release(rollout, "v2", judged()).await;
    rollout.until_phase("Healthy").await;
    release(rollout, "v3-err50", judged()).await;
    rollout.until(says("RolloutAborted")).await;
    rollout.until(is_restored(2)).await;
    release(rollout, "v4", judged()).await;
    rollout.until_phase("Healthy").await;
    release(rollout, "v5", json!([{"setWeight": 50}, {"pause": {}}])).await;
    rollout.until_phase("Paused").await;
}

/// A template that judges the canary's requests of the last seconds.
async fn success_rate(client: &kube::Client, namespace: &str, prometheus: &str) {
    let pods = format!("namespace=\"{namespace}\",rollouts_pod_template_hash=\"{{{{args.canary}}}}\"");
    let rate = |more: &str| format!("sum(rate(http_requests_total{{{pods}{more}}}[5s]))");
    let query = format!("({} or vector(0)) / {}", rate(r#",status!~"5..""#), rate(""));
    let metric = json!({"name": "success-rate", "interval": "1s", "count": 4, "noData": "Wait",
        "successCondition": "result[0] >= 0.95", "provider": {"prometheus": {"address": prometheus, "query": query}}});
    let template =
        json!({"metadata": {"name": "success"}, "spec": {"args": [{"name": "canary"}], "metrics": [metric]}});
    let templates: Api<AnalysisTemplate> = Api::namespaced(client.clone(), namespace);
    let template = serde_json::from_value(template).unwrap();
    templates.create(&PostParams::default(), &template).await.unwrap();
}

/// An Experiment on its own.
async fn compare(rollout: &Subject) {
    let template = json!({"name": "one", "replicas": 1, "selector": {"matchLabels": {"app": "compare"}},
        "template": template_of("compare", "v1")});
    let experiment = json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Experiment",
        "metadata": {"name": "compare"}, "spec": {"templates": [template]}});
    let experiments: Api<Experiment> = Api::namespaced(rollout.client.clone(), &rollout.namespace);
    let experiment = serde_json::from_value(experiment).unwrap();
    experiments.create(&PostParams::default(), &experiment).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_shows_something() {
    let (client, namespace) = client_and_namespace("boards").await;
    let kubeconfig = NamedTempFile::new().unwrap();
    fs::write(kubeconfig.path(), sandbox().kubeconfig).unwrap();
    let port = free_port();
    let options = PrometheusOptions {
        tools: tools(),
        kubeconfig: kubeconfig.path().to_owned(),
        controller: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
    };
    let begin = now();
    let prometheus = Prometheus::start(&options).await.unwrap_or_else(|error| panic!("{error}"));
    let metrics = format!("--metricsPort={port}");
    let _controller = ControllerProcess::start(&sandbox().kubeconfig, &namespace, &[&metrics]);

    success_rate(&client, &namespace, &prometheus.url()).await;
    expose(&client, &namespace, "web").await;
    let _traffic = traffic(&client, &namespace, RATE);
    let rollout =
        Subject::create(&client, &namespace, "v1", json!({"replicas": 2, "strategy": {"canary": {}}})).await;
    compare(&rollout).await;
    play(&rollout).await;

    let asked = Client::try_from(prometheus.url().as_str()).unwrap();
    until_all_show_something(&asked, &rollout, begin).await;
    prometheus.stop().await.unwrap();
}
