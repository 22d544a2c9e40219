//! Random specs: every way of splitting the traffic, with the fields that change how it is done.

use std::fmt::Write as _;

use proptest::prelude::*;

/// What splits the traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Split {
    /// Pods, by their number.
    Pods,
    /// A router.
    Router,
    /// One switch.
    BlueGreen,
}

/// A spec.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub(crate) split: Split,
    pub(crate) replicas: u32,
    pub(crate) surge: u32,
    pub(crate) unavailable: u32,
    /// The whole of the weights.
    pub(crate) scale: u32,
    /// Whether a step sizes the canary apart from its share.
    pub(crate) sizes_canary: bool,
    /// Whether the pods of an aborted version are kept for ever.
    pub(crate) keeps_aborted: bool,
    /// Percent of the pods that are enough.
    pub(crate) enough: u32,
    /// A line of the spec beside the strategy.
    beside: &'static str,
    /// Statements before the deployment.
    before: &'static str,
    files: &'static str,
    /// Lines of the strategy.
    strategy: String,
}

impl Spec {
    /// Whether Services select pods by their role's label.
    pub(crate) fn selects_by_role(&self) -> bool {
        self.files.ends_with("role-labels.yaml")
    }

    /// The statements that deploy it.
    pub(crate) fn deployed(&self) -> String {
        let Self { before, files, replicas, beside, strategy, .. } = self;
        format!(
            "{before}deployed {files} scenarios/manifests/errors.yaml\n  spec:\n    replicas: {replicas}\n    \
             progressDeadlineSeconds: 300\n{beside}    strategy:\n{strategy}"
        )
    }
}

/// A port is what Services of Experiments are made of.
const CONTAINERS: &str =
    "    template: {spec: {containers: [{name: web, image: \"web:v1\", ports: [{containerPort: 80}]}]}}\n";

fn step() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "{setWeight: 0}",
        "{setWeight: 10}",
        "{setWeight: 25}",
        "{setWeight: 50}",
        "{setWeight: 80}",
        "{setWeight: 100}",
        "{pause: {}}",
        "{pause: {duration: 1m}}",
        "{pause: {duration: 10m}}",
        "{analysis: {templates: [{templateName: errors}]}}",
    ])
}

/// Experiments without a part of the traffic; each ends by itself.
fn experiment() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "{experiment: {duration: 1m, templates: [{name: a, specRef: stable}, {name: b, specRef: canary, replicas: 2}]}}",
        "{experiment: {templates: [{name: b, specRef: canary}], \
         analyses: [{name: errors, templateName: errors, requiredForCompletion: true}]}}",
    ])
}

/// The same with a part of the traffic, of 20 at most.
fn weighted() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "{experiment: {duration: 2m, templates: \
         [{name: a, specRef: stable, weight: 5}, {name: b, specRef: canary, replicas: 2, weight: 15}]}}",
        "{experiment: {duration: 1m, scaleDownDelaySeconds: 1, templates: [{name: b, specRef: canary, weight: 20}]}}",
        "{experiment: {templates: [{name: b, specRef: canary, weight: 10}], \
         analyses: [{name: errors, templateName: errors, requiredForCompletion: true}]}}",
    ])
}

/// Whether all weights of steps have their place beside the canary's.
fn are_possible(steps: &[&str], scale: u32) -> bool {
    let mut reached = 0;
    steps.iter().all(|step| {
        let set = step.strip_prefix("{setWeight: ").and_then(|rest| rest.strip_suffix('}')?.parse().ok());
        reached = set.unwrap_or(reached);
        !step.contains("weight: ") || !step.contains("experiment") || reached + 20 <= scale
    })
}

fn sizing() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "{setCanaryScale: {replicas: 0}}",
        "{setCanaryScale: {replicas: 3}}",
        "{setCanaryScale: {weight: 50}}",
        "{setCanaryScale: {matchTrafficWeight: true}}",
    ])
}

/// One of these lines, or none of them.
fn window() -> impl Strategy<Value = &'static str> {
    one_of(&["", "    rollbackWindow: {revisions: 2}\n"])
}

fn one_of(lines: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    prop::sample::select(lines)
}

/// A canary whose pods split the traffic.
pub(crate) fn by_pods() -> impl Strategy<Value = Spec> {
    let steps = prop::collection::vec(prop_oneof![8 => step(), 1 => experiment()], 0..6);
    (1_u32..9, 0_u32..4, 0_u32..4, steps, any::<bool>(), window()).prop_map(
        |(replicas, surge, unavailable, steps, has_services, beside)| {
            let unavailable = if surge == 0 { unavailable.max(1) } else { unavailable };
            let mut strategy = format!("      canary:\n        steps: [{}]\n", steps.join(", "));
            let _ = writeln!(strategy, "        maxSurge: {surge}\n        maxUnavailable: {unavailable}");
            if has_services {
                strategy.push_str("        canaryService: web-canary\n        stableService: web-stable\n");
            }
            Spec {
                split: Split::Pods,
                replicas,
                surge,
                unavailable,
                scale: 100,
                sizes_canary: false,
                keeps_aborted: false,
                enough: 100,
                beside,
                before: "",
                files: "scenarios/manifests/web.yaml scenarios/manifests/web-services.yaml",
                strategy,
            }
        },
    )
}

fn routed() -> impl Strategy<Value = Spec> {
    let step = prop_oneof![10 => step(), 2 => sizing(), 1 => experiment(), 2 => weighted()];
    let steps = prop::collection::vec(step, 0..6);
    let lines = (
        one_of(&["", "dynamicStableScale: true", "scaleDownDelaySeconds: 0", "scaleDownDelaySeconds: 5"]),
        one_of(&["", "abortScaleDownDelaySeconds: 0", "abortScaleDownDelaySeconds: 3"]),
        one_of(&["", "", "minPodsPerReplicaSet: 2"]),
        one_of(&["", "", "", "pingPong: {pingService: web-canary, pongService: web-stable}"]),
        one_of(&["", "", "replicaProgressThreshold: {type: Percent, value: 80}"]),
        one_of(&["", "", "trafficRouting: {maxTrafficWeight: 200}"]),
        one_of(&["routed", "routed", "role-labels"]),
    );
    let before = one_of(&["", "router slow 2s\n", "router slow 30s\n"]);
    (1_u32..9, steps, lines, before, window()).prop_map(|(replicas, steps, lines, before, beside)| {
        let (stable, abort, least, pair, threshold, scale, services) = lines;
        let whole = if scale.is_empty() { 100 } else { 200 };
        let steps =
            if are_possible(&steps, whole) { steps } else { vec!["{setWeight: 10}", steps[steps.len() - 1]] };
        let mut strategy = format!("      canary:\n        steps: [{}]\n", steps.join(", "));
        for line in [stable, abort, least, pair, threshold, scale].into_iter().filter(|line| !line.is_empty())
        {
            let _ = writeln!(strategy, "        {line}");
        }
        if !pair.is_empty() {
            strategy.push_str("        canaryService: null\n        stableService: null\n");
        }
        Spec {
            split: Split::Router,
            replicas,
            surge: 0,
            unavailable: 0,
            scale: whole,
            sizes_canary: steps.iter().any(|step| step.contains("setCanaryScale")),
            keeps_aborted: abort.ends_with(" 0"),
            enough: if threshold.is_empty() { 100 } else { 80 },
            beside,
            before,
            // Services of an alternating pair have no role of their own.
            files: match services {
                "role-labels" if pair.is_empty() => "scenarios/manifests/role-labels.yaml",
                _ => "scenarios/manifests/routed.yaml",
            },
            strategy: strategy + CONTAINERS,
        }
    })
}

fn blue_green() -> impl Strategy<Value = Spec> {
    let analysis = "{templates: [{templateName: errors}]}";
    let lines = (
        one_of(&["", "previewReplicaCount: 1", "previewService: null"]),
        one_of(&[
            "autoPromotionEnabled: true",
            "autoPromotionEnabled: false",
            "autoPromotionEnabled: true\n        autoPromotionSeconds: 30",
        ]),
        one_of(&["", "pre", "post", "both"]),
        one_of(&[
            "",
            "scaleDownDelaySeconds: 0",
            "scaleDownDelaySeconds: 300\n        scaleDownDelayRevisionLimit: 1",
        ]),
        one_of(&["", "abortScaleDownDelaySeconds: 0", "abortScaleDownDelaySeconds: 3"]),
    );
    (1_u32..9, lines, window()).prop_map(move |(replicas, lines, beside)| {
        let (preview, promotion, runs, delay, abort) = lines;
        let mut strategy = "      blueGreen:\n".to_owned();
        for line in [preview, promotion, delay, abort].into_iter().filter(|line| !line.is_empty()) {
            let _ = writeln!(strategy, "        {line}");
        }
        if ["pre", "both"].contains(&runs) {
            let _ = writeln!(strategy, "        prePromotionAnalysis: {analysis}");
        }
        if ["post", "both"].contains(&runs) {
            let _ = writeln!(strategy, "        postPromotionAnalysis: {analysis}");
        }
        Spec {
            split: Split::BlueGreen,
            replicas,
            surge: 0,
            unavailable: 0,
            scale: 1,
            sizes_canary: false,
            keeps_aborted: abort.ends_with(" 0"),
            enough: 100,
            beside,
            before: "",
            files: "scenarios/manifests/bluegreen.yaml",
            strategy,
        }
    })
}

/// A spec of any kind.
pub(crate) fn specs() -> impl Strategy<Value = Spec> {
    prop_oneof![1 => by_pods(), 2 => routed(), 2 => blue_green()]
}
