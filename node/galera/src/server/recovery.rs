//! Asks the storage engine how far the data has come: `mariadbd --wsrep-recover`.

use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use quartet_client::galera::Position;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use super::process::how;
use super::{Children, PATH, PROGRAM};
use crate::examine::recovered::{self, NoHistory};

#[derive(Clone, Debug)]
pub struct Recovery {
    pub children: Children,
    /// The server's configuration file.
    pub config: PathBuf,
    /// A folder for its socket.
    pub run: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    #[error("cannot run {PROGRAM} to recover the position")]
    Run(#[source] io::Error),
    /// `corrupt`: by the storage engine's own word. Else it may be a full disk, too little memory, a wrong setting.
    #[error("the storage engine cannot be recovered ({how}): {errors}")]
    Failed { how: String, errors: String, corrupt: bool },
}

/// Of the output of a recovery the end is kept: the position is among the last that it says.
const OUTPUT_BYTES_MAX: usize = 1 << 20;
const CHUNK_BYTES: usize = 16 << 10;

impl Recovery {
    pub async fn run(&self) -> Result<Result<Position, NoHistory>, RecoveryError> {
        let mut command = Command::new(PROGRAM);
        command
            .arg(format!("--defaults-file={}", self.config.display()))
            .args(["--wsrep-recover", "--skip-networking", "--wsrep-cluster-address=gcomm://"])
            .arg(format!("--socket={}", self.run.join("recovery.sock").display()))
            .env("PATH", PATH)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let mut child = self.children.spawn(&mut command).map_err(RecoveryError::Run)?;
        let id = child.id();
        let output = read(child.stderr.take()).await;
        let status = child.wait().await;
        self.children.forget(id);
        let output = String::from_utf8_lossy(&output);
        if let Some(position) = recovered::position(&output) {
            return Ok(position);
        }
        let errors = recovered::errors(output.lines()).unwrap_or_else(|| "it told of no position".into());
        // One that was killed has not come to a verdict.
        let verdict = status.as_ref().is_ok_and(|status: &ExitStatus| status.code().is_some());
        let corrupt = verdict && recovered::is_corrupt(&output);
        Err(RecoveryError::Failed { how: how(status), errors, corrupt })
    }
}

/// Until the writers have closed it.
async fn read(output: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut text = Vec::new();
    let Some(mut output) = output else { return text };
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Ok(length @ 1..) = output.read(&mut chunk).await {
        text.extend_from_slice(&chunk[..length]);
        if text.len() > 2 * OUTPUT_BYTES_MAX {
            text.drain(..text.len() - OUTPUT_BYTES_MAX);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn of_a_long_output_the_end_is_kept() {
        let noise: String = (0..OUTPUT_BYTES_MAX).map(|line| line.to_string()).collect();
        let said = format!("{noise}\nWSREP: Recovered position: 7bec1de7-e5b2-11f1-8da7-aa0419e22e6c:1\n");
        let kept = read(Some(said.as_bytes())).await;
        assert!(kept.len() <= 2 * OUTPUT_BYTES_MAX && said.as_bytes().ends_with(&kept));
        assert!(recovered::position(&String::from_utf8(kept).unwrap()).is_some());
    }
}
