//! Clients at work while scenarios break things: every request and its outcome is recorded, for the checkers.

pub mod bank;
mod prober;
mod record;
mod worker;

pub use prober::Prober;
pub use record::{Record, Report};

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use quartet_client::SyncClient;
use tokio::task::JoinSet;

use crate::wait::until;
use worker::Worker;

/// Longer than any single operation of a worker, retries included.
const STOP_DEADLINE: Duration = Duration::from_secs(90);

#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Workers per resource: they compete for it.
    pub competitors: u32,
    pub resources: u32,
    /// How long one request may be repeated before its outcome is given up.
    pub patience: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { competitors: 3, resources: 8, patience: Duration::from_secs(20) }
    }
}

/// Takes, renews, reads and releases locks until stopped.
#[derive(Debug)]
pub struct LockLoad {
    record: Arc<Record>,
    stop: Arc<AtomicBool>,
    workers: JoinSet<Result<()>>,
    resources: u32,
}

impl LockLoad {
    /// `url` is the Service's or a member's, as [`crate::stage::Stage::service_url`] gives it.
    pub fn start(url: &str, options: Options) -> Result<Self> {
        let (record, stop) = (Arc::new(Record::default()), Arc::new(AtomicBool::new(false)));
        let mut workers = JoinSet::new();
        for number in 0..options.competitors * options.resources {
            // Each has connections of its own: all members are reached through the Service.
            let client = SyncClient::new(url)?;
            let resource = resource(number % options.resources);
            let worker = Worker::new(number, resource, client, options.patience, Arc::clone(&record));
            workers.spawn(worker.work(Arc::clone(&stop)));
        }
        Ok(Self { record, stop, workers, resources: options.resources })
    }

    /// Waits until each resource has been granted anew: the load is under way, or under way again.
    pub async fn flows(&self, deadline: Duration) -> Result<()> {
        let since = self.record.now_us();
        until("a grant of every resource", deadline, async || {
            let granted = self.record.granted_since(since);
            ensure!(granted.len() == self.resources as usize, "granted: {granted:?}");
            Ok(())
        })
        .await
    }

    /// The moment, on the clock of the history.
    pub fn now_us(&self) -> u64 {
        self.record.now_us()
    }

    /// Ends all workers after their current operation and returns what was recorded.
    pub async fn stop(mut self) -> Result<Report> {
        self.stop.store(true, Ordering::Relaxed);
        let all = async {
            while let Some(ended) = self.workers.join_next().await {
                ended.context("a worker of the load")??;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(STOP_DEADLINE, all).await.context("the load did not stop")??;
        Ok(self.record.report())
    }
}

fn resource(number: u32) -> String {
    format!("resource-{number}")
}
