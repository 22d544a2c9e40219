//! What a team has whichever sync engine delivers for it: a namespace with a controller, a repository, and people who release.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Client;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use serin::api::Rollout;
use serin::api::labels::GIT_WRITE_BACK;
use serin::gitops::record::{REJECTED_IMAGES, Record, State};
use tempfile::TempDir;

use super::git_server::{GitServer, TOKEN};
use super::process::config;
use crate::argo_cd::application::NAME;
use crate::controller_process::{ControllerProcess, definitions_on_shared};
use crate::git::git;
use crate::rollouts::{Subject, template_of};
use crate::shared::{apply, client, kubeconfig, namespace};
use crate::stub_prometheus::{Answer, StubPrometheus};

/// The namespace, the repository and the people.
pub(crate) struct Shop {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) server: GitServer,
    /// What a person has checked out.
    person: TempDir,
    pub(crate) rollout: Subject,
    pub(crate) prometheus: StubPrometheus,
    _controller: ControllerProcess,
}

impl Shop {
    /// Starts it with an empty repository.
    pub(crate) async fn start(prefix: &str) -> Self {
        let client = client();
        definitions_on_shared(&client).await;
        let namespace = namespace(&client, prefix).await;
        let server = GitServer::start();
        let person = TempDir::new().unwrap();
        git(person.path(), &["clone", "--quiet", server.bare().to_str().unwrap(), "."]);
        Self {
            server,
            person,
            rollout: Subject::named(NAME, &client, &namespace),
            prometheus: StubPrometheus::start(Answer::Value(0.01)),
            _controller: ControllerProcess::start(&kubeconfig(), &namespace, &[]),
            client,
            namespace,
        }
    }

    pub(crate) async fn configure(&self, mode: &str) {
        let data = json!({"data": {"config.yaml": config(&self.server.base(), mode).to_string()}});
        apply::<ConfigMap>(&self.client, &self.namespace, "serin-gitops", data).await;
        self.set_token(TOKEN).await;
    }

    /// What the Secret has from now on.
    pub(crate) async fn set_token(&self, token: &str) {
        apply::<Secret>(&self.client, &self.namespace, "git", json!({"stringData": {"token": token}})).await;
    }

    /// A person's commit of a version; its name.
    pub(crate) fn release(&self, version: &str) -> String {
        self.commit(version, &[("web/rollout.yaml", &self.manifest(version))])
    }

    pub(crate) fn commit(&self, message: &str, files: &[(&str, &str)]) -> String {
        let folder = self.person.path();
        if !git(&self.server.bare(), &["for-each-ref"]).is_empty() {
            git(folder, &["pull", "--quiet", "--ff-only", "origin", "main"]);
        }
        for (path, text) in files {
            let path = folder.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        git(folder, &["add", "--all"]);
        git(folder, &["commit", "--quiet", "--message", message]);
        git(folder, &["push", "--quiet", "origin", "HEAD:main"]);
        git(folder, &["rev-parse", "HEAD"])
    }

    /// A Rollout that is judged by its errors while a quarter of its pods run the new version.
    pub(crate) fn manifest(&self, version: &str) -> String {
        let template = json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisTemplate", "metadata": {"name": "errors"},
            "spec": {"metrics": [{"name": "errors", "interval": "1s", "successCondition": "result[0] < 0.05",
                "provider": {"prometheus": {"address": self.prometheus.url(), "query": "errors"}}}]}});
        let steps = json!([{"setWeight": 25}, {"pause": {}}]);
        let rollout = json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": NAME},
            "spec": {"replicas": 4, "selector": {"matchLabels": {"app": NAME}}, "template": template_of(NAME, version),
                "strategy": {"canary": {"steps": steps, "analysis": {"templates": [{"templateName": "errors"}]}}}},
        });
        // One line for each field, as people have it.
        [template, rollout].map(|object| serde_saphyr::to_string(&object).unwrap()).join("---\n")
    }

    /// What the Rollout says of Git once it says this.
    pub(crate) async fn until_told(&self, state: State) -> Record {
        let is_told = move |rollout: Option<&Rollout>| {
            rollout.and_then(record).is_some_and(|record| record.state == state)
        };
        record(&self.rollout.until(is_told).await).unwrap()
    }

    /// The same once its message has this part.
    pub(crate) async fn until_told_of(&self, part: &'static str) -> Record {
        let is_told = move |rollout: Option<&Rollout>| {
            rollout.and_then(record).is_some_and(|record| record.message.contains(part))
        };
        record(&self.rollout.until(is_told).await).unwrap()
    }

    /// Takes away what the Rollout says of Git.
    pub(crate) async fn forget(&self) {
        let none = json!({"metadata": {"annotations": {GIT_WRITE_BACK: null}}});
        self.rollout.rollouts.patch(NAME, &PatchParams::default(), &Patch::Merge(none)).await.unwrap();
    }

    pub(crate) async fn rejected_images(&self) -> String {
        let rollout = self.rollout.rollouts.get(NAME).await.unwrap();
        rollout.metadata.annotations.unwrap()[REJECTED_IMAGES].clone()
    }

    /// The messages of the branch, newest first.
    pub(crate) fn log(&self) -> Vec<String> {
        let log = git(&self.server.bare(), &["log", "--format=%B%x00", "main"]);
        log.split('\0')
            .map(|message| message.trim().to_owned())
            .filter(|message| !message.is_empty())
            .collect()
    }

    /// The newest commit of the branch takes this one back, and says why.
    pub(crate) fn assert_evidence(&self, bad: &str) {
        let log = self.log();
        assert_eq!(log.len(), 3, "{log:#?}");
        let message = &log[0];
        assert!(message.starts_with("Revert \"v2\"\n"), "{message}");
        for evidence in ["errors Failed: ", "0.5", "result[0] < 0.05", &format!("This reverts commit {bad}.")]
        {
            assert!(message.contains(evidence), "{evidence} in {message}");
        }
        assert_eq!(trailer(message, "Serin-Rejected-Image"), ["app:v2"]);
        assert_eq!(trailer(message, "Serin-Rollout"), [format!("{}/{NAME}", self.namespace)]);
    }

    pub(crate) fn head(&self) -> String {
        git(&self.server.bare(), &["rev-parse", "main"])
    }
}

fn record(rollout: &Rollout) -> Option<Record> {
    Record::of(rollout.metadata.annotations.as_ref())
}

fn trailer<'a>(message: &'a str, key: &str) -> Vec<&'a str> {
    message.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix(": ")).collect()
}
