//! `serin gitops`: the write-back to Git. Flags that the controller has, too, are called as they are there.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::Args;
use kube::Config;
use thiserror::Error;
use tracing::info;

use super::kubeconfig::{self, Choice, ConnectError};
use super::process::{self, LogFormat, LogLevel, Signals};
use crate::providers::install_tls;
use crate::write_back::{self, Options, RunError};

/// Threads that work; Git has its own.
const THREADS: usize = 2;

/// Writes aborts back to Git: reverts the commit that brought a version, or opens a pull request.
#[derive(Args, Debug)]
pub struct GitopsArgs {
    /// Path of a kubeconfig. Without it: `KUBECONFIG`, then `~/.kube/config`, then the pod's service account.
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig to use.
    #[arg(long)]
    pub context: Option<String>,
    /// Namespace to look at with --namespaced; the kubeconfig's or the pod's when absent.
    #[arg(long, short, requires = "namespaced")]
    pub namespace: Option<String>,
    /// Looks at one namespace only.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    pub namespaced: bool,
    /// Looks only at Rollouts whose label argo-rollouts.argoproj.io/controller-instance-id has this value; empty for those
    /// without the label.
    #[arg(long, default_value = "")]
    pub instance_id: String,
    /// Namespace of Argo CD, where Applications are whose name stands without one.
    #[arg(long, value_name = "NAMESPACE", default_value = "argocd")]
    pub argocd_namespace: String,
    /// Name of the `ConfigMap`, in the namespace of the pod or the kubeconfig: which repositories are written to, and how.
    #[arg(long, value_name = "NAME", default_value = "serin-gitops")]
    pub config: String,
    /// Address that the ports below are bound to.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::UNSPECIFIED))]
    pub bind_address: IpAddr,
    /// Port of /metrics.
    #[arg(long = "metricsPort", value_name = "PORT", default_value_t = 8090)]
    pub metrics_port: u16,
    /// Port of /healthz and /readyz.
    #[arg(long = "healthzPort", value_name = "PORT", default_value_t = 8080)]
    pub healthz_port: u16,
    /// How much is logged.
    #[arg(long, value_enum, default_value_t = LogLevel::Info)]
    pub loglevel: LogLevel,
    /// Form of the log.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub logformat: LogFormat,
}

/// Why the write-back did not start, or ended.
#[derive(Debug, Error)]
pub enum GitopsError {
    /// There is no way to a cluster.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The process cannot be set up.
    #[error("cannot set up the process")]
    Setup(#[from] std::io::Error),
    /// It ended on its own.
    #[error(transparent)]
    Run(#[from] RunError),
}

impl GitopsArgs {
    /// Runs the write-back until the process is asked to end.
    ///
    /// # Errors
    /// When it cannot start, or cannot go on.
    pub fn run(self) -> Result<(), GitopsError> {
        process::start_log(self.loglevel, self.logformat);
        install_tls();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(THREADS).build()?;
        let ended = runtime.block_on(self.serve());
        // A Git server that says nothing keeps nobody from ending.
        runtime.shutdown_background();
        ended
    }

    async fn serve(self) -> Result<(), GitopsError> {
        let config = kubeconfig::load(&Choice::of(self.kubeconfig.clone(), self.context.clone())).await?;
        let options = self.options(&config);
        info!(version = env!("CARGO_PKG_VERSION"), server = %config.cluster_url, "starting to write back");
        let signals = Signals::new()?;
        Ok(write_back::run(config, options, signals.received()).await?)
    }

    fn options(&self, config: &Config) -> Options {
        let own = || config.default_namespace.clone();
        let address = |port| Some(SocketAddr::new(self.bind_address, port));
        Options {
            namespace: self.namespaced.then(|| self.namespace.clone().unwrap_or_else(own)),
            instance_id: self.instance_id.clone(),
            argocd_namespace: self.argocd_namespace.clone(),
            config: self.config.clone(),
            health_address: address(self.healthz_port),
            metrics_address: address(self.metrics_port),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: GitopsArgs,
    }

    fn options(flags: &[&str]) -> Options {
        let mut config = Config::new(http::Uri::from_static("https://127.0.0.1"));
        config.default_namespace = "own".to_owned();
        Cli::try_parse_from([&["serin"], flags].concat()).unwrap().args.options(&config)
    }

    #[test]
    fn without_flags_all_namespaces_are_looked_at() {
        let options = options(&[]);
        assert_eq!(
            (options.namespace, &*options.argocd_namespace, &*options.config),
            (None, "argocd", "serin-gitops")
        );
        assert_eq!(options.health_address, Some("0.0.0.0:8080".parse().unwrap()));
    }

    #[test]
    fn one_namespace_is_the_own_unless_it_is_named() {
        assert_eq!(options(&["--namespaced"]).namespace.as_deref(), Some("own"));
        assert_eq!(options(&["--namespaced", "--namespace=shop"]).namespace.as_deref(), Some("shop"));
        assert!(Cli::try_parse_from(["serin", "--namespace=shop"]).is_err());
    }
}
