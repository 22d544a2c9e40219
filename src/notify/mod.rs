//! Notifications: which announcements about a Rollout somebody wants to hear of, and what they are sent. In the form that
//! other controllers of this API have them: triggers, templates, services and subscriptions in one `ConfigMap`, secrets in one
//! Secret, and subscriptions in annotations of Rollouts.
//!
//! An announcement that somebody has subscribed to is written into the status of its Rollout together with what it tells of,
//! and taken out once it was delivered. So none is lost, whatever crashes in between; one may be sent twice, with the same id.
//!
//! | question | room |
//! |---|---|
//! | Which triggers, templates and services are there? | `config` |
//! | Who gets what? | `subscription` |
//! | What is still to be delivered? | `outbox` |
//! | What does a template say? | `template` |
//! | What is a service sent? | `service`, one file per service |
//!
//! Absent on purpose: conditions of triggers (`when`), which the announcement itself is, and templates' access to the
//! cluster.

pub mod config;
pub mod outbox;
pub mod service;
mod subscription;
mod template;

pub use config::Config;

/// Name of the `ConfigMap`, in the controller's namespace.
pub const CONFIG_MAP: &str = "argo-rollouts-notification-configmap";
/// Name of the Secret, in the controller's namespace.
pub const SECRET: &str = "argo-rollouts-notification-secret";

/// The trigger of an announcement: `on-rollout-aborted` for the reason `RolloutAborted`.
#[must_use]
pub fn trigger(reason: &str) -> String {
    let mut name = "on".to_owned();
    for letter in reason.chars() {
        if letter.is_ascii_uppercase() {
            name.push('-');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn triggers_are_called_after_the_reasons_of_events() {
        for (reason, expected) in [
            ("RolloutCompleted", "on-rollout-completed"),
            ("AnalysisRunError", "on-analysis-run-error"),
            ("ScalingReplicaSet", "on-scaling-replica-set"),
        ] {
            assert_eq!(trigger(reason), expected);
        }
    }
}
