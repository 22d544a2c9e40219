//! The write-back to Git: an aborted version is taken back where it came from.

pub mod application;
pub mod forge;
pub mod trailers;
