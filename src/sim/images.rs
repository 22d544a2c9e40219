//! What is known of an image: how its pods start, and how many requests they fail.

use std::time::Duration;

/// How long pods of an image take to become ready when a scenario does not say.
const DEFAULT_START: Duration = Duration::from_secs(3);

/// What happens to a pod after it was created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It becomes ready and stays so.
    Lasting,
    /// It runs but never becomes ready.
    Never,
    /// Its image cannot be pulled.
    PullFails,
    /// It becomes ready and crashes this long after; it is started again with growing delay.
    CrashesAfter(Duration),
}

/// How the pods of an image behave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Image {
    /// From creation to readiness.
    pub start: Duration,
    /// What happens then.
    pub readiness: Readiness,
    /// Share of its requests that fail, from 0 to 1.
    pub error_rate: f64,
}

impl Default for Image {
    fn default() -> Self {
        Self { start: DEFAULT_START, readiness: Readiness::Lasting, error_rate: 0.0 }
    }
}

/// The part of an image's name by which people tell versions apart: its tag, or the name without one.
#[must_use]
pub fn tag(image: &str) -> &str {
    image.rsplit_once(':').map_or(image, |(_, tag)| tag)
}

/// What happens to running pods from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disturbance {
    /// They are deleted, as when their node goes away.
    Delete,
    /// They stop being ready.
    Break,
    /// They become ready.
    Heal,
}
