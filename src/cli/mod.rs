//! The command lines of the two programs.

pub mod controller_args;
pub mod crds;
pub mod gitops_args;
mod kubeconfig;
pub mod plugin;
mod process;
pub mod sandbox;
