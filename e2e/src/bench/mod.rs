//! `cargo e2e bench NAME`: the list of benchmarks. Each writes JSON and a PNG of it under target/bench/.

mod chart;
mod http;
mod operator;
mod statistics;
mod synccluster;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use futures::future::LocalBoxFuture;
use serde_json::Value;

use crate::args::Bench;
use crate::machine::lock::RunLock;
use crate::paths::Paths;
use crate::progress::Progress;
use chart::{Bar, Chart};

/// A benchmark and what it measures.
struct Benchmark {
    name: &'static str,
    measures: &'static str,
    run: for<'a> fn(&'a Paths, &'a Progress) -> LocalBoxFuture<'a, Result<Value>>,
    charts: fn(&Value) -> Vec<Chart>,
}

const BENCHMARKS: &[Benchmark] = &[
    Benchmark {
        name: "operator",
        measures: "the operator's memory and processor time with 1 and 20 SyncClusters, and how soon they are Ready",
        run: |paths, progress| Box::pin(operator::run(paths, progress)),
        charts: numbers,
    },
    Benchmark {
        name: "synccluster",
        measures: "apply to Ready and failover on kind; failover, locks per second and their cost beside etcd",
        run: |paths, progress| Box::pin(synccluster::run(paths, progress)),
        charts: synccluster::charts,
    },
    Benchmark {
        name: "synccluster-peers",
        measures: "of these, what needs no cluster: processes of this machine beside etcd's",
        run: |paths, progress| Box::pin(synccluster::peers(paths, progress)),
        charts: synccluster::peers_charts,
    },
    Benchmark {
        name: "synccluster-kind",
        measures: "of these, what needs the cluster: apply to Ready, and failover",
        run: |paths, progress| Box::pin(synccluster::kind(paths, progress)),
        charts: synccluster::kind_charts,
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
    let _lock = RunLock::take(paths)?;
    let result = (benchmark.run)(paths, progress).await?;
    let path = paths.checkout().join("target/bench").join(format!("{}.json", benchmark.name));
    let text = serde_json::to_string_pretty(&result)?;
    std::fs::create_dir_all(path.parent().context("the file is in a folder")?)?;
    std::fs::write(&path, format!("{text}\n")).with_context(|| format!("write {}", path.display()))?;
    let picture = path.with_extension("png");
    std::fs::write(&picture, chart::png(&(benchmark.charts)(&result)))
        .with_context(|| format!("write {}", picture.display()))?;
    progress.finish(&format!("written to {} and {}", path.display(), picture.display()));
    Ok(ExitCode::SUCCESS)
}

/// A chart of each object's numbers.
fn numbers(result: &Value) -> Vec<Chart> {
    let mut charts = Vec::new();
    collect("", result, &mut charts);
    charts
}

fn collect(title: &str, value: &Value, charts: &mut Vec<Chart>) {
    let Some(fields) = value.as_object() else { return };
    let bars: Vec<_> = fields
        .iter()
        .filter_map(|(name, value)| Some(Bar::new(name.replace('_', " "), value.as_f64()?)))
        .collect();
    if !bars.is_empty() {
        charts.push(Chart { title: title.to_owned(), bars });
    }
    for (name, value) in fields {
        collect(&format!("{title} {}", name.replace('_', " ")), value, charts);
    }
}
