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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use rustix::process::{Signal, getpid, kill_process};

    use super::*;

    struct Held<'a>(&'a AtomicBool);

    impl Drop for Held<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn what_a_run_holds_is_dropped_when_it_is_told_to_stop() {
        let dropped = AtomicBool::new(false);
        let held = Held(&dropped);
        let code = unless_told(async {
            let _held = held;
            kill_process(getpid(), Signal::HUP)?;
            std::future::pending().await
        });
        let code = code.await.unwrap();
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(129)));
        assert!(dropped.load(Ordering::Relaxed));
    }

    #[tokio::test]
    async fn a_run_that_ends_by_itself_says_how() {
        let code = unless_told(async { Ok(ExitCode::from(3)) }).await.unwrap();
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(3)));
    }
}
