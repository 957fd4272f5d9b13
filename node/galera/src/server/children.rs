//! Processes below the manager. As the first of its pod it inherits those whose parents have died: transfer scripts of
//! a server that was killed. They are reaped, and ended before another server is started.

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, waitpid};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

/// The manager's own children; all others are orphans.
#[derive(Clone, Debug, Default)]
pub struct Children {
    own: Arc<Mutex<HashSet<i32>>>,
}

const ORPHANS_GONE_WITHIN: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);

impl Children {
    /// Orphans come to this process from now on, be it the first of its pod or not.
    pub fn adopt(&self) {
        if let Err(error) = set_child_subreaper(Some(getpid())) {
            tracing::warn!(%error, "orphans will not come to the manager");
        }
    }

    /// Held while a child is born, so that it is never taken for an orphan.
    fn own(&self) -> MutexGuard<'_, HashSet<i32>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A child of the manager's own.
    pub fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        let mut own = self.own();
        let child = command.spawn()?;
        own.extend(child.id().and_then(|id| i32::try_from(id).ok()));
        Ok(child)
    }

    /// Its end has been taken note of.
    pub fn forget(&self, id: Option<u32>) {
        if let Some(id) = id.and_then(|id| i32::try_from(id).ok()) {
            self.own().remove(&id);
        }
    }

    /// Reaps orphans, for ever.
    pub async fn reap(self) {
        let Ok(mut ended) = signal(SignalKind::child()) else {
            tracing::warn!("orphans will not be reaped: cannot listen for their ends");
            return;
        };
        while ended.recv().await.is_some() {
            let own = self.own();
            for orphan in orphans(&own) {
                // One that still lives says so, and is asked again at its end.
                let _ = waitpid(Some(orphan), WaitOptions::NOHANG);
            }
        }
    }

    /// Processes that have come to the manager from others.
    pub fn orphans(&self) -> Vec<Pid> {
        orphans(&self.own())
    }

    /// Ends what a server has left behind: it may hold ports and files that the next one needs.
    pub async fn end_orphans(&self) {
        let begun = tokio::time::Instant::now();
        loop {
            let left = self.orphans();
            if left.is_empty() {
                return;
            }
            if begun.elapsed() > ORPHANS_GONE_WITHIN {
                tracing::warn!(left = left.len(), "processes of an earlier server do not end");
                return;
            }
            for orphan in left {
                let _ = kill_process(orphan, Signal::KILL);
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// Children that are not the manager's own.
fn orphans(own: &HashSet<i32>) -> Vec<Pid> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    let me = getpid().as_raw_nonzero().get();
    processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|process| !own.contains(process) && parent(*process) == Some(me))
        .filter_map(Pid::from_raw)
        .collect()
}

fn parent(process: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, in parentheses, may hold anything; the state and the parent follow it.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}
