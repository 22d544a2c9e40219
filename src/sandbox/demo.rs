//! The demo: a first version, a bad one that is taken back by itself, and a good one that is promoted.
//!
//! It does what a user does, applies manifests, and watches what a user sees. Everything it tells was observed in the
//! API server or counted by the traffic; what does not happen as told in time is an error.

mod error;
mod news;
mod recorder;
mod report;
mod restore;
pub mod screen;
mod watching;

use std::io::Write;
use std::num::NonZeroU32;
use std::time::Duration;

use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::ApiResource;
use kube::{Api, Client};
use serde_json::Value;
use tokio::time::{Instant, sleep_until};

pub use self::error::DemoError;
use self::recorder::Recorder;
use self::restore::Restore;
use self::screen::Screen;
use self::watching::{Scene, Watching};
use super::chart::History;
use super::cluster::LocalCluster;
use super::manifests::{DemoManifests, Pace};
use super::traffic::{Counts, Tally, Traffic};
use super::{node, workload};
use crate::units::Timestamp;
use crate::view::{Detail, Line, Phase, Tone, render};

/// The Rollout of the demo, and its Service.
const NAME: &str = "api-server";
/// Where it lives; the kubeconfig's namespace, so that nobody has to name it.
const NAMESPACE: &str = "default";
/// The success rate that the template asks for.
const LIMIT: f64 = 0.95;
/// The largest share of pods that the bad version gets: the weight in front of the analysis.
const HIGHEST_BAD_SHARE: f64 = 0.3;
/// What is added to the time that a rollout takes as written: pods start, measurements take a moment.
const SLACK: Duration = Duration::from_secs(90);
/// What the rollout takes as written: two pauses of 5 m, four measurements with 2 m between them.
const AS_WRITTEN: Duration = Duration::from_mins(16);
/// Requests without a failure that are shown before anything happens.
const CALM: u64 = 500;
/// How often the chart moves on without any change.
const TICK: Duration = Duration::from_millis(250);
/// Columns of the chart.
const CHART_WIDTH: usize = 96;

/// How the demo runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DemoOptions {
    /// How many times faster than written the pauses, intervals and windows are.
    pub pace: Pace,
}

impl Default for DemoOptions {
    /// About two minutes.
    fn default() -> Self {
        Self { pace: Pace(NonZeroU32::new(20).unwrap_or(NonZeroU32::MIN)) }
    }
}

/// Runs the demo in a fresh sandbox in which a controller runs, and returns what the chart shows.
///
/// # Errors
/// When anything does not happen as told.
pub async fn run<W: Write>(
    cluster: &LocalCluster,
    options: DemoOptions,
    screen: &mut Screen<W>,
) -> Result<History, DemoError> {
    let client = cluster.control_plane().client();
    let traffic = cluster.traffic().ok_or(DemoError::NoTraffic)?;
    let mut demo = Demo {
        watching: Watching::start(&client, NAMESPACE),
        client,
        traffic,
        screen,
        pace: options.pace,
        port: workload::free_port(),
        zero: Instant::now(),
        baseline: Tally::new(),
        first: None,
        recorder: Recorder::new(LIMIT),
        scene: None,
    };
    let started = demo.first_deploy().await?;
    let restore = demo.bad_version().await?;
    let promoted = demo.good_version().await?;
    demo.look()?;
    let history = demo.recorder.history().clone();
    let mut lines = demo.picture();
    lines.extend(report::report(&demo.counts_by_version(), started, &restore, promoted));
    demo.screen.keep(lines)?;
    Ok(history)
}

/// What a look at the scene says about what is expected.
enum Verdict {
    /// It has happened.
    Done,
    /// It may still happen.
    NotYet,
    /// It can no longer happen.
    Broken(String),
}

struct Demo<'a, W> {
    client: Client,
    watching: Watching,
    traffic: &'a Traffic,
    screen: &'a mut Screen<W>,
    pace: Pace,
    port: u16,
    /// The start of the chart.
    zero: Instant,
    /// What was counted before it.
    baseline: Tally,
    /// Pod hash of the first version, which is never a canary.
    first: Option<String>,
    recorder: Recorder,
    scene: Option<Scene>,
}

impl<W: Write> Demo<'_, W> {
    /// Deploys the first version and waits until all is calm. Returns the time until it was healthy.
    async fn first_deploy(&mut self) -> Result<Duration, DemoError> {
        self.headline("v1: the first deploy, 10 pods at once")?;
        let began = self.zero;
        let manifests = self.manifests("v1")?;
        for object in [&manifests.service, &manifests.template, &manifests.rollout] {
            self.apply(object).await?;
        }
        self.expect("v1 becomes Healthy", |scene, _| healthy(scene, None)).await?;
        let took = began.elapsed();
        self.first = self.newest();
        self.baseline = self.traffic.tally();
        self.zero = Instant::now();
        self.recorder = Recorder::new(LIMIT);
        self.calm().await?;
        Ok(took)
    }

    /// Rolls out a version that fails half of its requests and waits until it is taken back.
    async fn bad_version(&mut self) -> Result<Restore, DemoError> {
        self.headline("v2-err50: a version that fails every second request. Nobody will touch anything")?;
        self.apply(&self.manifests("v2-err50")?.rollout).await?;
        self.mark("v2-err50 begins", Tone::Plain);
        let first = self.first.clone();
        let (mut restore, mut sizes) = (Restore::default(), Vec::new());
        self.expect("v2-err50 is aborted and v1 is restored to full size", |scene, now| {
            let Some(bad) = scene.newest().filter(|hash| Some(*hash) != first.as_deref()) else {
                return Verdict::NotYet;
            };
            restore.see(scene, bad, now);
            if scene.stable() != first.as_deref() {
                return Verdict::Broken("it became stable".to_owned());
            }
            if scene.share(bad) > HIGHEST_BAD_SHARE {
                return Verdict::Broken(format!("{} of its pods were ready", scene.ready_pods(bad)));
            }
            sizes.push(scene.ready_pods(bad));
            if restore.full.is_some() && scene.is_tidy() { Verdict::Done } else { Verdict::NotYet }
        })
        .await?;
        went_through(&sizes, ["v2-err50 stops at 10 %", "v2-err50 stops at 30 %"])?;
        for (at, text) in
            [(restore.first_bad, "first bad measurement"), (restore.aborted, "aborted by itself")]
        {
            self.recorder.mark(at.unwrap_or_default(), text, Tone::Bad);
        }
        self.recorder.mark(restore.full.unwrap_or_default(), "v1 at full size", Tone::Good);
        self.say(report::restored(&restore))?;
        self.calm().await?;
        let picture = self.picture();
        self.screen.keep(picture)?;
        Ok(restore)
    }

    /// Rolls out a good version and waits until it is promoted. Returns the time it took.
    async fn good_version(&mut self) -> Result<Duration, DemoError> {
        self.headline("v3: a good version")?;
        let (began, before) = (Instant::now(), self.newest());
        self.apply(&self.manifests("v3")?.rollout).await?;
        self.mark("v3 begins", Tone::Plain);
        let mut sizes = Vec::new();
        self.expect("v3 is promoted", |scene, _| {
            let Some(good) = scene.newest().filter(|hash| Some(*hash) != before.as_deref()) else {
                return Verdict::NotYet;
            };
            sizes.push(scene.ready_pods(good));
            if scene.is_aborted() {
                return Verdict::Broken(format!("it was aborted: {}", scene.view.standing.message));
            }
            healthy(scene, before.as_deref())
        })
        .await?;
        let took = began.elapsed();
        self.mark("v3 promoted", Tone::Good);
        went_through(&sizes, ["v3 stops at 10 %", "v3 stops at 30 %"])?;
        self.calm().await?;
        Ok(took)
    }

    /// Shows a stretch in which nothing happens.
    async fn calm(&mut self) -> Result<(), DemoError> {
        let traffic = self.traffic;
        let before = total(&traffic.tally()).total();
        let enough = |_: &Scene, _| match total(&traffic.tally()).total() {
            now if now >= before + CALM => Verdict::Done,
            _ => Verdict::NotYet,
        };
        self.expect("users are served", enough).await
    }

    /// Looks until what is expected has happened.
    async fn expect(
        &mut self,
        told: &'static str,
        mut judge: impl FnMut(&Scene, Duration) -> Verdict,
    ) -> Result<(), DemoError> {
        let waited = AS_WRITTEN / self.pace.0.get() + SLACK;
        let deadline = Instant::now() + waited;
        loop {
            self.look()?;
            let now = self.zero.elapsed();
            match self.scene.as_ref().map_or(Verdict::NotYet, |scene| judge(scene, now)) {
                Verdict::Done => return Ok(()),
                Verdict::Broken(seen) => return Err(DemoError::Unexpected { told, seen }),
                Verdict::NotYet if Instant::now() > deadline => {
                    let seen = self.scene.as_ref().map_or_else(|| "nothing".to_owned(), standing);
                    return Err(DemoError::TooLate { told, waited, seen });
                }
                Verdict::NotYet => {}
            }
            let tick = sleep_until(Instant::now() + TICK);
            tokio::select! {
                () = self.watching.changed() => {}
                () = tick => {}
            }
        }
    }

    /// Takes in what there is, tells what is new, and redraws the picture.
    fn look(&mut self) -> Result<(), DemoError> {
        let Some(scene) = self.watching.scene(NAME) else { return Ok(()) };
        if let Some(before) = &self.scene {
            for line in news::news(before.picture(), scene.picture()) {
                self.say(line)?;
            }
        }
        let fresh = scene.newest().filter(|hash| self.first.as_deref().is_some_and(|first| first != *hash));
        let canary = fresh.map_or(0.0, |hash| scene.share(hash));
        if self.first.is_some() {
            let counts = total(&self.traffic.tally()).since(total(&self.baseline));
            self.recorder.sample(self.zero.elapsed(), counts, canary);
        }
        self.scene = Some(scene);
        let picture = self.live();
        Ok(self.screen.draw(picture)?)
    }

    /// The picture that moves: the chart first, because a low terminal cuts off what is last.
    fn live(&self) -> Vec<Line> {
        let mut lines = vec![Line::default()];
        lines.extend(self.chart());
        lines.extend(self.tree(Detail::Compact));
        lines
    }

    /// The picture that stays.
    fn picture(&self) -> Vec<Line> {
        let mut lines = vec![Line::default()];
        lines.extend(self.tree(Detail::Full));
        lines.push(Line::default());
        lines.extend(self.chart());
        lines.extend(self.recorder.history().legend());
        lines.push(Line::default());
        lines
    }

    fn tree(&self, detail: Detail) -> Vec<Line> {
        let now = Timestamp::from(&node::now());
        self.scene.as_ref().map_or_else(Vec::new, |scene| render(&scene.view, now, detail).lines)
    }

    fn chart(&self) -> Vec<Line> {
        let history = self.recorder.history();
        if history.samples.is_empty() {
            return Vec::new();
        }
        let mut lines = history.text(self.screen.columns(CHART_WIDTH));
        lines.push(Line::default());
        lines
    }

    fn headline(&mut self, text: &str) -> Result<(), DemoError> {
        self.screen.say(Line::default())?;
        Ok(self.screen.say(Line::default().with(Tone::Active, format!("── {text} ──")))?)
    }

    fn say(&mut self, line: Line) -> Result<(), DemoError> {
        let time = format!("{:>6.1} s  ", self.zero.elapsed().as_secs_f64());
        Ok(self.screen.say(Line::default().with(Tone::Faint, time).then(line))?)
    }

    fn mark(&mut self, text: &str, tone: Tone) {
        self.recorder.mark(self.zero.elapsed(), text, tone);
    }

    fn newest(&self) -> Option<String> {
        self.scene.as_ref()?.newest().map(str::to_owned)
    }

    fn manifests(&self, tag: &str) -> Result<DemoManifests, DemoError> {
        Ok(DemoManifests::new(self.pace, &format!("serin-demo:{tag}"), self.port)?)
    }

    async fn apply(&self, manifest: &Value) -> Result<(), DemoError> {
        apply(&self.client, manifest).await
    }

    /// Requests since the start of the chart by version, in the order of the versions.
    fn counts_by_version(&self) -> Vec<(String, Counts)> {
        let Some(scene) = &self.scene else { return Vec::new() };
        report::by_version(&self.traffic.tally(), &self.baseline, &scene.observed.replica_sets)
    }
}

/// Applies an object as `kubectl apply --server-side` does.
async fn apply(client: &Client, manifest: &Value) -> Result<(), DemoError> {
    let text = |pointer: &str| manifest.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (kind, name) = (text("/kind"), text("/metadata/name"));
    let (group, version) = text("/apiVersion").rsplit_once('/').unwrap_or(("", text("/apiVersion")));
    let resource = ApiResource::from_gvk(&kube::core::GroupVersionKind::gvk(group, version, kind));
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), NAMESPACE, &resource);
    let params = PatchParams::apply("serin-demo").force();
    let applied = api.patch(name, &params, &Patch::Apply(manifest)).await;
    applied.map(drop).map_err(|source| DemoError::Apply { object: format!("{kind} {name}"), source })
}

/// Whether a version other than `before` is stable, with all its pods.
fn healthy(scene: &Scene, before: Option<&str>) -> Verdict {
    let is_new = scene.newest().is_some() && scene.newest() != before && scene.newest() == scene.stable();
    let all_ready = scene.newest().is_some_and(|hash| scene.ready_pods(hash) >= scene.wanted_pods());
    if scene.view.standing.phase == Phase::Healthy && is_new && all_ready && scene.is_tidy() {
        Verdict::Done
    } else {
        Verdict::NotYet
    }
}

fn standing(scene: &Scene) -> String {
    let standing = &scene.view.standing;
    format!("{} {}", standing.phase.as_str(), standing.message).trim_end().to_owned()
}

/// Whether a canary had the sizes that weights of 10 and 30 mean, of ten pods.
fn went_through(sizes: &[usize], told: [&'static str; 2]) -> Result<(), DemoError> {
    for (pods, told) in [1, 3].into_iter().zip(told) {
        if !sizes.contains(&pods) {
            let seen = format!("it never had {pods} ready pods");
            return Err(DemoError::Unexpected { told, seen });
        }
    }
    Ok(())
}

/// All requests to the Service.
fn total(tally: &Tally) -> Counts {
    let service = format!("{NAMESPACE}/{NAME}");
    tally.iter().filter(|(to, _)| to.service == service).map(|(_, counts)| *counts).sum()
}
