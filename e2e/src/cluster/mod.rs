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
    let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    let kubeconfig = Kubeconfig::read().context("read the kubeconfig")?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await.context("use the kubeconfig")?;
    Client::try_from(config).context("make a client")
}
