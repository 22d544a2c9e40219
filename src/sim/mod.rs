//! A model of the cluster on virtual time, with scripted faults, that drives the same `decide` as the controller.
//!
//! A scenario is a text: what users, images and the metrics server do, and the log that an operator would read. The
//! parts, from the bottom up: `watched` (caches that may lag), `publish` (what they are told), `pods`, `replica_sets` and `live_pods` (what Kubernetes itself
//! does), `endpoints` (which pods are published behind a Service), `router` (what a router does), `workload` (what a Rollout may refer to),
//! `cluster`, `owned` and `experiments` (the objects and the API server's rules), `metrics` (what a query would answer), `controller`, `runs` and
//! `experimenting` (passes over the Rollout, over AnalysisRuns and over Experiments), `simulation` (the event loop), `script`, `player` and `transcript` (text in,
//! text out), `explore` (every interleaving of a small world).
//!
//! Deliberately absent: nodes, scheduling and networks. A pod is ready when its image says so, and traffic reaches every
//! ready pod alike, as it does behind one Service.

pub mod caches;
pub mod cluster;
pub mod controller;
pub mod endpoints;
mod experimenting;
pub mod experiments;
pub mod explore;
pub mod faults;
mod fingerprint;
pub mod images;
mod judge;
mod late;
mod live_pods;
mod meddling;
pub mod merge_patch;
pub mod metrics;
mod owned;
mod player;
mod pods;
mod publish;
mod replica_sets;
mod roles;
mod router;
mod runs;
pub mod script;
pub mod simulation;
mod statements;
mod transcript;
pub mod users;
mod watched;
mod workload;
mod writes;

pub use cluster::{ApiError, Cluster};
pub use player::{Moment, Observer, Played, ScenarioError, play, watch};
pub use simulation::Simulation;

use crate::units::Timestamp;

/// Where virtual time begins: midnight of the first day of 2026, in milliseconds since 1970.
const START_MILLIS: i64 = 1_767_225_600_000;

/// Where virtual time begins.
#[must_use]
pub fn start() -> Timestamp {
    Timestamp::from_millis(START_MILLIS)
}
