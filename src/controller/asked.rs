//! Equal questions at one instant are asked once: of many runs of one template, a server gets one query a time.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};

use crate::analysis::{MeasureRequest, Sample};

/// Questions that are under way, by the server that is asked.
#[derive(Default)]
pub(super) struct Asked(Mutex<HashMap<String, Vec<Question>>>);

/// One that is under way, as long as somebody waits for its answer.
struct Question {
    request: MeasureRequest,
    answer: WeakShared<BoxFuture<'static, Sample>>,
}

impl Asked {
    /// The answer to a question that is under way and equals this one, secrets and second included; else that of `ask`.
    pub(super) fn answer(
        &self,
        server: &str,
        request: &MeasureRequest,
        ask: impl FnOnce() -> BoxFuture<'static, Sample>,
    ) -> Shared<BoxFuture<'static, Sample>> {
        let mut servers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let questions = servers.entry(server.to_owned()).or_default();
        let known = questions.iter().find(|one| is_same(&one.request, request));
        if let Some(answer) = known.and_then(|one| one.answer.upgrade()) {
            return answer;
        }
        let answer = ask().shared();
        if let Some(weak) = answer.downgrade() {
            questions.push(Question { request: request.clone(), answer: weak });
        }
        answer
    }

    /// Forgets what nobody waits for any more, of one server: questions hold secrets.
    pub(super) fn sweep(&self, server: &str) {
        let mut servers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(questions) = servers.get_mut(server) else { return };
        questions.retain(|one| one.answer.upgrade().is_some());
        if questions.is_empty() {
            servers.remove(server);
        }
    }
}

fn is_same(one: &MeasureRequest, other: &MeasureRequest) -> bool {
    one.at.whole_seconds() == other.at.whole_seconds()
        && one.query == other.query
        && one.secrets == other.secrets
}

/// What another's answer is for this request.
pub(super) fn sample(answer: Sample, request: &MeasureRequest) -> Sample {
    Sample {
        metric: request.metric.clone(),
        started_at: request.at,
        finished_at: answer.finished_at.max(request.at),
        ..answer
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::analysis::secrets::{Keyring, SecretSource};
    use crate::analysis::{Query, Secret, Value};
    use crate::units::Timestamp;

    #[test]
    fn questions_of_one_second_about_a_time_are_equal_and_what_changes_something_is_asked_each_time() {
        let range = json!({"start": "now() - duration('5m')", "end": "now()", "step": "1m"});
        let query = |provider: serde_json::Value| {
            let mut keys = Keyring::new(SecretSource::Placeholder);
            let now = Timestamp::from_millis(100_250).whole_seconds();
            Query::parse(&serde_json::from_value(provider).unwrap(), now, &mut keys).unwrap()
        };
        let prometheus = json!({"prometheus": {"address": "http://p", "query": "up", "rangeQuery": range}});
        assert_eq!(query(prometheus.clone()), query(prometheus.clone()));
        assert!(query(prometheus).only_reads());
        let web = |method: &str| query(json!({"web": {"url": "http://p", "method": method}}));
        assert!(web("GET").only_reads() && !web("POST").only_reads());
    }

    fn request(promql: &str, at: u64, secrets: &[&str]) -> MeasureRequest {
        let provider = json!({"prometheus": {"address": "http://p", "query": promql}});
        let mut keys = Keyring::new(SecretSource::Placeholder);
        let at = Timestamp::from_millis(i64::try_from(at).unwrap());
        let query = Query::parse(&serde_json::from_value(provider).unwrap(), at, &mut keys).unwrap();
        let secrets = secrets.iter().map(|one| Secret::new(*one)).collect();
        MeasureRequest { metric: format!("of {at:?}"), at, query, secrets }
    }

    fn answer(value: f64) -> BoxFuture<'static, Sample> {
        let at = Timestamp::from_millis(100);
        let sample = Sample {
            metric: "first".to_owned(),
            started_at: at,
            finished_at: at,
            result: Ok(Value::Number(value)),
            metadata: BTreeMap::new(),
        };
        async move { sample }.boxed()
    }

    #[test]
    fn an_equal_question_that_is_under_way_is_not_asked_again() {
        let asked = Asked::default();
        let first = asked.answer("p", &request("up", 100, &[]), || answer(1.0));
        let again = request("up", 900, &[]);
        let second = asked.answer("p", &again, || unreachable!());
        drop(first);
        let sample = sample(second.now_or_never().unwrap(), &again);
        assert_eq!((sample.result, sample.started_at), (Ok(Value::Number(1.0)), again.at));
        assert_eq!((sample.metric, sample.finished_at), (again.metric, again.at));
    }

    #[test]
    fn what_differs_or_is_over_is_asked_for_itself() {
        let asked = Asked::default();
        let _first = asked.answer("p", &request("up", 100, &[]), || answer(1.0));
        for other in [request("down", 100, &[]), request("up", 1_000, &[]), request("up", 100, &["s"])] {
            let own = asked.answer("p", &other, || answer(2.0));
            assert_eq!(own.now_or_never().unwrap().result, Ok(Value::Number(2.0)));
        }
        let done = asked.answer("q", &request("up", 100, &[]), || answer(1.0));
        drop(done);
        let next = asked.answer("q", &request("up", 100, &[]), || answer(3.0));
        assert_eq!(next.now_or_never().unwrap().result, Ok(Value::Number(3.0)));
    }

    #[test]
    fn questions_that_nobody_waits_for_any_more_are_forgotten() {
        let asked = Asked::default();
        let waiting = asked.answer("p", &request("up", 100, &[]), || answer(1.0));
        drop(asked.answer("p", &request("down", 100, &[]), || answer(1.0)));
        asked.sweep("p");
        assert_eq!(asked.0.lock().unwrap()["p"].len(), 1);
        drop(waiting);
        asked.sweep("p");
        assert!(asked.0.lock().unwrap().is_empty());
    }
}
