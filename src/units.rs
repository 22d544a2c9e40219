//! Newtypes for the quantities that must not be mixed up: time, weights, step positions, counts, revisions.
//!
//! Deliberately absent: any way to ask what time it is. `now` enters through the shell's clock alone.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A point in time in UTC. Serialised as RFC 3339 with whole seconds, as Kubernetes does; `now` keeps its milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(DateTime<Utc>);

impl Timestamp {
    /// The given number of milliseconds after 1970-01-01T00:00:00Z; clamped to the years chrono can express.
    #[must_use]
    pub fn from_millis(millis: i64) -> Self {
        Self(DateTime::from_timestamp_millis(millis).unwrap_or(DateTime::<Utc>::MAX_UTC))
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn as_millis(self) -> i64 {
        self.0.timestamp_millis()
    }

    /// The same time cut to whole seconds, which is what a status can store.
    #[must_use]
    pub fn whole_seconds(self) -> Self {
        Self::from_millis(self.as_millis().div_euclid(1000).saturating_mul(1000))
    }

    /// This time plus `duration`; saturates at the end of representable time.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        let delta = TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX);
        Self(self.0.checked_add_signed(delta).unwrap_or(DateTime::<Utc>::MAX_UTC))
    }

    /// This time minus `duration`; saturates at the beginning of representable time.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        let delta = TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX);
        Self(self.0.checked_sub_signed(delta).unwrap_or(DateTime::<Utc>::MIN_UTC))
    }

    /// How much later `self` is than `earlier`; zero when it is not later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.signed_duration_since(earlier.0).to_std().unwrap_or_default()
    }

    /// Parses RFC 3339 text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        DateTime::parse_from_rfc3339(text).ok().map(|time| Self(time.with_timezone(&Utc)))
    }
}

impl From<DateTime<Utc>> for Timestamp {
    fn from(time: DateTime<Utc>) -> Self {
        Self(time)
    }
}

impl From<&k8s_openapi::apimachinery::pkg::apis::meta::v1::Time> for Timestamp {
    fn from(time: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Time) -> Self {
        Self::from_millis(time.0.as_millisecond())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_rfc3339_opts(SecondsFormat::Secs, true))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| serde::de::Error::custom(format!("'{text}' is not an RFC 3339 time")))
    }
}

impl JsonSchema for Timestamp {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Timestamp".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "format": "date-time"})
    }
}

/// The share of traffic of one side, from 0 to a router's whole scale (100 unless `maxTrafficWeight` says otherwise).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Weight(u32);

impl Weight {
    /// No traffic at all.
    pub const ZERO: Self = Self(0);
    /// All traffic on the usual scale of 100.
    pub const FULL: Self = Self(100);

    /// A weight on a scale that ends at `max`; `None` when `value` is outside `0..=max`.
    #[must_use]
    pub fn new(value: i64, max: Self) -> Option<Self> {
        u32::try_from(value).ok().map(Self).filter(|weight| *weight <= max)
    }

    /// A weight as a router tells it.
    #[must_use]
    pub const fn observed(value: u32) -> Self {
        Self(value)
    }

    /// The rest of `scale`; zero when the weight is larger.
    #[must_use]
    pub const fn rest_of(self, scale: Self) -> Self {
        Self(scale.0.saturating_sub(self.0))
    }

    /// The number, in units of its scale.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The number as an API field stores it.
    #[must_use]
    pub fn to_status(self) -> i32 {
        i32::try_from(self.0).unwrap_or(i32::MAX)
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Position in `spec.strategy.canary.steps`, from 0; equal to the number of steps once all are done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct StepIndex(usize);

impl StepIndex {
    /// The first step.
    pub const FIRST: Self = Self(0);

    /// The position as a plain index.
    #[must_use]
    pub const fn get(self) -> usize {
        self.0
    }

    /// The position after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The position as `status.currentStepIndex` stores it.
    #[must_use]
    pub fn to_status(self) -> i32 {
        i32::try_from(self.0).unwrap_or(i32::MAX)
    }

    /// Reads `status.currentStepIndex`; a negative number or one past `len` is held at the nearest end.
    #[must_use]
    pub fn from_status(stored: i32, len: usize) -> Self {
        Self(usize::try_from(stored).unwrap_or_default().min(len))
    }
}

impl From<usize> for StepIndex {
    fn from(index: usize) -> Self {
        Self(index)
    }
}

impl fmt::Display for StepIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A number of pods; never negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReplicaCount(u32);

impl ReplicaCount {
    /// No pods.
    pub const ZERO: Self = Self(0);

    /// A count; negative input (a malformed status) counts as none.
    #[must_use]
    pub fn from_status(stored: i32) -> Self {
        Self(u32::try_from(stored).unwrap_or_default())
    }

    /// A count.
    #[must_use]
    pub const fn new(count: u32) -> Self {
        Self(count)
    }

    /// The number of pods.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The count as an API field stores it.
    #[must_use]
    pub fn to_status(self) -> i32 {
        i32::try_from(self.0).unwrap_or(i32::MAX)
    }

    /// The sum; saturates.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference; zero when `other` is larger.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl std::iter::Sum for ReplicaCount {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, Self::plus)
    }
}

impl fmt::Display for ReplicaCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The identity of a revision: value of the label `rollouts-pod-template-hash`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodHash(String);

impl PodHash {
    /// A pod hash; `None` for empty text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Option<Self> {
        let text = text.into();
        (!text.is_empty()).then_some(Self(text))
    }

    /// Stands in where a revision has no identity; matches no ReplicaSet.
    #[must_use]
    pub fn unknown() -> Self {
        Self("unknown".to_owned())
    }

    /// The label value.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PodHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The running number of a revision: annotation `rollout.argoproj.io/revision`, from 1; 0 means none yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revision(u64);

impl Revision {
    /// Reads the annotation; anything that is not a number counts as none.
    #[must_use]
    pub fn parse(annotation: Option<&str>) -> Self {
        Self(annotation.and_then(|text| text.parse().ok()).unwrap_or_default())
    }

    /// The number after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The plain number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Parses a Go duration such as `5m`, `1h30m` or `500ms`, or a bare number of seconds; `None` when it is neither, or negative.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let parsed: kube::core::Duration = text.parse().ok()?;
    (!text.is_empty() && !parsed.is_negative()).then(|| parsed.into())
}

/// Renders a duration as people write it: `5m`, `1h30m`, `45s`, `1m30s`, `500ms`.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let (seconds, millis) = (duration.as_secs(), duration.subsec_millis());
    if seconds == 0 && millis > 0 {
        return format!("{millis}ms");
    }
    let parts = [(seconds / 3600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let parts = parts.into_iter().filter(|(count, _)| *count > 0);
    let text = parts.fold(String::new(), |text, (count, unit)| format!("{text}{count}{unit}"));
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them_or_as_seconds() {
        for (text, seconds) in [("5m", 300), ("10", 10), ("1h30m", 5400), ("0s", 0), ("0", 0)] {
            assert_eq!(parse_duration(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "five", "-5m", "5 parsecs", "m"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn durations_are_written_as_people_write_them() {
        for (millis, text) in
            [(300_000, "5m"), (5_400_000, "1h30m"), (90_000, "1m30s"), (500, "500ms"), (0, "0s")]
        {
            assert_eq!(format_duration(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn a_timestamp_is_stored_in_whole_seconds() {
        let now = Timestamp::from_millis(1_700_000_000_999);
        assert_eq!(now.to_string(), "2023-11-14T22:13:20Z");
        assert_eq!(Timestamp::parse(&now.to_string()), Some(now.whole_seconds()));
    }

    #[test]
    fn a_weight_outside_its_scale_does_not_exist() {
        assert_eq!(Weight::new(101, Weight::FULL), None);
        assert_eq!(Weight::new(-1, Weight::FULL), None);
        assert_eq!(Weight::new(100, Weight::FULL), Some(Weight::FULL));
    }

    #[test]
    fn a_stored_step_index_stays_inside_the_steps() {
        assert_eq!(StepIndex::from_status(-3, 4).get(), 0);
        assert_eq!(StepIndex::from_status(9, 4).get(), 4);
    }
}
