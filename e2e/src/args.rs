//! The command line; every option is also an environment variable.

use clap::{Args as Group, Parser, Subcommand};

/// Brings up Quartet on a kind cluster and tests it there.
#[derive(Debug, Parser)]
#[command(name = "cargo e2e", bin_name = "cargo e2e")]
pub struct Args {
    #[command(subcommand)]
    pub action: Action,
}

#[derive(Debug, Subcommand)]
pub enum Action {
    /// From a fresh machine to a kind cluster with the operator installed and the samples Ready; safe to repeat.
    Up(Up),
    /// Formats, lints, unit tests, simulation, then the scenarios on the cluster, brought up when absent.
    Test(Test),
    /// Removes the cluster and what belongs to it; keeps the caches.
    Down,
    /// The deterministic simulations: N seeds, or one replayed with its trace.
    Sim(Sim),
    /// A benchmark; results under target/bench/.
    Bench(Bench),
}

#[derive(Clone, Copy, Debug, Group)]
pub struct Up {
    /// Use the current context of any cluster instead of kind; the chart must be installed there already.
    #[arg(long, env = "QUARTET_EXISTING")]
    pub existing: bool,
}

#[derive(Clone, Debug, Group)]
pub struct Test {
    /// Only the scenarios whose names contain this (or one of several, with commas between), and what they need.
    #[arg(env = "QUARTET_FILTER")]
    pub filter: Option<String>,
    /// Use the current context of any cluster instead of kind; it must be within reach of this machine's network, and
    /// scenarios that need hosts of kind are left out.
    #[arg(long, env = "QUARTET_EXISTING")]
    pub existing: bool,
    /// Seeds of the simulation.
    #[arg(long, env = "QUARTET_SEEDS", default_value_t = 300)]
    pub seeds: u64,
}

#[derive(Clone, Debug, Group)]
pub struct Sim {
    /// How many seeds to run.
    #[arg(long, env = "QUARTET_SEEDS")]
    pub seeds: Option<u64>,
    /// One seed, replayed with its trace.
    #[arg(long, env = "QUARTET_SEED")]
    pub seed: Option<u64>,
    /// Only the simulation of that name.
    #[arg(long, env = "QUARTET_ONLY")]
    pub only: Option<String>,
}

#[derive(Clone, Debug, Group)]
pub struct Bench {
    /// Which; without a name, lists them.
    #[arg(env = "QUARTET_BENCH")]
    pub name: Option<String>,
}
