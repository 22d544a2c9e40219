//! The command lines of the two programs.

pub mod controller_args;
pub mod crds;
pub mod plugin;
pub mod sandbox;
