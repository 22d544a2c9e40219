//! Specs of AnalysisRuns: read in the first pass over a run, and used in all others. There are as many as runs that have not
//! ended.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::store::Key;
use crate::analysis::RunSpec;
use crate::api::AnalysisRunSpec;

/// Those of the runs that passes are made over.
#[derive(Default)]
pub(crate) struct Specs(Mutex<HashMap<Key, RunSpec>>);

impl Specs {
    /// A run's spec as it was read; anew where it says something else by now, or where another run has that name.
    pub(crate) fn of(&self, run: &Key, wire: &AnalysisRunSpec) -> RunSpec {
        if let Some(known) = self.lock().get(run).filter(|known| known.is_of(wire)) {
            return known.clone();
        }
        let read = RunSpec::new(wire);
        self.lock().insert(run.clone(), read.clone());
        read
    }

    /// No pass needs it any more.
    pub(crate) fn forget(&self, run: &Key) {
        self.lock().remove(run);
    }

    /// What was read of a run's spec.
    #[cfg(test)]
    pub(crate) fn known(&self, run: &Key) -> Option<RunSpec> {
        self.lock().get(run).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, RunSpec>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_spec_is_read_once_until_it_says_something_else() {
        let wire = |query: &str| {
            let metric = json!({"name": "m", "provider": {"prometheus": {"query": query}}});
            serde_json::from_value::<AnalysisRunSpec>(json!({"metrics": [metric]})).unwrap()
        };
        let (specs, run) = (Specs::default(), Key::new("shop", "api"));
        let first = specs.of(&run, &wire("up"));
        assert!(specs.of(&run, &wire("up")).is_same(&first));
        let other = specs.of(&run, &wire("down"));
        assert!(!other.is_same(&first) && other.is_of(&wire("down")));
        specs.forget(&run);
        assert!(specs.lock().is_empty());
    }
}
