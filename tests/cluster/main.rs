//! Everything that needs a real control plane, in one binary so that it links once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, and its functions are part of it"
)]
#![allow(clippy::needless_pass_by_value, reason = "objects of tests are written where they are passed")]

mod analysis_library;
mod analysis_queries;
mod announcements;
mod argo_cd;
mod autoscaler;
mod bad_input;
mod blue_green;
mod boards;
mod chart;
mod control_plane;
mod controller;
mod controller_process;
mod data_plane;
mod docs;
mod experiments;
mod faults;
mod flux;
mod git;
mod gitea;
mod going_back;
mod helm;
mod history;
mod listing;
mod model;
mod notifications;
#[path = "../docs/pages.rs"]
#[allow(dead_code, reason = "other tests read more of a page")]
mod pages;
mod pinned;
mod plugin;
mod pods;
mod providers;
mod rights;
mod rollouts;
mod routers;
mod sandbox;
mod seeds;
mod servers;
mod shared;
mod shop;
mod split_traffic;
mod stub_prometheus;
mod takeover;
mod traces;
mod virtual_node;
mod workload;
mod write_back;
