//! The arguments of the plugin.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand};

use super::error::PluginError;
use crate::commands::ImageChange;
use crate::units::parse_duration;

/// Words for the kind that may stand before a name.
const KINDS: [&str; 4] = ["rollout", "rollouts", "ro", "rollouts.argoproj.io"];

/// See, steer and understand rollouts.
#[derive(Debug, Parser)]
#[command(name = "kubectl-serin", bin_name = "kubectl serin", version)]
pub struct Arguments {
    /// Which cluster, as whom.
    #[command(flatten)]
    pub cluster: Cluster,
    /// Show no colours; as the environment variable `NO_COLOR`
    #[arg(long, global = true, env = "NO_COLOR", hide_env = true,
          value_parser = clap::builder::FalseyValueParser::new())]
    pub no_color: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Which cluster, as whom: the usual flags of kubectl.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Cluster")]
pub struct Cluster {
    /// Namespace; that of the context when absent
    #[arg(short, long, global = true)]
    pub namespace: Option<String>,
    /// Path of the kubeconfig; as kubectl finds it when absent
    #[arg(long, global = true)]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig
    #[arg(long, global = true)]
    pub context: Option<String>,
    /// Cluster of the kubeconfig
    #[arg(long, global = true)]
    pub cluster: Option<String>,
    /// User of the kubeconfig
    #[arg(long, global = true)]
    pub user: Option<String>,
    /// Name of a user to act as
    #[arg(long = "as", global = true, value_name = "USER")]
    pub as_user: Option<String>,
    /// Group to act as; may be given more than once
    #[arg(long = "as-group", global = true, value_name = "GROUP")]
    pub as_groups: Vec<String>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show a rollout as a tree: revisions, pods, analysis
    Get(Get),
    /// Show rollouts as a table
    List(List),
    /// Show where a rollout stands, until it is healthy or degraded; fails when it is degraded
    Status(Status),
    /// Say what a rollout waits for and what would end the wait
    Why(Why),
    /// Let a rollout go on: past a pause, past its current step, or to the end
    Promote(Promote),
    /// Take an update back: all traffic returns to stable
    Abort(Names),
    /// Start an aborted update again
    Retry(Names),
    /// Hold a rollout where it is
    Pause(Names),
    /// Go back to an earlier revision
    Undo(Undo),
    /// Replace all pods
    Restart(Restart),
    /// Change a field of a rollout
    #[command(subcommand)]
    Set(Set),
    /// Show the version of the plugin
    Version,
}

/// Names of rollouts.
#[derive(Clone, Debug, Args)]
pub struct Names {
    /// Names, with or without the word `rollout` before them
    #[arg(value_name = "NAME", required = true)]
    pub words: Vec<String>,
}

/// `get`.
#[derive(Debug, Args)]
pub struct Get {
    /// Which rollout.
    #[command(flatten)]
    pub names: Names,
    /// Show each change
    #[arg(short, long)]
    pub watch: bool,
    /// Stop watching after this time; 0 for never
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub timeout_seconds: u64,
}

/// `list`.
#[derive(Debug, Args)]
pub struct List {
    /// The word `rollouts`, which may be left out
    #[arg(value_name = "KIND")]
    pub words: Vec<String>,
    /// Of all namespaces
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Show each change
    #[arg(short, long)]
    pub watch: bool,
    /// Only the rollout with this name
    #[arg(long)]
    pub name: Option<String>,
}

/// `status`.
#[derive(Debug, Args)]
pub struct Status {
    /// Which rollout.
    #[command(flatten)]
    pub names: Names,
    /// Wait for the end; `--watch=false` shows the moment
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_value_t = true,
          default_missing_value = "true", action = ArgAction::Set)]
    pub watch: bool,
    /// Give up after this time, for example 90s or 10m; 0 for never
    #[arg(short, long, default_value = "0", value_parser = duration)]
    pub timeout: Duration,
}

/// `why`.
#[derive(Debug, Args)]
pub struct Why {
    /// Which rollouts.
    #[command(flatten)]
    pub names: Names,
}

/// `promote`.
#[derive(Debug, Args)]
pub struct Promote {
    /// Which rollouts.
    #[command(flatten)]
    pub names: Names,
    /// Skip all steps, pauses and analysis that are left
    #[arg(long)]
    pub full: bool,
}

/// `undo`.
#[derive(Debug, Args)]
pub struct Undo {
    /// Which rollouts.
    #[command(flatten)]
    pub names: Names,
    /// Number of the revision to go back to; 0 for the previous one
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub to_revision: u64,
}

/// `restart`.
#[derive(Debug, Args)]
pub struct Restart {
    /// Which rollouts.
    #[command(flatten)]
    pub names: Names,
    /// Start after this time, for example 10s
    #[arg(short, long = "in", value_name = "DURATION", value_parser = duration)]
    pub r#in: Option<Duration>,
}

/// `set`.
#[derive(Debug, Subcommand)]
pub enum Set {
    /// Change images: NAME container=image, with * for all containers
    Image(SetImage),
}

/// `set image`.
#[derive(Debug, Args)]
pub struct SetImage {
    /// The rollout, then container=image pairs
    #[arg(value_name = "NAME CONTAINER=IMAGE", required = true, num_args = 2..)]
    pub words: Vec<String>,
}

impl Names {
    /// The names, without the kind.
    pub(super) fn all(&self) -> Result<Vec<String>, PluginError> {
        names(&self.words)
    }

    /// The name, when there is one only.
    pub(super) fn one(&self) -> Result<String, PluginError> {
        match <[String; 1]>::try_from(self.all()?) {
            Ok([name]) => Ok(name),
            Err(names) => Err(PluginError::Usage(format!(
                "one name is wanted, not {}: {}",
                names.len(),
                names.join(" ")
            ))),
        }
    }
}

impl List {
    /// Checks that nothing but the kind is asked for.
    pub(super) fn check(&self) -> Result<(), PluginError> {
        match self.words.iter().find(|word| !KINDS.contains(&word.as_str())) {
            Some(word) => {
                Err(PluginError::Usage(format!("cannot list '{word}': only rollouts can be listed")))
            }
            None => Ok(()),
        }
    }
}

impl SetImage {
    /// The rollout and the changes.
    pub(super) fn parts(&self) -> Result<(String, Vec<ImageChange>), PluginError> {
        let split = self.words.iter().position(|word| word.contains('=')).unwrap_or(self.words.len());
        let (words, changes) = self.words.split_at(split);
        let name = Names { words: words.to_vec() }.one()?;
        let changes: Result<Vec<ImageChange>, _> = changes.iter().map(|change| change.parse()).collect();
        match changes.map_err(|error| PluginError::Usage(error.to_string()))? {
            changes if changes.is_empty() => {
                Err(PluginError::Usage("no container=image is given".to_owned()))
            }
            changes => Ok((name, changes)),
        }
    }
}

/// Reads `rollout a b`, `ro/a`, or just `a b`. A single word is always a name, even if it is a word for the kind.
fn names(words: &[String]) -> Result<Vec<String>, PluginError> {
    let words = match words {
        [kind, rest @ ..] if !rest.is_empty() && KINDS.contains(&kind.as_str()) => rest,
        words => words,
    };
    words
        .iter()
        .map(|word| match word.split_once('/') {
            None => Ok(word.clone()),
            Some((kind, name)) if KINDS.contains(&kind) => Ok(name.to_owned()),
            Some((kind, _)) => Err(PluginError::Usage(format!("'{kind}' is not a word for rollouts"))),
        })
        .collect()
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| format!("'{text}' is not a duration such as 90s or 10m"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Arguments {
        Arguments::try_parse_from(line.split(' ')).unwrap()
    }

    fn check(words: &[&str], expected: &[&str]) {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        assert_eq!(names(&words).unwrap(), expected);
    }

    #[test]
    fn a_name_may_have_its_kind_before_it() {
        check(&["rollout", "a"], &["a"]);
        check(&["ro", "a", "b"], &["a", "b"]);
        check(&["ro/a"], &["a"]);
        check(&["a", "b"], &["a", "b"]);
        check(&["rollout"], &["rollout"]);
    }

    #[test]
    fn a_name_of_another_kind_is_refused() {
        assert!(names(&["deployment/a".to_owned()]).is_err());
    }

    #[test]
    fn status_watches_unless_told_not_to() {
        for (line, expected) in [
            ("s status a", true),
            ("s status a --watch=false", false),
            ("s status -w a", true),
            ("s status a -t 5m", true),
        ] {
            let Command::Status(status) = parse(line).command else { panic!("{line}") };
            assert_eq!(status.watch, expected, "{line}");
        }
    }

    #[test]
    fn images_come_after_the_name() {
        let Command::Set(Set::Image(image)) = parse("s set image ro a c=x:1 *=y").command else { panic!() };
        let (name, changes) = image.parts().unwrap();
        let change =
            |container: &str, image: &str| ImageChange { container: container.into(), image: image.into() };
        assert_eq!((name.as_str(), changes), ("a", vec![change("c", "x:1"), change("*", "y")]));
    }

    #[test]
    fn flags_of_kubectl_may_stand_anywhere() {
        let arguments = parse("s -n x get ro a --context y");
        assert_eq!(arguments.cluster.namespace.as_deref(), Some("x"));
        assert_eq!(arguments.cluster.context.as_deref(), Some("y"));
    }
}
