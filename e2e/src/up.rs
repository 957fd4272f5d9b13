//! `cargo e2e up`: from a fresh machine to a cluster with the operator on it.

use anyhow::{Context, Result, ensure};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, Client, ResourceExt};

use crate::args::Up;
use crate::cluster::{self, images, install, kind, routes};
use crate::machine::{engine, lock::RunLock, tools};
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
    println!("      kubectl{context} get syncclusters,galeraclusters");
    println!("      kubectl{context} get pods -o wide");
    println!("      kubectl{context} -n {} logs deploy/quartet-operator", cluster::OPERATOR_NAMESPACE);
    println!("    kubectl, helm and kind are in {} where this machine had none.", paths.bin().display());
    Ok(())
}

/// The cluster with the operator on it; the caller holds the lock.
pub async fn bring_up(paths: &Paths, progress: &Progress, options: &Up) -> Result<Standing> {
    if options.existing {
        return Ok(Standing { client: existing(paths, progress).await?, images: None });
    }
    // At once: each waits now and then for a network, a disk or a single thread.
    let binaries = progress.step("static binaries, beside the cluster", async {
        let folder = images::build_binaries(paths).await?;
        let outcome = format!("static binaries in {}", folder.display());
        Ok((folder, outcome))
    });
    let (client, binaries) = tokio::try_join!(bring_up_cluster(paths, progress), binaries)?;
    let images = progress
        .step("images", async {
            let images = images::build(paths, progress, &binaries).await?;
            let loads = images::load(paths, progress, &images).await?;
            let outcome = format!("{}, {}; loaded into {loads} hosts", images.operator, images.node);
            Ok((images, outcome))
        })
        .await?;
    install::operator(paths, progress, &client, &images).await?;
    images::prune(&images).await?;
    Ok(Standing { client, images: Some(images) })
}

/// A cluster that is not ours: nothing of it is changed, so that what is missing is said.
async fn existing(paths: &Paths, progress: &Progress) -> Result<Client> {
    progress
        .step("the current context's cluster", async {
            let client = cluster::client(None).await.context("--existing uses the current context")?;
            tools::ensure(paths, progress, tools::Need::Only("kubectl")).await?;
            let crds = Api::<CustomResourceDefinition>::all(client.clone());
            for (_, crd) in quartet_crds::all() {
                let name = crd.name_any();
                let found = crds.get_opt(&name).await.context("ask it for the CRDs")?;
                ensure!(found.is_some(), "it has no CRD {name}: install the chart there first");
            }
            routes::reach_services(&client).await?;
            Ok((client, "has the CRDs, and its Services are within reach".to_owned()))
        })
        .await
}

async fn bring_up_cluster(paths: &Paths, progress: &Progress) -> Result<Client> {
    progress.step("Docker engine", async { Ok(((), engine::ensure(paths).await?)) }).await?;
    progress.step("kind cluster", async { Ok(((), kind::ensure(paths, progress).await?)) }).await?;
    let client = cluster::client(Some(cluster::CONTEXT)).await?;
    progress
        .step("routes to pods and services", async {
            let routes = routes::ensure(paths, &client).await?;
            Ok(((), format!("{routes} routes")))
        })
        .await?;
    Ok(client)
}
