//! Arguments, then the library.

use std::process::ExitCode;

use clap::Parser;
use quartet_e2e::args::Args;

#[tokio::main]
async fn main() -> ExitCode {
    quartet_e2e::run(Args::parse()).await.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
