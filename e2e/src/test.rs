//! `cargo e2e test`: everything, or the scenarios that a filter selects.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::args::{Test, Up};
use crate::machine::lock::RunLock;
use crate::paths::Paths;
use crate::progress::Progress;
use crate::report::{self, Outcome, Verdict};
use crate::{checks, runner, scenarios, up};

pub async fn run(paths: &Paths, progress: &Progress, options: &Test) -> Result<ExitCode> {
    let _lock = RunLock::take(paths)?;
    let chosen: Vec<_> = match &options.filter {
        None => scenarios::full().copied().collect(),
        Some(filter) => {
            let wanted = |name: &str| filter.split(',').any(|part| name.contains(part));
            scenarios::selectable().filter(|scenario| wanted(scenario.name)).copied().collect()
        }
    };
    if chosen.is_empty() {
        let names: Vec<_> = scenarios::selectable().map(|scenario| scenario.name).collect();
        bail!("no scenario's name contains that; there are:\n  {}", names.join("\n  "));
    }
    let mut outcomes = match options.filter {
        None => checks::run(paths, progress, options.seeds).await,
        Some(_) => Vec::new(),
    };
    let started = Instant::now();
    match up::bring_up(paths, progress, &Up { existing: options.existing }).await {
        Ok(standing) => {
            println!("==> {} scenarios", chosen.len());
            outcomes.extend(runner::run(paths, &standing, chosen).await);
        }
        // The checks before it have been worth their while.
        Err(error) => outcomes.push(Outcome {
            name: "cluster".to_owned(),
            took: started.elapsed(),
            verdict: Verdict::Failed(format!("{error:#}; {} scenarios did not run", chosen.len())),
        }),
    }
    Ok(if report::print(&outcomes) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
