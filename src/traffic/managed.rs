//! Routes that steps make for some requests, before all others: by header to the canary, or mirrored to it.

use std::collections::BTreeMap;

use super::session::Session;
use crate::api::Rollout;
use crate::api::canary_step::{CanaryStep, HeaderRoutingMatch, RouteMatch};

/// A route that a step makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagedRoute {
    /// Its name, from `managedRoutes`.
    pub name: String,
    /// What it does.
    pub rule: Rule,
}

/// What a route that a step makes does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Requests with all of these headers go to the canary.
    Header(Vec<HeaderRoutingMatch>),
    /// So many percent of the requests that match any of these are copied to the canary, too.
    Mirror {
        /// Which requests.
        matches: Vec<RouteMatch>,
        /// Percent of them.
        percent: u32,
    },
    /// Requests with this cookie go to the canary, which sets it. No step makes it.
    Session(Session),
}

/// Which such routes a router can make.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Managed {
    /// None.
    #[default]
    Nothing,
    /// Those by header, as long as its value is given whole.
    ExactHeaders,
    /// Those by header.
    Headers,
    /// Those by header, and mirrors.
    HeadersAndMirrors,
}

/// The route that a step makes, or, without a rule, the name of the one that it takes away; `None` for another step.
#[must_use]
pub fn of_step(step: &CanaryStep) -> Option<(String, Option<Rule>)> {
    if let Some(route) = &step.set_header_route {
        let matches = route.r#match.clone().filter(|matches| !matches.is_empty());
        return Some((route.name.clone().unwrap_or_default(), matches.map(Rule::Header)));
    }
    let route = step.set_mirror_route.as_ref()?;
    let percent = route.percentage.map_or(100, |percent| u32::try_from(percent).unwrap_or_default());
    let matches = route.r#match.clone().filter(|matches| !matches.is_empty());
    let rule = matches.map(|matches| Rule::Mirror { matches, percent });
    Some((route.name.clone().unwrap_or_default(), rule))
}

/// Every route that a step of the Rollout can make.
pub(super) fn all(rollout: &Rollout) -> Vec<ManagedRoute> {
    let routes = steps(rollout).filter_map(of_step);
    routes.filter_map(|(name, rule)| Some(ManagedRoute { name, rule: rule? })).collect()
}

impl ManagedRoute {
    /// The route for the requests of a session.
    #[must_use]
    pub fn of_session(session: Session) -> Self {
        Self { name: session.route(), rule: Rule::Session(session) }
    }

    /// The session whose requests it is for.
    #[must_use]
    pub fn session(&self) -> Option<&Session> {
        match &self.rule {
            Rule::Session(session) => Some(session),
            Rule::Header(_) | Rule::Mirror { .. } => None,
        }
    }
}

/// The sets of routes that there are after some step, each in the order of `names`.
pub(super) fn sets(rollout: &Rollout, names: &[String]) -> Vec<Vec<ManagedRoute>> {
    let mut rules: BTreeMap<String, Rule> = BTreeMap::new();
    let mut sets = Vec::new();
    for (name, rule) in steps(rollout).filter_map(of_step) {
        match rule {
            Some(rule) => drop(rules.insert(name, rule)),
            None => drop(rules.remove(&name)),
        }
        let made = |name: &String| Some(ManagedRoute { name: name.clone(), rule: rules.get(name)?.clone() });
        sets.push(names.iter().filter_map(made).collect());
    }
    sets
}

fn steps(rollout: &Rollout) -> impl Iterator<Item = &CanaryStep> {
    let canary = rollout.spec.strategy.as_ref().and_then(|strategy| strategy.canary.as_ref());
    canary.and_then(|canary| canary.steps.as_ref()).into_iter().flatten()
}
