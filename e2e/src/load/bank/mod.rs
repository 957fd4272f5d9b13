//! Clients of a SQL database: transfers between accounts, and entries with ids. Whatever breaks meanwhile, the sum of
//! all balances stays, and every operation that was acknowledged is there.
//!
//! Each client has one connection, as one out of a pool: it is made anew when it breaks. An operation has one id
//! through all its attempts, so that repeating one whose outcome was lost does it once.

mod books;
mod report;
mod worker;

pub use books::{Books, TABLES};
pub use report::{Operation, Report, Work};

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mysql_async::{Conn, Opts, OptsBuilder};
use tokio::task::JoinSet;

use crate::wait::until;
use worker::Worker;

pub const ACCOUNTS: u32 = 100;
pub const INITIAL_BALANCE: i64 = 1000;

const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
const PACKET_BYTES_MAX: usize = 16 << 20;
const IDLE_SECONDS_MAX: usize = 28_800;

/// Where a database is, and whom it lets in.
#[derive(Clone, Debug)]
pub struct Account {
    pub host: String,
    pub port: u16,
    pub user: String,
    pub password: String,
    pub database: String,
}

impl Account {
    /// A connection of its own.
    pub async fn connect(&self) -> Result<Conn, mysql_async::Error> {
        let opts = OptsBuilder::default()
            .ip_or_hostname(&self.host)
            .tcp_port(self.port)
            .user(Some(&self.user))
            .pass(Some(&self.password))
            .db_name(Some(&self.database))
            .prefer_socket(Some(false))
            // Given, so that they are not asked for.
            .max_allowed_packet(Some(PACKET_BYTES_MAX))
            .wait_timeout(Some(IDLE_SECONDS_MAX));
        let connecting = Conn::new(Opts::from(opts));
        tokio::time::timeout(CONNECT_DEADLINE, connecting).await.unwrap_or_else(|_| {
            let silence = std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer to the connection");
            Err(mysql_async::Error::from(silence))
        })
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub workers: u32,
    /// From the beginning of one operation to the next of the same worker, at least.
    pub pace: Duration,
    /// How long an operation may be repeated before it is given up.
    pub patience: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { workers: 8, pace: Duration::from_millis(25), patience: Duration::from_mins(2) }
    }
}

/// Works until stopped.
#[derive(Debug)]
pub struct BankLoad {
    kept: Arc<Mutex<Report>>,
    stop: Arc<AtomicBool>,
    workers: JoinSet<Result<()>>,
    options: Options,
}

impl BankLoad {
    /// Begins on books that are open, wherever its clients may be sent.
    pub async fn start(account: &Account, options: Options) -> Result<Self> {
        let (kept, stop) = (Arc::new(Mutex::new(Report::default())), Arc::new(AtomicBool::new(false)));
        let mut workers = JoinSet::new();
        // Ids of one load after those of the ones before it.
        let first = Books::next_id(account).await?;
        for number in 0..options.workers {
            let ids = (first + u64::from(number)..).step_by(options.workers as usize);
            let worker = Worker::new(number, account.clone(), options, Arc::clone(&kept));
            workers.spawn(worker.work(ids, Arc::clone(&stop)));
        }
        Ok(Self { kept, stop, workers, options })
    }

    /// Waits until every client has had an operation acknowledged that it began from now on.
    pub async fn flows(&self, deadline: Duration) -> Result<()> {
        let since = Instant::now();
        until("an operation of every client", deadline, async || {
            let served = self.look(|report| report.clients_served_since(since));
            ensure!(served == self.options.workers as usize, "{served} of {} clients", self.options.workers);
            Ok(())
        })
        .await
    }

    /// When somebody was first served with an operation that was begun from then on.
    pub async fn writable(&self, since: Instant, deadline: Duration) -> Result<Duration> {
        until("an operation of any client", deadline, async || {
            let first = self.look(|report| report.first_since(since));
            Ok(first.context("nothing was acknowledged")?.saturating_duration_since(since))
        })
        .await
    }

    /// What has been recorded so far.
    pub fn look<T>(&self, look: impl FnOnce(&Report) -> T) -> T {
        // A worker's panic leaves a list that is still a list.
        look(&self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ends all clients after their current operation and returns what was recorded.
    pub async fn stop(mut self) -> Result<Report> {
        self.stop.store(true, Ordering::Relaxed);
        let all = async {
            while let Some(ended) = self.workers.join_next().await {
                ended.context("a client of the load")??;
            }
            anyhow::Ok(())
        };
        let deadline = self.options.patience + Duration::from_secs(30);
        tokio::time::timeout(deadline, all).await.context("the load did not stop")??;
        Ok(self.look(Report::clone))
    }
}
