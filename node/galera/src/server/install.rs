//! Makes the first database in an empty data directory.

use std::io;
use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use super::config::SST_USER;
use super::process::how;
use super::{Children, PATH};

const PROGRAM: &str = "/usr/bin/mariadb-install-db";

#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    #[error("cannot write {path}")]
    Write { path: String, source: io::Error },
    #[error("cannot run {PROGRAM}")]
    Run(#[source] io::Error),
    #[error("the first database cannot be made ({how}): {said}")]
    Failed { how: String, said: String },
}

/// Nobody has a password: whoever is the operating system's user of that name may come in by the socket, and by nothing
/// else. As a change of the table: accounts are not known while it is being filled.
const USERS: &str = "UPDATE mysql.global_priv SET Priv = JSON_REMOVE(JSON_SET(Priv, '$.plugin', 'unix_socket', \
     '$.authentication_string', ''), '$.auth_or') WHERE Host = 'localhost' AND User <> 'mariadb.sys';\n";

const SAID_BYTES_MAX: u64 = 64 << 10;
const SAID_CHARS_MAX: usize = 300;

/// `run`: a folder for a file that is needed only now.
pub async fn install(children: &Children, data: &Path, run: &Path) -> Result<(), InstallError> {
    let extra = run.join("users.sql");
    std::fs::write(&extra, USERS)
        .map_err(|source| InstallError::Write { path: extra.display().to_string(), source })?;
    let mut command = Command::new(PROGRAM);
    command
        // Without the database `test` and the users without a name.
        .args(["--no-defaults", "--auth-root-authentication-method=socket", "--skip-test-db"])
        .arg(format!("--datadir={}", data.display()))
        .arg(format!("--auth-root-socket-user={SST_USER}"))
        .arg(format!("--extra-file={}", extra.display()))
        .env("PATH", PATH)
        .stdin(Stdio::null())
        // The script tells of its own errors in one, and of its server's in the other.
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let mut child = children.spawn(&mut command).map_err(InstallError::Run)?;
    let id = child.id();
    let (first, last) = tokio::join!(read(child.stdout.take()), read(child.stderr.take()));
    let said = [first, last].concat();
    let status = child.wait().await;
    children.forget(id);
    if status.as_ref().is_ok_and(std::process::ExitStatus::success) {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&said);
    let last = said.chars().rev().take(SAID_CHARS_MAX).collect::<Vec<_>>().into_iter().rev().collect();
    Err(InstallError::Failed { how: how(status), said: last })
}

/// What it says is for a human; that it ended is what counts.
async fn read(output: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut said = Vec::new();
    if let Some(mut output) = output {
        let _ = (&mut output).take(SAID_BYTES_MAX).read_to_end(&mut said).await;
        let _ = tokio::io::copy(&mut output, &mut tokio::io::sink()).await;
    }
    said
}
