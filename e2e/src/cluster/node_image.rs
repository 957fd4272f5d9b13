//! kind's node image, built here out of compiled Kubernetes and Debian packages: for machines without a registry.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::command::Command;
use crate::machine::{packages, stamp, tools};
use crate::paths::Paths;
use crate::progress::Progress;

pub const REPOSITORY: &str = "quartet-kind-node";
const BASE_REPOSITORY: &str = "quartet-kind-base";
const BUILD_DEADLINE: Duration = Duration::from_mins(20);

/// The tag names its content, so that a change of any input makes another image.
pub fn tag(paths: &Paths) -> Result<String> {
    let base = base_tag(paths)?;
    let mut inputs = vec![tools::digest(), base];
    for file in ["build-node-image", "node-routes", "default-cni.yaml"] {
        inputs.push(read(&paths.kind_files().join(file))?);
    }
    Ok(format!("{REPOSITORY}:{}-{}", tools::KUBERNETES, stamp::short(&stamp::digest(&inputs))))
}

/// Builds it unless it is there; the tools must have been built.
pub async fn ensure(paths: &Paths, progress: &Progress) -> Result<String> {
    let image = tag(paths)?;
    if exists(&image).await {
        return Ok(image);
    }
    packages::install(paths, packages::NODE_IMAGE).await?;
    let base = base_tag(paths)?;
    let files = paths.kind_files();
    let log = paths.logs().join("node-image.log");
    if !exists(&base).await {
        let started = Instant::now();
        let build = Command::new(files.join("build-base-image")).env("BASE", &base);
        build.deadline(BUILD_DEADLINE).logged(&log).await?;
        progress.took(started, "Debian base");
    }
    let module = paths.go_modules().join("kind");
    let source = Command::new("go").args(["list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/kind"]).dir(module);
    let source = source.text().await.context("find kind's source")?;
    let started = Instant::now();
    Command::new(files.join("build-node-image"))
        .env("IMAGE", &image)
        .env("BASE", &base)
        .env("BIN", paths.bin())
        .env("KIND_SOURCE", source.trim())
        .env("FILES", &files)
        .env("VERSION", tools::KUBERNETES)
        .deadline(BUILD_DEADLINE)
        .logged(&log)
        .await?;
    progress.took(started, &image);
    prune(&image).await;
    Ok(image)
}

fn base_tag(paths: &Paths) -> Result<String> {
    let script = read(&paths.kind_files().join("build-base-image"))?;
    Ok(format!("{BASE_REPOSITORY}:{}", stamp::short(&stamp::digest([script]))))
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

async fn exists(image: &str) -> bool {
    Command::new("docker").args(["image", "inspect", image]).succeeds().await
}

/// Older ones are gigabytes; those that a cluster still uses refuse to go, which is right.
async fn prune(keep: &str) {
    let listed =
        Command::new("docker").args(["images", REPOSITORY, "--format", "{{.Repository}}:{{.Tag}}"]).text();
    for old in listed.await.unwrap_or_default().lines().filter(|image| *image != keep) {
        Command::new("docker").args(["rmi", old]).deadline(Duration::from_mins(2)).text().await.ok();
    }
}
