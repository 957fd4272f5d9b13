//! Images of the databases: Debian with one server on it. Debian is pulled or, without a registry, made here.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::images::Image;
use crate::command::Command;
use crate::machine::{packages, registry, stamp};
use crate::paths::Paths;
use crate::progress::Progress;

const PULLED: &str = "debian:12-slim";
const MADE: &str = "quartet-debian";
const BUILD_DEADLINE: Duration = Duration::from_mins(10);
const PROXIES: [&str; 3] = ["http_proxy", "https_proxy", "no_proxy"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Databases {
    pub mariadb: Image,
    /// The same once more under another tag and with another digest: what a rolling change changes to.
    pub mariadb_next: Image,
    pub haproxy: Image,
}

/// Makes the images where they are missing.
pub async fn build(paths: &Paths, progress: &Progress) -> Result<Databases> {
    let base = base(paths).await?;
    let maker = Maker { paths, progress, base };
    Ok(Databases {
        mariadb: maker.make("quartet-mariadb", "10.11", "").await?,
        mariadb_next: maker.make("quartet-mariadb", "10.11", "next").await?,
        haproxy: maker.make("quartet-haproxy", "2.6", "").await?,
    })
}

/// The Debian that they stand on: the one that is there, else the published one, else one made here.
async fn base(paths: &Paths) -> Result<String> {
    let script = paths.checkout().join("e2e/images/build-debian-base");
    let made = format!("{MADE}:{}", stamp::short(&stamp::digest([read(&script)?])));
    if exists(&made).await {
        return Ok(made);
    }
    if exists(PULLED).await || registry::reachable(&format!("docker.io/library/{PULLED}")).await {
        return Ok(PULLED.to_owned());
    }
    packages::install(paths, packages::NODE_IMAGE).await?;
    let build = Command::new(script).env("BASE", &made).deadline(BUILD_DEADLINE);
    build.logged(&paths.logs().join("images.log")).await.context("make the Debian base")?;
    Ok(made)
}

struct Maker<'a> {
    paths: &'a Paths,
    progress: &'a Progress,
    base: String,
}

impl Maker<'_> {
    async fn make(&self, repository: &'static str, version: &str, variant: &str) -> Result<Image> {
        let dockerfile = self.paths.checkout().join("e2e/images").join(format!("{repository}.Dockerfile"));
        let digest = stamp::digest([read(&dockerfile)?, self.base.clone()]);
        let suffix = if variant.is_empty() { String::new() } else { format!("-{variant}") };
        let image = Image { repository, tag: format!("{version}-{}{suffix}", stamp::short(&digest)) };
        let name = image.to_string();
        if exists(&name).await {
            return Ok(image);
        }
        let started = Instant::now();
        // Nothing of ours goes into it: an empty context.
        let context = self.paths.output().join("image").join(repository);
        std::fs::create_dir_all(&context)?;
        let mut build = Command::new("docker")
            .args(["build", "--label", &format!("dev.quartet.variant={variant}"), "-t", &name])
            // Names and routes of this machine: packages come from where its own do.
            .args(["--network", "host", "--build-arg", &format!("BASE={}", self.base)]);
        for proxy in PROXIES.iter().filter(|name| std::env::var_os(name).is_some()) {
            build = build.args(["--build-arg", proxy]);
        }
        build
            .arg("-f")
            .arg(&dockerfile)
            .arg(&context)
            // The distribution's Docker comes without BuildKit.
            .env("DOCKER_BUILDKIT", "0")
            .deadline(BUILD_DEADLINE)
            .logged(&self.paths.logs().join("images.log"))
            .await?;
        std::fs::remove_dir_all(&context).ok();
        self.progress.took(started, &name);
        Ok(image)
    }
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

async fn exists(image: &str) -> bool {
    Command::new("docker").args(["image", "inspect", image]).succeeds().await
}
