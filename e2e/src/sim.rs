//! `cargo e2e sim`: the simulator's own program, built with optimisation.

use std::process::ExitCode;

use anyhow::Result;

use crate::args::Sim;
use crate::command::Command;
use crate::paths::Paths;

pub async fn run(paths: &Paths, options: &Sim) -> Result<ExitCode> {
    Ok(ExitCode::from(command(paths, options).passed_through().await?))
}

pub fn command(paths: &Paths, options: &Sim) -> Command {
    let mut command = Command::new("cargo")
        .args(["run", "--quiet", "--release", "-p", "quartet-sim", "--"])
        .env("CARGO_TARGET_DIR", paths.cargo_target())
        .dir(paths.checkout());
    for (name, value) in [("--seeds", options.seeds), ("--seed", options.seed)] {
        if let Some(value) = value {
            command = command.arg(name).arg(value.to_string());
        }
    }
    match &options.only {
        Some(only) => command.args(["--only", only]),
        None => command,
    }
}
