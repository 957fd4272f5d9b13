//! quartet-e2e: `cargo e2e up | test | down | sim | bench`.

mod args;
mod bench;
mod checks;
mod cluster;
mod command;
mod down;
mod machine;
mod objects;
mod paths;
mod progress;
mod sim;
mod up;
mod wait;

use std::process::ExitCode;

use clap::Parser;

use args::{Action, Args};
use paths::Paths;
use progress::Progress;

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (paths, progress) = (Paths::find()?, Progress::default());
    match args.action {
        Action::Up(options) => up::run(&paths, &progress, &options).await.map(|()| ExitCode::SUCCESS),
        Action::Down => down::run(&paths, &progress).await.map(|()| ExitCode::SUCCESS),
        Action::Sim(options) => sim::run(&paths, &options).await,
        Action::Test(_) => anyhow::bail!("being written"),
        Action::Bench(options) => bench::run(&options),
    }
}
