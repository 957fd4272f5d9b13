//! The kind cluster `quartet`: made, found again, reached, filled with our images and our chart.

pub mod databases;
pub mod hosts;
pub mod images;
pub mod install;
pub mod kind;
pub mod node_image;
pub mod ready;
pub mod routes;

use anyhow::{Context, Result};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

pub const NAME: &str = "quartet";
pub const CONTEXT: &str = "kind-quartet";
pub const OPERATOR_NAMESPACE: &str = "quartet-system";

/// A client for a context of the user's kubeconfig; none names the current one.
pub async fn client(context: Option<&str>) -> Result<Client> {
    Client::try_from(config(context).await?).context("make a client")
}

/// Tells each answer as it comes: [`client`] repeats what is refused with 429, as a budget refuses, for minutes.
pub async fn client_without_retries(context: Option<&str>) -> Result<Client> {
    let mut config = config(context).await?;
    config.default_retry = false;
    Client::try_from(config).context("make a client")
}

async fn config(context: Option<&str>) -> Result<Config> {
    let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    let kubeconfig = Kubeconfig::read().context("read the kubeconfig")?;
    Config::from_custom_kubeconfig(kubeconfig, &options).await.context("use the kubeconfig")
}
