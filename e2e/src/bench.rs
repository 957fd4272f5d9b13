//! `cargo e2e bench NAME`: the list of benchmarks. Each writes JSON under target/bench/.

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::args::Bench;

/// A benchmark and what it measures.
struct Benchmark {
    name: &'static str,
    measures: &'static str,
}

const BENCHMARKS: &[Benchmark] = &[];

pub fn run(options: &Bench) -> Result<ExitCode> {
    let Some(wanted) = &options.name else {
        for benchmark in BENCHMARKS {
            println!("{:<24} {}", benchmark.name, benchmark.measures);
        }
        return Ok(ExitCode::SUCCESS);
    };
    let names: Vec<_> = BENCHMARKS.iter().map(|benchmark| benchmark.name).collect();
    bail!("no benchmark {wanted}; there are: {}", names.join(", "))
}
