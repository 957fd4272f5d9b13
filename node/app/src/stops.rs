//! How a node is told to stop.

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How often SIGTERM or SIGINT have come.
pub(crate) fn stops() -> anyhow::Result<watch::Receiver<u32>> {
    let (tell, told) = watch::channel(0);
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut signals = signal(kind).context("cannot listen for signals")?;
        let tell = tell.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                tell.send_modify(|stops| *stops += 1);
            }
        });
    }
    Ok(told)
}
