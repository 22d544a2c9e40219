//! An abort comes back to Git: the story of a team with a real Argo CD, and what happens to it when servers and processes fail.

pub(crate) mod git_server;
pub(crate) mod process;
pub(crate) mod shop;

use std::ops::{Deref, DerefMut};
use std::time::Instant;

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;
use serin::api::Rollout;
use serin::gitops::record::State;
use serin::rollout::status::condition;

use self::process::WriteBack;
use self::shop::Shop;
use crate::argo_cd::application::{Application, NAME};
use crate::argo_cd::engine::ArgoCd;
use crate::git::git;
use crate::rights::assert_all_used;
use crate::rollouts::{is_restored, says};
use crate::shared::{apply, kubeconfig};
use crate::stub_prometheus::Answer;

/// A shop with an Application that delivers what is in Git.
struct Team {
    shop: Shop,
    application: Application,
    _argo_cd: ArgoCd,
}

impl Deref for Team {
    type Target = Shop;

    fn deref(&self) -> &Shop {
        &self.shop
    }
}

impl DerefMut for Team {
    fn deref_mut(&mut self) -> &mut Shop {
        &mut self.shop
    }
}

impl Team {
    /// Delivers version 1.
    async fn start(prefix: &str, mode: &str) -> Self {
        let shop = Shop::start(prefix).await;
        let argo_cd = ArgoCd::start(&shop.client, &kubeconfig(), &shop.namespace).await;
        let application = Application::named(&shop.client, &shop.namespace, NAME);
        let team = Self { shop, application, _argo_cd: argo_cd };
        process::grant(&team.client, &team.namespace, &process::ARGO_CD).await;
        let first = team.release("v1");
        team.configure(mode).await;
        Application::create_at(&team.client, &team.namespace, &team.server.url(), json!({})).await;
        team.application.until("Synced", "Healthy", &first).await;
        team
    }

    /// Releases a version that fails its analysis, and waits until stable is back.
    async fn release_bad(&self, version: &str) -> String {
        let bad = self.release(version);
        self.fail(&bad).await;
        bad
    }

    /// The same, of which the commit is the last that the branch takes without a review.
    async fn release_protected(&self, version: &str) -> String {
        let bad = self.release(version);
        self.server.protect();
        self.fail(&bad).await;
        bad
    }

    /// Lets the version of a commit fail its analysis, and waits until stable is back.
    async fn fail(&self, commit: &str) {
        self.application.until_commit(commit).await;
        self.rollout.until(says("CanaryPauseStep")).await;
        self.prometheus.answer(Answer::Value(0.5));
        self.rollout.until(is_restored(4)).await;
    }
}

/// What happens and when, printed as `make demo-gitops` shows it.
struct Timeline(Instant);

impl Timeline {
    fn start() -> Self {
        Self(Instant::now())
    }

    fn note(&self, what: &str) {
        println!("{:>7.1} s  {what}", self.0.elapsed().as_secs_f64());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_is_reverted_in_git_with_the_evidence_and_the_application_is_healthy_again() {
    let time = Timeline::start();
    let team = Team::start("story", "commit").await;
    let given = process::grant(&team.client, &team.namespace, &process::ARGO_CD).await;
    team.application.annotate(json!({"argocd-image-updater.argoproj.io/image-list": "app=app:~1"})).await;
    let write_back = WriteBack::start(&kubeconfig(), &team.namespace);
    time.note("Argo CD has synced v1: Synced, Healthy");

    let bad = team.release("v2");
    time.note(&format!("commit {bad:.10}: v2, which will fail"));
    team.application.until_commit(&bad).await;
    team.rollout.until(says("CanaryPauseStep")).await;
    time.note("synced: the canary has a quarter of the pods, and its errors are measured");
    team.prometheus.answer(Answer::Value(0.5));
    team.rollout.until(is_aborted).await;
    time.note("half of the requests fail: aborted");
    team.rollout.until(is_restored(4)).await;
    time.note("stable is at full size");
    let told = team.until_told(State::Reverted).await;
    let revert = team.head();
    time.note(&format!("commit {revert:.10} in Git, by Serin: Revert \"v2\""));
    assert_eq!(told.commit.as_deref(), Some(revert.as_str()));
    team.application.until("Synced", "Healthy", &revert).await;
    time.note("synced: Healthy, Synced");
    team.assert_evidence(&bad);

    team.prometheus.answer(Answer::Value(0.01));
    let good = team.release("v3");
    time.note(&format!("commit {good:.10}: v3, which is good"));
    team.application.until("Synced", "Suspended", &good).await;
    team.rollout.resume().await;
    team.application.until("Synced", "Healthy", &good).await;
    time.note("promoted: Healthy, Synced");
    assert_eq!(team.head(), good);
    let ignored = team.application.annotation("argocd-image-updater.argoproj.io/app.ignore-tags").await;
    assert_eq!(ignored.as_deref(), Some("v2"));
    println!("\n{}\n", team.log()[1]);
    write_back.kill().await;
    assert_all_used(&process::identity(&team.namespace).user, &given);
}

fn is_aborted(rollout: Option<&Rollout>) -> bool {
    let status = rollout.and_then(|rollout| rollout.status.as_ref());
    status.is_some_and(|status| status.abort == Some(true))
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_and_whoever_comes_after_them_write_one_revert() {
    let team = Team::start("replicas", "commit").await;
    let replicas = [(); 2].map(|()| WriteBack::start(&kubeconfig(), &team.namespace));
    team.release_bad("v2").await;
    team.until_told(State::Reverted).await;
    let revert = team.head();
    for replica in replicas {
        replica.kill().await;
    }
    // Somebody takes away what the Rollout says of Git: Git itself is the record.
    team.forget().await;
    let _third = WriteBack::start(&kubeconfig(), &team.namespace);
    assert_eq!(team.until_told(State::Reverted).await.commit.as_deref(), Some(revert.as_str()));
    assert_eq!((team.log().len(), team.head()), (3, revert));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_whose_answer_is_lost_and_a_process_that_is_killed_then_write_one_revert() {
    let team = Team::start("lost", "commit").await;
    team.server.lose_answers(true);
    let killed = WriteBack::start(&kubeconfig(), &team.namespace);
    team.release_bad("v2").await;
    let told = team.until_told(State::Failed).await;
    assert!(told.message.contains("cannot be written to"), "{}", told.message);
    killed.kill().await;
    let (revert, pushes) = (team.head(), team.server.pushes());
    let _next = WriteBack::start(&kubeconfig(), &team.namespace);
    assert_eq!(team.until_told(State::Reverted).await.commit.as_deref(), Some(revert.as_str()));
    assert_eq!((team.log().len(), team.server.pushes()), (3, pushes), "pushed again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_git_server_that_is_down_and_a_token_that_has_expired_are_named_and_heal() {
    let mut team = Team::start("heals", "commit").await;
    let _write_back = WriteBack::start(&kubeconfig(), &team.namespace);
    let bad = team.release("v2");
    team.application.until_commit(&bad).await;
    team.rollout.until(says("CanaryPauseStep")).await;
    team.server.go_away().await;
    team.prometheus.answer(Answer::Value(0.5));
    team.rollout.until(is_restored(4)).await;
    let told = team.until_told(State::Failed).await;
    assert!(told.message.contains("cannot be read: failed to connect"), "{}", told.message);
    assert_eq!(team.rejected_images().await, "app:v2");
    let is_condition = |rollout: Option<&Rollout>| {
        let status = rollout.and_then(|rollout| rollout.status.as_ref());
        let told = status.and_then(|status| condition(status, "WrittenBack"));
        told.is_some_and(|told| {
            told.status == "False" && told.reason.as_deref() == Some("GitWriteBackFailed")
        })
    };
    team.rollout.until(is_condition).await;

    team.server.set_token("renewed");
    team.server.come_back();
    let told = team.until_told_of("refused the credentials").await;
    assert_eq!(told.state, State::Failed);
    assert_eq!(team.head(), bad);

    team.set_token("renewed").await;
    team.until_told(State::Reverted).await;
    assert_eq!(team.log().len(), 3);
    let announced = team.rollout.until_announced("GitWriteBackFailed").await;
    assert!(announced.contains("cannot be read"), "{announced}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_with_rules_gets_one_pull_request_and_none_after_people_closed_it() {
    let team = Team::start("rules", "commit").await;
    let write_back = WriteBack::start(&kubeconfig(), &team.namespace);
    let bad = team.release_protected("v2").await;
    let told = team.until_told(State::Proposed).await;
    let [pull] = &*team.server.pulls() else { panic!("{:#?}", team.server.pulls()) };
    assert_eq!(told.pull_request.as_deref(), pull["html_url"].as_str());
    assert_eq!((&pull["base"], &pull["title"]), (&json!("main"), &json!("Revert \"v2\"")));
    let body = pull["body"].as_str().unwrap();
    assert!(body.contains("| errors | Failed |") && body.contains("the branch does not take it"), "{body}");
    let head = pull["head"].as_str().unwrap();
    let proposed = git(&team.server.bare(), &["show", &format!("{head}:web/rollout.yaml")]);
    assert_eq!(proposed, team.manifest("v1").trim());
    assert_eq!(team.head(), bad);

    write_back.kill().await;
    team.server.close_pulls();
    team.forget().await;
    let _next = WriteBack::start(&kubeconfig(), &team.namespace);
    team.until_told(State::Proposed).await;
    assert_eq!(team.server.pulls().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_configured_wrong_is_said_on_the_rollout_and_heals() {
    let team = Team::start("config", "commit").await;
    let config = |text: &str| json!({"data": {"config.yaml": text}});
    let set = async |text: &str| {
        apply::<ConfigMap>(&team.client, &team.namespace, "serin-gitops", config(text)).await;
    };
    set("repositories: [{url: 'https://elsewhere.example.com/', mode: push}]").await;
    let _write_back = WriteBack::start(&kubeconfig(), &team.namespace);
    team.release_bad("v2").await;
    team.until_told_of("repositories[0].mode: unknown variant `push`").await;
    set("repositories: [{url: 'https://elsewhere.example.com/'}]").await;
    team.until_told_of("is not among the repositories of the configuration").await;
    let url = format!("repositories: [{{url: '{}', secret: missing}}]", team.server.base());
    set(&url).await;
    team.until_told_of("cannot read Secret missing").await;
    team.configure("commit").await;
    team.until_told(State::Reverted).await;
}
