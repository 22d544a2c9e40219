//! The chart's dashboards and alerts on a real Prometheus that scrapes two replicas of a real controller: no panel, no annotation
//! and no variable is empty, alerts ask for series that are there, and one fires and ends.

use std::collections::{BTreeMap, HashMap};
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
use serin::sandbox::traffic::Traffic;
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
/// What a panel shows instead of nothing, behind which a wrong name would hide.
const OR_NOTHING: &str = " or vector(0)";
/// How many replicas of the controller there are.
const REPLICAS: usize = 2;

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
    let series = Regex::new(r"\b(?:rollout|analysis_run|controller|workqueue|process)_\w+").unwrap();
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
    let shown = |text: &Value| {
        let query = filled(text);
        if query.contains(ONLY_WITH_ERRORS) { query } else { query.replace(OR_NOTHING, "") }
    };
    let title = board["title"].as_str().unwrap();
    let mut found = Vec::new();
    for panel in list(&board["panels"]) {
        for target in list(&panel["targets"]) {
            let place = format!("{title}, {}", panel["title"]);
            let wanted = match target["legendFormat"].as_str() {
                Some("{{role}}") => Wanted::BothVersions,
                _ => Wanted::Number,
            };
            found.push(Query { place, expression: shown(&target["expr"]), wanted });
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

/// A port for each replica, all bound at once so that no two are the same.
fn free_ports() -> [u16; REPLICAS] {
    let bound = [(); REPLICAS].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    bound.map(|listener| listener.local_addr().unwrap().port())
}

/// Steps in which an analysis judges the canary.
fn judged() -> Value {
    let canary = json!({"name": "canary", "valueFrom": {"podTemplateHashValue": "Latest"}});
    let analysis = json!({"templates": [{"templateName": "success"}], "args": [canary]});
    json!([{"setWeight": 50}, {"analysis": analysis}])
}

/// Asks for another version, which comes in through these steps.
async fn release(rollout: &Subject, tag: &str, steps: Value) {
    let canary = json!({"steps": steps, "maxSurge": 1, "maxUnavailable": 0});
    rollout.change(json!({"template": template_of("web", tag), "strategy": {"canary": canary}})).await;
}

/// A good update, a bad one that its analysis takes back, the mended one, and one that waits for a person.
async fn play(rollout: &Subject) {
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

/// A controller of several replicas and its Rollout, and a Prometheus that scrapes both.
struct Watched {
    rollout: Subject,
    prometheus: Prometheus,
    asked: Client,
    _controllers: Vec<ControllerProcess>,
    _traffic: Traffic,
    // Read by Prometheus.
    _files: [NamedTempFile; 2],
}

impl Watched {
    async fn start(name: &str) -> Self {
        let (client, namespace) = client_and_namespace(name).await;
        let files = [sandbox().kubeconfig.clone(), hasty_alerts()].map(|content| {
            let file = NamedTempFile::new().unwrap();
            fs::write(file.path(), content).unwrap();
            file
        });
        let ports = free_ports();
        let options = PrometheusOptions {
            tools: tools(),
            kubeconfig: files[0].path().to_owned(),
            controllers: ports.iter().map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, *port))).collect(),
            rules: vec![files[1].path().to_owned()],
        };
        let prometheus = Prometheus::start(&options).await.unwrap_or_else(|error| panic!("{error}"));
        let lease = format!("--leader-election-namespace={namespace}");
        let replica = |port: &u16| {
            let flags = ["--leader-elect=true", &lease, &format!("--metricsPort={port}")];
            ControllerProcess::start(&sandbox().kubeconfig, &namespace, &flags)
        };
        let controllers = ports.iter().map(replica).collect();
        success_rate(&client, &namespace, &prometheus.url()).await;
        expose(&client, &namespace, "web").await;
        let traffic = traffic(&client, &namespace, RATE);
        let spec = json!({"replicas": 2, "strategy": {"canary": {}}});
        let rollout = Subject::create(&client, &namespace, "v1", spec).await;
        let asked = Client::try_from(prometheus.url().as_str()).unwrap();
        Self { rollout, prometheus, asked, _controllers: controllers, _traffic: traffic, _files: files }
    }

    /// Waits until this alert fires for the Rollout, or does not any more.
    async fn until_alert(&self, name: &str, fires: bool) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let alerts = self.asked.alerts().await.unwrap();
            let wanted = [("alertname", name), ("namespace", &self.rollout.namespace), ("name", "web")];
            let is_meant = |labels: &HashMap<String, String>| {
                wanted.iter().all(|(label, value)| labels.get(*label).is_some_and(|found| found == value))
            };
            let mut firing = alerts.iter().filter(|alert| alert.state().to_string() == "firing");
            if firing.any(|alert| is_meant(alert.labels())) == fires {
                return;
            }
            assert!(Instant::now() < deadline, "{name} fires: {}; {alerts:#?}", !fires);
            sleep(POLL).await;
        }
    }
}

/// The alerts of the chart, which fire as soon as there is reason to.
fn hasty_alerts() -> String {
    let alerts = fs::read_to_string(chart().join("alerts.yaml")).unwrap();
    let hasty = Regex::new(r"(?m)^( +for:) \w+$").unwrap().replace_all(&alerts, "$1 0s");
    assert_ne!(hasty, alerts);
    hasty.into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_shows_something() {
    let begin = now();
    let watched = Watched::start("boards").await;
    compare(&watched.rollout).await;
    play(&watched.rollout).await;
    until_all_show_something(&watched.asked, &watched.rollout, begin).await;
    watched.prometheus.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_fires_after_a_bad_update_and_ends_with_a_good_one() {
    let watched = Watched::start("alerts").await;
    let rollout = &watched.rollout;
    rollout.until_phase("Healthy").await;
    watched.until_alert("RolloutAborted", false).await;
    release(rollout, "v2-err50", judged()).await;
    rollout.until(says("RolloutAborted")).await;
    watched.until_alert("RolloutAborted", true).await;
    release(rollout, "v3", judged()).await;
    rollout.until_phase("Healthy").await;
    watched.until_alert("RolloutAborted", false).await;
    watched.prometheus.stop().await.unwrap();
}
