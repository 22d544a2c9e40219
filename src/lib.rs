//! Serin: progressive delivery for Kubernetes.
//!
//! Modules in reading order. `units` and `api` say what things are called; `rollout`, `analysis` and `experiment` decide and do no
//! I/O; `providers` and `controller` do I/O and decide nothing; the rest shows, simulates or drives them.

pub mod units;

pub mod api;
pub mod events;

pub mod analysis;
pub mod traffic;

pub mod rollout;

pub mod experiment;

pub mod notify;

pub mod trace;

pub mod gitops;

pub mod commands;
pub mod sim;
pub mod view;

pub mod providers;

pub mod cli;
pub mod controller;
pub mod metrics;
pub mod sandbox;
pub mod write_back;
