//! What is checked without a cluster. Every check runs, whatever became of the ones before it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::args::Sim;
use crate::command::{Command, in_path};
use crate::machine::{rust, tools};
use crate::paths::Paths;
use crate::progress::Progress;
use crate::report::{Outcome, Verdict};
use crate::{readme, sim};

const DEADLINE: Duration = Duration::from_hours(1);

pub async fn run(paths: &Paths, progress: &Progress, seeds: u64) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    let cargo = |args: &[&str]| {
        Command::new("cargo").args(args).env("CARGO_TARGET_DIR", paths.cargo_target()).dir(paths.checkout())
    };
    if let Err(error) = rust::ensure_components(paths).await {
        progress.note(&format!("rustup: {error:#}"));
    }
    let format = cargo(&["fmt", "--all", "--check"]);
    outcomes.push(check(paths, "format", format).await);
    let lints = cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]);
    outcomes.push(check(paths, "lints", lints).await);
    outcomes.push(licences(paths).await);
    // Before the unit tests: those of the chart need helm.
    outcomes.push(chart(paths, progress).await);
    let unit = cargo(&["test", "--workspace"]);
    outcomes.push(check(paths, "unit-tests", unit).await);
    outcomes.push(crds(paths, cargo(&["test", "--workspace", "--no-run"])).await);
    outcomes.push(readme_try(paths).await);
    let options = Sim { seeds: Some(seeds), seed: None, only: None };
    outcomes.push(check(paths, "simulation", sim::command(paths, &options)).await);
    outcomes
}

async fn check(paths: &Paths, name: &str, command: Command) -> Outcome {
    println!("==> {name}");
    let started = Instant::now();
    let log = paths.logs().join(format!("check-{name}.log"));
    let result = command.deadline(DEADLINE).logged(&log).await.map_err(anyhow::Error::from);
    judged(name, started, result)
}

async fn chart(paths: &Paths, progress: &Progress) -> Outcome {
    let (name, started) = ("chart", Instant::now());
    println!("==> {name}");
    let work = async {
        tools::ensure(paths, progress, tools::Need::Client).await.context("helm")?;
        let chart = paths.checkout().join("charts/quartet");
        let lint = Command::new(tools::path(paths, "helm")).args(["lint", "--strict"]).arg(chart);
        anyhow::Ok(lint.logged(&paths.logs().join("check-chart.log")).await?)
    };
    judged(name, started, work.await)
}

/// The operator's own command, as the unit tests have built it: asking cargo for the program alone would build it once
/// more with other features.
async fn crds(paths: &Paths, build: Command) -> Outcome {
    let (name, started) = ("crds-up-to-date", Instant::now());
    println!("==> {name}");
    let log = paths.logs().join(format!("check-{name}.log"));
    let work = async {
        build.deadline(DEADLINE).logged(&log).await?;
        let program = paths.cargo_target().join("debug/quartet-operator");
        let check =
            Command::new(program).args(["crds", "--out", "crds", "--chart", "charts/quartet", "--check"]);
        anyhow::Ok(check.dir(paths.checkout()).logged(&log).await?)
    };
    judged(name, started, work.await)
}

async fn readme_try(paths: &Paths) -> Outcome {
    let (name, started) = ("readme", Instant::now());
    println!("==> {name}");
    judged(name, started, readme::check(paths).await)
}

/// Compiling cargo-deny takes minutes, so it is used where it is and nowhere else.
async fn licences(paths: &Paths) -> Outcome {
    let name = "licences";
    let own = paths.bin().join("cargo-deny");
    if !own.is_file() && !in_path("cargo-deny") {
        let why = "cargo-deny is not installed (cargo install cargo-deny)".to_owned();
        return Outcome { name: name.to_owned(), took: Duration::ZERO, verdict: Verdict::LeftOut(why) };
    }
    let program = if own.is_file() { own } else { "cargo-deny".into() };
    check(
        paths,
        name,
        Command::new(program)
            .args(["--offline", "check", "licenses", "bans", "sources"])
            .dir(paths.checkout()),
    )
    .await
}

fn judged(name: &str, started: Instant, result: Result<()>) -> Outcome {
    let verdict = match result {
        Ok(()) => Verdict::Passed,
        Err(error) => Verdict::Failed(format!("{error:#}")),
    };
    let outcome = Outcome { name: name.to_owned(), took: started.elapsed(), verdict };
    println!("    {}", outcome.line());
    outcome
}
