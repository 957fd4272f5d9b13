//! quartet-e2e: `cargo e2e up | test | down | sim | bench`.
//!
//! A fresh machine becomes a kind cluster with the operator on it, and scenarios break it. What never lives here:
//! code that runs in the cluster.

pub mod args;
pub mod audit;
pub mod bench;
pub mod bundle;
pub mod checks;
pub mod cluster;
pub mod command;
pub mod down;
pub mod faults;
pub mod forward;
pub mod galera_cluster;
pub mod inventory;
pub mod kubectl;
pub mod load;
pub mod machine;
pub mod objects;
pub mod paths;
pub mod progress;
pub mod readme;
pub mod report;
pub mod runner;
pub mod scenarios;
pub mod sim;
pub mod stage;
pub mod stop;
pub mod subject;
pub mod sync_cluster;
pub mod test;
pub mod up;
pub mod wait;

use std::process::ExitCode;

use args::{Action, Args};
use paths::Paths;
use progress::Progress;

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (paths, progress) = (Paths::find()?, Progress::default());
    match args.action {
        Action::Up(options) => up::run(&paths, &progress, &options).await.map(|()| ExitCode::SUCCESS),
        Action::Test(options) => test::run(&paths, &progress, &options).await,
        Action::Down => down::run(&paths, &progress).await.map(|()| ExitCode::SUCCESS),
        Action::Sim(options) => sim::run(&paths, &options).await,
        Action::Bench(options) => bench::run(&paths, &progress, &options).await,
    }
}
