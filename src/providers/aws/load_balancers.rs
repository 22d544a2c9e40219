//! Application load balancers, as far as it takes to know whether one follows its Ingress.
//!
//! Which load balancers and target groups there are changes seldom, and is kept for a while: an account has one limit for all
//! of these requests. Rules and the health of targets are read each time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::super::Shared;
use super::query_api::{AskedBy, Members, Service};
use crate::traffic::verification::{LoadBalancer, Question, Target, TargetGroup, TargetKind};

const SERVICE: Service = Service {
    name: "elasticloadbalancing",
    endpoint: "ELASTIC_LOAD_BALANCING_V2",
    version: "2015-12-01",
    asked_by: AskedBy::Controller,
};

/// How long it is believed which load balancers and target groups there are.
const KEPT: Duration = Duration::from_mins(10);
/// Most pages of one list; with a hundred entries on each, no account has more.
const MAX_PAGES: usize = 100;
/// Most resources whose tags can be asked for at once.
const TAGGED_AT_ONCE: usize = 20;

/// Reads load balancers.
#[derive(Clone, Debug)]
pub struct LoadBalancers {
    shared: Arc<Shared>,
    known: Arc<Mutex<Known>>,
}

/// What is believed for a while.
#[derive(Debug, Default)]
struct Known {
    /// ARN of load balancers by host, by region.
    hosts: BTreeMap<String, (Instant, BTreeMap<String, String>)>,
    /// Target groups of load balancers, by ARN.
    groups: BTreeMap<String, (Instant, Vec<TargetGroup>)>,
}

/// A list with the place where it goes on.
trait Page: DeserializeOwned {
    type Item;
    fn into_parts(self) -> (Vec<Self::Item>, Option<String>);
}

macro_rules! page {
    ($page:ident, $result:ident, $tag:literal, $list:literal, $item:ty) => {
        #[derive(Deserialize)]
        struct $page {
            #[serde(rename = $tag)]
            result: $result,
        }

        #[derive(Deserialize)]
        struct $result {
            #[serde(rename = $list, default)]
            list: Members<$item>,
            #[serde(rename = "NextMarker")]
            next: Option<String>,
        }

        impl Page for $page {
            type Item = $item;

            fn into_parts(self) -> (Vec<$item>, Option<String>) {
                (self.result.list.member, self.result.next.filter(|next| !next.is_empty()))
            }
        }
    };
}

page!(BalancerPage, BalancerResult, "DescribeLoadBalancersResult", "LoadBalancers", BalancerEntry);
page!(ListenerPage, ListenerResult, "DescribeListenersResult", "Listeners", ListenerEntry);
page!(RulePage, RuleResult, "DescribeRulesResult", "Rules", RuleEntry);
page!(GroupPage, GroupResult, "DescribeTargetGroupsResult", "TargetGroups", GroupEntry);
page!(TagPage, TagResult, "DescribeTagsResult", "TagDescriptions", TagEntry);
page!(HealthPage, HealthResult, "DescribeTargetHealthResult", "TargetHealthDescriptions", HealthEntry);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BalancerEntry {
    load_balancer_arn: String,
    #[serde(rename = "DNSName")]
    host: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListenerEntry {
    listener_arn: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RuleEntry {
    #[serde(default)]
    actions: Members<ActionEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ActionEntry {
    target_group_arn: Option<String>,
    #[serde(default)]
    forward_config: ForwardEntry,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ForwardEntry {
    #[serde(default)]
    target_groups: Members<WeightEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WeightEntry {
    target_group_arn: String,
    weight: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GroupEntry {
    target_group_arn: String,
    target_type: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TagEntry {
    resource_arn: String,
    #[serde(default)]
    tags: Members<Tag>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tag {
    key: String,
    #[serde(default)]
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HealthEntry {
    target: HealthOf,
    target_health: Health,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HealthOf {
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Health {
    #[serde(default)]
    state: String,
    #[serde(default)]
    reason: String,
}

impl LoadBalancers {
    pub(in crate::providers) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, known: Arc::default() }
    }

    /// Reads the load balancer of an Ingress: its rules, the target groups that have this tag, and the targets of those that the
    /// question is about.
    ///
    /// # Errors
    /// Why it cannot be read, in one sentence.
    pub async fn read(&self, host: &str, question: &Question, tag: &str) -> Result<LoadBalancer, String> {
        let host = host.to_ascii_lowercase();
        let region = self.shared.aws.region(None, &host)?;
        let arn = self.arn(&region, &host).await?;
        let rules = self.rules(&region, &arn).await?;
        let mut groups = self.groups(&region, &arn, tag, question).await?;
        for group in &mut groups {
            if question.all().any(|share| share.resource == group.resource) {
                group.targets = self.targets(&region, &group.arn).await?;
            }
        }
        Ok(LoadBalancer { rules, groups })
    }

    async fn arn(&self, region: &str, host: &str) -> Result<String, String> {
        let kept = |known: &Known| {
            let (at, hosts) = known.hosts.get(region)?;
            hosts.get(host).filter(|_| at.elapsed() < KEPT).cloned()
        };
        if let Some(arn) = kept(&self.known()) {
            return Ok(arn);
        }
        let all = self.all::<BalancerPage>(region, "DescribeLoadBalancers", &[]).await?;
        let by_host =
            |entry: BalancerEntry| Some((entry.host?.to_ascii_lowercase(), entry.load_balancer_arn));
        let hosts = all.into_iter().filter_map(by_host).collect();
        self.known().hosts.insert(region.to_owned(), (Instant::now(), hosts));
        kept(&self.known()).ok_or_else(|| format!("there is no load balancer {host} in {region}"))
    }

    async fn rules(&self, region: &str, balancer: &str) -> Result<Vec<BTreeMap<String, u64>>, String> {
        let of = [("LoadBalancerArn", balancer)];
        let mut rules = Vec::new();
        for listener in self.all::<ListenerPage>(region, "DescribeListeners", &of).await? {
            let of = [("ListenerArn", listener.listener_arn.as_str())];
            rules.extend(self.all::<RulePage>(region, "DescribeRules", &of).await?);
        }
        let actions = rules.into_iter().flat_map(|rule| rule.actions.member);
        Ok(actions.map(weights).filter(|weights| !weights.is_empty()).collect())
    }

    /// The target groups of a load balancer with their tags; read again when those that are looked for are not among them.
    async fn groups(
        &self,
        region: &str,
        balancer: &str,
        tag: &str,
        question: &Question,
    ) -> Result<Vec<TargetGroup>, String> {
        let key = format!("{balancer} {tag}");
        let kept = self
            .known()
            .groups
            .get(&key)
            .filter(|(at, _)| at.elapsed() < KEPT)
            .map(|(_, groups)| groups.clone());
        let has_all = |groups: &Vec<TargetGroup>| {
            let found: BTreeSet<&str> = groups.iter().map(|group| group.resource.as_str()).collect();
            question.all().all(|share| found.contains(share.resource.as_str()))
        };
        if let Some(groups) = kept.filter(has_all) {
            return Ok(groups);
        }
        let all =
            self.all::<GroupPage>(region, "DescribeTargetGroups", &[("LoadBalancerArn", balancer)]).await?;
        let mut groups = Vec::new();
        for some in all.chunks(TAGGED_AT_ONCE) {
            let resources = self.tagged(region, tag, some).await?;
            groups.extend(some.iter().filter_map(|group| {
                let resource = resources.get(&group.target_group_arn)?.clone();
                Some(TargetGroup {
                    arn: group.target_group_arn.clone(),
                    resource,
                    kind: match group.target_type.as_deref() {
                        Some("instance") => TargetKind::Instances,
                        Some(_) | None => TargetKind::Addresses,
                    },
                    targets: Vec::new(),
                })
            }));
        }
        self.known().groups.insert(key, (Instant::now(), groups.clone()));
        Ok(groups)
    }

    /// The values of a tag, by ARN.
    async fn tagged(
        &self,
        region: &str,
        tag: &str,
        groups: &[GroupEntry],
    ) -> Result<BTreeMap<String, String>, String> {
        let names: Vec<_> = (1..=groups.len()).map(|index| format!("ResourceArns.member.{index}")).collect();
        let arns = groups.iter().map(|group| group.target_group_arn.as_str());
        let of: Vec<_> = names.iter().map(String::as_str).zip(arns).collect();
        let all = self.all::<TagPage>(region, "DescribeTags", &of).await?;
        let value = |entry: TagEntry| {
            let found = entry.tags.member.into_iter().find(|one| one.key == tag)?;
            Some((entry.resource_arn, found.value))
        };
        Ok(all.into_iter().filter_map(value).collect())
    }

    async fn targets(&self, region: &str, group: &str) -> Result<Vec<Target>, String> {
        let of = [("TargetGroupArn", group)];
        let all = self.all::<HealthPage>(region, "DescribeTargetHealth", &of).await?;
        let target = |HealthEntry { target, target_health: Health { state, reason } }| Target {
            id: target.id,
            state,
            reason,
        };
        Ok(all.into_iter().map(target).collect())
    }

    /// All pages of a list.
    async fn all<P: Page>(
        &self,
        region: &str,
        action: &str,
        of: &[(&str, &str)],
    ) -> Result<Vec<P::Item>, String> {
        let of: Vec<_> = of.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let (mut found, mut next) = (Vec::new(), None);
        for _ in 0..MAX_PAGES {
            let from = next.take().map(|marker| ("Marker".to_owned(), marker));
            let parameters: Vec<_> = of.iter().cloned().chain(from).collect();
            let (aws, clients) = (&self.shared.aws, &self.shared.clients);
            let page: P = aws.ask(clients, SERVICE, region, action, &parameters).await?;
            let (items, marker) = page.into_parts();
            found.extend(items);
            next = marker;
            if next.is_none() {
                return Ok(found);
            }
        }
        Err(format!("{action}: it has more than {MAX_PAGES} pages"))
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The weights of an action; a target group that is alone gets everything.
fn weights(action: ActionEntry) -> BTreeMap<String, u64> {
    let several = action.forward_config.target_groups.member;
    let several = several.into_iter().map(|group| (group.target_group_arn, group.weight.unwrap_or(1)));
    let mut weights: BTreeMap<_, _> = several.collect();
    if let Some(alone) = action.target_group_arn.filter(|arn| weights.is_empty() && !arn.is_empty()) {
        weights.insert(alone, 1);
    }
    weights
}
