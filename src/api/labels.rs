//! Every label and annotation key of the API, and the names that people and tools know them by.

/// Label and selector key that carries the identity of a revision, on ReplicaSets, pods, Services and runs.
pub const POD_TEMPLATE_HASH: &str = "rollouts-pod-template-hash";
/// Label that a Deployment puts on its own ReplicaSets and their pods.
pub const DEPLOYMENT_HASH: &str = "pod-template-hash";
/// Annotation with the running number of a revision, on Rollouts, ReplicaSets and runs.
pub const REVISION: &str = "rollout.argoproj.io/revision";
/// Annotation on a ReplicaSet: comma-separated earlier revision numbers of the same template.
pub const REVISION_HISTORY: &str = "rollout.argoproj.io/revision-history";
/// Annotation on a ReplicaSet: `spec.replicas` of the Rollout when it was last sized.
pub const DESIRED_REPLICAS: &str = "rollout.argoproj.io/desired-replicas";
/// Annotation on a ReplicaSet: RFC 3339 time after which it is scaled to zero.
pub const SCALE_DOWN_DEADLINE: &str = "scale-down-deadline";
/// Annotation on a ReplicaSet whose pod hash was computed in another way: the hash of its template as it is computed now.
pub const TEMPLATE_HASH: &str = "rollout.argoproj.io/template-hash";
/// Annotation on a ReplicaSet: what became of the last update to its revision, `promoted` or `aborted`.
pub const OUTCOME: &str = "rollout.argoproj.io/outcome";
/// Annotation on a ReplicaSet: JSON of the labels and annotations that the role of its revision puts on its pods.
pub const EPHEMERAL_METADATA: &str = "rollout.argoproj.io/ephemeral-metadata";
/// Annotation on a ReplicaSet: JSON of the values of its template that the role's hide, so that they can come back.
pub const EPHEMERAL_METADATA_HIDDEN: &str = "rollout.argoproj.io/ephemeral-metadata-hidden";
/// Annotation on a ReplicaSet while its pods may still carry what an earlier role put on them: JSON of what becomes of it.
pub const EPHEMERAL_METADATA_PENDING: &str = "rollout.argoproj.io/ephemeral-metadata-pending";
/// Annotation on a Rollout and its ReplicaSets: generation of the workload that the pod template comes from.
pub const WORKLOAD_GENERATION: &str = "rollout.argoproj.io/workload-generation";
/// Annotation on a Deployment that a Rollout refers to: the size it was last scaled down to, or `done`.
pub const WORKLOAD_SCALED_DOWN: &str = "rollout.argoproj.io/workload-scaled-down";
/// Annotation of a router's object that is a copy: the keys of the labels that it has of its original.
pub const COPIED_LABELS: &str = "rollout.argoproj.io/copied-labels";
/// Annotation of a Rollout: the cookie that keeps users on the canary, `NAME` or `NAME; Max-Age=SECONDS`.
pub const SESSION_COOKIE: &str = "rollout.argoproj.io/session-cookie";
/// Annotation of a Rollout: what health it reports at the pauses of its steps, `Suspended` (the default) or `Healthy`.
pub const HEALTH_AT_PAUSES: &str = "rollout.argoproj.io/health-at-pauses";
/// Annotation of Rollouts: what the write-back to Git made of the newest abort, as JSON.
pub const GIT_WRITE_BACK: &str = "rollout.argoproj.io/git-write-back";
/// Annotation of a Rollout: `true` where pods carry the labels [`STABLE_ROLE`] and [`CANARY_ROLE`], `false` (the default) where not.
pub const ROLE_LABELS: &str = "rollout.argoproj.io/role-labels";
/// Label of the pods that the stable Service is to select: the Rollout's name.
pub const STABLE_ROLE: &str = "rollout.argoproj.io/stable";
/// Label of the pods that the canary's Service is to select: the Rollout's name.
pub const CANARY_ROLE: &str = "rollout.argoproj.io/canary";
/// Label that shards objects over controllers (`--instance-id`).
pub const INSTANCE_ID: &str = "argo-rollouts.argoproj.io/controller-instance-id";
/// Label on an AnalysisRun: `Step`, `Background`, `PrePromotion` or `PostPromotion`.
pub const ROLLOUT_TYPE: &str = "rollout-type";
/// Label on an AnalysisRun or an Experiment of a step: its index.
pub const STEP_INDEX: &str = "step-index";
/// Annotation that kubectl writes; never copied to generated objects.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Annotation prefix of a notification's memory; never copied to generated objects.
pub const NOTIFIED_PREFIX: &str = "notified.notifications.argoproj.io";
/// Annotation on a Service: name of the Rollout that switches its selector.
pub const MANAGED_BY: &str = "argo-rollouts.argoproj.io/managed-by-rollouts";
/// Annotation on what an Experiment makes: the Experiment's name.
pub const EXPERIMENT_NAME: &str = "experiment.argoproj.io/name";
/// Annotation on what an Experiment makes of a template: the template's name.
pub const EXPERIMENT_TEMPLATE_NAME: &str = "experiment.argoproj.io/template-name";
/// Annotation on an Experiment of a step: the hash of the step.
pub const EXPERIMENT_STEP: &str = "rollout.argoproj.io/experiment-step";
