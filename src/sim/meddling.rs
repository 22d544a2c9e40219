//! What people do by hand to what the controller made.

use super::caches::Writer;
use super::cluster::Cluster;
use super::images::{Disturbance, tag};
use crate::units::ReplicaCount;

impl Cluster {
    /// Deletes, breaks or heals pods of an image.
    pub fn disturb_pods(&mut self, image: &str, count: usize, disturbance: Disturbance) {
        let now = self.now();
        let of_image = |image_of_pod: &str| tag(image_of_pod) == tag(image);
        let affected: Vec<u64> = self
            .pods
            .iter()
            .filter(|(_, pod)| of_image(&pod.image))
            .map(|(number, _)| *number)
            .take(count)
            .collect();
        let mut sets = Vec::new();
        for number in affected {
            let Some(pod) = self.pods.get_mut(&number) else { continue };
            sets.push(pod.replica_set.clone());
            match disturbance {
                Disturbance::Delete => {
                    self.pods.remove(&number);
                }
                Disturbance::Break => pod.fail(),
                Disturbance::Heal => pod.recover(now),
            }
        }
        self.pods_changed(sets);
        self.retry_refused_pods();
    }

    /// Deletes the ReplicaSets of an image, with their pods.
    pub fn delete_replica_sets_of(&mut self, image: &str) {
        for name in self.replica_sets_of(image) {
            // It was found a moment ago.
            let _ = self.delete_replica_set(&name, Writer::Other);
        }
    }

    /// Changes the size of the ReplicaSets of an image.
    pub fn resize_replica_sets_of(&mut self, image: &str, size: u32) {
        let now = self.now();
        for name in self.replica_sets_of(image) {
            if let Some(set) = self.replica_sets.get_mut(&name) {
                set.size = ReplicaCount::new(size);
                set.touch(now);
            }
            self.publish_replica_set(&name, Writer::Other);
        }
    }

    /// Deletes all AnalysisRuns.
    pub fn delete_runs(&mut self) {
        let names: Vec<String> = self.runs.keys().cloned().collect();
        for name in names {
            // It was found a moment ago.
            let _ = self.delete_run(&name, Writer::Other);
        }
    }

    /// Tells all AnalysisRuns to stop.
    pub fn stop_runs(&mut self) {
        let names: Vec<String> = self.runs.keys().cloned().collect();
        for name in names {
            // It was found a moment ago.
            let _ = self.terminate_run(&name, Writer::Other);
        }
    }

    fn replica_sets_of(&self, image: &str) -> Vec<String> {
        let matching = self.replica_sets.iter().filter(|(_, set)| tag(&set.image) == tag(image));
        matching.map(|(name, _)| name.clone()).collect()
    }
}
