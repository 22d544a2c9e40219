//! How templates become a run: references followed, metrics and arguments merged, every problem at once.
//!
//! A run that comes out of here is accepted by `decide`; what could go wrong with it afterwards is only what is measured.

mod advice;

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;

use self::advice::{derive_count, unused_condition};
use super::args::{Arguments, names_used};
use super::limits::Lengths;
use super::metric::FieldError;
use super::spec::parse_metric;
use crate::api::analysis_template::{AnalysisTemplateRef, Argument, DryRun, MeasurementRetention, Metric};
use crate::api::{AnalysisRunSpec, AnalysisTemplateSpec};
use crate::events::RunKind;

/// Deepest nesting of templates in templates.
const MAX_DEPTH: usize = 16;
/// Largest compiled pattern of a metric's name, in bytes.
const MAX_PATTERN_SIZE: usize = 1 << 18;

/// Templates by normalised reference; one that does not exist is absent.
pub type Templates = BTreeMap<AnalysisTemplateRef, AnalysisTemplateSpec>;

/// What uses the templates, and with what.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage<'a> {
    /// The templates.
    pub templates: &'a [AnalysisTemplateRef],
    /// Arguments with their values.
    pub args: &'a [Argument],
    /// Metrics that do not decide.
    pub dry_run: &'a [DryRun],
    /// Measurements kept.
    pub measurement_retention: &'a [MeasurementRetention],
}

/// A run, and what its author may not expect of it.
#[derive(Clone, Debug, PartialEq)]
pub struct MergedAnalysis {
    /// The run's spec.
    pub spec: AnalysisRunSpec,
    /// What its author may not expect.
    pub advice: Vec<Advice>,
}

/// Something that works, but differently from what its author may expect.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Advice {
    /// One word for what it is about, in the form of an event reason.
    pub topic: &'static str,
    /// The sentence.
    pub message: String,
}

/// Why templates do not make a run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum TemplateError {
    /// A template does not exist; it heals when it appears.
    #[error("{0} not found")]
    NotFound(TemplateName),
    /// A template is nested in itself.
    #[error("{0} includes itself")]
    Cycle(TemplateName),
    /// Templates are nested without end in sight.
    #[error("{0} is nested more than {MAX_DEPTH} levels deep")]
    TooDeep(TemplateName),
    /// A field of a template cannot be worked with.
    #[error("{template}: {problem}")]
    Field {
        /// The template.
        template: TemplateName,
        /// The field and what is wrong.
        problem: FieldError,
    },
    /// What the templates and their user say does not fit together.
    #[error("{0}")]
    Merge(FieldError),
}

/// A template as people call it: `AnalysisTemplate 'success-rate'`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TemplateName(AnalysisTemplateRef);

impl std::fmt::Display for TemplateName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind =
            if self.0.cluster_scope == Some(true) { "ClusterAnalysisTemplate" } else { "AnalysisTemplate" };
        write!(f, "{kind} '{}'", self.0.template_name.as_deref().unwrap_or_default())
    }
}

/// The one form in which a reference is a key: `clusterScope` is `true` or absent.
#[must_use]
pub fn normalised(reference: &AnalysisTemplateRef) -> AnalysisTemplateRef {
    AnalysisTemplateRef {
        template_name: reference.template_name.clone(),
        cluster_scope: reference.cluster_scope.filter(|scope| *scope),
    }
}

/// All templates that are referenced, directly or by a template in `lookup`: normalised, whether they exist or not.
///
/// Called until the answer no longer grows, it names everything that `merge` looks at.
#[must_use]
pub fn references<'a>(
    roots: impl IntoIterator<Item = &'a AnalysisTemplateRef>,
    lookup: &Templates,
) -> BTreeSet<AnalysisTemplateRef> {
    let mut open: Vec<AnalysisTemplateRef> = roots.into_iter().map(normalised).collect();
    let mut found = BTreeSet::new();
    while let Some(reference) = open.pop() {
        if found.insert(reference.clone()) {
            let nested = lookup.get(&reference).and_then(|template| template.templates.as_ref());
            open.extend(nested.into_iter().flatten().map(normalised));
        }
    }
    found
}

/// Merges templates into the spec of a run of `kind`.
///
/// # Errors
///
/// Every problem of every template and of their combination.
pub fn merge(
    kind: RunKind,
    usage: &Usage<'_>,
    lookup: &Templates,
) -> Result<MergedAnalysis, Vec<TemplateError>> {
    let mut collected = Collected::default();
    for (index, reference) in usage.templates.iter().enumerate() {
        if reference.template_name.as_deref().is_none_or(str::is_empty) {
            collected.conflict(format!("templates[{index}].templateName"), "is missing");
        } else {
            collected.visit(normalised(reference), lookup, &mut Vec::new());
        }
    }
    if usage.templates.is_empty() {
        collected.conflict("templates", "is empty");
    }
    collected.check_lengths(usage);
    // A part of the templates would only lead to false alarms about arguments and names.
    if !collected.problems.is_empty() {
        return Err(collected.problems);
    }
    collected.merge(kind, usage)
}

/// A pattern of a metric's name: a regular expression that may match any part of it.
///
/// # Errors
///
/// Why it is none.
pub(crate) fn pattern(text: &str) -> Result<Regex, String> {
    regex::RegexBuilder::new(text)
        .size_limit(MAX_PATTERN_SIZE)
        .build()
        .map_err(|_| format!("'{text}' is not a regular expression"))
}

/// All templates that are used, in the order in which they were found.
#[derive(Default)]
struct Collected<'a> {
    visited: BTreeSet<AnalysisTemplateRef>,
    templates: Vec<(AnalysisTemplateRef, &'a AnalysisTemplateSpec)>,
    problems: Vec<TemplateError>,
}

impl<'a> Collected<'a> {
    fn conflict(&mut self, path: impl Into<String>, problem: impl Into<String>) {
        self.problems.push(TemplateError::Merge(FieldError::new(path, problem)));
    }

    /// Adds a template and those nested in it; `path` is what it is nested in.
    fn visit(
        &mut self,
        reference: AnalysisTemplateRef,
        lookup: &'a Templates,
        path: &mut Vec<AnalysisTemplateRef>,
    ) {
        let name = TemplateName(reference.clone());
        if path.contains(&reference) {
            return self.problems.push(TemplateError::Cycle(name));
        }
        if path.len() >= MAX_DEPTH {
            return self.problems.push(TemplateError::TooDeep(name));
        }
        if !self.visited.insert(reference.clone()) {
            return;
        }
        let Some(template) = lookup.get(&reference) else {
            return self.problems.push(TemplateError::NotFound(name));
        };
        self.templates.push((reference.clone(), template));
        path.push(reference);
        for nested in template.templates.iter().flatten() {
            self.visit(normalised(nested), lookup, path);
        }
        path.pop();
    }

    /// Refuses lists that are too long, the templates' and their user's together.
    fn check_lengths(&mut self, usage: &Usage<'_>) {
        let all = self.templates.iter().map(|(_, template)| Lengths::from(*template));
        let all = all.fold(Lengths::from(usage), Lengths::plus);
        self.problems.extend(all.too_long().into_iter().map(TemplateError::Merge));
    }

    fn merge(mut self, kind: RunKind, usage: &Usage<'_>) -> Result<MergedAnalysis, Vec<TemplateError>> {
        let mut advice = Vec::new();
        let args = self.merge_args(usage, &mut advice);
        let arguments = Arguments::parse(&args).unwrap_or_else(|problems| {
            self.problems.extend(problems.into_iter().map(TemplateError::Merge));
            Arguments::default()
        });
        let metrics = self.merge_metrics(kind, &arguments, &mut advice);
        let templates = self.templates.clone();
        let dry_run: Vec<DryRun> = templates
            .iter()
            .flat_map(|(_, template)| template.dry_run.iter().flatten())
            .chain(usage.dry_run)
            .cloned()
            .collect();
        let retention: Vec<MeasurementRetention> = templates
            .iter()
            .flat_map(|(_, template)| template.measurement_retention.iter().flatten())
            .chain(usage.measurement_retention)
            .cloned()
            .collect();
        self.check_patterns("dryRun", dry_run.iter().map(|rule| &rule.metric_name), &metrics);
        self.check_patterns("measurementRetention", retention.iter().map(|rule| &rule.metric_name), &metrics);
        if !self.problems.is_empty() {
            return Err(self.problems);
        }
        let spec = AnalysisRunSpec {
            metrics: Some(metrics),
            args: some(args),
            dry_run: some(dry_run),
            measurement_retention: some(retention),
            terminate: None,
            ttl_strategy: None,
        };
        Ok(MergedAnalysis { spec, advice })
    }

    /// The templates' arguments, with the values that their user supplies.
    fn merge_args(&mut self, usage: &Usage<'_>, advice: &mut Vec<Advice>) -> Vec<Argument> {
        let mut merged: Vec<Argument> = Vec::new();
        for (_, template) in self.templates.clone() {
            for argument in template.args.iter().flatten() {
                match merged.iter_mut().find(|other| other.name == argument.name) {
                    None => merged.push(argument.clone()),
                    Some(other) if !has_value(other) => *other = argument.clone(),
                    Some(other)
                        if has_value(argument)
                            && other != argument
                            && !is_supplied(usage, &argument.name) =>
                    {
                        self.conflict(
                            format!("args.{}", argument.name),
                            "has different values in two templates",
                        );
                    }
                    Some(_) => {}
                }
            }
        }
        let declared: BTreeSet<String> = merged.iter().map(|argument| argument.name.clone()).collect();
        let used: BTreeSet<String> =
            self.templates.iter().flat_map(|(_, template)| names_used(&template.metrics)).collect();
        let mut supplied: BTreeMap<&str, &Argument> = BTreeMap::new();
        for argument in usage.args {
            if supplied.insert(&argument.name, argument).is_some_and(|other| other != argument) {
                self.conflict(format!("args.{}", argument.name), "is given twice, with different values");
            }
            if !declared.contains(&argument.name) && !used.contains(&argument.name) {
                advice.push(unknown_argument(&argument.name, &declared, &self.templates));
            }
            // One that is named without a value leaves the template's own.
            if has_value(argument) || !declared.contains(&argument.name) {
                merged.retain(|other| other.name != argument.name);
                merged.push(argument.clone());
            }
        }
        merged
    }

    fn merge_metrics(
        &mut self,
        kind: RunKind,
        arguments: &Arguments,
        advice: &mut Vec<Advice>,
    ) -> Vec<Metric> {
        let mut metrics = Vec::new();
        let mut names = BTreeSet::new();
        for (reference, template) in self.templates.clone() {
            for (index, metric) in template.metrics.iter().flatten().enumerate() {
                let mut metric = metric.clone();
                let mut refuse = |problem: FieldError| {
                    let template = TemplateName(reference.clone());
                    self.problems.push(TemplateError::Field {
                        template,
                        problem: problem.within(&format!("metrics[{index}]")),
                    });
                };
                if !names.insert(metric.name.clone()) {
                    refuse(FieldError::new(
                        "name",
                        format!("'{}' is the name of another metric too", metric.name),
                    ));
                }
                match parse_metric(&metric, arguments) {
                    Ok(rules) => {
                        advice.extend(unused_condition(&metric));
                        derive_count(kind, &mut metric, &rules, advice);
                    }
                    Err(problems) => problems.into_iter().for_each(refuse),
                }
                metrics.push(metric);
            }
        }
        if metrics.is_empty() {
            self.conflict("metrics", "is empty in all templates");
        }
        metrics
    }

    fn check_patterns<'p>(
        &mut self,
        field: &str,
        patterns: impl Iterator<Item = &'p String>,
        metrics: &[Metric],
    ) {
        for (index, text) in patterns.enumerate() {
            let path = format!("{field}[{index}].metricName");
            match pattern(text) {
                Err(why) => self.conflict(path, why),
                Ok(pattern) if !metrics.iter().any(|metric| pattern.is_match(&metric.name)) => {
                    self.conflict(path, format!("'{text}' matches no metric"));
                }
                Ok(_) => {}
            }
        }
    }
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    Some(list).filter(|list| !list.is_empty())
}

fn has_value(argument: &Argument) -> bool {
    argument.value.is_some() || argument.value_from.is_some()
}

fn is_supplied(usage: &Usage<'_>, name: &str) -> bool {
    usage.args.iter().any(|argument| argument.name == name)
}

fn unknown_argument(
    name: &str,
    declared: &BTreeSet<String>,
    templates: &[(AnalysisTemplateRef, &AnalysisTemplateSpec)],
) -> Advice {
    let names: Vec<String> =
        templates.iter().map(|(reference, _)| TemplateName(reference.clone()).to_string()).collect();
    let declared: Vec<&str> = declared.iter().map(String::as_str).collect();
    let declared = if declared.is_empty() { "none".to_owned() } else { declared.join(", ") };
    Advice {
        topic: "AnalysisArgUnknown",
        message: format!(
            "argument '{name}' is not used by {}: it declares {declared}, so the value changes nothing that is measured",
            names.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn reference(name: &str) -> AnalysisTemplateRef {
        match name.strip_prefix("cluster/") {
            Some(name) => {
                AnalysisTemplateRef { template_name: Some(name.to_owned()), cluster_scope: Some(true) }
            }
            None => AnalysisTemplateRef { template_name: Some(name.to_owned()), cluster_scope: None },
        }
    }

    fn metric(name: &str) -> Value {
        json!({"name": name, "provider": {"prometheus": {"query": "up"}}})
    }

    fn templates(all: &[(&str, Value)]) -> Templates {
        all.iter()
            .map(|(name, template)| (reference(name), serde_json::from_value(template.clone()).unwrap()))
            .collect()
    }

    /// Merges the given roots in a step, with arguments `name=value`.
    fn step(
        roots: &[&str],
        args: &[(&str, &str)],
        all: &[(&str, Value)],
    ) -> Result<MergedAnalysis, Vec<String>> {
        let roots: Vec<_> = roots.iter().map(|name| reference(name)).collect();
        let args: Vec<_> = args
            .iter()
            .map(|(name, value)| Argument {
                name: (*name).to_owned(),
                value: Some((*value).to_owned()),
                value_from: None,
            })
            .collect();
        let usage = Usage { templates: &roots, args: &args, ..Usage::default() };
        merge(RunKind::Step, &usage, &templates(all))
            .map_err(|errors| errors.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn nested_templates_are_followed_and_used_once() {
        let merged = step(
            &["a", "cluster/c"],
            &[],
            &[
                ("a", json!({"metrics": [metric("one")], "templates": [{"templateName": "b"}, {"templateName": "c", "clusterScope": true}]})),
                ("b", json!({"metrics": [metric("two")]})),
                ("cluster/c", json!({"metrics": [metric("three")], "templates": [{"templateName": "b", "clusterScope": false}]})),
            ],
        )
        .unwrap();
        let names: Vec<_> = merged.spec.metrics.unwrap().into_iter().map(|metric| metric.name).collect();
        assert_eq!(names, ["one", "two", "three"]);
    }

    #[test]
    fn missing_templates_and_cycles_are_named() {
        let cycle = [
            (
                "a",
                json!({"metrics": [metric("m")], "templates": [{"templateName": "b"}, {"templateName": "gone"}]}),
            ),
            (
                "b",
                json!({"templates": [{"templateName": "a"}, {"templateName": "gone", "clusterScope": true}]}),
            ),
        ];
        assert_eq!(
            step(&["a"], &[], &cycle).unwrap_err(),
            [
                "AnalysisTemplate 'a' includes itself",
                "ClusterAnalysisTemplate 'gone' not found",
                "AnalysisTemplate 'gone' not found"
            ]
        );
        assert_eq!(step(&[], &[], &[]).unwrap_err(), ["templates is empty"]);
        assert_eq!(step(&[""], &[], &[]).unwrap_err(), ["templates[0].templateName is missing"]);
        let chain: Vec<(String, Value)> = (0..40)
            .map(|n| (format!("t{n}"), json!({"templates": [{"templateName": format!("t{}", n + 1)}]})))
            .collect();
        let chain: Vec<(&str, Value)> =
            chain.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        assert!(step(&["t0"], &[], &chain).unwrap_err()[0].contains("levels deep"));
    }

    #[test]
    fn references_grow_with_what_is_known_and_stop_at_a_cycle() {
        let all = templates(&[
            ("a", json!({"templates": [{"templateName": "b", "clusterScope": false}]})),
            ("b", json!({"templates": [{"templateName": "a"}, {"templateName": "x", "clusterScope": true}]})),
        ]);
        let roots = [reference("a")];
        assert_eq!(references(&roots, &Templates::new()), BTreeSet::from([reference("a")]));
        assert_eq!(
            references(&roots, &all),
            BTreeSet::from([reference("a"), reference("b"), reference("cluster/x")])
        );
    }

    #[test]
    fn arguments_of_the_user_win_and_missing_ones_are_named() {
        let query = json!({"name": "m", "provider": {"prometheus": {"query": "{{args.a}}{{args.b}}"}}});
        let template = |args: Value| [("t", json!({"metrics": [query.clone()], "args": args}))];
        let merged = step(
            &["t"],
            &[("a", "2")],
            &template(json!([{"name": "a", "value": "1"}, {"name": "b", "value": "3"}])),
        );
        let args: Vec<_> = merged
            .unwrap()
            .spec
            .args
            .unwrap()
            .into_iter()
            .map(|one| (one.name, one.value.unwrap()))
            .collect();
        assert_eq!(args, [("b".to_owned(), "3".to_owned()), ("a".to_owned(), "2".to_owned())]);
        assert_eq!(
            step(&["t"], &[("a", "2")], &template(json!([{"name": "a"}, {"name": "b"}]))).unwrap_err()[0],
            "args.b was not resolved"
        );
        assert_eq!(
            step(&["t"], &[("a", "2")], &template(json!([]))).unwrap_err(),
            ["AnalysisTemplate 't': metrics[0] is incomplete: args.b was not resolved"]
        );
        let other = json!({"metrics": [metric("n")], "args": [{"name": "a", "value": "9"}]});
        let two = [
            template(json!([{"name": "a", "value": "1"}, {"name": "b", "value": "1"}]))[0].clone(),
            ("u", other),
        ];
        assert_eq!(
            step(&["t", "u"], &[], &two).unwrap_err(),
            ["args.a has different values in two templates"]
        );
        assert!(step(&["t", "u"], &[("a", "5")], &two).is_ok());
    }

    #[test]
    fn an_argument_that_nothing_uses_is_accepted_with_advice() {
        let all = [("success-rate", json!({"metrics": [metric("m")]}))];
        let merged = step(&["success-rate"], &[("service-name", "payment-service")], &all).unwrap();
        assert_eq!(
            merged.advice,
            [Advice {
                topic: "AnalysisArgUnknown",
                message: "argument 'service-name' is not used by AnalysisTemplate 'success-rate': it declares none, \
                          so the value changes nothing that is measured"
                    .to_owned()
            }]
        );
    }

    #[test]
    fn a_step_metric_without_a_count_gets_the_fewest_measurements_in_which_it_could_have_failed() {
        let endless = json!({"metrics": [{"name": "m", "interval": "2m", "failureLimit": 3,
            "provider": {"prometheus": {"query": "up"}}}]});
        let merged = step(&["t"], &[], &[("t", endless.clone())]).unwrap();
        assert_eq!(
            merged.spec.metrics.unwrap()[0].count,
            Some(k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::Int(4))
        );
        assert_eq!(merged.advice[0].topic, "AnalysisCountDerived");
        let roots = [reference("t")];
        let usage = Usage { templates: &roots, ..Usage::default() };
        let background = merge(RunKind::Background, &usage, &templates(&[("t", endless)])).unwrap();
        assert_eq!((background.spec.metrics.unwrap()[0].count.clone(), background.advice.len()), (None, 0));
    }

    #[test]
    fn lists_of_all_templates_together_have_a_limit() {
        let metrics = |letter: &str| (0..101).map(|n| metric(&format!("{letter}{n}"))).collect::<Vec<_>>();
        let all = [("a", json!({"metrics": metrics("a")})), ("b", json!({"metrics": metrics("b")}))];
        assert!(step(&["a"], &[], &all).is_ok());
        assert_eq!(
            step(&["a", "b"], &[], &all).unwrap_err(),
            ["metrics has 202 entries; at most 200 are allowed"]
        );
    }

    #[test]
    fn a_condition_that_nobody_looks_at_is_named() {
        let job = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}}});
        let metric = json!({"name": "m", "failureCondition": "result > 1", "provider": {"job": job}});
        let merged = step(&["a"], &[], &[("a", json!({"metrics": [metric]}))]).unwrap();
        assert_eq!(
            merged.advice,
            [Advice {
                topic: "AnalysisConditionUnused",
                message: "the conditions of metric 'm' are not looked at: the end of a Job judges it"
                    .to_owned(),
            }]
        );
    }

    #[test]
    fn all_problems_of_all_templates_come_at_once_with_their_place() {
        let all = [
            (
                "a",
                json!({"metrics": [
                {"name": "m", "provider": {"plugin": {}}},
                {"name": "n", "interval": "soon", "successCondition": "result[0] >", "provider": {"prometheus": {"query": "up"}}}
            ], "dryRun": [{"metricName": "nothing"}], "measurementRetention": [{"metricName": "(", "limit": 2}]}),
            ),
            ("b", json!({"metrics": [metric("m")]})),
        ];
        let problems = step(&["a", "b"], &[], &all).unwrap_err();
        assert_eq!(
            problems,
            [
                "AnalysisTemplate 'a': metrics[0].provider.plugin is not supported; job runs any program, and web asks any server",
                "AnalysisTemplate 'a': metrics[1].interval 'soon' is not a duration such as 30s or 5m",
                "AnalysisTemplate 'a': metrics[1].successCondition is wrong: the condition 'result[0] >' is not accepted: it ends too early",
                "AnalysisTemplate 'b': metrics[0].name 'm' is the name of another metric too",
                "dryRun[0].metricName 'nothing' matches no metric",
                "measurementRetention[0].metricName '(' is not a regular expression",
            ]
        );
    }
}
