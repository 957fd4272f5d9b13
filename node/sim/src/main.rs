//! The simulator's command line.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, bail};
use clap::Parser;
use quartet_sim::{BROKEN_RULES, PROFILES, Profile, batch, run};

/// Runs whole clusters on a virtual clock, with faults, and checks what must hold.
#[derive(Parser)]
struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 300)]
    seeds: u64,
    /// The first one.
    #[arg(long, default_value_t = 0)]
    start: u64,
    /// Runs this one seed, and prints what happens.
    #[arg(long)]
    seed: Option<u64>,
    /// Runs only this profile; otherwise they take turns.
    #[arg(long)]
    only: Option<String>,
    /// Leaves out a rule of Raft, to see whether anybody notices.
    #[arg(long)]
    broken: Option<String>,
    /// Threads; all cores by default.
    #[arg(long)]
    jobs: Option<usize>,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let profiles = profiles(arguments.only.as_deref())?;
    let broken = match &arguments.broken {
        None => None,
        Some(name) => {
            let rule = BROKEN_RULES.iter().find(|(known, _)| known == name);
            let names: Vec<&str> = BROKEN_RULES.iter().map(|(name, _)| *name).collect();
            Some(rule.with_context(|| format!("no rule is named {name}; there are {}", names.join(", ")))?.1)
        }
    };
    if let Some(seed) = arguments.seed {
        let profile = batch::profile_of(seed, &profiles).context("there is no profile")?;
        let outcome = run(profile, seed, broken, true);
        for line in &outcome.trace {
            println!("{line}");
        }
        println!("seed {seed} of {}: digest {:016x}; {}", profile.name, outcome.digest, outcome.coverage);
        return Ok(match outcome.violation {
            None => ExitCode::SUCCESS,
            Some(violation) => {
                println!("VIOLATED {violation}");
                ExitCode::FAILURE
            }
        });
    }
    let jobs = match arguments.jobs {
        Some(jobs) => jobs,
        None => std::thread::available_parallelism()?.get(),
    };
    let began = Instant::now();
    let tally = batch::sweep(&profiles, arguments.start, arguments.seeds, jobs, broken);
    println!("{} seeds in {:.1} s: {}", tally.runs, began.elapsed().as_secs_f64(), tally.coverage);
    for failure in &tally.failures {
        let (seed, profile) = (failure.seed, failure.profile);
        println!("VIOLATED {}", failure.violation);
        let broken = arguments.broken.as_ref().map(|rule| format!(" --broken {rule}")).unwrap_or_default();
        println!("replay: cargo e2e sim --seed {seed} --only {profile}{broken}");
    }
    // A few runs, or those of one profile, may well have none of something.
    let short_of = tally.short_of().filter(|_| tally.runs >= 100 && arguments.only.is_none());
    if let Some(what) = short_of {
        println!("too few {what}: the runs prove little");
    }
    Ok(if tally.failures.is_empty() && short_of.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn profiles(only: Option<&str>) -> anyhow::Result<Vec<Profile>> {
    let Some(name) = only else { return Ok(PROFILES.to_vec()) };
    let found: Vec<Profile> = PROFILES.iter().filter(|profile| profile.name == name).copied().collect();
    if found.is_empty() {
        let names: Vec<&str> = PROFILES.iter().map(|profile| profile.name).collect();
        bail!("no profile is named {name}; there are {}", names.join(", "));
    }
    Ok(found)
}
