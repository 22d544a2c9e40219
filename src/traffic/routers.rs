//! The routers of one Rollout, as one.

use std::collections::BTreeMap;
use std::fmt::Debug;

use super::alb::Alb;
use super::alb::verification::Question;
use super::ambassador::Ambassador;
use super::apisix::Apisix;
use super::asked::Asked;
use super::contour::{self, Contour};
use super::gateway::{self, GatewayApi};
use super::istio::{self, Istio};
use super::managed::{self, Managed, ManagedRoute};
use super::nginx::Nginx;
use super::session::Session;
use super::skipper::{self, Skipper};
use super::smi::Smi;
use super::traefik::Traefik;
use super::{Need, ObservedTraffic, RouteName, Routes, TrafficTarget};
use crate::api::Rollout;
use crate::api::traffic_routing::TrafficRouting;
use crate::units::Weight;

/// Fields of `spec.strategy.canary.trafficRouting` that name a router which is implemented.
pub const SUPPORTED: [&str; 7] = ["alb", "ambassador", "apisix", "istio", "nginx", "smi", "traefik"];

/// Routers that have no field of their own, as plugins of other controllers or of ours alone: their names below
/// `trafficRouting.plugins`.
pub const PLUGINS: [&str; 3] = [gateway::NAME, contour::NAME, skipper::NAME];

/// Shifts traffic by editing objects.
///
/// `observe` after `render` gives what was rendered, and rendering it again changes nothing: the core relies on both.
pub trait Router: Debug + Send + Sync {
    /// The field below `spec.strategy.canary.trafficRouting` that names it.
    fn field(&self) -> &'static str;

    /// What it can do besides.
    fn abilities(&self) -> Abilities;

    /// Which routes for some requests it can make.
    fn managed(&self) -> Managed {
        Managed::Nothing
    }

    /// Why a cookie of the Rollout's cannot keep users on the canary, and what does instead; `None` where it can.
    fn lacks_sessions(&self) -> Option<&'static str> {
        Some("it has nothing that could")
    }

    /// Whether it can give Experiments a share.
    fn serves_experiments(&self) -> bool {
        false
    }

    /// The objects that it looks at.
    fn needs(&self) -> Vec<Need>;

    /// Those of them that it edits, and that say again at the end what whoever applies them wants.
    fn edits(&self, _routes: &Routes) -> Vec<RouteName> {
        let one = |need| match need {
            Need::One(name) => Some(name),
            Need::All { .. } => None,
        };
        self.needs().into_iter().filter_map(one).collect()
    }

    /// What is wrong with the objects, so that traffic cannot be shifted. Asked only once all kinds are known.
    fn problems(&self, routes: &Routes) -> Vec<Problem>;

    /// What the objects say; `None` when they do not say it.
    fn observe(&self, routes: &Routes) -> Option<ObservedTraffic>;

    /// What has to be asked elsewhere to know whether it does what its objects say.
    fn questions(&self, _routes: &Routes) -> Vec<Question> {
        vec![]
    }

    /// Makes the objects say what is wanted, leaving everything else in them as it is.
    fn render(&self, routes: &mut Routes, target: &TrafficTarget);
}

/// What a router can do besides giving a Service a share of the traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// Whether its Services can change roles from one update to the next.
    pub ping_pong: bool,
    /// The largest whole of its weights: how fine they can be.
    pub largest_scale: Weight,
}

/// Something in the way of shifting traffic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The field below `spec.strategy.canary.trafficRouting`.
    pub field: String,
    /// What is wrong, and how it is put right.
    pub message: String,
}

impl Problem {
    pub(super) fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

/// The Rollout that a router works for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// Its name.
    pub rollout: String,
    /// What tells it from others that had its name before.
    pub uid: String,
    /// Its namespace, which is its Services' too.
    pub namespace: String,
    /// Whether it is being deleted, so that nothing of its own is made any more.
    pub is_leaving: bool,
    /// The canary's Service or subset, or the first Service of an alternating pair.
    pub canary: String,
    /// The stable Service or subset, or the second Service of an alternating pair.
    pub stable: String,
    /// The whole of the weights.
    pub scale: Weight,
    /// Services of its Experiments that the route may lead to.
    pub experiments: Vec<String>,
    /// What steps ask for Experiments.
    pub asked: Asked,
    /// Every route for some requests that a step can make.
    pub managed: Vec<ManagedRoute>,
    /// The names of such routes, the one with precedence first.
    pub managed_names: Vec<String>,
    /// What keeps users on the canary, whose route is the last of the above; `None` where nothing does.
    pub session: Option<Session>,
    /// The sets of such routes that there are after some step, each in the order of precedence.
    pub managed_sets: Vec<Vec<ManagedRoute>>,
}

impl Subject {
    /// The names of its Services or subsets, the canary's first.
    pub(super) fn names(&self) -> [&str; 2] {
        [&self.canary, &self.stable]
    }

    /// Tells what Services of Experiments have from what all others have, by the name and the weight of each.
    pub(super) fn split_experiments<'v>(
        &self,
        backends: impl IntoIterator<Item = (&'v str, u64)>,
    ) -> (BTreeMap<String, u32>, Vec<(&'v str, u64)>) {
        let is_experiment = |(name, _): &(&str, u64)| self.experiments.iter().any(|known| known == name);
        let (experiments, others): (Vec<_>, Vec<_>) = backends.into_iter().partition(is_experiment);
        let weight = |weight: u64| u32::try_from(weight).unwrap_or(u32::MAX);
        (experiments.into_iter().map(|(name, found)| (name.to_owned(), weight(found))).collect(), others)
    }

    /// The Rollout as a router sees it; `None` without a router.
    fn of(rollout: &Rollout) -> Option<(Self, &TrafficRouting)> {
        let canary = rollout.spec.strategy.as_ref()?.canary.as_ref()?;
        let routing = canary.traffic_routing.as_ref()?;
        let pair = match &canary.ping_pong {
            Some(pair) => [&pair.ping_service, &pair.pong_service],
            None => [&canary.canary_service, &canary.stable_service],
        };
        let services = pair.map(|name| name.clone().unwrap_or_default());
        let [canary, stable] = istio::subsets(routing).unwrap_or(services);
        let mut managed_names: Vec<_> =
            routing.managed_routes.iter().flatten().map(|route| route.name.clone()).collect();
        let (mut managed, mut managed_sets) = (managed::all(rollout), managed::sets(rollout, &managed_names));
        let session = Session::of(rollout);
        if let Some(session) = &session {
            let route = ManagedRoute::of_session(session.clone());
            managed_names.push(route.name.clone());
            managed_sets.push(vec![]);
            for set in &mut managed_sets {
                set.push(route.clone());
            }
            managed.push(route);
        }
        let given = routing.max_traffic_weight.and_then(|given| u32::try_from(given).ok());
        let subject = Self {
            rollout: rollout.metadata.name.clone().unwrap_or_default(),
            uid: rollout.metadata.uid.clone().unwrap_or_default(),
            namespace: rollout.metadata.namespace.clone().unwrap_or_default(),
            is_leaving: rollout.metadata.deletion_timestamp.is_some(),
            canary,
            stable,
            experiments: experiments(rollout),
            asked: Asked::of(rollout),
            managed,
            managed_sets,
            managed_names,
            session,
            scale: given.filter(|given| *given > 0).map_or(Weight::FULL, Weight::observed),
        };
        Some((subject, routing))
    }
}

/// All routers of a Rollout: each gets the same target.
#[derive(Debug, Default)]
pub struct Routers(Vec<Box<dyn Router>>);

impl Routers {
    /// The routers that a Rollout names and that are implemented.
    #[must_use]
    pub fn of(rollout: &Rollout) -> Self {
        let Some((subject, routing)) = Subject::of(rollout) else { return Self::default() };
        let mut routers: Vec<Box<dyn Router>> = Vec::new();
        if let Some(spec) = &routing.istio {
            let canaries = if alternates(rollout) {
                subject.names().map(str::to_owned).to_vec()
            } else {
                vec![subject.canary.clone()]
            };
            routers.push(Box::new(Istio::new(subject.clone(), canaries, spec)));
        }
        if let Some(spec) = &routing.nginx {
            routers.push(Box::new(Nginx::new(subject.clone(), spec)));
        }
        if let Some(spec) = &routing.alb {
            let stable = (!alternates(rollout)).then(|| subject.stable.clone());
            routers.push(Box::new(Alb::new(subject.clone(), stable, spec)));
        }
        if let Some(spec) = &routing.smi {
            routers.push(Box::new(Smi::new(subject.clone(), spec)));
        }
        if let Some(spec) = &routing.ambassador {
            routers.push(Box::new(Ambassador::new(subject.clone(), spec)));
        }
        if let Some(spec) = &routing.traefik {
            routers.push(Box::new(Traefik::new(subject.clone(), spec)));
        }
        if let Some(spec) = &routing.apisix {
            routers.push(Box::new(Apisix::new(subject.clone(), spec)));
        }
        for (name, config) in routing.plugins.iter().flatten() {
            match name.as_str() {
                gateway::NAME => {
                    let idle = idle(rollout, &subject);
                    routers.push(Box::new(GatewayApi::new(subject.clone(), idle, config)));
                }
                contour::NAME => routers.push(Box::new(Contour::new(subject.clone(), config))),
                skipper::NAME => routers.push(Box::new(Skipper::new(subject.clone(), config))),
                _ => {}
            }
        }
        Self(routers)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each router's field and abilities.
    pub fn abilities(&self) -> impl Iterator<Item = (&'static str, Abilities)> {
        self.0.iter().map(|router| (router.field(), router.abilities()))
    }

    /// Each router's field, and which routes for some requests it can make.
    pub fn managed(&self) -> impl Iterator<Item = (&'static str, Managed)> {
        self.0.iter().map(|router| (router.field(), router.managed()))
    }

    /// Each router's field that cannot keep users on the canary by a cookie, with what does instead.
    pub fn lacking_sessions(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.0.iter().filter_map(|router| Some((router.field(), router.lacks_sessions()?)))
    }

    /// Whether all of them can give Experiments a share; one that is not implemented is none.
    #[must_use]
    pub fn serve_experiments(&self) -> bool {
        self.0.iter().all(|router| router.serves_experiments())
    }

    /// The objects that any of them looks at.
    #[must_use]
    pub fn needs(&self) -> Vec<Need> {
        self.0.iter().flat_map(|router| router.needs()).collect()
    }

    /// What is in the way of shifting traffic. A kind that has not been listed yet is not: it says nothing.
    #[must_use]
    pub fn problems(&self, routes: &Routes) -> Vec<Problem> {
        let unreadable =
            routes.unreadable.values().map(|why| Problem::new("", format!("cannot be read: {why}")));
        if routes.are_known() {
            self.0.iter().flat_map(|router| router.problems(routes)).collect()
        } else {
            unreadable.collect()
        }
    }

    /// What all of them say together; `None` when one cannot be read. Where they differ, the greater share counts, and
    /// the traffic counts as not shifted yet.
    #[must_use]
    pub fn observe(&self, routes: &Routes) -> Option<ObservedTraffic> {
        if !routes.are_known() {
            return None;
        }
        let observed: Option<Vec<_>> = self.0.iter().map(|router| router.observe(routes)).collect();
        let together = observed?.into_iter().reduce(both)?;
        Some(ObservedTraffic { is_held: self.held(routes).next().is_some(), ..together })
    }

    /// The objects that any of them edits.
    pub fn edits(&self, routes: &Routes) -> impl Iterator<Item = RouteName> {
        self.0.iter().flat_map(|router| router.edits(routes))
    }

    /// Objects of users whose fields are noted as ours.
    pub fn held(&self, routes: &Routes) -> impl Iterator<Item = RouteName> {
        self.edits(routes).filter(|name| routes.held.contains(name))
    }

    /// What has to be asked elsewhere to know whether they do what their objects say.
    #[must_use]
    pub fn questions(&self, routes: &Routes) -> Vec<Question> {
        self.0.iter().flat_map(|router| router.questions(routes)).collect()
    }

    /// Makes all objects say what is wanted.
    pub fn render(&self, routes: &mut Routes, target: &TrafficTarget) {
        for router in &self.0 {
            router.render(routes, target);
        }
    }
}

/// The Services of Experiments that the status tells of. They are written there before the route leads to them, and stay
/// until it does not any more.
fn experiments(rollout: &Rollout) -> Vec<String> {
    let canary = rollout.status.as_ref().and_then(|status| status.canary.as_ref());
    let weights = canary.and_then(|canary| canary.weights.as_ref());
    let additional = weights.and_then(|weights| weights.additional.as_ref()).into_iter().flatten();
    additional.filter_map(|share| share.service_name.clone()).collect()
}

/// Whether the Services change roles from one update to the next.
fn alternates(rollout: &Rollout) -> bool {
    let canary = rollout.spec.strategy.as_ref().and_then(|strategy| strategy.canary.as_ref());
    canary.is_some_and(|canary| canary.ping_pong.is_some())
}

/// The Service that gets nothing while no update is under way.
fn idle(rollout: &Rollout, subject: &Subject) -> String {
    let status = rollout.status.as_ref().and_then(|status| status.canary.as_ref());
    let stable = status.and_then(|status| status.stable_ping_pong.as_deref());
    if alternates(rollout) && stable == Some("ping") {
        subject.stable.clone()
    } else {
        subject.canary.clone()
    }
}

/// What two objects, or two routers, say together.
pub(super) fn both(one: ObservedTraffic, other: ObservedTraffic) -> ObservedTraffic {
    let positive = |shares: &BTreeMap<String, u32>| -> BTreeMap<String, u32> {
        shares.iter().filter(|(_, share)| **share > 0).map(|(name, share)| (name.clone(), *share)).collect()
    };
    let agree = positive(&one.shares) == positive(&other.shares)
        && one.managed == other.managed
        && one.experiments == other.experiments;
    let trouble = one.trouble.clone().or(other.trouble);
    let is_unclear = one.is_unclear || other.is_unclear;
    let experiments = of_both(&one.experiments, &other.experiments);
    let is_exchanging = one.is_exchanging || other.is_exchanging;
    let is_held = one.is_held || other.is_held;
    let owner = one.owner.clone().or(other.owner);
    let ObservedTraffic { mut shares, mut behind, mut managed, verified, .. } =
        one.and_verified(other.verified);
    for (name, share) in other.shares {
        let known = shares.entry(name).or_default();
        *known = share.max(*known);
    }
    behind.extend(other.behind);
    managed.extend(other.managed);
    let verified = if agree { verified } else { Some(false) };
    ObservedTraffic {
        shares,
        experiments,
        behind,
        owner,
        managed,
        verified,
        trouble,
        is_unclear,
        is_exchanging,
        is_held,
    }
}

/// What Experiments have of two routes. What they do not both give is none: it is to be put right, whatever was wanted.
fn of_both(one: &BTreeMap<String, u32>, other: &BTreeMap<String, u32>) -> BTreeMap<String, u32> {
    let share = |name: &String| one.get(name).filter(|share| other.get(name) == Some(*share)).copied();
    one.keys().chain(other.keys()).map(|name| (name.clone(), share(name).unwrap_or_default())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_experiment_has_a_share_only_where_all_routes_give_it_the_same() {
        let route = |shares: &[(&str, u32)]| ObservedTraffic {
            experiments: shares.iter().map(|(name, share)| ((*name).to_owned(), *share)).collect(),
            ..ObservedTraffic::default()
        };
        let check = |one: &[(&str, u32)], other: &[(&str, u32)], expected: &[(&str, u32)]| {
            for (one, other) in [(one, other), (other, one)] {
                let seen = both(route(one), route(other));
                assert_eq!(seen.experiments, route(expected).experiments, "{one:?} and {other:?}");
                assert_eq!(seen.verified == Some(false), one != other);
            }
        };
        check(&[("a", 5)], &[("a", 5)], &[("a", 5)]);
        check(&[("a", 5)], &[], &[("a", 0)]);
        check(&[("a", 5)], &[("a", 10)], &[("a", 0)]);
        check(&[("a", 5), ("b", 1)], &[("b", 1)], &[("a", 0), ("b", 1)]);
    }
}
