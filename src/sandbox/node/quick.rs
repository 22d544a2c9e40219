//! A workload without a process behind it: the image's tag says what the pods do.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;

use super::plan::{Outcome, PodPlan, Workload};

/// First address of the pods; nothing listens there.
const FIRST_ADDRESS: u32 = u32::from_be_bytes([10, 244, 0, 1]);
/// Addresses that are given out before they start over; more than pods fit on the node.
const ADDRESSES: u32 = 200_000;
/// From the start of a container whose tag says `crash` until it ends.
const CRASHES_AFTER: Duration = Duration::from_millis(200);

/// Pods that only show a status. The tag of the first container's image, split at `-`, `.` and `_`, decides:
///
/// | word in the tag | the pod |
/// |---|---|
/// | `slow-<ms>` | is ready after that many milliseconds |
/// | `crash` | crashes 200 ms after every start, before it is ready |
/// | `never` | runs and never becomes ready |
/// | `badimage` | stays `Pending` in `ImagePullBackOff` |
/// | `exit-<code>` | ends with that code when it would be ready, as a Job's pod does |
/// | none of them | is ready after the usual delay |
#[derive(Debug)]
pub struct QuickWorkload {
    ready_after: Duration,
    addresses: Mutex<Addresses>,
}

#[derive(Debug, Default)]
struct Addresses {
    next: u32,
    by_uid: BTreeMap<String, IpAddr>,
}

impl Default for QuickWorkload {
    /// Pods are ready after one second.
    fn default() -> Self {
        Self::ready_after(Duration::from_secs(1))
    }
}

impl QuickWorkload {
    /// A workload whose pods are ready after `delay` unless their tag says otherwise.
    #[must_use]
    pub fn ready_after(delay: Duration) -> Self {
        Self { ready_after: delay, addresses: Mutex::default() }
    }

    fn address(&self, uid: &str) -> IpAddr {
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(address) = addresses.by_uid.get(uid) {
            return *address;
        }
        let address = IpAddr::V4(Ipv4Addr::from(FIRST_ADDRESS + addresses.next % ADDRESSES));
        addresses.next = addresses.next.wrapping_add(1);
        addresses.by_uid.insert(uid.to_owned(), address);
        address
    }
}

impl Workload for QuickWorkload {
    async fn start(&self, pod: &Pod) -> PodPlan {
        let image =
            pod.spec.as_ref().and_then(|spec| spec.containers.first()).and_then(|main| main.image.as_deref());
        let address = self.address(pod.metadata.uid.as_deref().unwrap_or_default());
        plan(tag(image.unwrap_or_default()), address, self.ready_after)
    }

    fn stop(&self, uid: &str) {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner).by_uid.remove(uid);
    }
}

/// The tag of an image reference; empty when it has none.
fn tag(image: &str) -> &str {
    let name = image.rsplit('/').next().unwrap_or_default();
    let name = name.split('@').next().unwrap_or_default();
    name.split_once(':').map_or("", |(_, tag)| tag)
}

fn plan(tag: &str, ip: IpAddr, usual: Duration) -> PodPlan {
    let words: Vec<&str> = tag.split(['-', '.', '_']).collect();
    let has = |word: &str| words.contains(&word);
    let number_after = |word: &str| {
        words.windows(2).find_map(|pair| match pair {
            [first, second] if *first == word => second.parse::<u64>().ok(),
            _ => None,
        })
    };
    let ready_after = number_after("slow").map_or(usual, Duration::from_millis);
    let exit_code = number_after("exit").and_then(|code| i32::try_from(code).ok());
    let outcome = if has("badimage") {
        Outcome::ImagePullBackOff
    } else if has("never") {
        Outcome::NeverReady
    } else if has("crash") {
        return PodPlan { outcome: Outcome::crashes(CRASHES_AFTER), ..PodPlan::serving(ip, CRASHES_AFTER) };
    } else if let Some(code) = exit_code {
        Outcome::Exits { after: ready_after, code, restarts: u32::MAX }
    } else {
        Outcome::Serves
    };
    PodPlan { outcome, ..PodPlan::serving(ip, ready_after) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: Duration = Duration::from_secs(1);

    fn check(image: &str, ready_after: Duration, outcome: Outcome) {
        let ip = IpAddr::V4(Ipv4Addr::new(10, 244, 0, 1));
        let expected = PodPlan { outcome, ..PodPlan::serving(ip, ready_after) };
        assert_eq!(plan(tag(image), ip, USUAL), expected, "{image}");
    }

    #[test]
    fn the_tag_decides_what_a_pod_does() {
        check("app:v1", USUAL, Outcome::Serves);
        check("app", USUAL, Outcome::Serves);
        check("registry:5000/app", USUAL, Outcome::Serves);
        check("registry:5000/team/app:v1-slow-40", Duration::from_millis(40), Outcome::Serves);
        check("app:slow", USUAL, Outcome::Serves);
        check("app:v2-crash", CRASHES_AFTER, Outcome::crashes(CRASHES_AFTER));
        check("app:v2-never@sha256:0123", USUAL, Outcome::NeverReady);
        check("app:never-slow-7", Duration::from_millis(7), Outcome::NeverReady);
        check("app:badimage", USUAL, Outcome::ImagePullBackOff);
        check(
            "job:exit-3.slow-5",
            Duration::from_millis(5),
            Outcome::Exits { after: Duration::from_millis(5), code: 3, restarts: u32::MAX },
        );
        check("app:crashing", USUAL, Outcome::Serves);
    }

    #[test]
    fn every_pod_has_an_address_of_its_own_and_keeps_it() {
        let workload = QuickWorkload::default();
        let first = workload.address("a");
        assert_eq!(first.to_string(), "10.244.0.1");
        assert_eq!(workload.address("b").to_string(), "10.244.0.2");
        assert_eq!(workload.address("a"), first);
        workload.stop("a");
        assert_eq!(workload.address("c").to_string(), "10.244.0.3");
    }
}
