//! A Docker engine that answers: the one that is there, or the distribution's, installed and started.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::command::Command;
use crate::machine::{packages, stamp};
use crate::paths::Paths;
use crate::wait::until;

const RUNC_BOUNDED: &str = include_str!("../../kind/runc-bounded");
const START_DEADLINE: Duration = Duration::from_mins(1);
/// It takes about ten seconds to end its containers.
const STOP_DEADLINE: Duration = Duration::from_secs(30);
const PID_FILE: &str = "/var/run/docker.pid";
const CAP_SYS_RESOURCE: u32 = 24;

/// Returns what was found or done.
pub async fn ensure(paths: &Paths) -> Result<String> {
    if let Some(version) = version().await {
        return Ok(format!("Docker {version} answers"));
    }
    packages::install(paths, packages::ENGINE).await?;
    if Path::new("/run/systemd/system").exists() {
        let start = Command::new("systemctl").args(["start", "docker"]);
        start.logged(&paths.logs().join("docker.log")).await?;
    } else {
        spawn(paths).await?;
    }
    wait(paths).await
}

async fn version() -> Option<String> {
    let asked =
        Command::new("docker").args(["info", "-f", "{{.ServerVersion}}"]).deadline(Duration::from_secs(20));
    asked.text().await.ok().map(|text| text.trim().to_owned()).filter(|version| !version.is_empty())
}

async fn spawn(paths: &Paths) -> Result<()> {
    forget_stale_pid().await?;
    let log = log(paths);
    std::fs::create_dir_all(log.parent().unwrap_or(Path::new("/")))?;
    let output = OpenOptions::new().create(true).append(true).open(&log).context("open dockerd's log")?;
    // A session of its own: the engine outlives this run and its terminal.
    let mut command = tokio::process::Command::new("setsid");
    command.args(["--fork", "dockerd", "--log-level=warn"]);
    if !may_raise_limits() {
        let wrapper = paths.bin().join("runc-bounded");
        std::fs::create_dir_all(paths.bin())?;
        stamp::replace(&wrapper, RUNC_BOUNDED.as_bytes())?;
        std::fs::set_permissions(&wrapper, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        command.arg(format!("--add-runtime=bounded={}", wrapper.display()));
        command.arg("--default-runtime=bounded");
    }
    let errors = output.try_clone()?;
    let status = command.stdin(Stdio::null()).stdout(output).stderr(errors).status().await?;
    if !status.success() {
        bail!("dockerd did not start: {status}");
    }
    Ok(())
}

/// dockerd refuses to start over the pid file of one that a reboot ended, and beside one that is still ending.
async fn forget_stale_pid() -> Result<()> {
    let path = Path::new(PID_FILE);
    let Ok(pid) = std::fs::read_to_string(path) else { return Ok(()) };
    until("an engine that does not answer to end", STOP_DEADLINE, async || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        ensure!(!is_alive(&stat), "dockerd (process {}) still runs: look at it or end it", pid.trim());
        Ok(())
    })
    .await?;
    match std::fs::remove_file(path) {
        // It took its file with it.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.context("remove a dead dockerd's pid file"),
    }
}

/// A dockerd that nobody has reaped is as dead as another program under its old number.
fn is_alive(stat: &str) -> bool {
    stat.split_once(" (dockerd) ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// Privileged containers ask for every capability; some machines cannot grant this one.
fn may_raise_limits() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    bounding_set(&status).is_none_or(|set| set & (1 << CAP_SYS_RESOURCE) != 0)
}

fn bounding_set(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapBnd:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

async fn wait(paths: &Paths) -> Result<String> {
    let answer = async || version().await.context("no Docker engine answers");
    let started = until("the engine's first answer", START_DEADLINE, answer).await.with_context(|| {
        let said = File::open(log(paths)).and_then(std::io::read_to_string).unwrap_or_default();
        let lines: Vec<_> = said.lines().collect();
        format!("the end of dockerd's log:\n{}", lines[lines.len().saturating_sub(15)..].join("\n"))
    });
    Ok(format!("started Docker {}", started?))
}

fn log(paths: &Paths) -> std::path::PathBuf {
    paths.cache().join("log/dockerd.log")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreaped_engine_is_dead() {
        assert!(is_alive("7 (dockerd) S 1 7 7"));
        assert!(!is_alive("7 (dockerd) Z 1 7 7"));
        assert!(!is_alive("7 (bash) S 1 7 7"));
        assert!(!is_alive(""));
    }

    #[test]
    fn the_bounding_set_tells_a_missing_capability() {
        let set = bounding_set("Name:\tx\nCapBnd:\t000001fffeffffff\nCapAmb:\t0\n").unwrap();
        assert_eq!(set & (1 << CAP_SYS_RESOURCE), 0);
        assert_ne!(set & (1 << 21), 0);
        assert_eq!(bounding_set("Name:\tx\n"), None);
    }
}
