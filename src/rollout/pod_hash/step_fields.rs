//! The layouts of a canary step and all that it contains, in the notation of `super::layout`.
//!
//! Generated from the structs in `tests/pod_hash/steps.go`, which says where their facts come from. After a change
//! there, write it anew with `go run . step-fields > ../../src/rollout/pod_hash/step_fields.rs`.

use super::layout::{Field, Kind, Layout, Presence, layouts};

layouts! {
    CANARY_STEP { setWeight: Int*, pause: PAUSE*, experiment: EXPERIMENT*, analysis: ANALYSIS*,
        setCanaryScale: SET_CANARY_SCALE*, setHeaderRoute: SET_HEADER_ROUTE*, setMirrorRoute: SET_MIRROR_ROUTE*,
        plugin: PLUGIN* }
    PAUSE { duration: IntOrString* }
    EXPERIMENT { templates: [EXPERIMENT_TEMPLATE]!, duration: Text?, analyses: [EXPERIMENT_ANALYSIS]?,
        dryRun: [METRIC_NAME]?, analysisRunMetadata: METADATA!, scaleDownDelaySeconds: Int* }
    EXPERIMENT_TEMPLATE { name: Text!, specRef: Text!, replicas: Int*, metadata: METADATA!, selector: LABEL_SELECTOR*,
        weight: Int*, service: EXPERIMENT_SERVICE* }
    METADATA { labels: {Text}?, annotations: {Text}? }
    LABEL_SELECTOR { matchLabels: {Text}?, matchExpressions: [LABEL_SELECTOR_REQUIREMENT]? }
    LABEL_SELECTOR_REQUIREMENT { key: Text!, operator: Text!, values: [Text]? }
    EXPERIMENT_SERVICE { name: Text? }
    EXPERIMENT_ANALYSIS { name: Text!, templateName: Text!, clusterScope: Bool*, args: [ARGUMENT]?,
        requiredForCompletion: Bool? }
    ARGUMENT { name: Text!, value: Text?, valueFrom: ARGUMENT_SOURCE* }
    ARGUMENT_SOURCE { podTemplateHashValue: Text*, fieldRef: PATH_REF* }
    PATH_REF { fieldPath: Text! }
    METRIC_NAME { metricName: Text! }
    ANALYSIS { templates: [ANALYSIS_TEMPLATE]?, args: [ARGUMENT]?, dryRun: [METRIC_NAME]?,
        measurementRetention: [RETENTION]?, analysisRunMetadata: METADATA* }
    ANALYSIS_TEMPLATE { templateName: Text!, clusterScope: Bool* }
    RETENTION { metricName: Text!, limit: Int! }
    SET_CANARY_SCALE { weight: Int*, replicas: Int*, matchTrafficWeight: Bool? }
    SET_HEADER_ROUTE { name: Text?, match: [HEADER_MATCH]? }
    HEADER_MATCH { headerName: Text!, headerValue: STRING_MATCH~ }
    STRING_MATCH { exact: Text?, prefix: Text?, regex: Text? }
    SET_MIRROR_ROUTE { name: Text!, match: [ROUTE_MATCH]?, percentage: Int* }
    ROUTE_MATCH { method: STRING_MATCH*, path: STRING_MATCH*, headers: {STRING_MATCH}? }
    PLUGIN { name: Text!, config: Raw? }
}
