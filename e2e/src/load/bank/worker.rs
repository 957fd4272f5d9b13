//! One client: an operation after the other, each repeated until its outcome is known.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error};
use tokio::time::MissedTickBehavior;

use super::{ACCOUNTS, Account, Operation, Options, Report, Work};

/// Of one attempt: beyond it the connection is given up.
const ATTEMPT_DEADLINE: Duration = Duration::from_secs(15);
/// Between attempts that failed: who has lost a connection does not come back in a busy loop.
const PAUSE: Duration = Duration::from_millis(20);

/// Codes of MariaDB's errors.
const DUPLICATE: u16 = 1062;
/// A deadlock, a lock waited for in vain, a row changed since it was read: the other one goes first.
const CONFLICTS: [u16; 3] = [1213, 1205, 1020];

pub(super) struct Worker {
    number: u32,
    account: Account,
    options: Options,
    kept: Arc<Mutex<Report>>,
    connection: Option<Connection>,
}

struct Connection {
    conn: Conn,
    /// Who is at its other end.
    member: String,
}

/// How an attempt ended.
#[derive(Debug)]
enum Attempt {
    Done,
    /// Another client's went first: nothing was done.
    Conflict,
    /// The connection lives; what was done, the next attempt will see.
    Refused(String),
    /// The connection is gone; what was done, the next attempt will see.
    Lost(String),
}

impl Worker {
    pub(super) fn new(number: u32, account: Account, options: Options, kept: Arc<Mutex<Report>>) -> Self {
        Self { number, account, options, kept, connection: None }
    }

    pub(super) async fn work(mut self, ids: impl Iterator<Item = u64>, stop: Arc<AtomicBool>) -> Result<()> {
        let mut pace = tokio::time::interval(self.options.pace);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for (turn, id) in ids.enumerate() {
            pace.tick().await;
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let work = if turn % 2 == 0 { Work::Transfer } else { Work::Entry };
            self.operate(id, work).await?;
        }
        if let Some(Connection { conn, .. }) = self.connection {
            conn.disconnect().await.ok();
        }
        Ok(())
    }

    async fn operate(&mut self, id: u64, work: Work) -> Result<()> {
        let began = Instant::now();
        let (mut lost, mut refused, mut acknowledged) = (0, 0, false);
        while began.elapsed() < self.options.patience {
            match self.attempt(id, work).await {
                Attempt::Done => {
                    acknowledged = true;
                    break;
                }
                Attempt::Conflict => {
                    self.with_report(|report| report.conflicts += 1);
                    continue;
                }
                Attempt::Refused(why) => {
                    refused += 1;
                    self.error(why);
                }
                Attempt::Lost(why) => {
                    lost += 1;
                    self.connection = None;
                    self.error(why);
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        let (client, ended) = (self.number, Instant::now());
        let operation = Operation { client, id, work, began, ended, acknowledged, lost, refused };
        let member = self.connection.as_ref().map(|connection| connection.member.as_str());
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).keep(operation, member)
    }

    async fn attempt(&mut self, id: u64, work: Work) -> Attempt {
        let attempt = async {
            let conn = match self.connected().await {
                Ok(conn) => conn,
                // Not yet a session: no server has a part in it.
                Err(error) => return Attempt::Lost(format!("connect: {}", kind(&error))),
            };
            let done = match work {
                Work::Entry => entry(conn, id).await,
                Work::Transfer => transfer(conn, id).await,
            };
            match judge(done) {
                // What is open must not be committed by the beginning of the next transaction.
                failed @ (Attempt::Conflict | Attempt::Refused(_)) => match conn.query_drop("ROLLBACK").await
                {
                    Err(error) if error.is_fatal() => Attempt::Lost(kind(&error)),
                    _ => failed,
                },
                ended => ended,
            }
        };
        let ended = tokio::time::timeout(ATTEMPT_DEADLINE, attempt).await;
        ended.unwrap_or_else(|_| Attempt::Lost("no answer".to_owned()))
    }

    async fn connected(&mut self) -> Result<&mut Conn, Error> {
        if self.connection.is_none() {
            let mut conn = self.account.connect().await?;
            let member: Option<String> = conn.query_first("SELECT @@wsrep_node_name").await?;
            self.connection = Some(Connection { conn, member: member.unwrap_or_default() });
        }
        let none = || Error::from(std::io::Error::from(std::io::ErrorKind::NotConnected));
        self.connection.as_mut().map(|connection| &mut connection.conn).ok_or_else(none)
    }

    fn error(&self, why: String) {
        self.with_report(|report| *report.errors.entry(why).or_default() += 1);
    }

    fn with_report(&self, change: impl FnOnce(&mut Report)) {
        change(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

async fn entry(conn: &mut Conn, id: u64) -> Result<(), Error> {
    match conn.exec_drop("INSERT INTO entries (id) VALUES (?)", (id,)).await {
        // An attempt of before was applied, though it was not told.
        Err(Error::Server(error)) if error.code == DUPLICATE => Ok(()),
        other => other,
    }
}

/// Amounts and accounts follow from the id, so that all attempts mean the same.
async fn transfer(conn: &mut Conn, id: u64) -> Result<(), Error> {
    let [source, target, amount] = terms(id);
    conn.query_drop("START TRANSACTION").await?;
    let noted = "INSERT INTO transfers (id, source, target, amount) VALUES (?, ?, ?, ?)";
    match conn.exec_drop(noted, (id, source, target, amount)).await {
        Err(Error::Server(error)) if error.code == DUPLICATE => return conn.query_drop("ROLLBACK").await,
        other => other?,
    }
    let pay = "UPDATE accounts SET balance = balance + ? WHERE id = ?";
    // In the order of the accounts: two transfers the other way round do not wait for each other.
    let mut legs = [(source, -i64::from(amount)), (target, i64::from(amount))];
    legs.sort_unstable();
    for (account, change) in legs {
        conn.exec_drop(pay, (change, account)).await?;
    }
    conn.query_drop("COMMIT").await
}

/// Two accounts and an amount: spread, and the same for the same id.
pub(super) fn terms(id: u64) -> [u32; 3] {
    // SplitMix64's mixer (Steele et al., 2014).
    let mut mixed = id.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^= mixed >> 31;
    let mut take = |below: u32| {
        let taken = mixed % u64::from(below);
        mixed /= u64::from(below);
        u32::try_from(taken).unwrap_or_default()
    };
    let source = take(ACCOUNTS);
    let target = (source + 1 + take(ACCOUNTS - 1)) % ACCOUNTS;
    [source, target, 1 + take(10)]
}

fn judge(done: Result<(), Error>) -> Attempt {
    match done {
        Ok(()) => Attempt::Done,
        Err(Error::Server(error)) if CONFLICTS.contains(&error.code) => Attempt::Conflict,
        Err(Error::Server(error)) => Attempt::Refused(format!("{} {}", error.code, error.message)),
        Err(error) => Attempt::Lost(kind(&error)),
    }
}

/// Without what differs each time.
fn kind(error: &Error) -> String {
    match error {
        Error::Io(mysql_async::IoError::Io(error)) => format!("{:?}", error.kind()),
        Error::Server(error) => format!("{} {}", error.code, error.message),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transfer_is_between_two_accounts_and_the_same_each_time() {
        let all: std::collections::BTreeSet<_> = (0..1000).map(terms).collect();
        assert!(all.len() > 950, "{}", all.len());
        for [source, target, amount] in all {
            assert!(source != target && source < ACCOUNTS && target < ACCOUNTS && (1..=10).contains(&amount));
        }
        assert_eq!(terms(7), terms(7));
    }

    #[test]
    fn a_conflict_is_not_an_error() {
        let server = |code| {
            let (message, state) = (String::new(), String::new());
            judge(Err(Error::Server(mysql_async::ServerError { code, message, state })))
        };
        assert!(matches!(server(1213), Attempt::Conflict));
        assert!(matches!(server(1047), Attempt::Refused(_)));
        let broken = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        assert!(matches!(judge(Err(broken.into())), Attempt::Lost(why) if why == "ConnectionReset"));
    }
}
