//! quartet-operator: arguments, then the library.

use std::process::ExitCode;

use clap::Parser;

// musl's own allocator is slow under threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    match quartet_operator::run::main(quartet_operator::args::Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The causes in one line; where it came from is for debuggers.
            eprintln!("quartet-operator: {error:#}");
            ExitCode::FAILURE
        }
    }
}
