//! The write-back to Git: an aborted version is taken back where it came from.
//!
//! | question | answer |
//! |---|---|
//! | What was aborted? | [`abort`] |
//! | Which Application of Argo CD brought it, and from where? | [`application`] |
//! | Which Kustomization of Flux? | [`flux`] |
//! | Which paths of a repository is that? | [`paths`] |
//! | Which commit? | [`suspect`] |
//! | Commit, pull request, or nothing? | [`decide`](mod@decide) |
//! | What is written, and by what is it known again? | [`evidence`], [`trailers`] |
//! | What do forges make of it? | [`forge`] |
//! | Who may be asked, with which credentials? | [`config`], [`known_hosts`] |
//! | What is said on the Rollout, and to Image Updater? | [`record`], [`image_updater`] |
//!
//! Nothing here reads or writes anything: `write_back` does.

pub mod abort;
pub mod application;
pub mod config;
pub mod decide;
pub mod evidence;
pub mod flux;
pub mod forge;
pub mod image;
pub mod image_updater;
pub mod known_hosts;
pub mod paths;
pub mod record;
pub mod suspect;
pub mod trailers;
