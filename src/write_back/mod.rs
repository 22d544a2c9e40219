//! `serin gitops`: carries out what [`crate::gitops`] decides. Its own small program beside the controller, with rights of its own.
//!
//! The one way through it, per aborted Rollout: [`pass`] reads the cluster, [`write`] a repository, and both write once. It
//! needs no leader: Git is the record of what was written, so that any number of replicas write it once.

mod clones;
mod cluster;
mod configured;
mod credentials;
mod lines;
mod origin;
mod pass;
mod propose;
mod repository;
mod rollouts;
mod run;
mod tries;
mod write;

pub use run::{Options, RunError, run};
