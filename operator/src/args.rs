//! Arguments. Every option is an environment variable too.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand};

use crate::telemetry::Format;

#[derive(Debug, Parser)]
#[command(name = "quartet-operator", version, about = "Keeps the clusters of quartet.dev")]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,

    /// Level of the logs, or levels per module: `info,kube_runtime=debug`
    #[arg(long = "log", env = "QUARTET_LOG", default_value = "info", global = true)]
    pub log: String,

    #[arg(long, env = "QUARTET_LOG_FORMAT", value_enum, default_value = "text", global = true)]
    pub log_format: Format,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Keeps all resources, as one of several replicas of which one acts
    Run(Box<Run>),
    /// Prints the CRDs, or writes or checks the files that hold them
    Crds(Crds),
    /// Prints what would be done for a resource now, and why, without doing it
    Plan(Plan),
}

/// What plans depend on.
#[derive(Args, Clone, Debug)]
pub struct Members {
    /// Image of the members, unless a resource names its own
    #[arg(long, env = "QUARTET_NODE_IMAGE")]
    pub node_image: String,

    /// Image of MariaDB, unless a resource names its own
    #[arg(long, env = "QUARTET_MARIADB_IMAGE", default_value = concat!("quartet-mariadb:", env!("CARGO_PKG_VERSION")))]
    pub mariadb_image: String,

    /// Image of HAProxy, unless a resource names its own
    #[arg(long, env = "QUARTET_HAPROXY_IMAGE", default_value = concat!("quartet-haproxy:", env!("CARGO_PKG_VERSION")))]
    pub haproxy_image: String,

    /// Always, IfNotPresent or Never
    #[arg(long, env = "QUARTET_IMAGE_PULL_POLICY", default_value = "IfNotPresent")]
    pub image_pull_policy: String,

    /// Namespace of the operator itself: its lease, and whom members let in
    #[arg(long, env = "QUARTET_POD_NAMESPACE", default_value = "quartet-system")]
    pub pod_namespace: String,
}

#[derive(Args, Debug)]
pub struct Run {
    /// Namespace to keep resources in; empty: all
    #[arg(long, env = "QUARTET_NAMESPACE", default_value = "")]
    pub namespace: String,

    #[command(flatten)]
    pub members: Members,

    /// Name of this replica in the lease; by default a random one
    #[arg(long, env = "QUARTET_POD_NAME", default_value = "")]
    pub pod_name: String,

    /// Where /metrics, /healthz and /readyz are served
    #[arg(long, env = "QUARTET_ADMIN", default_value = "0.0.0.0:8080")]
    pub admin: SocketAddr,

    /// Resources of one kind that are reconciled at a time
    #[arg(long, env = "QUARTET_CONCURRENCY", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub concurrency: u16,
}

#[derive(Args, Debug)]
pub struct Crds {
    /// Folder to write one file per kind to
    #[arg(long, env = "QUARTET_CRDS_OUT")]
    pub out: Option<PathBuf>,

    /// Helm chart to write the same files into
    #[arg(long, env = "QUARTET_CRDS_CHART")]
    pub chart: Option<PathBuf>,

    /// Writes nothing, and fails when a file differs
    #[arg(long, env = "QUARTET_CRDS_CHECK")]
    pub check: bool,
}

#[derive(Args, Debug)]
pub struct Plan {
    /// KIND/NAME, such as synccluster/demo or galeracluster/shop
    pub resource: String,

    /// Namespace of the resource
    #[arg(short = 'n', long, env = "QUARTET_NAMESPACE", default_value = "default")]
    pub namespace: String,

    #[command(flatten)]
    pub members: Members,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_option_is_an_environment_variable_too() {
        for command in Arguments::command().get_subcommands() {
            for argument in command.get_arguments().filter(|argument| !argument.is_positional()) {
                let name = argument.get_env().map(|name| name.to_string_lossy().into_owned());
                assert!(name.is_some_and(|name| name.starts_with("QUARTET_")), "{}", argument.get_id());
            }
        }
    }
}
