//! The command lines of the two programs.

pub mod controller_args;
pub mod crds;
mod kubeconfig;
pub mod plugin;
pub mod sandbox;
