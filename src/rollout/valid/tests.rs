//! Every rule of a spec, with the field and the words by which it is refused.

use serde_json::{Value, json};

use super::{Step, parse};
use crate::rollout::snapshot::Service;
use crate::rollout::tests::Bench;

const CANARY: &str = "spec.strategy.canary";
const ROUTING: &str = "spec.strategy.canary.trafficRouting";

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                if value.is_null() {
                    into.remove(key);
                } else {
                    merge(into.entry(key.clone()).or_insert(Value::Null), value);
                }
            }
        }
        (into, from) => *into = from.clone(),
    }
}

/// The problems of a legal spec with `change` merged into it. There are Services `stable`, `canary`, `active`, one of another
/// Rollout and one of other pods.
fn problems(change: &Value) -> Vec<String> {
    let mut snapshot = Bench::new(4, &json!([])).snapshot;
    let mut spec = serde_json::to_value(&snapshot.rollout.spec).unwrap();
    merge(&mut spec, change);
    snapshot.rollout.spec = serde_json::from_value(spec).unwrap();
    let service = |label: &str, managed_by: Option<&str>| Service {
        selector: [("app".to_owned(), label.to_owned())].into(),
        managed_by: managed_by.map(str::to_owned),
        ports: vec![80],
    };
    snapshot.services =
        ["stable", "canary", "active"].map(|name| (name.to_owned(), service("api", None))).into();
    snapshot.services.insert("others".to_owned(), service("api", Some("other")));
    snapshot.services.insert("elsewhere".to_owned(), service("db", None));
    snapshot.settings.router_plugins.insert("simulated".to_owned());
    parse(&snapshot).problems.iter().map(ToString::to_string).collect()
}

/// A canary with a router.
fn routed(change: &Value) -> Value {
    let mut canary = json!({
        "canaryService": "canary", "stableService": "stable", "trafficRouting": {"plugins": {"simulated": {}}},
    });
    merge(&mut canary, change);
    json!({"strategy": {"canary": canary}})
}

fn canary(change: &Value) -> Value {
    json!({"strategy": {"canary": change}})
}

fn blue_green(change: &Value) -> Value {
    let mut strategy = json!({"activeService": "active"});
    merge(&mut strategy, change);
    json!({"strategy": {"canary": null, "blueGreen": strategy}})
}

fn refused(changes: &[(Value, &str, &str)]) {
    let mut wrong = Vec::new();
    for (change, field, words) in changes {
        let found = problems(change);
        let is_it = |problem: &&String| problem.starts_with(&format!("{field}: ")) && problem.contains(words);
        if !found.iter().any(|problem| is_it(&problem)) {
            wrong.push(format!("{change}\n  expected {field}: ..{words}..\n  but was {found:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_legal_spec_has_no_problem() {
    for change in [json!({}), routed(&json!({})), blue_green(&json!({}))] {
        assert_eq!(problems(&change), Vec::<String>::new(), "{change}");
    }
}

#[test]
fn whatever_both_strategies_share_is_refused_by_its_field() {
    refused(&[
        (json!({"selector": null}), "spec.selector", "missing"),
        (json!({"selector": {"matchLabels": null}}), "spec.selector", "is empty"),
        (
            json!({"selector": {"matchExpressions": [{"key": "app", "operator": "Like"}]}}),
            "spec.selector.matchExpressions[0]",
            "In or NotIn with values",
        ),
        (
            json!({"selector": {"matchLabels": {"app": "db"}}}),
            "spec.template.metadata.labels",
            "does not match",
        ),
        (json!({"template": null}), "spec.template", "is missing"),
        (json!({"template": {"spec": {"containers": []}}}), "spec.template.spec.containers", "is missing"),
        (
            json!({"template": {"spec": {"containers": [{"name": "main"}]}}}),
            "spec.template.spec.containers[0].image",
            "is missing",
        ),
        (json!({"replicas": -1}), "spec.replicas", "0 or more"),
        (json!({"minReadySeconds": -1}), "spec.minReadySeconds", "0 or more"),
        (json!({"revisionHistoryLimit": -1}), "spec.revisionHistoryLimit", "0 or more"),
        (json!({"progressDeadlineSeconds": -1}), "spec.progressDeadlineSeconds", "0 or more"),
        (
            json!({"progressDeadlineSeconds": 10, "minReadySeconds": 10}),
            "spec.progressDeadlineSeconds",
            "must be greater than minReadySeconds",
        ),
        (json!({"strategy": {"canary": null}}), "spec.strategy", "Rollout has missing field"),
        (
            json!({"strategy": {"blueGreen": {"activeService": "active"}}}),
            "spec.strategy",
            "Multiple Strategies can not be listed",
        ),
    ]);
}

#[test]
fn a_step_is_refused_by_its_index() {
    let step = |step: Value| canary(&json!({"steps": [{"pause": {}}, step]}));
    let field = "spec.strategy.canary.steps[1]";
    refused(&[
        (step(json!({})), field, "is empty"),
        (step(json!({"setWeight": 20, "pause": {}})), field, "sets several fields"),
        (step(json!({"setWeight": 101})), "spec.strategy.canary.steps[1].setWeight", "between 0 and 100"),
        (step(json!({"setWeight": -1})), "spec.strategy.canary.steps[1].setWeight", "between 0 and 100"),
        (
            step(json!({"pause": {"duration": "soon"}})),
            "spec.strategy.canary.steps[1].pause.duration",
            "Duration needs to be greater than 0",
        ),
        (
            step(json!({"pause": {"duration": -5}})),
            "spec.strategy.canary.steps[1].pause.duration",
            "Duration needs to be greater than 0",
        ),
        (
            step(json!({"setCanaryScale": {"replicas": 1}})),
            "spec.strategy.canary.steps[1].setCanaryScale",
            "requires TrafficRouting",
        ),
        (
            routed(&json!({"steps": [{"setCanaryScale": {"replicas": 1, "weight": 10}}]})),
            "spec.strategy.canary.steps[0].setCanaryScale",
            "needs exactly one of",
        ),
    ]);
}

#[test]
fn a_canary_is_refused_by_its_field() {
    let field = |name: &'static str| format!("{CANARY}.{name}");
    refused(&[
        (canary(&json!({"maxSurge": 0, "maxUnavailable": 0})), &field("maxSurge"), "can not be zero"),
        (canary(&json!({"maxSurge": "many"})), &field("maxSurge"), "a percent"),
        (
            canary(&json!({"scaleDownDelaySeconds": 5})),
            &field("scaleDownDelaySeconds"),
            "with traffic routing",
        ),
        (canary(&json!({"dynamicStableScale": true})), &field("dynamicStableScale"), "with traffic routing"),
        (
            canary(&json!({"stableService": "stable", "canaryService": "stable"})),
            &field("stableService"),
            "two different services",
        ),
        (canary(&json!({"stableService": "nowhere"})), &field("stableService"), "not found"),
        (canary(&json!({"stableService": "elsewhere"})), &field("stableService"), "unmatch label"),
        (canary(&json!({"stableService": "others"})), &field("stableService"), "managed by another Rollout"),
        (
            routed(&json!({"dynamicStableScale": true, "scaleDownDelaySeconds": 5})),
            &field("scaleDownDelaySeconds"),
            "dynamicStableScale cannot be used",
        ),
        (routed(&json!({"minPodsPerReplicaSet": -1})), &field("minPodsPerReplicaSet"), "0 or more"),
        (
            routed(&json!({"pingPong": {"pingService": "canary", "pongService": "canary"}})),
            &field("pingPong"),
            "two different services",
        ),
        (
            routed(&json!({"pingPong": {"pingService": "canary", "pongService": ""}})),
            &field("pingPong"),
            "must to be set to use Ping-Pong",
        ),
        (
            routed(&json!({"pingPong": {"pingService": "active", "pongService": "stable"}})),
            &field("pingPong"),
            "service `stable` is the stableService, too",
        ),
    ]);
}

#[test]
fn a_router_is_refused_by_its_field() {
    let field = |name: &'static str| format!("{ROUTING}.{name}");
    refused(&[
        (routed(&json!({"canaryService": null})), ROUTING, "Canary service and Stable service must"),
        (routed(&json!({"trafficRouting": {"plugins": null}})), ROUTING, "names no router"),
        (
            routed(&json!({"trafficRouting": {"plugins": {"who/knows": {}}}})),
            &field("plugins.who/knows"),
            "is no router that this controller knows",
        ),
        (
            routed(&json!({
                "trafficRouting": {
                    "maxTrafficWeight": 2_000_000, "plugins": {"argoproj-labs/gatewayAPI": {"httpRoute": "web"}},
                },
                "pingPong": {"pingService": "canary", "pongService": "stable"},
            })),
            &field("maxTrafficWeight"),
            "1000000 or less with plugins.argoproj-labs/gatewayAPI",
        ),
        (
            routed(&json!({"trafficRouting": {"smi": {"rootService": "canary"}}})),
            &field("smi.rootService"),
            "Service \"canary\" is the canary's own",
        ),
        (
            routed(&json!({"trafficRouting": {"smi": {"rootService": "root"}}})),
            &field("smi.rootService"),
            "Service \"root\" not found",
        ),
        (
            routed(&json!({"trafficRouting": {"maxTrafficWeight": 0}})),
            &field("maxTrafficWeight"),
            "must be greater than 0",
        ),
        (
            routed(
                &json!({"trafficRouting": {"maxTrafficWeight": 2_000_000, "nginx": {"stableIngress": "web"}}}),
            ),
            &field("maxTrafficWeight"),
            "1000000 or less with nginx",
        ),
        (
            routed(&json!({
                "trafficRouting": {"nginx": {"stableIngress": "web"}},
                "pingPong": {"pingService": "canary", "pongService": "stable"},
            })),
            "spec.strategy.canary.pingPong",
            "does not work with nginx",
        ),
    ]);
}

#[test]
fn a_route_for_some_requests_is_refused_by_its_field() {
    let header = |name: &str, value: Value| json!({"name": name, "match": [{"headerName": "x", "headerValue": value}]});
    let step = |step: Value| {
        let routing = json!({"managedRoutes": [{"name": "testers"}]});
        routed(&json!({"steps": [step], "trafficRouting": routing}))
    };
    let field = |name: &'static str| format!("spec.strategy.canary.steps[0].{name}");
    let exact = json!({"exact": "1"});
    refused(&[
        (
            canary(&json!({"steps": [{"setHeaderRoute": header("testers", exact.clone())}]})),
            &field("setHeaderRoute"),
            "requires TrafficRouting",
        ),
        (
            step(json!({"setHeaderRoute": header("nobody", exact.clone())})),
            &field("setHeaderRoute.name"),
            "does not exist in spec.strategy.canary.trafficRouting.managedRoutes",
        ),
        (
            step(json!({"setHeaderRoute": header("testers", json!({"exact": "1", "prefix": "1"}))})),
            &field("setHeaderRoute.match[0].headerValue"),
            "exactly one of",
        ),
        (
            step(
                json!({"setMirrorRoute": {"name": "testers", "percentage": 101, "match": [{"method": {"exact": "GET"}}]}}),
            ),
            &field("setMirrorRoute.percentage"),
            "from 0 to 100",
        ),
        (
            routed(&json!({
                "steps": [{"setHeaderRoute": header("testers", exact)}],
                "trafficRouting": {"managedRoutes": [{"name": "testers"}], "nginx": {"stableIngress": "web"}},
            })),
            &field("setHeaderRoute"),
            "does not work with nginx",
        ),
        (
            routed(&json!({
                "steps": [{"setHeaderRoute": header("testers", json!({"prefix": "1"}))}],
                "trafficRouting": {"managedRoutes": [{"name": "testers"}], "alb": {"ingress": "web", "servicePort": 80}},
            })),
            &field("setHeaderRoute.match[0].headerValue"),
            "ALB supports 'exact' value only",
        ),
        (
            routed(&json!({
                "steps": [{"setMirrorRoute": {"name": "testers", "match": [{"method": {"exact": "GET"}}]}}],
                "trafficRouting": {"managedRoutes": [{"name": "testers"}], "alb": {"ingress": "web", "servicePort": 80}},
            })),
            &field("setMirrorRoute"),
            "does not work with alb",
        ),
        (
            routed(&json!({"trafficRouting": {"managedRoutes": [{"name": "a"}, {"name": "a"}]}})),
            "spec.strategy.canary.trafficRouting.managedRoutes[1].name",
            "is there twice",
        ),
    ]);
}

#[test]
fn a_blue_green_update_is_refused_by_its_field() {
    let field = |name: &'static str| format!("spec.strategy.blueGreen.{name}");
    refused(&[
        (blue_green(&json!({"activeService": ""})), &field("activeService"), "is missing"),
        (
            blue_green(&json!({"previewService": "active"})),
            &field("previewService"),
            "two different services",
        ),
        (
            blue_green(&json!({"scaleDownDelayRevisionLimit": 20})),
            &field("scaleDownDelayRevisionLimit"),
            "can not be smaller",
        ),
        (blue_green(&json!({"previewReplicaCount": -1})), &field("previewReplicaCount"), "0 or more"),
    ]);
}

#[test]
fn all_problems_of_a_spec_are_told_at_once() {
    let change = json!({"replicas": -1, "strategy": {"canary": {"steps": [{}, {"setWeight": 101}]}}});
    assert_eq!(problems(&change).len(), 3, "{:#?}", problems(&change));
}

/// A canary whose only step is an experiment of one template, with `change` merged into the step.
fn experiment(change: &Value) -> Value {
    let mut step = json!({
        "templates": [{"name": "a", "specRef": "canary"}],
        "analyses": [{"name": "x", "templateName": "success-rate"}],
    });
    merge(&mut step, change);
    canary(&json!({"steps": [{"experiment": step}]}))
}

/// The same with one template.
fn experiment_of(template: &Value) -> Value {
    let mut whole = json!({"name": "a", "specRef": "canary"});
    merge(&mut whole, template);
    experiment(&json!({"templates": [whole]}))
}

/// The same with one analysis.
fn judged_by(analysis: &Value) -> Value {
    experiment(&json!({"analyses": [analysis]}))
}

/// As `refused`, with fields below the step.
fn refused_at_step(cases: &[(Value, &str, &str)]) {
    for (change, path, words) in cases {
        refused(&[(change.clone(), &format!("{CANARY}.steps[0].experiment.{path}"), words)]);
    }
}

#[test]
fn an_experiment_step_names_templates_and_analyses_that_can_be_made() {
    let template = |template: Value| experiment_of(&template);
    let analysis = |analysis: Value| judged_by(&analysis);
    let twice = json!([{"name": "a", "specRef": "canary"}, {"name": "a", "specRef": "stable"}]);
    let cases = [
        (experiment(&json!({"templates": []})), "templates", "is empty"),
        (experiment(&json!({"templates": twice})), "templates[1].name", "'a' is the name of another one too"),
        (experiment(&json!({"duration": "soon"})), "duration", "is not a time"),
        (experiment(&json!({"scaleDownDelaySeconds": -1})), "scaleDownDelaySeconds", "must be 0 or more"),
        (template(json!({"name": ""})), "templates[0].name", "is missing"),
        (template(json!({"specRef": "preview"})), "templates[0].specRef", "canary or stable, not 'preview'"),
        (template(json!({"replicas": -1})), "templates[0].replicas", "must be 0 or more"),
        (template(json!({"service": {}})), "templates[0].service", "name at least one containerPort"),
        (template(json!({"selector": {}})), "templates[0].selector", "is empty"),
        (
            template(json!({"selector": {"matchLabels": {"app": "other"}}})),
            "templates[0].selector",
            "matches none of the template's labels",
        ),
        (
            template(json!({"weight": 10})),
            "templates[0].weight",
            "Experiment template weight cannot be set unless TrafficRouting is enabled",
        ),
        (
            analysis(json!({"name": "x", "templateName": "no"})),
            "analyses[0]",
            "AnalysisTemplate 'no' not found",
        ),
        (analysis(json!({"name": "", "templateName": "success-rate"})), "analyses[0].name", "is missing"),
        (
            analysis(
                json!({"name": "x", "templateName": "success-rate", "args": [{"name": "a", "valueFrom": {}}]}),
            ),
            "analyses[0].args[0]",
            "valueFrom needs one of",
        ),
        (
            experiment(&json!({"dryRun": [{"metricName": "none"}]})),
            "dryRun[0].metricName",
            "'none' matches no metric of any analysis",
        ),
    ];
    refused_at_step(&cases);
    let overlaid =
        json!({"templates": [{"name": "a", "specRef": "stable", "metadata": {"labels": {"app": "x"}}}]});
    for legal in [experiment(&json!({})), experiment(&overlaid)] {
        assert_eq!(problems(&legal), Vec::<String>::new(), "{legal}");
    }
}

#[test]
fn what_an_experiment_could_not_make_is_told_before_the_step_is_reached() {
    let template = |template: Value| experiment_of(&template);
    let analysis = |analysis: Value| judged_by(&analysis);
    let same_service = json!([
        {"name": "a", "specRef": "stable", "service": {"name": "try"}},
        {"name": "b", "specRef": "stable", "service": {"name": "try"}},
    ]);
    // At revision 1 it would do.
    let long = json!([{"name": "l".repeat(42), "specRef": "stable", "service": {}}]);
    let tagged = |value: &str| {
        let args = json!([{"name": "address", "value": value}]);
        analysis(json!({"name": "x", "templateName": "success-rate", "args": args}))
    };
    refused_at_step(&[
        (
            template(json!({"name": "A_b"})),
            "templates[0].name",
            "'A_b' becomes part of the name of an object",
        ),
        (template(json!({"name": "A".repeat(2)})), "templates[0].name", "lower-case letters"),
        (
            template(json!({"service": {"name": "Shop"}})),
            "templates[0].service.name",
            "a Service cannot be called 'Shop'",
        ),
        (
            template(json!({"name": "long".repeat(12), "service": {}})),
            "templates[0].service.name",
            "a Service cannot be called 'api-",
        ),
        (
            template(json!({"service": {"name": "canary"}})),
            "templates[0].service.name",
            "'canary' is a Service that this Rollout names itself",
        ),
        (
            experiment(&json!({"templates": same_service})),
            "templates[1].service.name",
            "the Service of another",
        ),
        (experiment(&json!({"templates": long})), "templates[0].service.name", "-999-99-9-"),
        (
            experiment(&json!({"templates": same_service, "scaleDownDelaySeconds": 600})),
            "scaleDownDelaySeconds",
            "must be less than progressDeadlineSeconds (600)",
        ),
        (experiment(&json!({"duration": "0s"})), "duration", "must be more than 0"),
        (
            analysis(json!({"name": "a b", "templateName": "success-rate"})),
            "analyses[0].name",
            "'a b' becomes",
        ),
        (
            tagged("{{templates.b.podTemplateHash}}"),
            "analyses[0].args[0].value",
            "known are experiment.availableAt",
        ),
        (tagged("{{experiment.finishedAt}}"), "analyses[0].args[0].value", "has no value: set"),
    ]);
    let tags = "{{templates.a.podTemplateHash}} {{templates.a.replicaset.name}} {{experiment.availableAt}} {{other}}";
    assert_eq!(problems(&tagged(tags)), Vec::<String>::new());
}

#[test]
fn who_asks_in_an_experiment_for_the_hash_of_a_version_is_told_whose_it_is() {
    let mut snapshot = Bench::new(4, &json!([])).snapshot;
    let mut spec = serde_json::to_value(&snapshot.rollout.spec).unwrap();
    let args = json!([{"name": "address", "valueFrom": {"podTemplateHashValue": "Latest"}}]);
    let change = json!({"analyses": [{"name": "x", "templateName": "success-rate", "args": args}]});
    merge(&mut spec, &experiment(&change));
    snapshot.rollout.spec = serde_json::from_value(spec).unwrap();
    let steps = parse(&snapshot).spec.steps;
    let Some(Step::Experiment(step)) = steps.first() else { panic!("{steps:?}") };
    let told = step.advice.iter().find(|advice| advice.topic == "ExperimentArgOfRollout").unwrap();
    assert!(
        told.message
            .contains("analyses[0].args[0]: podTemplateHashValue is the hash of the Rollout's own pods")
    );
    assert!(told.message.ends_with("{{templates.NAME.podTemplateHash}}"), "{}", told.message);
}

#[test]
fn weights_of_an_experiment_need_a_router_that_has_room_for_them() {
    let field = format!("{CANARY}.steps[1].experiment");
    let case = |routing: Value, weight: i32, delay: Option<i32>| {
        let templates = json!([{"name": "a", "specRef": "stable", "weight": weight}]);
        let experiment = json!({"templates": templates, "scaleDownDelaySeconds": delay});
        let mut spec = routed(&json!({
            "trafficRouting": routing, "steps": [{"setWeight": 60}, {"experiment": experiment}],
        }));
        let containers = json!([{"name": "web", "image": "web:v1", "ports": [{"containerPort": 80}]}]);
        spec["template"] = json!({"spec": {"containers": containers}});
        spec
    };
    let smi = json!({"plugins": null, "smi": {}});
    let subsets = json!({"plugins": null, "istio": {
        "virtualService": {"name": "web"},
        "destinationRule": {"name": "web", "canarySubsetName": "c", "stableSubsetName": "s"},
    }});
    let nginx = json!({"plugins": null, "nginx": {"stableIngress": "web"}});
    let weight = format!("{field}.templates[0].weight");
    let mut without_pods = case(smi.clone(), 10, None);
    without_pods["strategy"]["canary"]["steps"][1]["experiment"]["templates"][0]["replicas"] = json!(0);
    let mut elsewhere = case(smi.clone(), 10, None);
    elsewhere["template"]["spec"]["containers"][0]["ports"][0]["containerPort"] = json!(8080);
    refused(&[
        (elsewhere, &format!("{field}.templates"), "add containerPort 80, or leave the weights out"),
        (case(nginx, 10, None), &weight, "only available for TrafficRouting with SMI, ALB and Istio"),
        (case(smi.clone(), 101, None), &weight, "between 0 and 100, not 101"),
        (case(smi.clone(), 41, None), &format!("{field}.templates"), "come to 101 with the canary's 60"),
        (without_pods, &format!("{field}.templates[0].replicas"), "must be more than 0 beside a weight"),
        (case(smi.clone(), 40, Some(0)), &format!("{field}.scaleDownDelaySeconds"), "must be more than 0"),
    ]);
    for router in [smi, subsets] {
        assert_eq!(problems(&case(router, 40, None)), Vec::<String>::new());
    }
}
