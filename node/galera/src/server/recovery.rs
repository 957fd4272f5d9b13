//! Asks the storage engine how far the data has come: `mariadbd --wsrep-recover`.

use std::io;
use std::path::PathBuf;
use std::process::Stdio;

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
    /// Damaged data, a full disk, too little memory.
    #[error("the storage engine cannot be recovered ({how}): {errors}")]
    Failed { how: String, errors: String },
}

/// The output of a recovery; what is longer is not read.
const OUTPUT_BYTES_MAX: u64 = 1 << 20;

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
        Err(RecoveryError::Failed { how: how(status), errors })
    }
}

async fn read(output: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut text = Vec::new();
    if let Some(mut output) = output {
        let mut most = (&mut output).take(OUTPUT_BYTES_MAX);
        if most.read_to_end(&mut text).await.is_ok() {
            // The rest is let go, so that the writer does not wait for ever.
            let _ = tokio::io::copy(&mut output, &mut tokio::io::sink()).await;
        }
    }
    text
}
