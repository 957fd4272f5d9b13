//! Our images: static binaries in images from scratch, and the databases'; tagged by content, loaded into every host.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::future::try_join_all;

use super::databases::{self, Databases};
use super::hosts;
use crate::command::Command;
use crate::machine::{rust, stamp};
use crate::paths::Paths;
use crate::progress::Progress;

const BUILD_DEADLINE: Duration = Duration::from_hours(1);
const IMAGE_DEADLINE: Duration = Duration::from_mins(2);
const PREFIX: &str = "dev-";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    pub operator: Image,
    pub node: Image,
    /// The node image once more under another tag and with another digest: what a rolling change changes to.
    pub node_next: Image,
    pub databases: Databases,
}

impl Images {
    fn all(&self) -> [&Image; 6] {
        let Databases { mariadb, mariadb_next, haproxy } = &self.databases;
        [&self.operator, &self.node, &self.node_next, mariadb, mariadb_next, haproxy]
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pub repository: &'static str,
    pub tag: String,
}

impl std::fmt::Display for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.repository, self.tag)
    }
}

/// Builds both binaries in one go; returns the folder where they lie in the checkout.
pub async fn build_binaries(paths: &Paths) -> Result<PathBuf> {
    rust::ensure_static_target(paths).await?;
    let target = paths.cargo_target();
    // The cluster that comes up beside it has deadlines, and goes first.
    Command::new("nice")
        .args([
            "-n",
            "10",
            "cargo",
            "build",
            "--release",
            "--target",
            rust::TARGET,
            "-p",
            "quartet-operator",
            "-p",
            "quartet-node",
        ])
        .env("CARGO_TARGET_DIR", &target)
        .dir(paths.checkout())
        .deadline(BUILD_DEADLINE)
        .logged(&paths.logs().join("binaries.log"))
        .await?;
    let built = target.join(rust::TARGET).join("release");
    let shown = paths.checkout().join("target").join(rust::TARGET).join("release");
    if built != shown {
        std::fs::create_dir_all(&shown)?;
        for name in ["quartet-operator", "quartet-node"] {
            let to = shown.join(name);
            std::fs::remove_file(&to).ok();
            let from = built.join(name);
            std::fs::copy(&from, &to).with_context(|| format!("copy {}", from.display()))?;
        }
    }
    Ok(shown)
}

/// Makes the images of those binaries where they are missing.
pub async fn build(paths: &Paths, progress: &Progress, binaries: &Path) -> Result<Images> {
    let operator = make(paths, binaries, "quartet-operator", "").await?;
    let node = make(paths, binaries, "quartet-node", "").await?;
    let node_next = make(paths, binaries, "quartet-node", "next").await?;
    let databases = databases::build(paths, progress).await?;
    Ok(Images { operator, node, node_next, databases })
}

async fn make(paths: &Paths, binaries: &Path, repository: &'static str, variant: &str) -> Result<Image> {
    let dockerfile = paths.checkout().join("e2e/images").join(format!("{repository}.Dockerfile"));
    let recipe =
        std::fs::read_to_string(&dockerfile).with_context(|| format!("read {}", dockerfile.display()))?;
    let binary = binaries.join(repository);
    let digest = stamp::digest([recipe, stamp::digest_of_file(&binary)?]);
    let suffix = if variant.is_empty() { String::new() } else { format!("-{variant}") };
    let image = Image { repository, tag: format!("{PREFIX}{}{suffix}", stamp::short(&digest)) };
    let name = image.to_string();
    if Command::new("docker").args(["image", "inspect", &name]).succeeds().await {
        return Ok(image);
    }
    // A context of its own: the whole target folder would be sent to the engine.
    let context = paths.output().join("image").join(repository);
    std::fs::create_dir_all(&context)?;
    std::fs::copy(&binary, context.join(repository))?;
    Command::new("docker")
        .args(["build", "--label", &format!("dev.quartet.variant={variant}"), "-t", &name, "-f"])
        .arg(&dockerfile)
        .arg(&context)
        // The distribution's Docker comes without BuildKit.
        .env("DOCKER_BUILDKIT", "0")
        .deadline(IMAGE_DEADLINE)
        .logged(&paths.logs().join("images.log"))
        .await?;
    std::fs::remove_dir_all(&context).ok();
    Ok(image)
}

/// Loads them into every host that lacks any, and only those that some host lacks; returns how many loads that took.
pub async fn load(paths: &Paths, progress: &Progress, images: &Images) -> Result<usize> {
    let wanted: Vec<_> = images.all().iter().map(ToString::to_string).collect();
    let hosts = hosts::list().await?;
    let lacks = try_join_all(hosts.iter().map(async |host| {
        let present = hosts::shell(&host.name, "ctr -n k8s.io images ls -q", &[]).await?;
        anyhow::Ok((host.name.as_str(), lacking(&wanted, &present)))
    }));
    let lacks: Vec<_> = lacks.await?.into_iter().filter(|(_, images)| !images.is_empty()).collect();
    if lacks.is_empty() {
        return Ok(0);
    }
    let started = Instant::now();
    std::fs::create_dir_all(paths.output())?;
    let archive = paths.output().join("images.tar");
    // One archive: layers that images share are in it once.
    let saved: BTreeSet<_> = lacks.iter().flat_map(|(_, images)| images).collect();
    let save = Command::new("docker").args(["save", "-o"]).arg(&archive).args(&saved);
    save.deadline(IMAGE_DEADLINE).text().await?;
    let import = "ctr -n k8s.io images import - >/dev/null";
    try_join_all(lacks.iter().map(|(host, _)| hosts::shell_with_input(host, import, &archive))).await?;
    std::fs::remove_file(&archive).ok();
    let into: Vec<_> = lacks.iter().map(|(host, _)| *host).collect();
    progress.took(started, &format!("loaded {} images into {}", saved.len(), into.join(", ")));
    Ok(lacks.len())
}

fn lacking(wanted: &[String], present: &str) -> Vec<String> {
    let is_there = |image: &str| present.lines().any(|line| line.ends_with(&format!("/{image}")));
    wanted.iter().filter(|image| !is_there(image)).cloned().collect()
}

/// Removes all but the current and the previous build, here and in the hosts.
pub async fn prune(images: &Images) -> Result<()> {
    let Databases { mariadb, haproxy, .. } = &images.databases;
    for current in [&images.operator, &images.node, mariadb, haproxy] {
        let repository = current.repository;
        let listed =
            Command::new("docker").args(["images", repository, "--format", "{{.Tag}}"]).text().await?;
        // Docker lists the newest first.
        let old = outdated(&listed, &current.tag);
        for tag in &old {
            Command::new("docker").args(["rmi", &format!("{repository}:{tag}")]).text().await.ok();
        }
        for host in hosts::list().await?.iter().filter(|host| host.running && !old.is_empty()) {
            let names: Vec<_> =
                old.iter().map(|tag| format!("docker.io/library/{repository}:{tag}")).collect();
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            hosts::shell(&host.name, "ctr -n k8s.io images rm \"$@\" >/dev/null 2>&1 || true", &names)
                .await?;
        }
    }
    Ok(())
}

/// The tags of all builds but the current one and the newest other; a build has up to two tags, of its version or
/// `dev`, its digest, and what sets the second one apart.
fn outdated(listed: &str, current: &str) -> Vec<String> {
    let (kind, _) = current.split_once('-').unwrap_or((current, ""));
    let build = |tag: &str| {
        let (_, rest) = tag.split_once('-').filter(|(of, _)| *of == kind)?;
        rest.split('-').next().map(str::to_owned)
    };
    let mut kept: Vec<String> = build(current).into_iter().collect();
    let mut old = Vec::new();
    for tag in listed.lines() {
        let Some(build) = build(tag) else { continue };
        if kept.contains(&build) {
            continue;
        }
        if kept.len() < 2 {
            kept.push(build);
        } else {
            old.push(tag.to_owned());
        }
    }
    old
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_current_and_the_previous_build_are_kept() {
        let listed = "dev-c-next\ndev-c\ndev-b\ndev-b-next\ndev-a-next\nlatest\ndev-a\n";
        assert_eq!(outdated(listed, "dev-c"), ["dev-a-next", "dev-a"]);
        assert!(outdated("dev-b\nlatest\n", "dev-b").is_empty());
    }

    #[test]
    fn a_host_is_given_only_what_it_lacks() {
        let wanted = ["quartet-node:dev-a", "quartet-node:dev-a-next"].map(str::to_owned);
        let present = "docker.io/library/quartet-node:dev-a\nregistry.k8s.io/pause:3.10\n";
        assert_eq!(lacking(&wanted, present), ["quartet-node:dev-a-next"]);
        assert!(lacking(&wanted[..1], present).is_empty());
    }

    #[test]
    fn builds_of_a_database_are_told_by_their_digests() {
        let listed = "10.11-c\n10.11-c-next\n10.11-b\n10.11-a\n11.4-z\n";
        assert_eq!(outdated(listed, "10.11-c"), ["10.11-a"]);
    }

    #[test]
    fn a_build_that_came_back_is_current_however_old() {
        assert_eq!(outdated("dev-c\ndev-b\ndev-a\n", "dev-a"), ["dev-b"]);
    }
}
