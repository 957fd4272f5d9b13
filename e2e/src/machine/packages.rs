//! Packages of the distribution, installed only when one of the programs they bring is missing.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::sync::Mutex;

use crate::command::{Command, in_path};
use crate::paths::Paths;

const INSTALL_DEADLINE: Duration = Duration::from_mins(10);

/// A program and the package that brings it.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    pub name: &'static str,
    pub package: &'static str,
}

const fn program(name: &'static str, package: &'static str) -> Program {
    Program { name, package }
}

/// For static binaries with C in them (ring, mimalloc).
pub const MUSL: &[Program] = &[program("musl-gcc", "musl-tools")];
/// Routes from this machine to the pods.
pub const ROUTES: &[Program] = &[program("ip", "iproute2")];
pub const ENGINE: &[Program] = &[
    program("dockerd", "docker.io"),
    program("containerd", "containerd"),
    program("runc", "runc"),
    program("iptables", "iptables"),
    program("jq", "jq"),
];
/// The node image's userland.
pub const NODE_IMAGE: &[Program] = &[program("debootstrap", "debootstrap"), program("jq", "jq")];

/// One installation at a time: the package manager refuses a second.
static TURN: Mutex<()> = Mutex::const_new(());

/// Installs what is missing and says what it was.
pub async fn install(paths: &Paths, programs: &[Program]) -> Result<Vec<&'static str>> {
    let _turn = TURN.lock().await;
    let missing: Vec<_> =
        programs.iter().filter(|program| !present(program.name)).map(|program| program.package).collect();
    if missing.is_empty() {
        return Ok(missing);
    }
    if !in_path("apt-get") {
        bail!("this machine lacks {}: install them (no apt-get here to do it)", missing.join(", "));
    }
    let log = paths.logs().join("packages.log");
    let apt = |args: &[&str]| {
        Command::new("apt-get").args(args).env("DEBIAN_FRONTEND", "noninteractive").deadline(INSTALL_DEADLINE)
    };
    // A list of an unrelated third party that cannot be read must not stop us: the installation tells.
    apt(&["update", "-q"]).logged(&log).await.ok();
    apt(&["install", "-y", "-q", "--no-install-recommends"]).args(&missing).logged(&log).await?;
    Ok(missing)
}

/// Administrators' programs may lie outside a user's search path.
fn present(program: &str) -> bool {
    in_path(program)
        || ["/usr/sbin", "/sbin"].iter().any(|dir| std::path::Path::new(dir).join(program).is_file())
}
