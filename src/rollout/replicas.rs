//! How many pods each ReplicaSet gets when the ratio of pods is the weight. Pure arithmetic, no policy.
//!
//! Two questions: which split of pods comes closest to a weight (`split`), and which sizes may be set *now* on the way
//! there without ever having fewer than `replicas − maxUnavailable` available or more than `replicas + maxSurge` pods
//! (`Sizes::toward`).

use crate::units::{ReplicaCount, Weight};

/// What a Rollout's spec allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Pods wanted in all.
    pub replicas: u32,
    /// Pods that may be added while versions change.
    pub max_surge: u32,
    /// Pods that may be missing while versions change.
    pub max_unavailable: u32,
}

impl Bounds {
    /// Pods that must be available while versions change.
    #[must_use]
    pub const fn least_available(self) -> u32 {
        self.replicas.saturating_sub(self.max_unavailable)
    }

    const fn most_pods(self) -> u32 {
        self.replicas.saturating_add(self.max_surge)
    }
}

/// How many pods must be available before a step counts as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threshold {
    /// All that are wanted.
    All,
    /// So many percent of them.
    Percent(u32),
    /// So many; all where fewer are wanted.
    Pods(u32),
}

impl Threshold {
    /// Whether `available` pods are enough where `wanted` are wanted.
    #[must_use]
    pub fn is_met(self, available: u32, wanted: u32) -> bool {
        match self {
            Self::All => available >= wanted,
            Self::Percent(percent) => u64::from(available) * 100 >= u64::from(wanted) * u64::from(percent),
            Self::Pods(pods) => available >= pods.min(wanted),
        }
    }
}

/// Pods that a share of `weight` out of `scale` takes when all of the traffic takes `replicas`; rounded up, and at least
/// `min_pods` unless it is none. Never more than `replicas`.
#[must_use]
pub fn pods_for(weight: Weight, scale: Weight, replicas: u32, min_pods: u32) -> u32 {
    let scale_units = u64::from(scale.get()).max(1);
    let pods = to_u32((u64::from(replicas) * u64::from(weight.get())).div_ceil(scale_units));
    if pods == 0 { 0 } else { pods.max(min_pods).min(replicas) }
}

/// The largest share out of `scale` that `available` pods can serve when all of the traffic takes `replicas`.
#[must_use]
pub fn share_of(available: u32, scale: Weight, replicas: u32) -> Weight {
    if available >= replicas {
        return scale;
    }
    Weight::observed(to_u32(u64::from(scale.get()) * u64::from(available) / u64::from(replicas)))
}

/// Size and availability of one ReplicaSet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pods {
    /// Pods asked for.
    pub size: u32,
    /// Pods that are available.
    pub available: u32,
}

impl Pods {
    /// Available pods that stay when the ReplicaSet has its size; a status may lag behind its spec.
    const fn lasting(self) -> u32 {
        if self.size < self.available { self.size } else { self.available }
    }
}

/// Sizes of the two versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    /// Pods of the new version.
    pub new: u32,
    /// Pods of the stable version.
    pub stable: u32,
}

/// The split of pods that comes closest to `weight` out of 100.
///
/// Candidates are the canary's share rounded up and down, with `replicas` pods in all and, when a surge is allowed,
/// with one more. A canary or stable of zero pods is only taken for the weights 0 and 100, or when there is a single pod
/// and no surge. The first of equally close candidates wins, so rounding up is preferred and an extra pod is not.
#[must_use]
pub fn split(bounds: Bounds, weight: Weight) -> Split {
    let (replicas, weight) = (u64::from(bounds.replicas), u64::from(weight.get().min(100)));
    if replicas == 0 {
        return Split { new: 0, stable: 0 };
    }
    let up = (replicas * weight).div_ceil(100);
    let down = replicas * weight / 100;
    let zero_is_fine = weight == 0 || weight == 100 || (replicas == 1 && bounds.max_surge == 0);
    let is_half = |total: u64| total * weight % 100 == 50;
    let down_is_fine = down != 0 || zero_is_fine;
    let mut candidates = Vec::with_capacity(4);
    if up < replicas || zero_is_fine {
        candidates.push((up, replicas));
    }
    if !is_half(replicas) && down_is_fine {
        candidates.push((down, replicas));
    }
    if bounds.max_surge > 0 {
        candidates.push((up, replicas + 1));
        if !is_half(replicas + 1) && down_is_fine {
            candidates.push((down, replicas + 1));
        }
    }
    let (new, total) = closest(&candidates, weight).unwrap_or((0, replicas));
    let stable = total.saturating_sub(new);
    Split { new: u32::try_from(new).unwrap_or(u32::MAX), stable: u32::try_from(stable).unwrap_or(u32::MAX) }
}

/// The first candidate (canary, total) whose share is nearest to `weight`, compared as exact fractions.
fn closest(candidates: &[(u64, u64)], weight: u64) -> Option<(u64, u64)> {
    let distance = |&(canary, total): &(u64, u64)| ((canary * 100).abs_diff(weight * total), total);
    candidates.iter().copied().reduce(|best, next| {
        let ((best_distance, best_total), (distance, total)) = (distance(&best), distance(&next));
        if u128::from(distance) * u128::from(best_total) < u128::from(best_distance) * u128::from(total) {
            next
        } else {
            best
        }
    })
}

/// The sizes of all of a Rollout's ReplicaSets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// The new version.
    pub new: Pods,
    /// The stable version.
    pub stable: Pods,
    /// Every other version, newest revision first.
    pub others: Vec<Pods>,
}

impl Sizes {
    /// The sizes to set now on the way to `goal`: growth within the surge first, then old versions drain, then the
    /// side that has too many shrinks as far as availability allows.
    #[must_use]
    pub fn toward(&self, bounds: Bounds, goal: Split) -> (Split, Vec<u32>) {
        // While old versions drain, the spare availability is theirs; pods that serve nobody may go all the same, or an
        // abort could wait for ever for room that they take.
        let drains = self.others.iter().any(|pods| pods.size > 0);
        let available = self.new.lasting().saturating_add(self.stable.lasting());
        let spare = if drains { 0 } else { available.saturating_sub(bounds.least_available()) };
        (self.shrunk(goal, self.grown(bounds, goal), spare), self.others_drained(bounds))
    }

    fn total(&self) -> u32 {
        self.others
            .iter()
            .fold(self.new.size.saturating_add(self.stable.size), |sum, pods| sum.saturating_add(pods.size))
    }

    fn grown(&self, bounds: Bounds, goal: Split) -> Split {
        let mut budget = bounds.most_pods().saturating_sub(self.total());
        let mut grow = |size: u32, goal: u32| {
            let more = goal.saturating_sub(size).min(budget);
            budget -= more;
            size + more
        };
        let stable = grow(self.stable.size, goal.stable);
        Split { new: grow(self.new.size, goal.new), stable }
    }

    fn shrunk(&self, goal: Split, grown: Split, spare: u32) -> Split {
        let (new, stable) = (
            shrink(self.new, grown.new, goal.new, spare),
            shrink(self.stable, grown.stable, goal.stable, spare),
        );
        // The side that serves less shrinks first; never both out of one spare.
        let new_gives = grown.new > goal.new;
        let stable_gives = grown.stable > goal.stable;
        match (new_gives, stable_gives) {
            (true, false) => Split { new, stable: grown.stable },
            (false, true) => Split { new: grown.new, stable },
            (false, false) => grown,
            (true, true) => {
                let spent = self.new.lasting().saturating_sub(new);
                let stable = shrink(self.stable, grown.stable, goal.stable, spare.saturating_sub(spent));
                Split { new, stable }
            }
        }
    }

    fn others_drained(&self, bounds: Bounds) -> Vec<u32> {
        let lasting = self.others.iter().map(|pods| pods.lasting()).sum::<u32>();
        let available = lasting.saturating_add(self.new.lasting()).saturating_add(self.stable.lasting());
        let mut spare = available.saturating_sub(bounds.least_available());
        self.others
            .iter()
            .map(|pods| {
                let gone = pods.lasting().min(spare);
                spare -= gone;
                pods.lasting() - gone
            })
            .collect()
    }
}

/// `size` on its way down to `goal`: pods that are not available go at once, available ones out of `spare`.
fn shrink(pods: Pods, size: u32, goal: u32, spare: u32) -> u32 {
    if size <= goal {
        return size;
    }
    let useless = size.saturating_sub(pods.lasting());
    size.saturating_sub(useless.saturating_add(spare)).max(goal)
}

/// A percent or a number out of `replicas`, as `maxSurge` and `maxUnavailable` give it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// A number of pods.
    Pods(u32),
    /// A percent of `replicas`.
    Percent(u32),
}

impl Share {
    /// Pods, a percent rounded up.
    #[must_use]
    pub fn ceil(self, replicas: ReplicaCount) -> u32 {
        match self {
            Self::Pods(pods) => pods,
            Self::Percent(percent) => to_u32((u64::from(replicas.get()) * u64::from(percent)).div_ceil(100)),
        }
    }

    /// Pods, a percent rounded down.
    #[must_use]
    pub fn floor(self, replicas: ReplicaCount) -> u32 {
        match self {
            Self::Pods(pods) => pods,
            Self::Percent(percent) => to_u32(u64::from(replicas.get()) * u64::from(percent) / 100),
        }
    }
}

fn to_u32(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bounds(replicas: u32, max_surge: u32, max_unavailable: u32) -> Bounds {
        Bounds { replicas, max_surge, max_unavailable }
    }

    #[test]
    fn the_split_comes_closest_to_the_weight() {
        for (replicas, surge, weight, new, stable) in [
            (10, 3, 10, 1, 9),
            (10, 3, 30, 3, 7),
            (10, 3, 100, 10, 0),
            (10, 3, 0, 0, 10),
            (4, 1, 25, 1, 3),
            (2, 1, 20, 1, 2),
            (2, 1, 50, 1, 1),
            (1, 1, 10, 1, 1),
            (1, 1, 60, 1, 1),
            (1, 0, 10, 0, 1),
            (1, 0, 60, 1, 0),
            (0, 1, 50, 0, 0),
            (5, 0, 50, 3, 2),
            (3, 1, 90, 3, 1),
            (10, 0, 99, 9, 1),
            (10, 0, 1, 1, 9),
        ] {
            let weight = Weight::new(weight, Weight::FULL).unwrap();
            assert_eq!(
                split(bounds(replicas, surge, 0), weight),
                Split { new, stable },
                "{replicas} at {weight}"
            );
        }
    }

    #[test]
    fn stable_gives_way_only_to_available_canary_pods() {
        let sizes = |available| Sizes {
            new: Pods { size: 1, available },
            stable: Pods { size: 10, available: 10 },
            others: vec![],
        };
        let goal = Split { new: 1, stable: 9 };
        let tight = bounds(10, 1, 0);
        assert_eq!(sizes(0).toward(tight, goal).0, Split { new: 1, stable: 10 });
        assert_eq!(sizes(1).toward(tight, goal).0, Split { new: 1, stable: 9 });
    }

    #[test]
    fn a_superseded_canary_drains_before_stable_shrinks() {
        let sizes = Sizes {
            new: Pods { size: 1, available: 1 },
            stable: Pods { size: 9, available: 9 },
            others: vec![Pods { size: 3, available: 0 }],
        };
        let (next, others) = sizes.toward(bounds(10, 3, 0), Split { new: 3, stable: 7 });
        assert_eq!((next, others), (Split { new: 1, stable: 9 }, vec![0]));
    }

    #[test]
    fn an_aborted_canary_that_never_served_gives_its_room_to_stable() {
        let sizes = Sizes {
            new: Pods { size: 1, available: 0 },
            stable: Pods { size: 2, available: 2 },
            others: vec![Pods { size: 1, available: 1 }],
        };
        let (next, others) = sizes.toward(bounds(3, 1, 0), Split { new: 0, stable: 3 });
        assert_eq!((next, others), (Split { new: 0, stable: 2 }, vec![1]));
    }

    fn pods() -> impl Strategy<Value = Pods> {
        (0_u32..12, 0_u32..12).prop_map(|(size, available)| Pods { size, available })
    }

    proptest! {
        #[test]
        fn a_split_never_has_more_than_one_pod_over(replicas in 0_u32..200, surge in 0_u32..3, weight in 0_i64..=100) {
            let weight = Weight::new(weight, Weight::FULL).unwrap();
            let found = split(bounds(replicas, surge, 0), weight);
            let total = found.new + found.stable;
            prop_assert!(total == replicas || (surge > 0 && total == replicas + 1));
        }

        #[test]
        fn steps_toward_a_goal_keep_availability_and_surge(
            new in pods(), stable in pods(), others in proptest::collection::vec(pods(), 0..3),
            replicas in 1_u32..10, surge in 0_u32..4, missing in 0_u32..4, weight in 0_i64..=100,
        ) {
            let missing = if surge == 0 { missing.max(1) } else { missing }.min(replicas);
            let bounds = bounds(replicas, surge, missing);
            let goal = split(bounds, Weight::new(weight, Weight::FULL).unwrap());
            let sizes = Sizes { new, stable, others };
            let (next, others) = sizes.toward(bounds, goal);
            let before = sizes.new.lasting() + sizes.stable.lasting() + sizes.others.iter().map(|p| p.lasting()).sum::<u32>();
            let after = sizes.new.lasting().min(next.new) + sizes.stable.lasting().min(next.stable)
                + sizes.others.iter().zip(&others).map(|(p, size)| p.lasting().min(*size)).sum::<u32>();
            prop_assert!(after >= before.min(bounds.least_available()));
            let total = next.new + next.stable + others.iter().sum::<u32>();
            prop_assert!(total <= sizes.total().max(bounds.most_pods()));
        }

        #[test]
        fn healthy_pods_reach_the_goal(
            new in 0_u32..12, stable in 0_u32..12, replicas in 1_u32..10, surge in 0_u32..4, missing in 0_u32..4,
            weight in 0_i64..=100,
        ) {
            let missing = if surge == 0 { missing.max(1) } else { missing }.min(replicas);
            let bounds = bounds(replicas, surge, missing);
            let goal = split(bounds, Weight::new(weight, Weight::FULL).unwrap());
            let (mut new, mut stable) = (new, stable);
            for _ in 0..60 {
                let healthy = |size| Pods { size, available: size };
                let sizes = Sizes { new: healthy(new), stable: healthy(stable), others: vec![] };
                let (next, _) = sizes.toward(bounds, goal);
                (new, stable) = (next.new, next.stable);
            }
            prop_assert_eq!(Split { new, stable }, goal);
        }
    }
}
