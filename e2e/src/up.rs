//! `cargo e2e up`: from a fresh machine to a cluster with the operator on it.

use anyhow::{Context, Result};
use kube::Client;

use crate::args::Up;
use crate::cluster::{self, images, install, kind, routes};
use crate::machine::{engine, lock::RunLock};
use crate::paths::Paths;
use crate::progress::Progress;

/// What scenarios stand on.
#[derive(Clone)]
pub struct Standing {
    pub client: Client,
    /// None on a cluster that is not ours: its images are not for us to change.
    pub images: Option<images::Images>,
}

pub async fn run(paths: &Paths, progress: &Progress, options: &Up) -> Result<()> {
    let _lock = RunLock::take(paths)?;
    let standing = bring_up(paths, progress, options).await?;
    install::samples(paths, progress, &standing.client).await?;
    progress.finish("up. Look at it with:");
    let context = if options.existing { String::new() } else { format!(" --context {}", cluster::CONTEXT) };
    println!("      kubectl{context} get syncclusters");
    println!("      kubectl{context} get pods -o wide");
    println!("      kubectl{context} -n {} logs deploy/quartet-operator", cluster::OPERATOR_NAMESPACE);
    println!("    kubectl, helm and kind are in {} where this machine had none.", paths.bin().display());
    Ok(())
}

/// The cluster with the operator on it; the caller holds the lock.
pub async fn bring_up(paths: &Paths, progress: &Progress, options: &Up) -> Result<Standing> {
    if options.existing {
        let client = cluster::client(None).await.context("--existing uses the current context")?;
        return Ok(Standing { client, images: None });
    }
    progress.step("Docker engine", async { Ok(((), engine::ensure(paths).await?)) }).await?;
    progress.step("kind cluster", async { Ok(((), kind::ensure(paths, progress).await?)) }).await?;
    let client = cluster::client(Some(cluster::CONTEXT)).await?;
    progress
        .step("routes to pods and services", async {
            let routes = routes::ensure(paths, &client).await?;
            Ok(((), format!("{routes} routes")))
        })
        .await?;
    let images = progress
        .step("images", async {
            let binaries = images::build_binaries(paths).await?;
            let images = images::build(paths, &binaries).await?;
            let loads = images::load(paths, progress, &images).await?;
            let outcome = format!("{}, {}; loaded into {loads} hosts", images.operator, images.node);
            Ok((images, outcome))
        })
        .await?;
    install::operator(paths, progress, &client, &images).await?;
    images::prune(&images).await?;
    Ok(Standing { client, images: Some(images) })
}
