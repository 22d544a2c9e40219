//! Whether a load balancer does what an Ingress says: what has to be known for that, and what follows from it.
//!
//! Its controller writes rules and targets a while after the Ingress and the Services, and only the AWS API tells when. The
//! weights are in force once every rule that has the target groups of both Services has them; and a Service that gets a share
//! is served by the pods behind it once these are its healthy targets, and no others are in use any more.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Alb;
use crate::traffic::Routes;
use crate::traffic::route::{items, text};

/// What an Ingress says of its load balancer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Question {
    /// Name of the Ingress.
    pub ingress: String,
    /// Name of the load balancer's host; `None` while the Ingress has none.
    pub host: Option<String>,
    /// What the two Services are to get, the canary's first.
    pub shares: [Share; 2],
    /// What Services of Experiments are to get.
    pub experiments: Vec<Share>,
}

impl Question {
    /// What every Service is to get.
    pub fn all(&self) -> impl Iterator<Item = &Share> {
        self.shares.iter().chain(&self.experiments)
    }
}

/// What a Service is to get.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share {
    /// Name of the Service.
    pub service: String,
    /// What its target group is tagged with.
    pub resource: String,
    /// Its weight.
    pub weight: u64,
}

/// A load balancer, as AWS shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadBalancer {
    /// The weights of target groups, by ARN, in each rule that forwards.
    pub rules: Vec<BTreeMap<String, u64>>,
    /// Its target groups.
    pub groups: Vec<TargetGroup>,
}

/// A target group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetGroup {
    /// Its ARN.
    pub arn: String,
    /// What it is tagged with.
    pub resource: String,
    /// What its targets are.
    pub kind: TargetKind,
    /// Its targets, where they were asked for.
    pub targets: Vec<Target>,
}

/// What the targets of a group are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TargetKind {
    /// Addresses of pods.
    #[default]
    Addresses,
    /// Nodes, behind which any pod may be.
    Instances,
}

/// A target.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// Its address, or the name of its node.
    pub id: String,
    /// How it is, in the words of AWS.
    pub state: String,
    /// Why, in the words of AWS; may be empty.
    pub reason: String,
}

/// What is behind the two Services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pods {
    /// Addresses of the pods that take requests, by Service.
    pub addresses: BTreeMap<String, BTreeSet<String>>,
    /// Whether both select the same pods.
    pub selection: Selection,
}

/// Whether two Services select the same pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Selection {
    /// Each its own.
    #[default]
    Apart,
    /// Both the same: one may be about to take up the other's share.
    Same,
}

impl Target {
    /// Whether requests reach it and are answered. Without health checks, every target counts.
    fn is_healthy(&self) -> bool {
        self.state == "healthy" || self.reason == "Target.HealthCheckDisabled"
    }

    /// Whether new requests may come to it.
    fn is_in_use(&self) -> bool {
        self.state != "draining"
    }

    fn told(&self) -> String {
        let (id, state, reason) = (&self.id, &self.state, &self.reason);
        if reason.is_empty() { format!("{id} is {state}") } else { format!("{id} is {state} ({reason})") }
    }
}

impl Alb {
    /// What has to be asked of the load balancers of its Ingresses; nothing of one that is not as it should be.
    pub(super) fn questions_of(&self, routes: &Routes) -> Vec<Question> {
        let question = |name: &String| {
            let ingress = routes.get(&self.route(name))?;
            let action = self.action(ingress).ok()?;
            let groups = action.weights()?;
            let [canary, stable] = self.subject.names();
            let of = |service: &str| -> u64 {
                groups.iter().filter(|(name, _)| *name == service).map(|(_, weight)| *weight).sum()
            };
            let weights = [of(canary), of(stable)];
            let share = |service: &str, weight: u64| Share {
                service: service.to_owned(),
                resource: format!("{}/{name}-{service}:{}", self.subject.namespace, self.settings.port),
                weight,
            };
            let shares = [share(canary, weights[0]), share(stable, weights[1])];
            let experiments = self.subject.experiments.iter().map(|name| share(name, of(name)));
            let experiments = experiments.filter(|share| share.weight > 0).collect();
            Some(Question { ingress: name.clone(), host: host(ingress), shares, experiments })
        };
        self.ingresses.iter().filter_map(|(_, name)| question(name)).collect()
    }
}

/// The host of an Ingress's load balancer.
fn host(ingress: &Value) -> Option<String> {
    let hosts = items(ingress, &["status", "loadBalancer", "ingress"]).iter();
    let mut hosts = hosts.map(|entry| text(entry, &["hostname"])).filter(|host| !host.is_empty());
    hosts.next().map(str::to_owned)
}

impl Question {
    /// Whether the load balancer does what the Ingress says, with these pods behind each Service.
    ///
    /// # Errors
    /// What it does otherwise, in one sentence.
    pub fn answer(&self, balancer: &LoadBalancer, pods: &Pods) -> Result<(), String> {
        let groups = self.all().map(|share| Ok((share, share.group(balancer)?)));
        let groups: Vec<(&Share, &TargetGroup)> = groups.collect::<Result<_, String>>()?;
        let pair = || groups.iter().take(self.shares.len());
        let has_pair = |rule: &&BTreeMap<String, u64>| pair().all(|(_, group)| rule.contains_key(&group.arn));
        let rules: Vec<_> = balancer.rules.iter().filter(has_pair).collect();
        if rules.is_empty() {
            let [canary, stable] = self.shares.each_ref().map(|share| &share.service);
            return Err(format!("no rule of it has the target groups of both {canary} and {stable}"));
        }
        for (share, group) in &groups {
            let found = rules.iter().map(|rule| rule.get(&group.arn).copied().unwrap_or_default());
            if let Some(found) = found.into_iter().find(|found| *found != share.weight) {
                let (service, weight) = (&share.service, share.weight);
                return Err(format!("a rule of it gives {service} the weight {found} and not {weight} yet"));
            }
        }
        let nobody = BTreeSet::new();
        let behind = |share: &Share| pods.addresses.get(&share.service).unwrap_or(&nobody);
        let [canary, stable] = &self.shares;
        if pods.selection == Selection::Same && behind(canary) != behind(stable) {
            let [canary, stable] = [&canary.service, &stable.service];
            return Err(format!("the endpoints of {stable} are not those of {canary} yet"));
        }
        let needs_pods = |share: &Share| share.weight > 0 || pods.selection == Selection::Same;
        for (share, group) in groups.iter().filter(|(share, _)| needs_pods(share)) {
            group.serves(&share.service, behind(share))?;
        }
        Ok(())
    }
}

impl Share {
    fn group<'b>(&self, balancer: &'b LoadBalancer) -> Result<&'b TargetGroup, String> {
        let found = balancer.groups.iter().find(|group| group.resource == self.resource);
        found.ok_or_else(|| {
            format!("it has no target group of {} (tagged {}) yet", self.service, self.resource)
        })
    }
}

impl TargetGroup {
    /// Whether the pods behind a Service are what it leads to.
    fn serves(&self, service: &str, behind: &BTreeSet<String>) -> Result<(), String> {
        let of = |what: &str| format!("of the targets of {service}, {what}");
        if self.kind == TargetKind::Instances || behind.is_empty() {
            let not_yet = self.targets.iter().find(|target| target.state == "initial");
            return match not_yet {
                Some(target) => Err(of(&target.told())),
                None if self.targets.iter().any(Target::is_healthy) => Ok(()),
                None => Err(of("none is healthy")),
            };
        }
        for address in behind {
            let mut found = self.targets.iter().filter(|target| target.id == *address);
            match found.next() {
                None => return Err(of(&format!("{address} is not registered yet"))),
                Some(target) if !target.is_healthy() => return Err(of(&target.told())),
                Some(_) => {}
            }
        }
        let mut in_use = self.targets.iter().filter(|target| target.is_in_use());
        match in_use.find(|target| !behind.contains(&target.id)) {
            Some(target) => Err(of(&format!("{} is still in use", target.id))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(service: &str, weight: u64) -> Share {
        Share { service: service.to_owned(), resource: format!("shop/web-{service}:80"), weight }
    }

    fn question(canary: u64) -> Question {
        let shares = [share("canary", canary), share("stable", 100 - canary)];
        Question { ingress: "web".to_owned(), host: Some("lb".to_owned()), shares, experiments: vec![] }
    }

    fn target(id: &str, state: &str) -> Target {
        Target { id: id.to_owned(), state: state.to_owned(), reason: String::new() }
    }

    fn group(service: &str, targets: &[(&str, &str)]) -> TargetGroup {
        TargetGroup {
            arn: format!("arn:{service}"),
            resource: format!("shop/web-{service}:80"),
            kind: TargetKind::Addresses,
            targets: targets.iter().map(|(id, state)| target(id, state)).collect(),
        }
    }

    fn rule(weights: &[(&str, u64)]) -> BTreeMap<String, u64> {
        weights.iter().map(|(service, weight)| (format!("arn:{service}"), *weight)).collect()
    }

    /// A load balancer that gives the canary 20, with the pods of both Services as its healthy targets.
    fn balancer() -> LoadBalancer {
        LoadBalancer {
            rules: vec![rule(&[("canary", 20), ("stable", 80)]), rule(&[("docs", 1)])],
            groups: vec![
                group("canary", &[("10.0.0.2", "healthy")]),
                group("stable", &[("10.0.0.1", "healthy")]),
            ],
        }
    }

    fn answer(weight: u64, balancer: &LoadBalancer, behind: [&str; 2], selection: Selection) -> String {
        let of = |service: &str, address: &str| (service.to_owned(), BTreeSet::from([address.to_owned()]));
        let addresses = [of("canary", behind[0]), of("stable", behind[1])].into();
        question(weight).answer(balancer, &Pods { addresses, selection }).err().unwrap_or_default()
    }

    fn check(weight: u64, balancer: &LoadBalancer, expected: &str) {
        let answer = answer(weight, balancer, ["10.0.0.2", "10.0.0.1"], Selection::Apart);
        assert_eq!(answer, expected, "{balancer:?}");
    }

    #[test]
    fn weights_are_in_force_once_every_rule_of_both_services_has_them() {
        check(20, &balancer(), "");
        check(30, &balancer(), "a rule of it gives canary the weight 20 and not 30 yet");
        let with = |more: BTreeMap<String, u64>| {
            let mut balancer = balancer();
            balancer.rules.push(more);
            balancer
        };
        check(
            20,
            &with(rule(&[("canary", 0), ("stable", 100)])),
            "a rule of it gives canary the weight 0 and not 20 yet",
        );
        check(
            20,
            &with(rule(&[("canary", 20), ("stable", 100)])),
            "a rule of it gives stable the weight 100 and not 80 yet",
        );
        // A route by header has a rule of its own.
        check(20, &with(rule(&[("canary", 100)])), "");
        let bare = LoadBalancer { rules: vec![rule(&[("stable", 100)])], ..balancer() };
        check(20, &bare, "no rule of it has the target groups of both canary and stable");
        let young = LoadBalancer { groups: vec![], ..balancer() };
        check(20, &young, "it has no target group of canary (tagged shop/web-canary:80) yet");
    }

    #[test]
    fn a_share_of_an_experiment_is_in_force_once_its_pods_are_the_targets() {
        let mut question = question(20);
        question.experiments.push(share("try", 5));
        let addresses = [("canary", "10.0.0.2"), ("stable", "10.0.0.1"), ("try", "10.0.0.3")];
        let of = |(name, address): (&str, &str)| (name.to_owned(), BTreeSet::from([address.to_owned()]));
        let pods = Pods { addresses: addresses.map(of).into(), selection: Selection::Apart };
        let answer = |balancer: &LoadBalancer| question.answer(balancer, &pods).err().unwrap_or_default();
        assert_eq!(answer(&balancer()), "it has no target group of try (tagged shop/web-try:80) yet");
        let mut young = balancer();
        young.groups.push(group("try", &[("10.0.0.3", "initial")]));
        assert_eq!(answer(&young), "a rule of it gives try the weight 0 and not 5 yet");
        young.rules[0].insert("arn:try".to_owned(), 5);
        assert_eq!(answer(&young), "of the targets of try, 10.0.0.3 is initial");
        young.groups[2] = group("try", &[("10.0.0.3", "healthy")]);
        assert_eq!(answer(&young), "");
    }

    fn with_targets(targets: &[(&str, &str)]) -> LoadBalancer {
        LoadBalancer {
            groups: vec![group("canary", targets), group("stable", &[("10.0.0.1", "healthy")])],
            ..balancer()
        }
    }

    #[test]
    fn a_share_is_served_once_the_pods_behind_its_service_are_the_targets() {
        check(20, &with_targets(&[]), "of the targets of canary, 10.0.0.2 is not registered yet");
        check(20, &with_targets(&[("10.0.0.2", "initial")]), "of the targets of canary, 10.0.0.2 is initial");
        let old = |state| with_targets(&[("10.0.0.2", "healthy"), ("10.0.0.9", state)]);
        check(20, &old("healthy"), "of the targets of canary, 10.0.0.9 is still in use");
        check(20, &old("unhealthy"), "of the targets of canary, 10.0.0.9 is still in use");
        check(20, &old("draining"), "");
        let mut unchecked = with_targets(&[("10.0.0.2", "unavailable")]);
        unchecked.groups[0].targets[0].reason = "Target.HealthCheckDisabled".to_owned();
        check(20, &unchecked, "");
        unchecked.groups[0].targets[0].reason = "Elb.InternalError".to_owned();
        check(20, &unchecked, "of the targets of canary, 10.0.0.2 is unavailable (Elb.InternalError)");
    }

    #[test]
    fn what_gets_no_share_needs_no_targets() {
        let mut balancer = with_targets(&[("10.0.0.9", "unhealthy")]);
        balancer.rules = vec![rule(&[("canary", 0), ("stable", 100)])];
        check(0, &balancer, "");
    }

    #[test]
    fn a_service_that_may_take_up_the_others_share_needs_the_same_pods() {
        let mut balancer = balancer();
        balancer.rules = vec![rule(&[("canary", 100), ("stable", 0)])];
        let check = |balancer: &LoadBalancer, stable: &str, expected: &str| {
            assert_eq!(answer(100, balancer, ["10.0.0.2", stable], Selection::Same), expected);
        };
        check(&balancer, "10.0.0.1", "the endpoints of stable are not those of canary yet");
        check(&balancer, "10.0.0.2", "of the targets of stable, 10.0.0.2 is not registered yet");
        balancer.groups[1].targets = vec![target("10.0.0.2", "healthy"), target("10.0.0.1", "draining")];
        check(&balancer, "10.0.0.2", "");
    }

    #[test]
    fn nodes_are_targets_once_one_is_healthy_and_none_is_new() {
        let nodes = |targets: &[(&str, &str)]| {
            let mut balancer = with_targets(targets);
            balancer.groups[0].kind = TargetKind::Instances;
            balancer
        };
        check(20, &nodes(&[("i-1", "healthy"), ("i-2", "unhealthy")]), "");
        check(
            20,
            &nodes(&[("i-1", "healthy"), ("i-2", "initial")]),
            "of the targets of canary, i-2 is initial",
        );
        check(20, &nodes(&[("i-1", "unused")]), "of the targets of canary, none is healthy");
    }
}
