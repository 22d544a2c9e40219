//! What a router is told and what it says back. Pure: which objects carry it is the business of each router.
//!
//! A router sends shares of the traffic to destinations: Services, or whatever else it knows pods by. The core decides on
//! a [`TrafficTarget`] and looks at what was [`ObservedTraffic`]; it never knows which router is behind it. A [`Router`]
//! reads the one from [`Routes`] and edits the other into them; one file per router.

mod alb;
mod ambassador;
mod apisix;
mod asked;
mod carried;
mod contour;
mod gateway;
mod istio;
mod managed;
mod nginx;
mod plugin;
mod remaining;
mod report;
pub mod route;
mod routers;
mod session;
mod skipper;
mod smi;
mod traefik;
mod weighted;

use std::collections::BTreeMap;

pub use self::alb::verification;
pub(crate) use self::asked::container_ports;
pub use self::carried::{kept_route, name_one_route, route_of, with_route_left};
pub use self::istio::subsets;
pub use self::managed::{Managed, ManagedRoute, Rule, of_step};
pub use self::remaining::keeping;
use self::report::Report;
pub use self::route::{Need, RouteKind, RouteName, Routes};
pub use self::routers::{Abilities, PLUGINS, Problem, Router, Routers, SUPPORTED, Subject};
pub use self::session::{Cookie, Session};
use crate::units::{PodHash, Weight};

/// Something a router sends traffic to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Destination {
    /// The Service, or the name the router itself gives it.
    pub name: String,
    /// The revision whose pods should be behind it; `None` while there is none.
    pub hash: Option<PodHash>,
}

/// What an Experiment's template gets of the traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExperimentShare {
    /// Its Service, and the hash of its pods.
    pub to: Destination,
    /// Its share, on the scale of the target.
    pub weight: Weight,
}

/// What a router should do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrafficTarget {
    /// Where the canary's share goes.
    pub canary: Destination,
    /// Where the rest goes.
    pub stable: Destination,
    /// The canary's share, from 0 to `scale`.
    pub weight: Weight,
    /// The whole: 100 unless `maxTrafficWeight` says otherwise.
    pub scale: Weight,
    /// Routes to the canary for some requests, the one with precedence first. All others of the spec's are taken away.
    pub managed: Vec<ManagedRoute>,
    /// What Experiments get of the rest. Only routers that can give it to them are told of any.
    pub experiments: Vec<ExperimentShare>,
}

impl TrafficTarget {
    /// What is left for stable.
    #[must_use]
    pub fn stable_weight(&self) -> Weight {
        let rest = self.weight.rest_of(self.scale);
        self.experiments.iter().fold(rest, |rest, share| share.weight.rest_of(rest))
    }

    /// The share of an Experiment's Service; `None` where it gets none.
    pub(crate) fn experiment(&self, service: &str) -> Option<Weight> {
        let mut shares = self.experiments.iter();
        shares.find(|share| share.to.name == service).map(|share| share.weight)
    }
}

/// What a router says that it does. That it cannot be read is told by its absence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedTraffic {
    /// The share of each destination, by name; one that is not named has none. Stable's holds what Experiments have, too.
    pub shares: BTreeMap<String, u32>,
    /// What Services of the Rollout's Experiments have that the route leads to, by name.
    pub experiments: BTreeMap<String, u32>,
    /// The revision behind each destination whose pods the router itself chooses, by name; `None` for pods of any.
    pub behind: BTreeMap<String, Option<PodHash>>,
    /// The Rollout that has last changed what is behind the destinations; `None` where none has, or the router does not
    /// choose pods itself.
    pub owner: Option<String>,
    /// Routes to the canary for some requests that are there, by name; `None` for one that does something else than any
    /// step of the Rollout says.
    pub managed: BTreeMap<String, Option<ManagedRoute>>,
    /// Whether the router was seen to do what its objects say; `None` when it cannot be asked.
    pub verified: Option<bool>,
    /// Why the router will not do what its objects say, in its own words; `None` where it has given no reason.
    pub trouble: Option<String>,
    /// Whether some object makes no sense, whatever the others say: it is to be put right.
    pub is_unclear: bool,
    /// Whether pods may get requests that no Service leads to any more: what the router sends requests to is being
    /// exchanged, and nobody has seen the end of it.
    pub is_exchanging: bool,
    /// Whether objects of users have fields that are noted as ours, so that their owners cannot change them without a
    /// conflict.
    pub is_held: bool,
}

/// Whether what carries out the objects of a router was seen to follow them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Followed {
    /// It was.
    Yes,
    /// Nobody has looked, or what was seen is only late.
    #[default]
    NotYet,
    /// It was seen to do something else for long, or cannot be asked.
    No(String),
}

impl ObservedTraffic {
    /// What an object says that makes no sense: not followed by any router, and to be put right.
    #[must_use]
    pub fn unclear() -> Self {
        Self { verified: Some(false), is_unclear: true, ..Self::default() }
    }

    /// The same of an object whose share can be read, though not all of it is as it should be.
    #[must_use]
    pub(in crate::traffic) fn unclear_with(shares: BTreeMap<String, u32>) -> Self {
        Self { shares, ..Self::unclear() }
    }

    /// Whether the router was seen to follow, by one more thing that may say so.
    #[must_use]
    pub(in crate::traffic) fn and_verified(self, other: Option<bool>) -> Self {
        let verified = match (self.verified, other) {
            (Some(one), Some(other)) => Some(one && other),
            (one, other) => one.or(other),
        };
        Self { verified, ..self }
    }

    /// Whether the router was seen to follow, by what it reports on one of its objects.
    #[must_use]
    fn and_reported(self, report: Option<Report>) -> Self {
        let verified = report.as_ref().map(|report| *report == Report::Follows);
        let trouble = match report {
            Some(Report::Refuses(why)) => Some(why),
            Some(Report::Follows | Report::Lags) | None => None,
        };
        Self { trouble: self.trouble.clone().or(trouble), ..self.and_verified(verified) }
    }

    /// Whether the router was seen to follow, by what carries out its objects; until then, its targets may be those from
    /// before.
    #[must_use]
    pub fn and_followed(self, followed: Followed) -> Self {
        let is_followed = followed == Followed::Yes;
        let trouble = match followed {
            Followed::No(why) => Some(why),
            Followed::Yes | Followed::NotYet => None,
        };
        let is_exchanging = self.is_exchanging || !is_followed;
        let trouble = self.trouble.clone().or(trouble);
        Self { trouble, is_exchanging, ..self.and_verified(Some(is_followed)) }
    }

    /// The share of a destination that is in force; `None` while the router is known not to follow its objects yet.
    #[must_use]
    pub fn share(&self, name: &str) -> Option<Weight> {
        let share = self.shares.get(name).copied().unwrap_or_default();
        (self.verified != Some(false)).then(|| Weight::observed(share))
    }
}
