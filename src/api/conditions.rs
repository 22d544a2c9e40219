//! The condition of a status, and the closed sets of its types and reasons.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::units::Timestamp;

/// One observed aspect of an object's state.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What the condition is about, for example `Progressing`.
    pub r#type: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// When any part of the condition last changed.
    pub last_update_time: Option<Timestamp>,
    /// When `status` last changed.
    pub last_transition_time: Option<Timestamp>,
    /// One word for why the condition has its status.
    pub reason: Option<String>,
    /// A sentence for people.
    pub message: Option<String>,
}
