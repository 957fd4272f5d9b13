//! The hosts of the cluster: containers of the Docker engine, reached without the network.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;

use super::NAME;
use crate::command::Command;

const COMMAND_DEADLINE: Duration = Duration::from_mins(2);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    pub name: String,
    pub running: bool,
    pub image: String,
}

impl Host {
    pub fn is_control_plane(&self) -> bool {
        self.name.ends_with("-control-plane")
    }
}

/// All containers of the cluster, stopped ones too, the control plane first.
pub async fn list() -> Result<Vec<Host>> {
    let label = format!("label=io.x-k8s.kind.cluster={NAME}");
    let format = "{{.Names}}\t{{.State}}\t{{.Image}}";
    let listed =
        Command::new("docker").args(["ps", "-a", "--filter", &label, "--format", format]).text().await?;
    let mut hosts: Vec<_> = listed.lines().filter_map(parse).collect();
    hosts.sort_by_key(|host| (!host.is_control_plane(), host.name.clone()));
    Ok(hosts)
}

fn parse(line: &str) -> Option<Host> {
    let mut fields = line.split('\t');
    let (name, state, image) = (fields.next()?, fields.next()?, fields.next()?);
    Some(Host { name: name.to_owned(), running: state == "running", image: image.to_owned() })
}

/// Runs a shell script in a host; `arguments` are its `$1`, `$2`, ….
pub async fn shell(host: &str, script: &str, arguments: &[&str]) -> Result<String> {
    Command::new("docker")
        .args(["exec", host, "sh", "-euc", script, "sh"])
        .args(arguments)
        .deadline(COMMAND_DEADLINE)
        .text()
        .await
        .with_context(|| format!("in host {host}"))
}

/// The same with a file as its standard input.
pub async fn shell_with_input(host: &str, script: &str, input: &Path) -> Result<String> {
    Command::new("docker")
        .args(["exec", "-i", host, "sh", "-euc", script])
        .input_file(input)
        .deadline(COMMAND_DEADLINE)
        .text()
        .await
        .with_context(|| format!("in host {host}"))
}

/// When the host that was started last was started: what was seen before then is old.
pub async fn last_start() -> Result<Timestamp> {
    let names: Vec<_> = list().await?.into_iter().map(|host| host.name).collect();
    let started =
        Command::new("docker").args(["inspect", "-f", "{{.State.StartedAt}}"]).args(names).text().await?;
    let moments = started.lines().map(str::parse::<Timestamp>).collect::<Result<Vec<_>, _>>()?;
    moments.into_iter().max().context("there is no host")
}

pub async fn start(host: &str) -> Result<()> {
    Command::new("docker").args(["start", host]).deadline(COMMAND_DEADLINE).text().await?;
    Ok(())
}

pub async fn stop(host: &str) -> Result<()> {
    Command::new("docker").args(["stop", "-t", "2", host]).deadline(COMMAND_DEADLINE).text().await?;
    Ok(())
}

pub async fn kill(host: &str) -> Result<()> {
    Command::new("docker").args(["kill", host]).deadline(COMMAND_DEADLINE).text().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopped_control_plane_is_seen_as_both() {
        let host = parse("quartet-control-plane\texited\tkindest/node:v1").unwrap();
        assert!(host.is_control_plane() && !host.running);
        assert_eq!(host.image, "kindest/node:v1");
        assert_eq!(parse("nothing"), None);
    }
}
