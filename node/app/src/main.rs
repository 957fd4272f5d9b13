//! quartet-node: arguments and subcommands, nothing else.

mod args;
mod dev;
mod galera;
mod logs;
mod stops;
mod sync;

use std::process::ExitCode;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let args::Arguments { command, log_format } = args::Arguments::parse();
    logs::start(log_format);
    let ended = match command {
        args::Command::Sync(sync) => sync::run(sync).await,
        args::Command::Dev(dev) => dev::run(dev).await,
        args::Command::Galera(member) => galera::run(*member).await,
        args::Command::GaleraProxy(proxy) => galera::run_proxy(proxy).await,
        args::Command::Install { folder } => galera::install(&folder),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quartet-node: {error:#}");
            ExitCode::FAILURE
        }
    }
}
