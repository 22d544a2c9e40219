//! Whole histories: every version of every Rollout, AnalysisRun and Experiment that a scenario brings about.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;
use serin::sim::{self, Cluster, Simulation};

/// Separates the script of a scenario from its transcript.
const SEPARATOR: &str = "----\n";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// The scripts of all scenarios, by name.
pub(crate) fn scenarios() -> BTreeMap<String, String> {
    let files = fs::read_dir(root().join("scenarios")).unwrap().map(|entry| entry.unwrap().path());
    let scripts = files.filter(|path| path.extension().is_some_and(|ending| ending == "txt")).map(|path| {
        let text = fs::read_to_string(&path).unwrap();
        let script = text.split(SEPARATOR).next().unwrap_or_default();
        // The same again and again, which no one looks at.
        let script = script.replace("crash everywhere\n", "");
        (path.file_stem().unwrap().to_string_lossy().into_owned(), script)
    });
    scripts.collect()
}

/// What was seen last: the version of each object by kind and name.
#[derive(Default)]
pub(crate) struct Versions(BTreeMap<(String, String), String>);

impl Versions {
    /// The objects that have changed since they were looked at last.
    pub(crate) fn changed(&mut self, cluster: &Cluster) -> Vec<Value> {
        let rollouts = cluster.rollout().into_iter().map(object);
        let runs = cluster.runs().values().map(object);
        let experiments = cluster.experiments().values().map(object);
        rollouts.chain(runs).chain(experiments).filter(|object| self.is_new(object)).collect()
    }

    fn is_new(&mut self, object: &Value) -> bool {
        let text = |pointer| object.pointer(pointer).and_then(Value::as_str).unwrap().to_owned();
        let name = (text("/kind"), text("/metadata/name"));
        let version = text("/metadata/resourceVersion");
        self.0.insert(name, version.clone()) != Some(version)
    }
}

/// An object as the API server has it.
pub(crate) fn object(of: &impl Serialize) -> Value {
    serde_json::to_value(of).unwrap()
}

/// Plays a script while `look` sees every version of every object, and returns how everything is at the end.
pub(crate) fn play(script: &str, look: &mut dyn FnMut(&Simulation, &Value)) -> Simulation {
    let mut versions = Versions::default();
    let files = |name: &str| fs::read_to_string(root().join(name)).ok();
    let mut observer = |_: &sim::Moment<'_>, simulation: &Simulation| {
        for object in versions.changed(&simulation.cluster) {
            look(simulation, &object);
        }
    };
    sim::watch(script, &files, &mut observer).unwrap().simulation
}

/// Plays every scenario while `look` sees every version of every object, with the scenario's name.
pub(crate) fn play_all(look: &mut dyn FnMut(&str, &Simulation, &Value)) {
    let scenarios = scenarios();
    assert!(!scenarios.is_empty());
    for (name, script) in scenarios {
        play(&script, &mut |simulation, object| look(&name, simulation, object));
    }
}
