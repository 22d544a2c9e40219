//! The real `kubectl-serin` as a child process, on rollouts that a real controller moves.

use std::process::Stdio;

use serde_json::json;
use tempfile::NamedTempFile;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::controller_process::{ControllerProcess, definitions_on_shared};
use crate::rollouts::{Subject, canary, template};
use crate::shared::{DEADLINE, client, kubeconfig, namespace};

/// The plugin, in one namespace.
pub(crate) struct Plugin {
    kubeconfig: NamedTempFile,
    namespace: String,
}

/// What a command came to.
struct Outcome {
    out: String,
    errors: String,
    succeeded: bool,
}

impl Plugin {
    pub(crate) fn new(namespace: &str) -> Self {
        let file = NamedTempFile::new().unwrap();
        std::fs::write(file.path(), kubeconfig()).unwrap();
        Self { kubeconfig: file, namespace: namespace.to_owned() }
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-serin"));
        command.args(line.split(' ')).args(["--namespace", &self.namespace]);
        command.arg("--kubeconfig").arg(self.kubeconfig.path());
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    async fn run(&self, line: &str) -> Outcome {
        let ended = tokio::time::timeout(DEADLINE, self.command(line).output()).await;
        let output = ended.unwrap_or_else(|_| panic!("'{line}' does not end")).unwrap();
        Outcome {
            out: String::from_utf8(output.stdout).unwrap(),
            errors: String::from_utf8(output.stderr).unwrap(),
            succeeded: output.status.success(),
        }
    }

    /// The output of a command that must succeed.
    pub(crate) async fn say(&self, line: &str) -> String {
        let outcome = self.run(line).await;
        assert!(outcome.succeeded, "'{line}' failed: {}", outcome.errors);
        outcome.out
    }

    fn start(&self, line: &str) -> Child {
        self.command(line).stdout(Stdio::piped()).spawn().unwrap()
    }
}

/// Reads the output of a command until a line contains `text`.
async fn read_until(lines: &mut tokio::io::Lines<BufReader<tokio::process::ChildStdout>>, text: &str) {
    let reading = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains(text) {
                return true;
            }
        }
        false
    };
    let found = tokio::time::timeout(DEADLINE, reading).await;
    assert_eq!(found.ok(), Some(true), "'{text}' is never shown");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_walks_a_rollout_through_its_life() {
    let client = client();
    definitions_on_shared(&client).await;
    let namespace = namespace(&client, "plugin").await;
    let plugin = Plugin::new(&namespace);
    let _controller = ControllerProcess::start(&kubeconfig(), &namespace, &[]);
    let steps = json!([{"setWeight": 25}, {"pause": {}}, {"setWeight": 75}]);
    let subject = Subject::create(&client, &namespace, "v1", canary(steps)).await;
    assert!(plugin.say("status web").await.ends_with("Healthy\n"));
    assert!(plugin.say("why web").await.contains("waits for nothing: revision 1 is stable"));

    assert_eq!(plugin.say("set image web main=app:v2").await, "rollout 'web' image updated\n");
    subject.until_phase("Paused").await;
    let tree = plugin.say("get rollout web").await;
    for shown in ["॥ Paused", "├──# revision:2", "app:v2 (canary)", "app:v1 (stable)", "SetWeight:     25"]
    {
        assert!(tree.contains(shown), "{shown} is missing in\n{tree}");
    }
    assert!(plugin.say("why ro/web").await.contains("paused at step 2 of 3 (pause)"));
    assert!(plugin.say("list rollouts").await.contains("web   Canary    Paused  1/3   25"));

    assert_eq!(plugin.say("abort web").await, "rollout 'web' aborted\n");
    subject.until_phase("Degraded").await;
    let status = plugin.run("status web").await;
    assert!(!status.succeeded && status.errors.contains("degraded state with message: RolloutAborted"));
    assert!(plugin.say("why web").await.contains("because a user asked for it"));

    assert_eq!(plugin.say("retry rollout web").await, "rollout 'web' retried\n");
    subject.until_phase("Paused").await;
    assert_eq!(plugin.say("promote web").await, "rollout 'web' promoted\n");
    subject.until_phase("Healthy").await;
    subject.until_sizes(&[("2", 4)]).await;
    assert!(plugin.say("abort web").await.contains("nothing to abort"));
}

#[tokio::test(flavor = "multi_thread")]
async fn undo_finds_the_replica_set_of_the_old_revision_again() {
    let client = client();
    definitions_on_shared(&client).await;
    let namespace = namespace(&client, "undo").await;
    let plugin = Plugin::new(&namespace);
    let _controller = ControllerProcess::start(&kubeconfig(), &namespace, &[]);
    let subject = Subject::create(&client, &namespace, "v1", canary(json!([{"pause": {}}]))).await;
    subject.until_phase("Healthy").await;
    subject.release("v2").await;
    subject.until_phase("Paused").await;
    subject.until_revisions(&["1", "2"]).await;

    assert_eq!(plugin.say("undo web").await, "rollout 'web' undone to revision 1\n");
    let undone = subject.until_phase("Healthy").await;
    assert_eq!(undone.spec.template, Some(template("v1")));
    subject.until_revisions(&["2", "3"]).await;
    assert!(plugin.say("undo web --to-revision 3").await.starts_with("skipped rollback"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watched_tree_follows_the_rollout_through_a_pipe() {
    let client = client();
    definitions_on_shared(&client).await;
    let namespace = namespace(&client, "watched").await;
    let plugin = Plugin::new(&namespace);
    let _controller = ControllerProcess::start(&kubeconfig(), &namespace, &[]);
    let subject = Subject::create(&client, &namespace, "v1", canary(json!([{"pause": {}}]))).await;
    subject.until_phase("Healthy").await;

    let mut child = plugin.start("get rollout web --watch");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    read_until(&mut lines, "✔ Healthy").await;
    subject.release("v2").await;
    read_until(&mut lines, "॥ Paused").await;
    plugin.say("promote web --full").await;
    read_until(&mut lines, "app:v2 (stable)").await;

    // Nobody reads any more: the next picture ends it, without a complaint.
    drop(lines);
    subject.release("v3").await;
    let ended = tokio::time::timeout(DEADLINE, child.wait()).await.expect("it does not end").unwrap();
    assert!(ended.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_one_line_that_names_the_object() {
    let client = client();
    definitions_on_shared(&client).await;
    let namespace = namespace(&client, "errors").await;
    let plugin = Plugin::new(&namespace);
    let missing = format!("error: rollout 'nix' not found in namespace '{namespace}'\n");
    for line in ["get rollout nix", "status nix", "why nix", "promote nix", "undo nix", "get nix --watch"] {
        let outcome = plugin.run(line).await;
        assert_eq!((outcome.succeeded, outcome.errors), (false, missing.clone()), "{line}");
    }
    let refused = plugin.run("list --as nobody").await.errors;
    assert!(
        refused.starts_with("error: cannot list rollouts: ") && refused.contains("\"nobody\""),
        "{refused}"
    );
}
