//! Faults on a running cluster: network cuts, killed and paused processes, full and wiped volumes, lost hosts.
//!
//! Each returns a [`Fault`]: healed by [`Fault::heal`], or else when it is dropped, so that a scenario that fails
//! does not poison the next. They reach hosts through the Docker engine and so need a kind cluster.

pub mod hosts;
pub mod network;
pub mod operator;
pub mod process;
pub mod target;
pub mod volume;

use anyhow::{Context, Result};

use crate::cluster::hosts::{list, shell};
use crate::command::Command;

/// Something that is broken until healed.
#[derive(Debug)]
#[must_use = "a fault heals when it is dropped"]
pub struct Fault {
    what: String,
    /// Arguments to `docker`, each undoing one thing; done last to first.
    undo: Vec<Vec<String>>,
}

impl Fault {
    fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), undo: Vec::new() }
    }

    fn undo_in_host(&mut self, host: &str, script: &str, arguments: &[&str]) {
        let mut words: Vec<String> = ["exec", host, "sh", "-euc", script, "sh"].map(str::to_owned).to_vec();
        words.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self.undo.push(words);
    }

    fn undo_with_docker(&mut self, arguments: &[&str]) {
        self.undo.push(arguments.iter().map(|argument| (*argument).to_owned()).collect());
    }

    pub async fn heal(mut self) -> Result<()> {
        while let Some(arguments) = self.undo.pop() {
            let done = Command::new("docker").args(&arguments).text().await;
            done.with_context(|| format!("heal: {}", self.what))?;
        }
        Ok(())
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        while let Some(arguments) = self.undo.pop() {
            // Blocking: a scenario that failed has nothing better to do, and the next one waits for this.
            let done = std::process::Command::new("docker").args(&arguments).output();
            if !done.is_ok_and(|output| output.status.success()) {
                eprintln!("could not heal: {}", self.what);
            }
        }
    }
}

/// Ends every fault that an earlier run may have left: cuts, paused processes, stopped hosts.
pub async fn heal_all() -> Result<()> {
    for host in list().await? {
        if !host.running {
            crate::cluster::hosts::start(&host.name).await?;
        }
        shell(&host.name, network::HEAL, &[]).await?;
        shell(&host.name, process::CONTINUE_ALL, &[]).await?;
    }
    Ok(())
}
