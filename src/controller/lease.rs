//! Who may take a Lease, judged without comparing the clocks of two machines.
//!
//! A foreign Lease counts as expired when this process has seen it unchanged for as long as it says it lasts. Times in
//! the Lease are written for people; nothing here reads them.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff;
use tokio::time::Instant;

use crate::units::Timestamp;

/// What this process has seen of a Lease, and since when it has been like that.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    pub(crate) lease: Lease,
    since: Instant,
}

impl Observed {
    /// Takes in what was read at `now`; an unchanged Lease keeps its age.
    pub(crate) fn update(known: Option<Self>, lease: Lease, now: Instant) -> Self {
        let version = |lease: &Lease| lease.metadata.resource_version.clone();
        match known {
            Some(known) if version(&known.lease) == version(&lease) => known,
            _ => Self { lease, since: now },
        }
    }

    /// Who holds it; `None` when it was given back.
    pub(crate) fn holder(&self) -> Option<&str> {
        let spec = self.lease.spec.as_ref()?;
        spec.holder_identity.as_deref().filter(|holder| !holder.is_empty())
    }

    /// When it may be taken by `identity`: at once when nobody else holds it, else when it has expired.
    pub(crate) fn free_at(&self, identity: &str, usual: Duration) -> Instant {
        match self.holder() {
            None => self.since,
            Some(holder) if holder == identity => self.since,
            Some(_) => self.since + self.lasts(usual),
        }
    }

    fn lasts(&self, usual: Duration) -> Duration {
        let seconds = self.lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
        seconds.and_then(|seconds| u64::try_from(seconds).ok()).map_or(usual, Duration::from_secs)
    }
}

/// A Lease held by `identity` from `now` on: new, taken over, or renewed.
pub(crate) fn held(
    known: Option<&Lease>,
    name: &str,
    identity: &str,
    lasts: Duration,
    now: Timestamp,
) -> Lease {
    let spec = known.and_then(|lease| lease.spec.clone()).unwrap_or_default();
    let renews = spec.holder_identity.as_deref() == Some(identity);
    let transitions = spec.lease_transitions.unwrap_or_default();
    let metadata = known.map_or_else(
        || ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        |lease| lease.metadata.clone(),
    );
    Lease {
        metadata: ObjectMeta { managed_fields: None, ..metadata },
        spec: Some(LeaseSpec {
            holder_identity: Some(identity.to_owned()),
            lease_duration_seconds: Some(i32::try_from(lasts.as_secs()).unwrap_or(i32::MAX)),
            acquire_time: if renews { spec.acquire_time } else { Some(micro_time(now)) },
            renew_time: Some(micro_time(now)),
            lease_transitions: Some(if renews || known.is_none() {
                transitions
            } else {
                transitions.saturating_add(1)
            }),
            ..LeaseSpec::default()
        }),
    }
}

/// The Lease given back: the next replica takes it at once.
pub(crate) fn released(known: &Lease, now: Timestamp) -> Lease {
    let mut lease = known.clone();
    lease.metadata.managed_fields = None;
    let spec = lease.spec.get_or_insert_default();
    spec.holder_identity = Some(String::new());
    spec.lease_duration_seconds = Some(1);
    spec.renew_time = Some(micro_time(now));
    lease
}

fn micro_time(now: Timestamp) -> MicroTime {
    MicroTime(jiff::Timestamp::from_millisecond(now.as_millis()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: Duration = Duration::from_secs(15);

    fn lease(holder: &str, version: &str) -> Lease {
        let mut lease = held(None, "lock", holder, USUAL, Timestamp::from_millis(0));
        lease.metadata.resource_version = Some(version.to_owned());
        lease
    }

    #[tokio::test(start_paused = true)]
    async fn a_foreign_lease_expires_only_when_it_was_seen_unchanged_for_its_duration() {
        let start = Instant::now();
        let seen = Observed::update(None, lease("other", "1"), start);
        let later = start + Duration::from_secs(10);
        let unchanged = Observed::update(Some(seen.clone()), lease("other", "1"), later);
        assert_eq!(unchanged.free_at("me", USUAL), start + USUAL);
        let renewed = Observed::update(Some(seen), lease("other", "2"), later);
        assert_eq!(renewed.free_at("me", USUAL), later + USUAL);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_given_back_is_free_at_once() {
        let start = Instant::now();
        let lease = released(&lease("other", "1"), Timestamp::from_millis(0));
        assert_eq!(Observed::update(None, lease, start).free_at("me", USUAL), start);
    }

    #[test]
    fn a_renewal_keeps_the_time_of_acquisition_and_a_takeover_counts() {
        let first = lease("me", "1");
        let renewed = held(Some(&first), "lock", "me", USUAL, Timestamp::from_millis(5000)).spec.unwrap();
        assert_eq!(renewed.acquire_time, first.spec.as_ref().unwrap().acquire_time);
        assert_eq!(renewed.lease_transitions, Some(0));
        let taken = held(Some(&first), "lock", "other", USUAL, Timestamp::from_millis(5000)).spec.unwrap();
        assert_eq!(taken.lease_transitions, Some(1));
        assert_ne!(taken.acquire_time, first.spec.unwrap().acquire_time);
    }
}
