//! Why a pass did not get through, and what follows from it.

use thiserror::Error;

use super::store::Key;

/// The category of a pass that met a defect, beside those of [`PassError::category`].
pub(crate) const DEFECT: &str = "defect";

/// What an error calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// It passes by itself: try again, later each time.
    Retry,
    /// The decision was based on an older state; a change is on its way.
    WaitForChange,
    /// Nothing helps until a person changes something; looked at now and then.
    NeedsUser,
}

/// Why a pass did not get through.
#[derive(Debug, Error)]
pub(crate) enum PassError {
    /// The API server refused or did not answer.
    #[error("cannot {action}: {}", cause(source))]
    Api {
        /// What was attempted, on which object.
        action: String,
        #[source]
        source: Box<kube::Error>,
    },
    /// No answer in time.
    #[error("cannot {action}: no answer within {seconds} s")]
    Timeout {
        /// What was attempted, on which object.
        action: String,
        /// Seconds waited.
        seconds: u64,
    },
    /// This replica does not lead any more.
    #[error("cannot {action}: the leader lease is lost or due for renewal")]
    NotLeading {
        /// What was attempted, on which object.
        action: String,
    },
    /// An object of the name exists and is another one's.
    #[error("cannot {action}: {name} exists and does not belong to this owner")]
    NameTaken {
        /// What was attempted.
        action: String,
        /// The name.
        name: String,
    },
    /// The API server does not accept the ReplicaSet, and will not as long as nothing changes.
    #[error("{message}")]
    Refused {
        /// What it said.
        message: String,
    },
    /// The API server does not accept what the router is to be told.
    #[error("{message}")]
    RouteRefused {
        /// What it said.
        message: String,
    },
    /// An object that routes traffic is of a kind that this cluster does not serve.
    #[error("cannot write {name}: its kind is not served here")]
    NoRouter {
        /// The object.
        name: String,
    },
    /// The object is not in the state that the change was for.
    #[error("cannot {action}: it has changed since it was looked at")]
    Outdated {
        /// What was attempted, on which object.
        action: String,
    },
    /// A value cannot be turned into JSON or back.
    #[error("cannot encode {object}: {source}")]
    Encoding {
        /// Of which object.
        object: Key,
        #[source]
        source: serde_json::Error,
    },
}

impl PassError {
    /// The kind of error, for metrics and logs; from a closed set.
    pub(crate) fn category(&self) -> &'static str {
        match self {
            Self::Api { source, .. } => match code(source) {
                Some(401) => "unauthorized",
                Some(403) => "forbidden",
                Some(404) => "not_found",
                Some(409) => "conflict",
                Some(400 | 413 | 422) => "invalid",
                Some(429 | 503 | 504) => "overloaded",
                Some(_) => "server",
                None => "network",
            },
            Self::Timeout { .. } => "timeout",
            Self::NotLeading { .. } => "not_leading",
            Self::NameTaken { .. } => "name_taken",
            Self::Refused { .. } | Self::RouteRefused { .. } => "refused",
            Self::NoRouter { .. } => "no_router",
            Self::Outdated { .. } => "conflict",
            Self::Encoding { .. } => "encoding",
        }
    }

    /// Whether a write that ended like this may have been carried out nonetheless. A conflict may be one with an attempt
    /// of its own that got no answer.
    pub(crate) fn may_have_happened(&self) -> bool {
        matches!(self.category(), "network" | "timeout" | "server" | "overloaded" | "conflict")
    }

    /// What it calls for.
    pub(crate) fn class(&self) -> Class {
        match self.category() {
            "conflict" | "not_found" => Class::WaitForChange,
            "forbidden" | "invalid" | "name_taken" | "refused" | "no_router" | "encoding" => Class::NeedsUser,
            _ => Class::Retry,
        }
    }
}

/// The status code of the API server's answer; `None` without an answer.
pub(crate) fn code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// What the API server said, or why there was no answer.
fn cause(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn api(code: u16) -> PassError {
        let status = Status::failure("said so", "Reason").with_code(code).boxed();
        PassError::Api {
            action: "scale ReplicaSet a/b".to_owned(),
            source: Box::new(kube::Error::Api(status)),
        }
    }

    #[test]
    fn every_answer_has_a_category_and_calls_for_something() {
        for (code, category, class) in [
            (409, "conflict", Class::WaitForChange),
            (404, "not_found", Class::WaitForChange),
            (403, "forbidden", Class::NeedsUser),
            (422, "invalid", Class::NeedsUser),
            (429, "overloaded", Class::Retry),
            (503, "overloaded", Class::Retry),
            (500, "server", Class::Retry),
        ] {
            assert_eq!((api(code).category(), api(code).class()), (category, class), "{code}");
        }
    }

    #[test]
    fn a_message_says_what_was_attempted_and_what_was_answered() {
        assert_eq!(api(500).to_string(), "cannot scale ReplicaSet a/b: said so");
    }
}
