//! A Kubernetes control plane on this machine alone: for tests, for the demo, and for trying a manifest out.
//!
//! [`tools`] finds the programs, [`control_plane`] runs them under [`process`] with [`credentials`] of its own, [`node`]
//! plays the kubelet of one node on which every pod runs. Everything listens on loopback, and all state lives in one
//! temporary folder that goes away with the process, however that ends. There is no scheduler, no container runtime and
//! no pod network: what a pod does is up to a [`node::Workload`].
//!
//! The [`workload`] of the demo really serves HTTP, [`traffic`] sends requests to it as a cluster would, and a real
//! [`prometheus`] scrapes it; [`cluster`] is all of it together.

pub mod chart;
pub mod cluster;
pub mod control_plane;
pub mod credentials;
pub mod demo;
pub mod manifests;
pub mod node;
pub mod process;
pub mod prometheus;
pub mod tools;
pub mod traffic;
pub mod workload;
