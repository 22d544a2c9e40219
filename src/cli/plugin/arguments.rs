//! The arguments of the plugin.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand};

use super::error::PluginError;
use crate::commands::ImageChange;
use crate::units::parse_duration;

/// A kind of object that a command is about; the word for it may stand before a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// What a command is about that says nothing else.
    Rollout,
    /// An Experiment.
    Experiment,
    /// An AnalysisRun.
    AnalysisRun,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Rollout, Self::Experiment, Self::AnalysisRun];

    /// The words for it, the usual one first.
    const fn words(self) -> [&'static str; 4] {
        match self {
            Self::Rollout => ["rollout", "rollouts", "ro", "rollouts.argoproj.io"],
            Self::Experiment => ["experiment", "experiments", "exp", "experiments.argoproj.io"],
            Self::AnalysisRun => ["analysisrun", "analysisruns", "ar", "analysisruns.argoproj.io"],
        }
    }

    /// The kind that a word stands for.
    fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.words().contains(&word))
    }
}

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
    /// Show a rollout as a tree: revisions, pods, analysis; or an experiment, as `get experiment NAME`
    Get(Get),
    /// Show rollouts as a table, or experiments, as `list experiments`
    List(List),
    /// Show where a rollout stands, until it is healthy or degraded; fails when it is degraded
    Status(Status),
    /// Say what a rollout waits for and what would end the wait
    Why(Why),
    /// Let a rollout go on: past a pause, past its current step, or to the end
    Promote(Promote),
    /// Take an update back: all traffic returns to stable
    Abort(Names),
    /// Start an aborted update again, or an experiment, as `retry experiment NAME`
    Retry(Names),
    /// End an experiment or an analysis run: `terminate experiment NAME`
    Terminate(Names),
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
    /// `rollouts`, which may be left out, or `experiments`
    #[arg(value_name = "KIND")]
    pub words: Vec<String>,
    /// Of all namespaces
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Show each change
    #[arg(short, long)]
    pub watch: bool,
    /// Only the one with this name
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
    #[arg(value_name = "NAME CONTAINER=IMAGE", required = true, num_args = 1..)]
    pub words: Vec<String>,
}

impl Names {
    /// The names, without the kind.
    pub(super) fn all(&self) -> Result<Vec<String>, PluginError> {
        names(&self.words, Kind::Rollout)
    }

    /// The names, all of this kind, without it.
    pub(super) fn all_of(&self, kind: Kind) -> Result<Vec<String>, PluginError> {
        names(&self.words, kind)
    }

    /// The kind that the first word says, before its name.
    pub(super) fn kind(&self) -> Kind {
        let said = match self.words.as_slice() {
            [first] => first.split_once('/').and_then(|(kind, _)| Kind::of(kind)),
            [first, ..] => Kind::of(first.split_once('/').map_or(first, |(kind, _)| kind)),
            [] => None,
        };
        said.unwrap_or(Kind::Rollout)
    }

    /// The name, when there is one only.
    pub(super) fn one(&self) -> Result<String, PluginError> {
        self.one_of(Kind::Rollout)
    }

    /// The name, when there is one only, of this kind.
    pub(super) fn one_of(&self, kind: Kind) -> Result<String, PluginError> {
        match <[String; 1]>::try_from(names(&self.words, kind)?) {
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
    /// The kind that is asked for, and nothing else.
    pub(super) fn check(&self) -> Result<Kind, PluginError> {
        let mut kind = Kind::Rollout;
        for word in &self.words {
            kind = Kind::of(word).filter(|kind| *kind != Kind::AnalysisRun).ok_or_else(|| {
                PluginError::Usage(format!(
                    "cannot list '{word}': only rollouts and experiments can be listed"
                ))
            })?;
        }
        Ok(kind)
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
fn names(words: &[String], kind: Kind) -> Result<Vec<String>, PluginError> {
    let words = match words {
        [first, rest @ ..] if !rest.is_empty() && Kind::of(first) == Some(kind) => rest,
        words => words,
    };
    words
        .iter()
        .map(|word| match word.split_once('/') {
            None => Ok(word.clone()),
            Some((said, name)) if Kind::of(said) == Some(kind) => Ok(name.to_owned()),
            Some((said, _)) => {
                let [word, ..] = kind.words();
                Err(PluginError::Usage(format!("'{said}' is not a word for {word}s")))
            }
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
        assert_eq!(names(&words, Kind::Rollout).unwrap(), expected);
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
        assert!(names(&["deployment/a".to_owned()], Kind::Rollout).is_err());
        assert!(names(&["ro/a".to_owned()], Kind::Experiment).is_err());
    }

    #[test]
    fn another_kind_is_told_by_the_word_before_the_name() {
        for (line, expected) in [
            ("s get exp a", Kind::Experiment),
            ("s get experiment/a", Kind::Experiment),
            ("s get experiment", Kind::Rollout),
            ("s get ro a", Kind::Rollout),
            ("s get a", Kind::Rollout),
        ] {
            let Command::Get(get) = parse(line).command else { panic!("{line}") };
            assert_eq!(get.names.kind(), expected, "{line}");
            assert_eq!(
                get.names.one_of(expected).unwrap().len(),
                if line.ends_with("experiment") { 10 } else { 1 }
            );
        }
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
