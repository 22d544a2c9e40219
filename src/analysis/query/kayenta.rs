//! A question to Kayenta: how alike two versions are. It is asked three times: for the configuration's id, to begin a
//! judgement, and until that has an end.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};
use url::Url;

use super::access;
use super::http::{self, HttpRequest};
use crate::analysis::metric::{FieldError, number};
use crate::api::metric_provider::{KayentaMetric, KayentaScope, KayentaScopeSide, KayentaThreshold};

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A judgement to ask for.
#[derive(Clone, Debug, PartialEq)]
pub struct KayentaQuery {
    base: Url,
    application: String,
    config: String,
    metrics_account: String,
    configuration_account: String,
    storage_account: String,
    judgement: Json,
}

/// Which scores are good enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// From this score on, a success.
    pub pass: i32,
    /// From this score on neither good nor bad; below it a failure.
    pub marginal: i32,
}

#[derive(Deserialize)]
struct Config {
    id: String,
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Begun {
    canary_execution_id: String,
}

#[derive(Deserialize)]
struct Execution {
    complete: bool,
    status: Option<String>,
    result: Option<Json>,
    exception: Option<Json>,
}

impl Thresholds {
    /// Reads what a metric says, every problem noted.
    pub(crate) fn parse(wire: &KayentaMetric, problems: &mut Vec<FieldError>) -> Self {
        let none = KayentaThreshold::default();
        let wire = wire.threshold.as_ref().unwrap_or(&none);
        let mut score = |name: &str, field: Option<&IntOrString>| {
            let path = format!("threshold.{name}");
            let Some(score) = number(&path, field, problems) else {
                if field.is_none() {
                    problems.push(FieldError::new(path, "is missing; it is a score from 0 to 100"));
                }
                return 0;
            };
            if !(0..=100).contains(&score) {
                problems.push(FieldError::new(path, format!("is {score}, and scores go from 0 to 100")));
            }
            score
        };
        let (pass, marginal) = (score("pass", wire.pass.as_ref()), score("marginal", wire.marginal.as_ref()));
        if marginal > pass {
            let problem = format!("is {marginal}, above threshold.pass, which is {pass}");
            problems.push(FieldError::new("threshold.marginal", problem));
        }
        Self { pass, marginal }
    }
}

impl KayentaQuery {
    /// Reads a question whose arguments are put in.
    pub(super) fn parse(wire: &KayentaMetric) -> Result<Self, Vec<FieldError>> {
        let mut problems = Vec::new();
        let Thresholds { pass, marginal } = Thresholds::parse(wire, &mut problems);
        let scopes = scopes(wire.scopes.as_deref().unwrap_or_default(), &mut problems);
        let mut required =
            |name: &str, field: &Option<String>| access::required(name, field.as_ref(), &mut problems);
        let address = required("address", &wire.address);
        let application = required("application", &wire.application);
        let config = required("canaryConfigName", &wire.canary_config_name);
        let asks_back = |given: &Json| !matches!(given, Json::Null | Json::Bool(false));
        if wire.lookback.as_ref().is_some_and(asks_back) {
            problems
                .push(FieldError::new("lookback", "is not supported; give each scope a start and an end"));
        }
        let base = access::url("address", &address, "");
        if let (false, Err(problem)) = (address.is_empty(), &base) {
            problems.push(problem.clone());
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let account = |field: &Option<String>| access::text(field.as_ref()).unwrap_or_default();
        Ok(Self {
            base: base.map_err(|problem| vec![problem])?,
            application,
            config,
            metrics_account: account(&wire.metrics_account_name),
            configuration_account: account(&wire.configuration_account_name),
            storage_account: account(&wire.storage_account_name),
            judgement: json!({"scopes": scopes, "thresholds": {"pass": pass, "marginal": marginal}}),
        })
    }

    /// The server.
    #[must_use]
    pub const fn base(&self) -> &Url {
        &self.base
    }

    /// Which configurations there are.
    #[must_use]
    pub fn configs(&self) -> HttpRequest {
        let accounts = [("configurationAccountName", &self.configuration_account)];
        HttpRequest::get(self.url(&["canaryConfig"], accounts), TIMEOUT)
    }

    /// The id of the wanted configuration, among those there are.
    ///
    /// # Errors
    ///
    /// One clause that says why there is none.
    pub fn config_in(&self, body: &[u8]) -> Result<String, String> {
        let all: Vec<Config> = http::json(body, "a list of canary configurations")?;
        let found = all.into_iter().find(|one| one.name == self.config).map(|one| one.id);
        found.ok_or_else(|| {
            format!("it has no canary configuration '{}' for application '{}'", self.config, self.application)
        })
    }

    /// Begins a judgement with a configuration.
    #[must_use]
    pub fn begin(&self, config: &str) -> HttpRequest {
        let accounts = [
            ("metricsAccountName", &self.metrics_account),
            ("configurationAccountName", &self.configuration_account),
            ("storageAccountName", &self.storage_account),
        ];
        HttpRequest::post(self.url(&["canary", config], accounts), &self.judgement, TIMEOUT)
    }

    /// The id of the judgement that has begun.
    ///
    /// # Errors
    ///
    /// One clause that says why there is none.
    pub fn begun_in(body: &[u8]) -> Result<String, String> {
        http::json::<Begun>(body, "the id of a judgement").map(|begun| begun.canary_execution_id)
    }

    /// How far a judgement is.
    #[must_use]
    pub fn look_at(&self, execution: &str) -> HttpRequest {
        let accounts = [("storageAccountName", &self.storage_account)];
        HttpRequest::get(self.url(&["canary", execution], accounts), TIMEOUT)
    }

    /// The score of a judgement, from 0 to 100; `None` while it goes on.
    ///
    /// # Errors
    ///
    /// One clause that says why there is none.
    pub fn score_in(body: &[u8]) -> Result<Option<f64>, String> {
        let execution: Execution = http::json(body, "a judgement")?;
        if !execution.complete {
            return Ok(None);
        }
        let score = execution.result.as_ref().and_then(|result| result.pointer("/judgeResult/score/score"));
        if let Some(score) = score.and_then(Json::as_f64) {
            return Ok(Some(score));
        }
        let status = execution.status.unwrap_or_else(|| "unknown".to_owned());
        let why = execution.exception.as_ref().map(|exception| {
            let errors =
                exception.pointer("/details/errors/0").or_else(|| exception.pointer("/details/error"));
            let told = errors.and_then(Json::as_str).map_or_else(|| exception.to_string(), str::to_owned);
            format!(": {told}")
        });
        Err(format!("the judgement ended as {status}, without a score{}", why.unwrap_or_default()))
    }

    fn url<const N: usize>(&self, path: &[&str], accounts: [(&str, &String); N]) -> String {
        let mut url = self.base.clone();
        // A base of another form is refused before.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url.query_pairs_mut().append_pair("application", &self.application);
        for (name, account) in accounts.into_iter().filter(|(_, account)| !account.is_empty()) {
            url.query_pairs_mut().append_pair(name, account);
        }
        url.into()
    }
}

fn scopes(wire: &[KayentaScope], problems: &mut Vec<FieldError>) -> Map<String, Json> {
    if wire.is_empty() {
        problems.push(FieldError::new("scopes", "is empty"));
    }
    let mut scopes = Map::new();
    for (index, scope) in wire.iter().enumerate() {
        let path = format!("scopes[{index}]");
        let name = access::required(&format!("{path}.name"), scope.name.as_ref(), problems);
        let mut side = |field: &str, wire: &Option<KayentaScopeSide>| {
            side(&format!("{path}.{field}"), wire.as_ref(), problems)
        };
        let control = side("controlScope", &scope.control_scope);
        let experiment = side("experimentScope", &scope.experiment_scope);
        let pair = json!({"controlScope": control, "experimentScope": experiment});
        if scopes.insert(name, pair).is_some() {
            problems.push(FieldError::new(format!("{path}.name"), "is there twice"));
        }
    }
    scopes
}

fn side(path: &str, wire: Option<&KayentaScopeSide>, problems: &mut Vec<FieldError>) -> Json {
    let Some(wire) = wire else {
        problems.push(FieldError::new(path, "is missing"));
        return Json::Null;
    };
    let step = number(&format!("{path}.step"), wire.step.as_ref(), problems);
    let scope = access::required(&format!("{path}.scope"), wire.scope.as_ref(), problems);
    let mut time = |name: &str, time: &Option<String>| {
        access::required(&format!("{path}.{name}"), time.as_ref(), problems)
    };
    let (start, end) = (time("start", &wire.start), time("end", &wire.end));
    let texts = [("scope", scope), ("start", start), ("end", end)];
    let mut side: Map<String, Json> =
        texts.into_iter().map(|(name, text)| (name.to_owned(), text.into())).collect();
    if let Some(region) = access::text(wire.region.as_ref()) {
        side.insert("location".to_owned(), region.into());
    }
    if let Some(step) = step {
        side.insert("step".to_owned(), step.into());
    }
    side.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire() -> Json {
        let side = |scope: &str| {
            json!({"scope": scope, "region": "eu", "step": 60, "start": "2026-01-31T12:00:00Z",
            "end": "2026-01-31T13:00:00Z"})
        };
        json!({
            "address": "http://kayenta:8090/", "application": "shop", "canaryConfigName": "golden signals",
            "metricsAccountName": "prometheus", "configurationAccountName": "store",
            "storageAccountName": "store", "threshold": {"pass": 90, "marginal": "75"},
            "scopes": [{"name": "default", "controlScope": side("a"), "experimentScope": side("b")}]
        })
    }

    fn parse(wire: Json) -> Result<KayentaQuery, Vec<String>> {
        let parsed = KayentaQuery::parse(&serde_json::from_value(wire).unwrap());
        parsed.map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_configuration_is_found_by_its_name_and_judges_both_sides() {
        let query = parse(wire()).unwrap();
        assert_eq!(
            query.configs().url,
            "http://kayenta:8090/canaryConfig?application=shop&configurationAccountName=store"
        );
        let configs = br#"[{"id": "1", "name": "other"}, {"id": "a/b", "name": "golden signals"}]"#;
        assert_eq!(query.config_in(configs).unwrap(), "a/b");
        assert_eq!(
            query.config_in(b"[]").unwrap_err(),
            "it has no canary configuration 'golden signals' for application 'shop'"
        );
        let begin = query.begin("a/b");
        assert_eq!(
            begin.url,
            "http://kayenta:8090/canary/a%2Fb?application=shop&metricsAccountName=prometheus&\
             configurationAccountName=store&storageAccountName=store"
        );
        let body: Json = serde_json::from_str(begin.body.unwrap().1.reveal()).unwrap();
        assert_eq!(body["thresholds"], json!({"pass": 90, "marginal": 75}));
        let experiment = json!({"scope": "b", "location": "eu", "step": 60, "start": "2026-01-31T12:00:00Z",
            "end": "2026-01-31T13:00:00Z"});
        assert_eq!(body["scopes"]["default"]["experimentScope"], experiment);
        assert_eq!(
            query.look_at("7").url,
            "http://kayenta:8090/canary/7?application=shop&storageAccountName=store"
        );
    }

    #[test]
    fn a_judgement_has_a_score_once_it_is_complete() {
        let read = |json: Json| KayentaQuery::score_in(json.to_string().as_bytes());
        assert_eq!(read(json!({"complete": false, "status": "running"})), Ok(None));
        let result = json!({"judgeResult": {"score": {"score": 87.5, "classification": "Marginal"}}});
        assert_eq!(read(json!({"complete": true, "status": "succeeded", "result": result})), Ok(Some(87.5)));
        let exception = json!({"details": {"errors": ["no data"]}});
        assert_eq!(
            read(json!({"complete": true, "status": "terminal", "exception": exception})).unwrap_err(),
            "the judgement ended as terminal, without a score: no data"
        );
    }

    #[test]
    fn every_field_that_is_missing_or_wrong_is_named() {
        let mut wrong = wire();
        wrong["threshold"] = json!({"pass": 50, "marginal": 75});
        wrong["scopes"][0]["controlScope"] = json!({});
        wrong["lookback"] = json!(true);
        wrong["address"] = json!("kayenta");
        assert_eq!(
            parse(wrong).unwrap_err(),
            [
                "threshold.marginal is 75, above threshold.pass, which is 50",
                "scopes[0].controlScope.scope is missing",
                "scopes[0].controlScope.start is missing",
                "scopes[0].controlScope.end is missing",
                "lookback is not supported; give each scope a start and an end",
                "address is not a URL: relative URL without a base",
            ]
        );
        assert_eq!(
            parse(json!({})).unwrap_err(),
            [
                "threshold.pass is missing; it is a score from 0 to 100",
                "threshold.marginal is missing; it is a score from 0 to 100",
                "scopes is empty",
                "address is missing",
                "application is missing",
                "canaryConfigName is missing",
            ]
        );
        let mut high = wire();
        high["threshold"]["pass"] = json!(101);
        assert_eq!(parse(high).unwrap_err(), ["threshold.pass is 101, and scores go from 0 to 100"]);
    }
}
