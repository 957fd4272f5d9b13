//! A run that is told to stop: what it holds is dropped, so that its programs end, its faults heal, and nothing of it
//! outlives it.

use std::future::Future;
use std::process::ExitCode;

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};

/// What a shell says of a program that a signal ended.
const BY_SIGNAL: u8 = 128;

/// Runs it until it ends or we are told to (Ctrl-C, SIGTERM, the terminal closed).
pub async fn unless_told(work: impl Future<Output = Result<ExitCode>>) -> Result<ExitCode> {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let mut signals = Vec::new();
    for kind in kinds {
        signals.push((kind, signal(kind).context("listen for signals")?));
    }
    let told = signals.iter_mut().map(|(kind, signal)| {
        Box::pin(async {
            signal.recv().await;
            kind.as_raw_value()
        })
    });
    tokio::select! {
        ended = work => ended,
        (number, ..) = futures::future::select_all(told) => {
            eprintln!("told to stop: ending what was started");
            Ok(ExitCode::from(BY_SIGNAL + u8::try_from(number).unwrap_or_default()))
        }
    }
}
