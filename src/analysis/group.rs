//! Several analyses under shared rules about metrics, as an Experiment has them: a rule counts for every analysis in which
//! it matches a metric, and must match one in some.

use regex::Regex;

use super::metric::FieldError;
use super::template::{self, MergedAnalysis, TemplateError, Templates, Usage};
use crate::api::analysis_template::{AnalysisTemplateRef, Argument, DryRun, MeasurementRetention};
use crate::events::RunKind;

/// One of the analyses.
#[derive(Clone, Debug)]
pub struct Member {
    /// Whether it is waited for.
    pub kind: RunKind,
    /// Its template.
    pub template: AnalysisTemplateRef,
    /// Arguments with their values.
    pub args: Vec<Argument>,
}

/// The rules that they share.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shared<'a> {
    /// Metrics that do not decide.
    pub dry_run: &'a [DryRun],
    /// Measurements kept.
    pub measurement_retention: &'a [MeasurementRetention],
}

/// Why an analysis, or a rule, cannot be worked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupError {
    /// One of the analyses, by its index.
    Member(usize, TemplateError),
    /// A shared rule.
    Rule(FieldError),
}

/// What the analyses come to, each `None` where it cannot be worked with, and every problem.
#[must_use]
pub fn merge(
    members: &[Member],
    shared: &Shared<'_>,
    lookup: &Templates,
) -> (Vec<Option<MergedAnalysis>>, Vec<GroupError>) {
    let mut problems = Vec::new();
    let mut merged: Vec<Option<MergedAnalysis>> = members
        .iter()
        .enumerate()
        .map(|(index, member)| {
            let templates = [member.template.clone()];
            let usage = Usage { templates: &templates, args: &member.args, ..Usage::default() };
            let merged = template::merge(member.kind, &usage, lookup);
            merged
                .map_err(|errors| {
                    problems.extend(errors.into_iter().map(|error| GroupError::Member(index, error)));
                })
                .ok()
        })
        .collect();
    // With an analysis missing, nobody can tell what matches nothing.
    let is_complete = problems.is_empty();
    for (index, rule) in shared.dry_run.iter().enumerate() {
        let field = format!("dryRun[{index}]");
        share(&field, &rule.metric_name, &mut merged, is_complete, &mut problems, |found| {
            found.spec.dry_run.get_or_insert_default().push(rule.clone());
        });
    }
    for (index, rule) in shared.measurement_retention.iter().enumerate() {
        let field = format!("measurementRetention[{index}]");
        share(&field, &rule.metric_name, &mut merged, is_complete, &mut problems, |found| {
            found.spec.measurement_retention.get_or_insert_default().push(rule.clone());
        });
    }
    (merged, problems)
}

/// Adds a rule to every analysis in which its pattern matches a metric.
fn share(
    field: &str,
    text: &str,
    merged: &mut [Option<MergedAnalysis>],
    is_complete: bool,
    problems: &mut Vec<GroupError>,
    add: impl Fn(&mut MergedAnalysis),
) {
    let path = format!("{field}.metricName");
    let pattern: Regex = match template::pattern(text) {
        Ok(pattern) => pattern,
        Err(why) => return problems.push(GroupError::Rule(FieldError::new(path, why))),
    };
    let mut matches = 0;
    for found in merged.iter_mut().flatten() {
        if found.spec.metrics.iter().flatten().any(|metric| pattern.is_match(&metric.name)) {
            add(found);
            matches += 1;
        }
    }
    if matches == 0 && is_complete {
        let problem = format!("'{text}' matches no metric of any analysis");
        problems.push(GroupError::Rule(FieldError::new(path, problem)));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reference(name: &str) -> AnalysisTemplateRef {
        AnalysisTemplateRef { template_name: Some(name.to_owned()), cluster_scope: None }
    }

    fn lookup() -> Templates {
        let template = |metric: &str| {
            serde_json::from_value(
                json!({"metrics": [{"name": metric, "provider": {"prometheus": {"query": "up"}}}]}),
            )
            .unwrap()
        };
        Templates::from([
            (reference("errors"), template("error-rate")),
            (reference("speed"), template("latency")),
        ])
    }

    fn members(names: &[&str]) -> Vec<Member> {
        let member = |name: &&str| Member { kind: RunKind::Step, template: reference(name), args: vec![] };
        names.iter().map(member).collect()
    }

    #[test]
    fn a_rule_counts_where_it_matches_a_metric_and_only_there() {
        let dry_run = [DryRun { metric_name: "lat.*".to_owned() }];
        let shared = Shared { dry_run: &dry_run, ..Shared::default() };
        let (merged, problems) = merge(&members(&["errors", "speed"]), &shared, &lookup());
        assert_eq!(problems, []);
        let rules: Vec<_> =
            merged.into_iter().map(|found| found.unwrap().spec.dry_run.map(|rules| rules.len())).collect();
        assert_eq!(rules, [None, Some(1)]);
    }

    #[test]
    fn a_rule_that_matches_nothing_is_a_problem_once_all_analyses_are_known() {
        let dry_run =
            [DryRun { metric_name: "saturation".to_owned() }, DryRun { metric_name: "(".to_owned() }];
        let shared = Shared { dry_run: &dry_run, ..Shared::default() };
        let texts = |names: &[&str]| -> Vec<String> {
            let (_, problems) = merge(&members(names), &shared, &lookup());
            let text = |problem: GroupError| match problem {
                GroupError::Member(index, error) => format!("{index}: {error}"),
                GroupError::Rule(error) => error.to_string(),
            };
            problems.into_iter().map(text).collect()
        };
        let unreadable = "dryRun[1].metricName '(' is not a regular expression";
        assert_eq!(
            texts(&["errors"]),
            ["dryRun[0].metricName 'saturation' matches no metric of any analysis", unreadable]
        );
        assert_eq!(texts(&["errors", "no"]), ["1: AnalysisTemplate 'no' not found", unreadable]);
    }
}
