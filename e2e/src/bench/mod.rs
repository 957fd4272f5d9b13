//! `cargo e2e bench NAME`: the list of benchmarks. Each writes JSON under target/bench/.

mod http;
mod operator;
mod statistics;
mod synccluster;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use futures::future::LocalBoxFuture;
use serde_json::Value;

use crate::args::Bench;
use crate::paths::Paths;
use crate::progress::Progress;

/// A benchmark and what it measures.
struct Benchmark {
    name: &'static str,
    measures: &'static str,
    run: for<'a> fn(&'a Paths, &'a Progress) -> LocalBoxFuture<'a, Result<Value>>,
}

const BENCHMARKS: &[Benchmark] = &[
    Benchmark {
        name: "operator",
        measures: "the operator's memory and processor time with 1 and 20 SyncClusters, and how soon they are Ready",
        run: |paths, progress| Box::pin(operator::run(paths, progress)),
    },
    Benchmark {
        name: "synccluster",
        measures: "apply to Ready and failover on kind; failover, locks per second and their cost beside etcd",
        run: |paths, progress| Box::pin(synccluster::run(paths, progress)),
    },
    Benchmark {
        name: "synccluster-peers",
        measures: "of these, what needs no cluster: processes of this machine beside etcd's",
        run: |paths, progress| Box::pin(synccluster::peers(paths, progress)),
    },
];

pub async fn run(paths: &Paths, progress: &Progress, options: &Bench) -> Result<ExitCode> {
    let Some(wanted) = &options.name else {
        for benchmark in BENCHMARKS {
            println!("{:<24} {}", benchmark.name, benchmark.measures);
        }
        return Ok(ExitCode::SUCCESS);
    };
    let Some(benchmark) = BENCHMARKS.iter().find(|benchmark| benchmark.name == wanted) else {
        let names: Vec<_> = BENCHMARKS.iter().map(|benchmark| benchmark.name).collect();
        bail!("no benchmark {wanted}; there are: {}", names.join(", "))
    };
    let result = (benchmark.run)(paths, progress).await?;
    let path = paths.checkout().join("target/bench").join(format!("{}.json", benchmark.name));
    let text = serde_json::to_string_pretty(&result)?;
    std::fs::create_dir_all(path.parent().context("the file is in a folder")?)?;
    std::fs::write(&path, format!("{text}\n")).with_context(|| format!("write {}", path.display()))?;
    progress.finish(&format!("written to {}", path.display()));
    Ok(ExitCode::SUCCESS)
}
