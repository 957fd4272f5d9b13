//! The life of the kind cluster: made, started again, made anew, removed.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::hosts::Host;
use super::{CONTEXT, NAME, client, hosts, node_image, ready};
use crate::command::Command;
use crate::machine::{registry, stamp, tools};
use crate::paths::Paths;
use crate::progress::Progress;

const CREATE_DEADLINE: Duration = Duration::from_mins(10);
const RESTART_DEADLINE: Duration = Duration::from_secs(150);
const READY_DEADLINE: Duration = Duration::from_mins(4);
const POLICY: &str = "e2e/kind/audit-policy.yaml";
/// kind's own default otherwise, whichever version of kind is at hand.
const PROBED_IMAGE: &str = "docker.io/kindest/node:v1.35.0";

/// The cluster runs and all its hosts are Ready. Returns what was done.
pub async fn ensure(paths: &Paths, progress: &Progress) -> Result<String> {
    tools::ensure(paths, progress, tools::Need::Client).await?;
    let found = hosts::list().await?;
    let state = match unusable(paths, &found)? {
        None if found.iter().all(|host| host.running) => {
            if adopt(paths).await.is_ok() {
                return Ok(format!("cluster {NAME} runs, {} hosts", found.len()));
            }
            "did not become Ready"
        }
        None => {
            progress.note("its containers are stopped: starting them again");
            match restart(paths, &found).await {
                Ok(()) => return Ok(format!("cluster {NAME} started again, {} hosts", found.len())),
                Err(error) => progress.note(&format!("{error:#}")),
            }
            "could not be started again"
        }
        Some(why) => why,
    };
    if !found.is_empty() {
        progress.note(&format!("the old one {state}: made anew"));
    }
    create(paths, progress).await
}

pub async fn delete(paths: &Paths) -> Result<()> {
    let log = paths.logs().join("kind.log");
    let command = Command::new(tools::path(paths, "kind")).args(["delete", "cluster", "--name", NAME]);
    command.deadline(CREATE_DEADLINE).logged(&log).await?;
    std::fs::remove_file(stamp_path(paths)).ok();
    // kind leaves its network; Docker refuses while another cluster is on it, which is right.
    Command::new("docker").args(["network", "rm", "kind"]).text().await.ok();
    Ok(())
}

/// Why what is there cannot be the cluster that we want.
fn unusable(paths: &Paths, found: &[Host]) -> Result<Option<&'static str>> {
    let hosts = config(paths)?.matches("- role:").count();
    let same = stamp::matches(&stamp_path(paths), &config_digest(paths)?);
    Ok(why_unusable(found, hosts, same, &node_image::tag(paths)?))
}

/// A node image of kind's own is good whatever its version: it was pulled because a registry had it.
fn why_unusable(found: &[Host], hosts: usize, same: bool, image: &str) -> Option<&'static str> {
    let older = |host: &Host| host.image.starts_with(node_image::REPOSITORY) && host.image != image;
    if found.len() != hosts {
        Some("lacks hosts")
    } else if !same {
        Some("has another configuration")
    } else if found.iter().any(older) {
        Some("has an older node image")
    } else {
        None
    }
}

async fn restart(paths: &Paths, found: &[Host]) -> Result<()> {
    // The control plane first, so that addresses are given out in the order that they had.
    for host in found.iter().filter(|host| !host.running) {
        hosts::start(&host.name).await?;
    }
    tokio::time::timeout(RESTART_DEADLINE, adopt(paths)).await.context("its hosts were not Ready in time")?
}

/// Waits for all hosts, by signs of life since they were started last.
async fn adopt(paths: &Paths) -> Result<()> {
    if client(Some(CONTEXT)).await.is_err() {
        export(paths).await?;
    }
    let (wanted, since) = (hosts::list().await?.len(), Some(hosts::last_start().await?));
    let first = ready::hosts(&client(Some(CONTEXT)).await?, wanted, since, RESTART_DEADLINE).await;
    if first.is_ok() {
        return first;
    }
    // The context may be an older cluster's of the same name.
    export(paths).await?;
    ready::hosts(&client(Some(CONTEXT)).await?, wanted, since, RESTART_DEADLINE).await
}

async fn export(paths: &Paths) -> Result<()> {
    let command = Command::new(tools::path(paths, "kind")).args(["export", "kubeconfig", "--name", NAME]);
    Ok(command.logged(&paths.logs().join("kind.log")).await?)
}

async fn create(paths: &Paths, progress: &Progress) -> Result<String> {
    delete(paths).await?;
    let image = if registry::reachable(PROBED_IMAGE).await {
        progress.note("a registry answers: kind pulls its own node image");
        None
    } else {
        progress.note("no registry answers: the node image is built here");
        let built = tools::ensure(paths, progress, tools::Need::Everything).await?;
        if !built.is_empty() {
            progress.note(&format!("compiled {} tools", built.len()));
        }
        Some(node_image::ensure(paths, progress).await?)
    };
    let (config, digest) = (write_config(paths)?, config_digest(paths)?);
    let log = paths.logs().join("kind.log");
    let command = Command::new(tools::path(paths, "kind")).args(creation(&config, image.as_deref()));
    if let Err(error) = command.deadline(CREATE_DEADLINE).logged(&log).await {
        let kept = paths.logs().join("kind-export");
        let export =
            Command::new(tools::path(paths, "kind")).args(["export", "logs", "--name", NAME]).arg(&kept);
        export.deadline(READY_DEADLINE).text().await.ok();
        delete(paths).await.ok();
        return Err(error).with_context(|| format!("kind create cluster (hosts' logs: {})", kept.display()));
    }
    let hosts = hosts::list().await?.len();
    ensure!(hosts > 0, "kind made no hosts");
    ready::hosts(&client(Some(CONTEXT)).await?, hosts, None, READY_DEADLINE).await?;
    // Last: a cluster that did not come up is never taken for one that did.
    stamp::write(&stamp_path(paths), &digest)?;
    Ok(format!("cluster {NAME} made, {hosts} hosts, {}", image.as_deref().unwrap_or("kind's node image")))
}

/// Without an image kind pulls the one that it was released with.
fn creation<'a>(config: &'a Path, image: Option<&'a str>) -> Vec<&'a OsStr> {
    let mut words: Vec<_> =
        ["create", "cluster", "--retain", "--name", NAME, "--config"].map(OsStr::new).into();
    words.push(config.as_os_str());
    words.extend(image.into_iter().flat_map(|image| ["--image", image]).map(OsStr::new));
    words
}

/// kind-config.yaml with the audit policy's copy in the cache, which outlives the checkout.
fn write_config(paths: &Paths) -> Result<PathBuf> {
    let dir = paths.cache().join("cluster");
    std::fs::create_dir_all(&dir)?;
    let policy = dir.join("audit-policy.yaml");
    stamp::replace(&policy, std::fs::read(paths.checkout().join(POLICY))?.as_slice())?;
    let text = config(paths)?;
    ensure!(text.contains(POLICY), "kind-config.yaml no longer mounts {POLICY}");
    let effective = dir.join("kind-config.yaml");
    stamp::replace(&effective, text.replace(POLICY, &policy.to_string_lossy()).as_bytes())?;
    Ok(effective)
}

fn config(paths: &Paths) -> Result<String> {
    std::fs::read_to_string(paths.checkout().join("kind-config.yaml")).context("read kind-config.yaml")
}

fn config_digest(paths: &Paths) -> Result<String> {
    Ok(stamp::digest([config(paths)?, std::fs::read_to_string(paths.checkout().join(POLICY))?]))
}

fn stamp_path(paths: &Paths) -> PathBuf {
    paths.cache().join("cluster/stamp")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(image: &str) -> Vec<Host> {
        let host = |name: &str| Host { name: name.to_owned(), running: true, image: image.to_owned() };
        vec![host("quartet-control-plane"), host("quartet-worker")]
    }

    #[test]
    fn with_a_registry_kind_pulls_what_it_was_released_with() {
        let config = Path::new("kind-config.yaml");
        assert!(!creation(config, None).contains(&OsStr::new("--image")));
        assert_eq!(creation(config, Some("built:1"))[6..], ["kind-config.yaml", "--image", "built:1"]);
    }

    #[test]
    fn a_cluster_is_kept_while_it_is_what_we_want() {
        let (ours, older) = ("quartet-kind-node:2", "quartet-kind-node:1");
        assert_eq!(why_unusable(&found(ours), 2, true, ours), None);
        assert_eq!(why_unusable(&found("kindest/node:v1.35.0"), 2, true, ours), None);
        assert_eq!(why_unusable(&found(older), 2, true, ours), Some("has an older node image"));
        assert_eq!(why_unusable(&found(ours), 4, true, ours), Some("lacks hosts"));
        assert_eq!(why_unusable(&found(ours), 2, false, ours), Some("has another configuration"));
        assert_eq!(why_unusable(&[], 2, false, ours), Some("lacks hosts"));
    }
}
