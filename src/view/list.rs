//! Rollouts, and Experiments, as tables.

use kube::ResourceExt;

use super::experiment::ExperimentView;
use super::phase::standing;
use super::text::{Line, Text, table};
use super::tree::counts;
use super::{age, experiment, run, step};
use crate::api::{Experiment, Rollout};
use crate::units::Timestamp;

/// Whether the table has a column of namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Columns {
    /// All rollouts are of one namespace.
    WithoutNamespace,
    /// Namespaces come first.
    WithNamespace,
}

/// The table, in the order of namespaces and names.
#[must_use]
pub fn list(rollouts: &[Rollout], columns: Columns) -> Text {
    let mut rollouts: Vec<&Rollout> = rollouts.iter().collect();
    rollouts.sort_by_key(|rollout| (rollout.namespace(), rollout.name_any()));
    let rows = rollouts.into_iter().map(|rollout| row(rollout, columns)).collect();
    Text { lines: table(&titles(columns), rows) }
}

/// The table of Experiments, in the order of namespaces and names, as it is at `now`.
#[must_use]
pub fn list_experiments(experiments: &[Experiment], columns: Columns, now: Timestamp) -> Text {
    let mut found: Vec<ExperimentView> =
        experiments.iter().map(|found| experiment::view(found, &[], &[], &[])).collect();
    found.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    let mut titles = vec!["NAME", "STATUS", "DURATION", "REMAINING", "AGE"];
    if columns == Columns::WithNamespace {
        titles.insert(0, "NAMESPACE");
    }
    let rows = found.iter().map(|found| {
        let ends = found.ends_at.filter(|_| !found.phase.is_completed());
        let left = ends.map(|at| age::short(at.since(now)));
        let or_dash = |text: Option<String>| Line::plain(text.unwrap_or_else(|| "-".to_owned()));
        let mut cells = vec![
            Line::plain(&found.name),
            Line::default().with(run::sign(found.phase).tone(), found.phase.as_str()),
            or_dash(found.duration.clone()),
            or_dash(left),
            Line::plain(age::of(found.created, now)),
        ];
        if columns == Columns::WithNamespace {
            cells.insert(0, Line::plain(&found.namespace));
        }
        cells
    });
    Text { lines: table(&titles, rows.collect()) }
}

/// The cells of one rollout.
fn row(rollout: &Rollout, columns: Columns) -> Vec<Line> {
    let counts = counts(rollout);
    let standing = standing(rollout);
    let steps = step::steps(rollout).len();
    let (kind, place, weight) = match &rollout.spec.strategy {
        Some(strategy) if strategy.canary.is_some() => {
            let place = step::position(rollout).map(|index| format!("{index}/{steps}"));
            ("Canary", place, Some(step::set_weight(rollout).to_string()))
        }
        Some(strategy) if strategy.blue_green.is_some() => ("BlueGreen", None, None),
        _ => ("-", None, None),
    };
    let or_dash = |text: Option<String>| Line::plain(text.unwrap_or_else(|| "-".to_owned()));
    let mut cells = vec![
        Line::plain(rollout.name_any()),
        Line::plain(kind),
        Line::default().with(standing.phase.sign().tone(), standing.phase.as_str()),
        or_dash(place),
        or_dash(weight),
        Line::plain(format!("{}/{}", counts.ready, counts.current)),
        Line::plain(counts.desired.to_string()),
        Line::plain(counts.updated.to_string()),
        Line::plain(counts.available.to_string()),
    ];
    if columns == Columns::WithNamespace {
        cells.insert(0, Line::plain(rollout.namespace().unwrap_or_default()));
    }
    cells
}

fn titles(columns: Columns) -> Vec<&'static str> {
    let mut titles = vec![
        "NAME",
        "STRATEGY",
        "STATUS",
        "STEP",
        "SET-WEIGHT",
        "READY",
        "DESIRED",
        "UP-TO-DATE",
        "AVAILABLE",
    ];
    if columns == Columns::WithNamespace {
        titles.insert(0, "NAMESPACE");
    }
    titles
}
