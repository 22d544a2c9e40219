//! The layouts of a canary step, in the notation of `super::layout`.
//!
//! Fields stand in the order of the API reference and are left out when empty. Lists of weights and pauses are
//! confirmed by hashes that Argo Rollouts left on running rollouts; the order inside the other steps is not, and
//! neither is that an absent `analysisRunMetadata` is left out rather than written as `{}`.

use super::layout::{Field, Kind, Layout, Presence, layouts};

layouts! {
    CANARY_STEP {
        setWeight: Int*, pause: PAUSE*, setCanaryScale: SET_CANARY_SCALE*, setHeaderRoute: SET_HEADER_ROUTE*,
        setMirrorRoute: SET_MIRROR_ROUTE*, experiment: EXPERIMENT*, analysis: ANALYSIS*, plugin: PLUGIN*,
    }

    PAUSE { duration: IntOrString* }
    SET_CANARY_SCALE { weight: Int*, replicas: Int*, matchTrafficWeight: Bool? }

    SET_HEADER_ROUTE { name: Text?, match: [HEADER_MATCH]? }
    HEADER_MATCH { headerName: Text!, headerValue: STRING_MATCH* }
    STRING_MATCH { exact: Text?, prefix: Text?, regex: Text? }

    SET_MIRROR_ROUTE { name: Text!, percentage: Int*, match: [ROUTE_MATCH]? }
    ROUTE_MATCH { method: STRING_MATCH*, path: STRING_MATCH*, headers: {STRING_MATCH}? }

    ANALYSIS {
        templates: [ANALYSIS_TEMPLATE_REF]?, args: [ARGUMENT]?, dryRun: [METRIC_NAME]?,
        measurementRetention: [RETENTION]?, analysisRunMetadata: METADATA*,
    }
    ANALYSIS_TEMPLATE_REF { templateName: Text?, clusterScope: Bool? }
    ARGUMENT { name: Text!, value: Text*, valueFrom: ARGUMENT_SOURCE* }
    ARGUMENT_SOURCE { podTemplateHashValue: Text*, fieldRef: FIELD_REF* }
    FIELD_REF { fieldPath: Text! }
    METRIC_NAME { metricName: Text! }
    RETENTION { metricName: Text!, limit: Int! }
    METADATA { labels: {Text}?, annotations: {Text}? }

    EXPERIMENT {
        templates: [EXPERIMENT_TEMPLATE]?, duration: Text?, analyses: [EXPERIMENT_ANALYSIS]?, dryRun: [METRIC_NAME]?,
        analysisRunMetadata: METADATA*, scaleDownDelaySeconds: Int*,
    }
    EXPERIMENT_TEMPLATE {
        name: Text!, specRef: Text!, replicas: Int*, metadata: METADATA*, selector: SELECTOR*, weight: Int*,
        service: EXPERIMENT_SERVICE*,
    }
    EXPERIMENT_SERVICE { name: Text? }
    SELECTOR { matchLabels: {Text}?, matchExpressions: [REQUIREMENT]? }
    REQUIREMENT { key: Text!, operator: Text!, values: [Text]? }
    EXPERIMENT_ANALYSIS {
        name: Text!, templateName: Text!, clusterScope: Bool?, args: [ARGUMENT]?, requiredForCompletion: Bool?,
    }

    PLUGIN { name: Text!, config: Raw? }
}
