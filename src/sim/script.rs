//! The script of a scenario: one statement per line, YAML in indented lines below a statement.
//!
//! | statement | what happens |
//! |---|---|
//! | `apply FILE…` with an optional block | manifests are created or merged, in this order, the block last over the first |
//! | `deployed FILE…` with an optional block | the same, and time passes until it is Healthy, in one line of the log |
//! | `set image TAG`, `scale N`, `pause`, `unpause` | users change the spec |
//! | `restart`, `restart in D` | users ask for new pods, now or later |
//! | `abort`, `retry`, `promote`, `promote full` | users change the status |
//! | `patch spec` or `patch status` with a block | the same by hand |
//! | `image TAG [starts in D] [never ready] [fails to pull] [crashes after D] [error rate R]` | how pods behave |
//! | `metric NAME V…`, `metric NAME empty`, `metric NAME error TEXT`, `metric NAME traffic`, `metric NAME canary` | answers |
//! | `experiments end PHASE [TEXT]` | all Experiments that go on end, with this message |
//! | `prometheus down`, `prometheus up` | all answers |
//! | `delete template NAME` | an AnalysisTemplate goes away |
//! | `scale workload N`, `delete workload` | people change the workload that the Rollout refers to |
//! | `autoscale workload from N` | an autoscaler keeps it at N pods at least |
//! | `show duration` | what the status says of how long the update took |
//! | `delete N pods of TAG`, `break N pods of TAG`, `heal N pods of TAG` | pods change from outside |
//! | `delete ReplicaSet of TAG`, `resize ReplicaSet of TAG to N`, `delete runs`, `stop runs` | people meddle with what the controller made |
//! | `quota N`, `quota none` | how many pods may exist |
//! | `budget N`, `budget none` | how many pods a disruption budget wants to be ready |
//! | `forbid ReplicaSets WHY`, `allow ReplicaSets` | the API server accepts no new ones |
//! | `crash after N writes`, `crash` | the controller dies |
//! | `clock forward D`, `clock back D` | the controller's clock is set |
//! | `crash everywhere` | the script is played again with a crash before each single write, and must end the same |
//! | `lag rollout D`, `lag ReplicaSets D`, `lag AnalysisRuns D`, `lag Experiments D`, `lag Services D`, `lag route D`, `lag pods D`, `lag workload D`, `lag all D` | caches fall behind |
//! | `watches down for D`, `events twice`, `events once` | watch events are late or come twice |
//! | `conflict N writes`, `refuse N writes`, `lose N answers`, `server down for D` | writes fail |
//! | `router slow D`, `router prompt`, `router down`, `router up` | the router follows later and says so, or at once; its route can be read or not |
//! | `endpoints late D`, `endpoints prompt` | pods are published behind Services later, or at once |
//! | `endpoints unreadable`, `endpoints readable` | whether the controller can read what is published |
//! | `router refuses WHY`, `router accepts` | the router does not do what its route says, and says why, or does it again |
//! | `route SERVICE N SERVICE N` | somebody else rewrites the route |
//! | `wait D`, `until CONDITION [within D]` | time passes |
//! | `at MM:SS STATEMENT` | the statement happens at that time, in the middle of a later `wait` or `until` |
//!
//! A condition is a phase, `step N`, or `at rest` (nothing is due any more).

mod descriptions;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::Value;
use thiserror::Error;

use super::caches::Kind;
use super::images::{Disturbance, Image};
use super::metrics::Source;
use super::simulation::Delivery;
use crate::api::AnalysisPhase;
use crate::units::parse_duration;
use descriptions::{parse_image, parse_source};

/// A line that is no statement.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}: cannot read '{text}'")]
pub struct ScriptError {
    /// Its number, from 1.
    pub line: usize,
    /// Its text.
    pub text: String,
}

/// What users do to the Rollout.
#[derive(Clone, Debug, PartialEq)]
pub enum UserAction {
    /// Creates or changes objects from files, and a block over the first of them.
    Apply(Vec<String>),
    /// Changes the image of the first container to this tag.
    SetImage(String),
    /// Changes `spec.replicas`.
    Scale(i32),
    /// `spec.restartAt`, this long from now.
    Restart(Duration),
    /// `spec.paused: true`.
    Pause,
    /// `spec.paused: false`.
    Unpause,
    /// Takes the update back.
    Abort,
    /// Starts an aborted update again.
    Retry,
    /// Goes on to the next step.
    Promote,
    /// Skips all steps.
    PromoteFull,
    /// Merges a block into the spec.
    PatchSpec,
    /// Merges a block into the status.
    PatchStatus,
    /// Deletes an AnalysisTemplate.
    DeleteTemplate(String),
    /// Changes the size of the workload that the Rollout refers to.
    ScaleWorkload(u32),
    /// Deletes the workload that the Rollout refers to.
    DeleteWorkload,
}

/// What an `until` waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// `status.phase` is this.
    Phase(String),
    /// `status.currentStepIndex` is this.
    Step(i32),
    /// Nothing is due any more.
    AtRest,
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Phase(phase) => f.write_str(phase),
            Self::Step(index) => write!(f, "step {index}"),
            Self::AtRest => f.write_str("at rest"),
        }
    }
}

/// One statement.
#[derive(Clone, Debug, PartialEq)]
pub enum Statement {
    /// Users act.
    User(UserAction, Option<Value>),
    /// Pods of an image behave like this.
    Image(String, Image),
    /// A metric is answered from this source.
    Metric(String, Source),
    /// The metrics server goes down, with this error, or comes back.
    MetricsServer(Option<String>),
    /// Pods of an image change.
    Pods(usize, String, Disturbance),
    /// The ReplicaSet of an image is deleted.
    DeleteReplicaSet(String),
    /// The ReplicaSet of an image is resized by hand.
    ResizeReplicaSet(String, u32),
    /// All AnalysisRuns are deleted.
    DeleteRuns,
    /// All AnalysisRuns are told to stop.
    StopRuns,
    /// All Experiments that go on end like this, with this message.
    EndExperiments(AnalysisPhase, Option<String>),
    /// How many pods may exist.
    Quota(Option<usize>),
    /// How many pods a disruption budget wants to be ready.
    Budget(Option<usize>),
    /// How long the router takes to follow; `None` for one that nobody can ask.
    RouterDelay(Option<Duration>),
    /// Whether the route can be read.
    RouterReadable(bool),
    /// How late endpoints are published.
    EndpointsLag(Duration),
    /// Whether endpoints can be read.
    EndpointsReadable(bool),
    /// The router takes nothing, for this reason.
    RouterRefusal(Option<String>),
    /// Somebody else rewrites the route.
    Route(BTreeMap<String, u32>),
    /// An autoscaler keeps the workload at this size at least; `None` ends it.
    AutoscaleWorkload(Option<u32>),
    /// ReplicaSets are forbidden, for this reason, or allowed again.
    Forbid(Option<String>),
    /// The controller dies after this many writes; now without a number.
    Crash(Option<u32>),
    /// The controller's clock is set forward by so many milliseconds, or back.
    Clock(i64),
    /// Caches fall behind.
    Lag(Vec<Kind>, Duration),
    /// Watches break for this long.
    WatchesDown(Duration),
    /// Watch events come once or twice.
    Delivery(Delivery),
    /// Writes meet a conflict.
    Conflicts(u32),
    /// Writes are refused.
    Refusals(u32),
    /// Answers to writes are lost.
    LostAnswers(u32),
    /// The server refuses all writes for this long.
    ServerDown(Duration),
    /// Objects are applied and the Rollout becomes Healthy.
    Deployed(UserAction, Option<Value>),
    /// How long the update took is written down.
    ShowDuration,
    /// Time passes.
    Wait(Duration),
    /// Time passes until the condition holds, or this long.
    Until(Condition, Duration),
    /// The whole script is played again with a crash before each write, and must end the same.
    CrashEverywhere,
    /// The statement happens at this time after the start.
    At(Duration, Box<Line>),
}

/// A statement with the text it was written as.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Its text, without its block.
    pub text: String,
    /// The statement.
    pub statement: Statement,
}

/// How long an `until` waits when it does not say.
pub(super) const PATIENCE: Duration = Duration::from_hours(2);

/// Reads a script. Empty lines and lines that start with `#` are comments.
///
/// # Errors
/// The first line that is no statement.
pub fn parse(script: &str) -> Result<Vec<Line>, ScriptError> {
    let lines: Vec<&str> = script.lines().collect();
    let mut parsed = Vec::new();
    let mut at = 0;
    while let Some(text) = lines.get(at) {
        let number = at + 1;
        at += 1;
        if text.trim().is_empty() || text.starts_with('#') {
            continue;
        }
        let block: Vec<&str> =
            lines.iter().skip(at).take_while(|line| line.starts_with(' ')).copied().collect();
        at += block.len();
        let error = || ScriptError { line: number, text: (*text).to_owned() };
        let block = if block.is_empty() {
            None
        } else {
            Some(serde_saphyr::from_str(&block.join("\n")).map_err(|_| error())?)
        };
        parsed.push(parse_line(text, block).ok_or_else(error)?);
    }
    Ok(parsed)
}

fn parse_line(text: &str, block: Option<Value>) -> Option<Line> {
    let text = text.trim();
    let words: Vec<&str> = text.split_whitespace().collect();
    Some(Line { text: text.to_owned(), statement: parse_statement(&words, block)? })
}

fn parse_statement(words: &[&str], block: Option<Value>) -> Option<Statement> {
    if let ["at", time, rest @ ..] = words {
        let line = parse_line(&rest.join(" "), block)?;
        return Some(Statement::At(parse_time(time)?, Box::new(line)));
    }
    if let ["deployed", files @ ..] = words {
        return Some(Statement::Deployed(UserAction::Apply(owned(files)), block));
    }
    if let Some(action) = parse_user(words) {
        return Some(Statement::User(action, block));
    }
    parse_time_statement(words).or_else(|| parse_world(words)).or_else(|| parse_fault(words))
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn parse_user(words: &[&str]) -> Option<UserAction> {
    Some(match words {
        ["apply", files @ ..] => UserAction::Apply(owned(files)),
        ["set", "image", tag] => UserAction::SetImage((*tag).to_owned()),
        ["scale", count] => UserAction::Scale(count.parse().ok()?),
        ["restart"] => UserAction::Restart(Duration::ZERO),
        ["restart", "in", delay] => UserAction::Restart(parse_duration(delay)?),
        ["pause"] => UserAction::Pause,
        ["unpause"] => UserAction::Unpause,
        ["abort"] => UserAction::Abort,
        ["retry"] => UserAction::Retry,
        ["promote"] => UserAction::Promote,
        ["promote", "full"] => UserAction::PromoteFull,
        ["patch", "spec"] => UserAction::PatchSpec,
        ["patch", "status"] => UserAction::PatchStatus,
        ["delete", "template", name] => UserAction::DeleteTemplate((*name).to_owned()),
        ["scale", "workload", size] => UserAction::ScaleWorkload(size.parse().ok()?),
        ["delete", "workload"] => UserAction::DeleteWorkload,
        _ => return None,
    })
}

fn parse_time_statement(words: &[&str]) -> Option<Statement> {
    Some(match words {
        ["wait", duration] => Statement::Wait(parse_duration(duration)?),
        ["show", "duration"] => Statement::ShowDuration,
        ["until", condition @ .., "within", patience] => {
            Statement::Until(parse_condition(condition)?, parse_duration(patience)?)
        }
        ["until", condition @ ..] => Statement::Until(parse_condition(condition)?, PATIENCE),
        _ => return None,
    })
}

fn parse_condition(words: &[&str]) -> Option<Condition> {
    Some(match words {
        ["at", "rest"] => Condition::AtRest,
        ["step", index] => Condition::Step(index.parse().ok()?),
        [phase] => Condition::Phase((*phase).to_owned()),
        _ => return None,
    })
}

fn parse_world(words: &[&str]) -> Option<Statement> {
    Some(match words {
        ["image", tag, rest @ ..] => Statement::Image((*tag).to_owned(), parse_image(rest)?),
        ["metric", name, rest @ ..] => Statement::Metric((*name).to_owned(), parse_source(rest)?),
        ["prometheus", "down"] => Statement::MetricsServer(Some("connection refused".to_owned())),
        ["prometheus", "up"] => Statement::MetricsServer(None),
        ["delete", count, "pods", "of", tag] => pods(count, tag, Disturbance::Delete)?,
        ["break", count, "pods", "of", tag] => pods(count, tag, Disturbance::Break)?,
        ["heal", count, "pods", "of", tag] => pods(count, tag, Disturbance::Heal)?,
        ["forbid", "ReplicaSets", why @ ..] => Statement::Forbid(Some(why.join(" "))),
        ["allow", "ReplicaSets"] => Statement::Forbid(None),
        ["delete", "ReplicaSet", "of", tag] => Statement::DeleteReplicaSet((*tag).to_owned()),
        ["resize", "ReplicaSet", "of", tag, "to", size] => {
            Statement::ResizeReplicaSet((*tag).to_owned(), size.parse().ok()?)
        }
        ["delete", "runs"] => Statement::DeleteRuns,
        ["stop", "runs"] => Statement::StopRuns,
        ["experiments", "end", phase, why @ ..] => {
            let why = (!why.is_empty()).then(|| why.join(" "));
            Statement::EndExperiments(serde_json::from_value((*phase).into()).ok()?, why)
        }
        ["router", "slow", delay] => Statement::RouterDelay(Some(parse_duration(delay)?)),
        ["router", "prompt"] => Statement::RouterDelay(None),
        ["router", "down"] => Statement::RouterReadable(false),
        ["router", "up"] => Statement::RouterReadable(true),
        ["endpoints", "late", lag] => Statement::EndpointsLag(parse_duration(lag)?),
        ["endpoints", "prompt"] => Statement::EndpointsLag(Duration::ZERO),
        ["endpoints", "unreadable"] => Statement::EndpointsReadable(false),
        ["endpoints", "readable"] => Statement::EndpointsReadable(true),
        ["router", "refuses", why @ ..] => Statement::RouterRefusal(Some(why.join(" "))),
        ["router", "accepts"] => Statement::RouterRefusal(None),
        ["route", one, share, other, rest] => Statement::Route(BTreeMap::from([
            ((*one).to_owned(), share.parse().ok()?),
            ((*other).to_owned(), rest.parse().ok()?),
        ])),
        ["budget", "none"] => Statement::Budget(None),
        ["budget", count] => Statement::Budget(Some(count.parse().ok()?)),
        ["autoscale", "workload", "from", least] => Statement::AutoscaleWorkload(Some(least.parse().ok()?)),
        ["quota", "none"] => Statement::Quota(None),
        ["quota", count] => Statement::Quota(Some(count.parse().ok()?)),
        _ => return None,
    })
}

fn pods(count: &str, tag: &str, disturbance: Disturbance) -> Option<Statement> {
    Some(Statement::Pods(count.parse().ok()?, tag.to_owned(), disturbance))
}

fn parse_fault(words: &[&str]) -> Option<Statement> {
    Some(match words {
        ["crash", "everywhere"] => Statement::CrashEverywhere,
        ["crash"] => Statement::Crash(None),
        ["clock", "forward", step] => Statement::Clock(millis(step)?),
        ["clock", "back", step] => Statement::Clock(-millis(step)?),
        ["crash", "after", count, "writes"] => Statement::Crash(Some(count.parse().ok()?)),
        ["lag", kind, lag] => Statement::Lag(parse_kinds(kind)?, parse_duration(lag)?),
        ["watches", "down", "for", duration] => Statement::WatchesDown(parse_duration(duration)?),
        ["events", "twice"] => Statement::Delivery(Delivery::Twice),
        ["events", "once"] => Statement::Delivery(Delivery::Once),
        ["conflict", count, "writes"] => Statement::Conflicts(count.parse().ok()?),
        ["refuse", count, "writes"] => Statement::Refusals(count.parse().ok()?),
        ["lose", count, "answers"] => Statement::LostAnswers(count.parse().ok()?),
        ["server", "down", "for", duration] => Statement::ServerDown(parse_duration(duration)?),
        _ => return None,
    })
}

fn millis(text: &str) -> Option<i64> {
    i64::try_from(parse_duration(text)?.as_millis()).ok()
}

fn parse_kinds(word: &str) -> Option<Vec<Kind>> {
    Some(match word {
        "rollout" => vec![Kind::Rollout],
        "ReplicaSets" => vec![Kind::ReplicaSets],
        "AnalysisRuns" => vec![Kind::AnalysisRuns],
        "Experiments" => vec![Kind::Experiments],
        "Services" => vec![Kind::Services],
        "route" => vec![Kind::Route],
        "pods" => vec![Kind::Pods],
        "workload" => vec![Kind::Workload],
        "all" => Kind::ALL.to_vec(),
        _ => return None,
    })
}

/// Minutes and seconds, or hours, minutes and seconds, as a transcript writes them.
fn parse_time(text: &str) -> Option<Duration> {
    let parts: Option<Vec<u64>> = text.split(':').map(|part| part.parse().ok()).collect();
    let parts = parts.filter(|parts| (2..=3).contains(&parts.len()))?;
    Some(Duration::from_secs(parts.iter().fold(0, |seconds, part| seconds * 60 + part)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::images::Readiness;

    #[test]
    fn a_script_is_read_line_by_line_with_its_blocks() {
        let lines =
            parse("# a comment\napply a.yaml b.yaml\n  spec: {replicas: 3}\n\nat 1:00:05 abort\n").unwrap();
        let files = vec!["a.yaml".to_owned(), "b.yaml".to_owned()];
        let block = Some(serde_json::json!({"spec": {"replicas": 3}}));
        assert_eq!(lines[0].statement, Statement::User(UserAction::Apply(files), block));
        let abort = Line { text: "abort".to_owned(), statement: Statement::User(UserAction::Abort, None) };
        assert_eq!(lines[1].statement, Statement::At(Duration::from_secs(3605), Box::new(abort)));
    }

    #[test]
    fn an_unknown_line_is_named() {
        let error = parse("wait 5m\nwait for it\n").unwrap_err();
        assert_eq!(error.to_string(), "line 2: cannot read 'wait for it'");
    }

    #[test]
    fn an_image_is_described_in_words() {
        let lines = parse("image v2 starts in 10s crashes after 1m error rate 0.2").unwrap();
        let image = Image {
            start: Duration::from_secs(10),
            readiness: Readiness::CrashesAfter(Duration::from_mins(1)),
            error_rate: 0.2,
        };
        assert_eq!(lines[0].statement, Statement::Image("v2".to_owned(), image));
    }
}
