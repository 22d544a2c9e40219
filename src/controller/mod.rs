//! The shell: watches the cluster, asks the pure cores what to do, does it, and sleeps until something is due.
//!
//! The one way through it, per object: [`caches`] → [`snapshot`] → `rollout::decide` → [`apply`]. Deliberately absent:
//! any decision about a rollout, any read of the cluster besides the watches, Secrets that a run asks for and what [`look`]
//! lists while single pods matter or an Experiment is made, and any time that does not come from [`clock`].

mod analysis;
mod announce;
mod apply;
mod asked;
mod balancers;
mod caches;
mod client;
mod clock;
mod demand;
mod departed;
mod difference;
mod dispatch;
mod endpoints;
mod error;
mod experiments;
mod figures;
mod hold;
mod http;
mod leader;
mod lease;
mod look;
mod measure;
mod notices;
mod options;
mod pods;
mod queue;
mod reconcile;
mod records;
mod references;
mod repeat;
mod routes;
mod run;
mod scrape;
mod slots;
mod snapshot;
mod specs;
mod stable_template;
mod store;
mod tombstones;
mod traces;
mod unanswered;
mod unreadable;
mod watch;
mod wire;
mod workloads;

pub(crate) use announce::{Announcer, Note, about};
pub(crate) use client::connect;
pub(crate) use clock::Clock;
pub(crate) use dispatch::{Stop, stopped};
pub(crate) use http::{metrics as metrics_router, serve};
pub(crate) use store::Identity;
pub(crate) use watch::shard_selector;

pub use analysis::DecideRun;
pub use experiments::DecideExperiment;
pub use leader::LeadershipLost;
pub use options::{Controllers, LeaderElection, Options, RequestLimits, RequestRate};
pub use reconcile::Decide;
pub use run::{Cores, RunError, run, run_with};
pub use traces::{TracesError, check_collector};

#[cfg(test)]
mod stub;
#[cfg(test)]
mod takeover_tests;
