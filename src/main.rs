//! `serin`: the controller and its tools.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serin::cli::controller_args::ControllerArgs;
use serin::cli::crds::CrdsArgs;
use serin::cli::gitops_args::GitopsArgs;
use serin::cli::sandbox::{DemoArgs, SandboxArgs};

/// Progressive delivery for Kubernetes.
#[derive(Parser)]
#[command(name = "serin", version, about, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Controller(Box<ControllerArgs>),
    Gitops(GitopsArgs),
    Crds(CrdsArgs),
    Sandbox(SandboxArgs),
    Demo(DemoArgs),
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// One line per command.
fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Controller(args) => Ok(args.run()?),
        Command::Gitops(args) => Ok(args.run()?),
        Command::Crds(args) => Ok(args.run()?),
        Command::Sandbox(args) => Ok(args.run()?),
        Command::Demo(args) => Ok(args.run()?),
    }
}

#[cfg(test)]
mod tests {
    use clap::error::ErrorKind;

    use super::*;

    #[test]
    fn every_command_tells_the_version() {
        for arguments in [&["serin", "--version"][..], &["serin", "controller", "--version"]] {
            let told = Cli::try_parse_from(arguments).err().unwrap();
            assert_eq!(told.kind(), ErrorKind::DisplayVersion, "{told}");
            assert!(told.to_string().contains(env!("CARGO_PKG_VERSION")), "{told}");
        }
    }
}
