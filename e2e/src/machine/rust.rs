//! The Rust toolchain's musl target, for static binaries.

use std::time::Duration;

use anyhow::Result;

use crate::command::Command;
use crate::machine::packages;
use crate::paths::Paths;

pub const TARGET: &str = "x86_64-unknown-linux-musl";

/// Adds the linter and the formatter where missing: some machines install toolchains without them.
pub async fn ensure_components(paths: &Paths) -> Result<()> {
    let rustup = |args: &[&str]| Command::new("rustup").args(args).dir(paths.checkout());
    let installed = rustup(&["component", "list", "--installed"]).text().await?;
    if ["clippy", "rustfmt"].iter().all(|name| installed.lines().any(|line| line.starts_with(name))) {
        return Ok(());
    }
    let add = rustup(&["component", "add", "clippy", "rustfmt"]).deadline(Duration::from_mins(5));
    Ok(add.logged(&paths.logs().join("rustup.log")).await?)
}

/// Adds the target and its C compiler where missing.
pub async fn ensure_static_target(paths: &Paths) -> Result<()> {
    packages::install(paths, packages::MUSL).await?;
    let rustup = |args: &[&str]| Command::new("rustup").args(args).dir(paths.checkout());
    let installed = rustup(&["target", "list", "--installed"]).text().await?;
    if installed.lines().any(|line| line.trim() == TARGET) {
        return Ok(());
    }
    let add = rustup(&["target", "add", TARGET]).deadline(Duration::from_mins(5));
    Ok(add.logged(&paths.logs().join("rustup.log")).await?)
}
