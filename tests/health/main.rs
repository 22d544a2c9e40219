//! What sync engines make of what the controller writes: Argo CD by its own scripts, Flux and Helm by the rules of kstatus,
//! at every moment of every scenario.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, and its functions are part of it"
)]

mod actions;
mod fixtures;

mod histories;
mod kstatus;
mod lua;
mod moments;
#[path = "../cluster/pinned.rs"]
#[allow(dead_code, reason = "other tests look for more than definitions")]
mod pinned;
mod words;
