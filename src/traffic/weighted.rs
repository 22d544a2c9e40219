//! Lists of backends with a weight each, as several routers have them: which share two Services have of what both have.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::route::{at, set};
use super::{ObservedTraffic, Subject, TrafficTarget};
use crate::units::Weight;

/// The largest whole that is known to work with every router: proxies count in 32 bits.
pub(super) const LARGEST_WEIGHT: u32 = 1_000_000;

/// The weights of one list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Split {
    /// What the two Services have.
    pub(super) pair: [u64; 2],
    /// What all others have together.
    pub(super) others: u64,
}

impl Split {
    /// What backends have, by the name and the weight of each.
    pub(super) fn of<'v>(backends: impl IntoIterator<Item = (&'v str, u64)>, names: [&str; 2]) -> Self {
        let ([one, other], [mut of_one, mut of_other, mut others]) = (names, [0_u64; 3]);
        for (name, weight) in backends {
            let sum = match name {
                name if name == one => &mut of_one,
                name if name == other => &mut of_other,
                _ => &mut others,
            };
            *sum = sum.saturating_add(weight);
        }
        Self { pair: [of_one, of_other], others }
    }

    /// The same where what Experiments have counts as stable's, at whose cost they have it.
    pub(super) fn with_experiments(self, experiments: &BTreeMap<String, u32>) -> Self {
        let sum = experiments.values().map(|weight| u64::from(*weight)).fold(0, u64::saturating_add);
        let [canary, stable] = self.pair;
        Self { pair: [canary, stable.saturating_add(sum)], ..self }
    }

    /// The two shares on a scale; `None` where they are none.
    ///
    /// Weights on another scale count in proportion, as long as nobody else gets a share: then their sum matters, too. A
    /// share that is not nothing stays so, however small: there are requests in it.
    pub(super) fn shares(self, scale: Weight) -> Option<[u32; 2]> {
        let [one, other] = self.pair;
        let (whole, scale) = (u128::from(one) + u128::from(other), u128::from(scale.get()));
        if whole == 0 || scale == 0 || (self.others > 0 && whole != scale) {
            return None;
        }
        let share = (u128::from(one) * scale).div_ceil(whole);
        let most = if other > 0 { (scale - 1).max(1) } else { scale };
        let share = u32::try_from(share.min(most)).ok()?;
        Some([share, u32::try_from(scale).ok()?.checked_sub(share)?])
    }

    /// The two shares on a scale where stable's holds what others have, too; `None` where the weights are no such split.
    pub(super) fn shares_of_whole(self, scale: Weight) -> Option<[u32; 2]> {
        if self.others == 0 {
            return self.shares(scale);
        }
        let ([canary, stable], whole) = (self.pair, u64::from(scale.get()));
        let sum = canary.saturating_add(stable).saturating_add(self.others);
        let is_full = sum == whole || (stable == 0 && sum > whole && canary <= whole);
        let rest = is_full.then(|| whole.checked_sub(canary)).flatten()?;
        Some([u32::try_from(canary).ok()?, u32::try_from(rest).ok()?])
    }

    /// What the list says of two Services.
    pub(super) fn observed(self, names: [&str; 2], scale: Weight) -> ObservedTraffic {
        let Some(shares) = self.shares(scale) else { return ObservedTraffic::unclear() };
        let shares: BTreeMap<_, _> = names.map(str::to_owned).into_iter().zip(shares).collect();
        ObservedTraffic { shares, ..ObservedTraffic::default() }
    }
}

/// How objects of a kind list the backends of a route.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backends {
    /// The Service that a backend is, seen from a namespace; empty where it is anything else.
    pub(super) service: for<'v> fn(&'v Value, &str) -> &'v str,
    /// The weight of a backend that says none.
    pub(super) default: u64,
}

impl Backends {
    /// What a list says of the Rollout's Services.
    pub(super) fn observe(self, backends: &[Value], subject: &Subject) -> ObservedTraffic {
        let weight = |weight: &Value| if weight.is_null() { Some(self.default) } else { weight.as_u64() };
        let known = |backend| Some((self.service(backend, subject), weight(at(backend, &["weight"]))?));
        let known: Option<Vec<_>> = backends.iter().map(known).collect();
        known.map_or_else(ObservedTraffic::unclear, |known| {
            let names = subject.names();
            Split::of(known, names).observed(names, subject.scale)
        })
    }

    /// Gives the Rollout's Services in a list their weights.
    pub(super) fn render(self, backends: &mut [Value], subject: &Subject, target: &TrafficTarget) {
        for backend in backends {
            let service = self.service(backend, subject).to_owned();
            set_weight(backend, &service, target);
        }
    }

    /// What is in the way of shifting traffic with a list: each Service has to be there, once.
    pub(super) fn problem(self, backends: &[Value], subject: &Subject) -> Option<String> {
        let count = |name| backends.iter().filter(|backend| self.service(backend, subject) == name).count();
        let name = subject.names().into_iter().find(|name| count(*name) != 1)?;
        Some(format!("names Service {name} {} times: it must name it once", count(name)))
    }

    fn service<'v>(self, backend: &'v Value, subject: &Subject) -> &'v str {
        (self.service)(backend, &subject.namespace)
    }
}

/// Weights of a list in which each gets the same where none has any.
pub(super) fn even(weights: Vec<u64>) -> impl Iterator<Item = u64> {
    let is_even = weights.iter().all(|weight| *weight == 0);
    weights.into_iter().map(move |weight| if is_even { 1 } else { weight })
}

/// Gives a backend the weight that a target has for the Service of this name.
pub(super) fn set_weight(backend: &mut Value, service: &str, target: &TrafficTarget) {
    if service == target.canary.name {
        set(backend, &["weight"], Some(json!(target.weight.get())));
    } else if service == target.stable.name {
        set(backend, &["weight"], Some(json!(target.weight.rest_of(target.scale).get())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_on_any_scale_are_shares_in_proportion() {
        let check = |pair, others, expected: Option<[u32; 2]>| {
            assert_eq!(Split { pair, others }.shares(Weight::FULL), expected, "{pair:?} beside {others}");
        };
        check([20, 80], 0, Some([20, 80]));
        check([1, 1], 0, Some([50, 50]));
        check([1, 0], 0, Some([100, 0]));
        check([0, 7], 0, Some([0, 100]));
        check([1, 1_000_000], 0, Some([1, 99]));
        check([1_000_000, 1], 0, Some([99, 1]));
        check([u64::MAX, u64::MAX], 0, Some([50, 50]));
        check([0, 0], 0, None);
        check([0, 0], 5, None);
        check([20, 80], 5, Some([20, 80]));
        check([1, 1], 5, None);
    }

    #[test]
    fn what_others_have_is_taken_from_stable() {
        let check = |pair, others, expected: Option<[u32; 2]>| {
            assert_eq!(
                Split { pair, others }.shares_of_whole(Weight::FULL),
                expected,
                "{pair:?} beside {others}"
            );
        };
        check([1, 1], 0, Some([50, 50]));
        check([20, 70], 10, Some([20, 80]));
        check([95, 0], 10, Some([95, 5]));
        check([100, 0], 10, Some([100, 0]));
        check([0, 0], 200, Some([0, 100]));
        check([20, 80], 10, None);
        check([101, 0], 10, None);
        check([20, 0], 10, None);
    }
}
