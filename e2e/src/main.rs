//! Arguments, then the library.

use std::process::ExitCode;

use clap::Parser;
use quartet_e2e::args::Args;
use quartet_e2e::stop;

#[tokio::main]
async fn main() -> ExitCode {
    let work = Box::pin(stop::unless_told(quartet_e2e::run(Args::parse())));
    work.await.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
