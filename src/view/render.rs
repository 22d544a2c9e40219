//! The tree as text: a header of facts, then one line per object under its owner.

use std::collections::BTreeMap;

use super::age;
use super::experiment::ExperimentView;
use super::replica_set::{PodView, ReplicaSetView, Role};
use super::run::{self, MetricView, RunTally, RunView};
use super::text::{Line, Sign, Text, Tone, table};
use super::tree::{ImageView, RevisionView, RolloutView, StrategyView, WorkloadView};
use crate::api::AnalysisPhase;
use crate::units::{Revision, Timestamp};

/// How much room a picture may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// A line for every fact and every pod, up to many.
    Full,
    /// As few lines as show what matters, for small terminals.
    Compact,
}

impl Detail {
    /// Pods of one ReplicaSet that are shown one by one. Of more, those that are well are shown as one line.
    #[must_use]
    pub const fn pods_shown(self) -> usize {
        match self {
            Self::Full => 20,
            Self::Compact => 3,
        }
    }
}

/// Measurements of a metric that are shown, the latest.
const MEASUREMENTS_SHOWN: usize = 8;

/// Columns of the header's names.
const NAME_WIDTH: usize = 17;

/// An object in the tree.
struct Node {
    icon: &'static str,
    name: String,
    kind: &'static str,
    state: Line,
    age: String,
    info: Line,
    children: Vec<Self>,
}

/// Renders the tree as it is at `now`.
#[must_use]
pub fn render(view: &RolloutView, now: Timestamp, detail: Detail) -> Text {
    let mut lines = header(view, detail);
    lines.push(Line::default());
    let root = Node {
        icon: "⟳ ",
        name: view.name.clone(),
        kind: "Rollout",
        state: state(view.standing.phase.sign(), view.standing.phase.as_str()),
        age: age::of(view.created, now),
        info: Line::default(),
        children: revision_nodes(view, now, detail),
    };
    let mut rows = Vec::new();
    collect(&root, "", "", &mut rows);
    lines.extend(table(&TITLES, rows));
    Text { lines }
}

/// Renders the tree of an Experiment as it is at `now`.
#[must_use]
pub fn render_experiment(found: &ExperimentView, now: Timestamp, detail: Detail) -> Text {
    let mut lines = vec![
        fact("Name:", Line::plain(&found.name)),
        fact("Namespace:", Line::plain(&found.namespace)),
        fact("Status:", state(run::sign(found.phase), found.phase.as_str())),
    ];
    lines.extend(message(found.message.as_deref().unwrap_or_default()));
    lines.extend(found.duration.iter().map(|text| fact("Duration:", Line::plain(text))));
    lines.extend(image_facts(&found.images));
    lines.push(Line::default());
    let mut rows = Vec::new();
    collect(&experiment_node(found, now, detail), "", "", &mut rows);
    lines.extend(table(&TITLES, rows));
    Text { lines }
}

/// The titles of the tree's columns.
const TITLES: [&str; 5] = ["NAME", "KIND", "STATUS", "AGE", "INFO"];

/// A message, every line of it: one of several would break the table below.
fn message(text: &str) -> Vec<Line> {
    let names = std::iter::once("Message:").chain(std::iter::repeat(""));
    let lines = names.zip(text.lines());
    lines.map(|(name, part)| fact(name, Line::plain(part)).hanging(NAME_WIDTH)).collect()
}

fn image_facts(images: &[ImageView]) -> impl Iterator<Item = Line> {
    let names = std::iter::once("Images:").chain(std::iter::repeat(""));
    names.zip(images).map(|(name, image)| fact(name, image_line(image)))
}

fn header(view: &RolloutView, detail: Detail) -> Vec<Line> {
    let phase = view.standing.phase;
    let mut lines = vec![
        fact("Name:", Line::plain(&view.name)),
        fact("Namespace:", Line::plain(&view.namespace)),
        fact("Status:", state(phase.sign(), phase.as_str())),
    ];
    lines.extend(message(&view.standing.message));
    lines.extend(view.workload.iter().map(|workload| fact("Workload:", workload_line(workload))));
    lines.extend(group("Strategy:", strategy_name(&view.strategy), &strategy_facts(&view.strategy), detail));
    lines.extend(image_facts(&view.images));
    let counts = view.replicas;
    let counts = [
        ("Desired", counts.desired),
        ("Current", counts.current),
        ("Updated", counts.updated),
        ("Ready", counts.ready),
        ("Available", counts.available),
    ];
    lines.extend(group("Replicas:", "", &counts.map(|(name, count)| (name, count.to_string())), detail));
    lines
}

fn workload_line(workload: &WorkloadView) -> Line {
    let line = Line::plain(format!("{} {}", workload.kind, workload.name));
    match &workload.scale_down {
        Some(when) => line.with(Tone::Plain, format!(" (scaled down {when})")),
        None => line,
    }
}

fn strategy_name(strategy: &StrategyView) -> &'static str {
    match strategy {
        StrategyView::BlueGreen => "BlueGreen",
        StrategyView::Unset => "none",
        StrategyView::Canary { .. } => "Canary",
    }
}

fn strategy_facts(strategy: &StrategyView) -> Vec<(&'static str, String)> {
    let StrategyView::Canary { step, set_weight, actual_weight } = strategy else { return Vec::new() };
    let step = step.map(|(done, all)| ("Step", format!("{done}/{all}")));
    let weights = [("SetWeight", set_weight.to_string()), ("ActualWeight", actual_weight.to_string())];
    step.into_iter().chain(weights).collect()
}

/// Facts that belong together: one below the other, or side by side.
fn group(name: &str, value: &str, facts: &[(&str, String)], detail: Detail) -> Vec<Line> {
    if detail == Detail::Compact {
        let facts = facts.iter().map(|(name, value)| format!("{name}: {value}"));
        let parts: Vec<String> =
            Some(value.to_owned()).filter(|value| !value.is_empty()).into_iter().chain(facts).collect();
        return vec![fact(name, Line::plain(parts.join("  ")))];
    }
    let first = fact(name, Line::plain(value));
    let facts = facts.iter().map(|(name, value)| fact(&format!("  {name}:"), Line::plain(value)));
    std::iter::once(first).chain(facts).collect()
}

fn image_line(image: &ImageView) -> Line {
    let line = Line::plain(&image.image);
    if image.roles.is_empty() {
        line
    } else {
        line.with(Tone::Plain, " (").then(role_line(&image.roles)).with(Tone::Plain, ")")
    }
}

fn role_line(roles: &[Role]) -> Line {
    roles.iter().enumerate().fold(Line::default(), |line, (index, role)| {
        let tone = match role {
            Role::Canary | Role::Preview => Tone::Warning,
            Role::Stable | Role::Active => Tone::Good,
            Role::Template(_) => Tone::Plain,
        };
        let line = if index == 0 { line } else { line.with(Tone::Plain, ", ") };
        line.with(tone, role.text())
    })
}

fn fact(name: &str, value: Line) -> Line {
    let name = Line::plain(name);
    if value.width() == 0 { name } else { name.padded(NAME_WIDTH).then(value) }
}

fn state(sign: Sign, word: &str) -> Line {
    Line::default().with(sign.tone(), format!("{} {word}", sign.glyph()))
}

/// The rows of a node and of all below it, with the branches that lead to them.
fn collect(node: &Node, branch: &str, below: &str, rows: &mut Vec<Vec<Line>>) {
    rows.push(vec![
        Line::default().with(Tone::Faint, branch).with(Tone::Plain, format!("{}{}", node.icon, node.name)),
        Line::plain(node.kind),
        node.state.clone(),
        Line::plain(&node.age),
        node.info.clone(),
    ]);
    for (index, child) in node.children.iter().enumerate() {
        let (branch, deeper) =
            if index + 1 == node.children.len() { ("└──", "   ") } else { ("├──", "│  ") };
        collect(child, &format!("{below}{branch}"), &format!("{below}{deeper}"), rows);
    }
}

fn revision_nodes(view: &RolloutView, now: Timestamp, detail: Detail) -> Vec<Node> {
    let newest = view.revisions.first().map(|revision| revision.revision);
    view.revisions
        .iter()
        .map(|revision| revision_node(revision, newest == Some(revision.revision), now, detail))
        .collect()
}

fn revision_node(revision: &RevisionView, is_newest: bool, now: Timestamp, detail: Detail) -> Node {
    let sets = revision.replica_sets.iter().map(|set| replica_set_node(set, now, detail));
    let experiments = revision.experiments.iter().map(|found| experiment_node(found, now, detail));
    let runs = revision.runs.iter().map(|run| run_node(run, is_newest, now));
    let number = revision.revision;
    let name =
        if number == Revision::default() { "revision:?".to_owned() } else { format!("revision:{number}") };
    Node {
        icon: "# ",
        name,
        kind: "",
        state: Line::default(),
        age: String::new(),
        info: Line::default(),
        children: sets.chain(experiments).chain(runs).collect(),
    }
}

fn experiment_node(found: &ExperimentView, now: Timestamp, detail: Detail) -> Node {
    let sets = found.replica_sets.iter().map(|set| replica_set_node(set, now, detail));
    let runs = found.runs.iter().map(|run| run_node(run, true, now));
    let ends = found.ends_at.filter(|_| !found.phase.is_completed());
    let left = ends.map(|at| Line::plain(format!("remaining:{}", age::short(at.since(now)))));
    Node {
        icon: "Σ ",
        name: found.name.clone(),
        kind: "Experiment",
        state: state(run::sign(found.phase), found.phase.as_str()),
        age: age::of(found.created, now),
        info: left.unwrap_or_default(),
        children: sets.chain(runs).collect(),
    }
}

fn replica_set_node(set: &ReplicaSetView, now: Timestamp, detail: Detail) -> Node {
    let mut info = vec![role_line(&set.roles)];
    if let Some(at) = set.scale_down_at {
        let left = if at > now { age::short(at.since(now)) } else { "passed".to_owned() };
        info.push(Line::plain(format!("delay:{left}")));
    }
    Node {
        icon: "⧉ ",
        name: set.name.clone(),
        kind: "ReplicaSet",
        state: state(set.sign, set.state),
        age: age::of(set.created, now),
        info: joined(info),
        children: pod_nodes(&set.pods, now, detail),
    }
}

/// The parts that say something, with commas between them.
fn joined(parts: Vec<Line>) -> Line {
    let said = parts.into_iter().filter(|part| part.width() > 0);
    said.enumerate().fold(Line::default(), |line, (index, part)| {
        if index == 0 { part } else { line.with(Tone::Plain, ",").then(part) }
    })
}

fn pod_nodes(pods: &[PodView], now: Timestamp, detail: Detail) -> Vec<Node> {
    if pods.len() <= detail.pods_shown() {
        return pods.iter().map(|pod| pod_node(pod, now)).collect();
    }
    let (mut open, mut well): (Vec<&PodView>, Vec<&PodView>) =
        pods.iter().partition(|pod| pod.sign != Sign::Good);
    open.sort_by_key(|pod| urgency(pod.sign));
    let folded = open.split_off(open.len().min(detail.pods_shown() - 1));
    well.extend(folded);
    let mut nodes: Vec<Node> = open.into_iter().map(|pod| pod_node(pod, now)).collect();
    nodes.push(folded_node(&well, pods.len()));
    nodes
}

/// What needs a look comes first.
const fn urgency(sign: Sign) -> u8 {
    match sign {
        Sign::Bad => 0,
        Sign::Warning => 1,
        Sign::Unknown => 2,
        Sign::Moving | Sign::Waiting | Sign::Paused | Sign::Neutral => 3,
        Sign::Good => 4,
    }
}

fn pod_node(pod: &PodView, now: Timestamp) -> Node {
    let restarts = if pod.restarts > 0 { format!(",restarts:{}", pod.restarts) } else { String::new() };
    Node {
        icon: "□ ",
        name: pod.name.clone(),
        kind: "Pod",
        state: state(pod.sign, &pod.state),
        age: age::of(pod.created, now),
        info: Line::plain(format!("ready:{}/{}{restarts}", pod.ready, pod.containers)),
        children: Vec::new(),
    }
}

/// Many pods as one line: how many are in which state.
fn folded_node(pods: &[&PodView], of: usize) -> Node {
    let mut states: BTreeMap<(u8, &str), (Sign, usize)> = BTreeMap::new();
    for pod in pods {
        states.entry((urgency(pod.sign), &pod.state)).or_insert((pod.sign, 0)).1 += 1;
    }
    let state_line = match states.iter().next() {
        Some(((_, word), (sign, _))) if states.len() == 1 => state(*sign, word),
        _ => joined(
            states
                .iter()
                .map(|((_, word), (sign, count))| state(*sign, &format!("{word}:{count}")))
                .collect(),
        ),
    };
    let more = if pods.len() < of { " more" } else { "" };
    let ready = pods.iter().filter(|pod| pod.sign == Sign::Good).count();
    Node {
        icon: "□ ",
        name: format!("{}{more} pods", pods.len()),
        kind: "Pod",
        state: state_line,
        age: String::new(),
        info: Line::plain(format!("ready:{ready}/{}", pods.len())),
        children: Vec::new(),
    }
}

/// A run; its metrics are shown while they matter: on the newest revision, and where something went wrong.
fn run_node(run: &RunView, is_newest: bool, now: Timestamp) -> Node {
    let matters = is_newest || run.phase != AnalysisPhase::Successful;
    let metrics = run.metrics.iter().filter(|_| matters).map(metric_node).collect();
    Node {
        icon: "α ",
        name: run.name.clone(),
        kind: "AnalysisRun",
        state: state(run::sign(run.phase), run.phase.as_str()),
        age: age::of(run.created, now),
        info: tally(run.tally),
        children: metrics,
    }
}

fn tally(tally: RunTally) -> Line {
    let counts = tally.signs().into_iter();
    joined(counts.map(|(sign, count)| state(sign, &count.to_string())).collect())
}

fn metric_node(metric: &MetricView) -> Node {
    let mut info = Line::default();
    let hidden = metric.measurements.len().saturating_sub(MEASUREMENTS_SHOWN);
    for (index, (phase, value)) in metric.measurements.iter().skip(hidden).enumerate() {
        let separator = if index == 0 { "" } else { " " };
        let sign = run::sign(*phase);
        let text =
            if value.is_empty() { sign.glyph().to_owned() } else { format!("{} {value}", sign.glyph()) };
        info = info.with(Tone::Plain, separator).with(sign.tone(), text);
    }
    let note = match (metric.dry_run, metric.failure_limit, metric.tally.failed) {
        (true, _, _) => " dry run".to_owned(),
        (false, Some(limit), failed) if failed > 0 => format!(" failed {failed}, tolerated {limit}"),
        (false, _, _) => String::new(),
    };
    Node {
        icon: "◇ ",
        name: metric.name.clone(),
        kind: "Metric",
        state: state(run::sign(metric.phase), metric.phase.as_str()),
        age: String::new(),
        info: info.with(Tone::Faint, note),
        children: Vec::new(),
    }
}
