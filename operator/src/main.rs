//! quartet-operator: arguments, then the library.

use clap::Parser;

// musl's own allocator is slow under threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    quartet_operator::run::main(quartet_operator::args::Arguments::parse()).await
}
