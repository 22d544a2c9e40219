//! `kubectl serin`: reads and writes as the user who calls it, with what their kubeconfig allows.
//!
//! The plugin needs no controller and no service of its own in the cluster. It decides nothing: what a command writes
//! is in `commands`, what a picture shows is in `view`.

mod act;
mod arguments;
mod connection;
mod error;
mod objects;
mod screen;
mod show;
mod status;
mod watch;

use crate::units::Timestamp;

pub use arguments::{Arguments, Cluster, Command};
pub use error::PluginError;

/// Does what the arguments ask for. Results go to standard output, notes and errors to standard error.
///
/// # Errors
///
/// One error with one line for the user; the exit code is then not zero.
pub async fn run(arguments: Arguments) -> Result<(), PluginError> {
    let paint = screen::paint(arguments.no_color);
    let cluster = arguments.cluster;
    if matches!(arguments.command, Command::Version) {
        return screen::say(&format!("kubectl-serin {}", env!("CARGO_PKG_VERSION")));
    }
    let connection = connection::Connection::open(&cluster).await?;
    match arguments.command {
        Command::Get(get) => show::get(&connection, &get, paint).await,
        Command::List(list) => show::list(&connection, &list, paint).await,
        Command::Why(why) => show::why(&connection, &why).await,
        Command::Status(wanted) => status::status(&connection, &wanted).await,
        Command::Version => Ok(()),
        Command::Promote(_)
        | Command::Abort(_)
        | Command::Retry(_)
        | Command::Terminate(_)
        | Command::Pause(_)
        | Command::Undo(_)
        | Command::Restart(_)
        | Command::Set(_) => act::act(&connection, arguments.command).await,
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a command line tool has no clock to be given; it asks here only"
)]
fn now() -> Timestamp {
    Timestamp::from(chrono::Utc::now())
}
