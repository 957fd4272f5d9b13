//! What the manager says to its server, over the socket: as the operating system's user that both run as, hence without
//! a password.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder};
use uuid::Uuid;

use super::config::SST_USER;
use super::status::{QUERY, Status};

#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    #[error("the server did not answer in {} ms", .0.as_millis())]
    Timeout(Duration),
    #[error(transparent)]
    Server(#[from] mysql_async::Error),
}

/// Where the server is reached.
#[derive(Clone, Debug)]
pub struct Sql {
    opts: Opts,
}

/// For what the server answers from memory.
pub const QUICK: Duration = Duration::from_millis(800);
/// For what takes a round of the group.
const ROUND: Duration = Duration::from_secs(5);
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(50);
/// What is ended rolls back first: so often it is looked whether it has gone.
const ENDED_LOOKS: u32 = 100;
/// A sign of life that comes so late is no more waited for: the connection may be what is broken.
const PULSE_WITHIN: Duration = Duration::from_secs(5);
const PACKET_BYTES_MAX: usize = 16 << 20;
/// The server's own default: nothing that lives longer is left idle.
const WAIT_TIMEOUT_S: usize = 28_800;

impl Sql {
    pub fn new(socket: &Path) -> Self {
        let opts = OptsBuilder::default()
            .user(Some(SST_USER))
            .socket(Some(socket.to_string_lossy()))
            .prefer_socket(false)
            // Given, so that they are not asked for: outside of a Primary component no SELECT is answered.
            .max_allowed_packet(Some(PACKET_BYTES_MAX))
            .wait_timeout(Some(WAIT_TIMEOUT_S))
            .init(vec!["SET SESSION wsrep_sync_wait = 0"]);
        Self { opts: opts.into() }
    }

    pub async fn connect(&self) -> Result<Conn, SqlError> {
        within(QUICK, Conn::new(self.opts.clone())).await
    }

    /// Forms a Primary component of those that are connected now.
    pub async fn promote(&self) -> Result<(), SqlError> {
        self.provider("pc.bootstrap=YES").await
    }

    /// Asks until it is.
    pub async fn is_primary_within(&self, limit: Duration) -> Result<(), String> {
        let mut probe = Probe::new(self.clone());
        let primary = async {
            while !probe.ask().await.is_ok_and(|(status, _)| status.is_primary()) {
                tokio::time::sleep(ASK_AGAIN_AFTER).await;
            }
        };
        let late = |_| format!("it is not part of one after {} s", limit.as_secs());
        tokio::time::timeout(limit, primary).await.map_err(late)
    }

    /// The others go on without waiting for that server any longer.
    pub async fn evict(&self, node: Uuid) -> Result<(), SqlError> {
        self.provider(&format!("evs.evict={node}")).await
    }

    /// Takes all evictions back.
    pub async fn unevict(&self) -> Result<(), SqlError> {
        self.provider("evs.evict=").await
    }

    async fn provider(&self, option: &str) -> Result<(), SqlError> {
        let mut connection = self.connect().await?;
        let statement = format!("SET GLOBAL wsrep_provider_options = '{option}'");
        let done = within(ROUND, connection.query_drop(statement)).await;
        leave(connection).await;
        done
    }

    /// Ends connections of clients that have done nothing for `idle`, and have no transaction open. Says how many clients
    /// there were.
    ///
    /// MariaDB has no word for "end it if it is idle", and its list of transactions is a copy that is made anew only
    /// when nobody has read it for 100 ms: it cannot be looked at once more before every single end. But each statement
    /// has a number. Whoever slept, then had no transaction, and still sleeps with the same number has done nothing
    /// since and has none now; the server itself compares and ends, with nothing but its own instructions in between.
    /// What stays: a request that is on its way to the server at that moment, a transaction that was begun and in which
    /// nothing was read or written for `idle`, and somebody else who reads INNODB_TRX all the time.
    pub async fn send_idle_away(&self, idle: Duration) -> Result<usize, SqlError> {
        let mut connection = self.connect().await?;
        let clients: Vec<(u64, u64, bool)> =
            within(ROUND, connection.exec(CLIENTS, (idle.as_millis(),))).await?;
        // After the clients, so that whoever begins one in between has another number.
        let transactions: Vec<u64> = within(ROUND, connection.query(TRANSACTIONS)).await?;
        let is_idle = |(id, _, sleeps): &&(u64, u64, bool)| *sleeps && !transactions.contains(id);
        for (id, last, _) in clients.iter().filter(is_idle) {
            // It may have gone by itself.
            if let Err(SqlError::Timeout(after)) =
                within(QUICK, connection.query_drop(end_if_idle(*id, *last))).await
            {
                return Err(SqlError::Timeout(after));
            }
        }
        leave(connection).await;
        Ok(clients.len())
    }

    /// Ends a connection of ours, and what it still runs. True once the server has none of that number any more.
    pub async fn end(&self, id: u32) -> Result<bool, SqlError> {
        let mut connection = self.connect().await?;
        // One that has gone already is an error.
        let killed = within(QUICK, connection.query_drop(format!("KILL CONNECTION {id}"))).await;
        if let Err(SqlError::Timeout(after)) = killed {
            return Err(SqlError::Timeout(after));
        }
        let there = format!("SELECT 1 FROM information_schema.PROCESSLIST WHERE ID = {id}");
        for _ in 0..ENDED_LOOKS {
            let found: Option<u8> = within(QUICK, connection.query_first(&there)).await?;
            if found.is_none() {
                leave(connection).await;
                return Ok(true);
            }
            tokio::time::sleep(ASK_AGAIN_AFTER).await;
        }
        leave(connection).await;
        Ok(false)
    }
}

/// Said, so that the server does not log a connection that was cut off.
pub(crate) async fn leave(connection: Conn) {
    let _ = tokio::time::timeout(QUICK, connection.disconnect()).await;
}

/// Clients come over TCP; appliers and the manager do not.
const CLIENTS: &str = "SELECT ID, QUERY_ID, COMMAND = 'Sleep' AND TIME_MS >= ? FROM information_schema.PROCESSLIST \
     WHERE USER <> 'system user' AND HOST <> 'localhost' AND HOST <> ''";
const TRANSACTIONS: &str = "SELECT trx_mysql_thread_id FROM information_schema.INNODB_TRX";

fn end_if_idle(id: u64, last: u64) -> String {
    format!(
        "BEGIN NOT ATOMIC IF EXISTS (SELECT 1 FROM information_schema.PROCESSLIST WHERE ID = {id} \
         AND COMMAND = 'Sleep' AND QUERY_ID = {last}) THEN KILL CONNECTION {id}; END IF; END"
    )
}

/// What one server says, over a connection that lasts.
#[derive(Debug)]
pub struct Probe {
    sql: Sql,
    connection: Option<Conn>,
}

impl Probe {
    pub fn new(sql: Sql) -> Self {
        Self { sql, connection: None }
    }

    /// Its status and version.
    pub async fn ask(&mut self) -> Result<(Status, String), SqlError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.sql.connect().await?,
        };
        let rows: Vec<(String, String)> = within(QUICK, connection.query(QUERY)).await?;
        let (major, minor, patch) = connection.server_version();
        // Kept only when it has answered.
        self.connection = Some(connection);
        Ok((Status::new(rows), format!("{major}.{minor}.{patch}")))
    }
}

/// Whether one server goes on at all, over a connection of its own: a ping takes none of the server's locks, and nothing
/// that a busy server is slow to tell.
#[derive(Debug)]
pub struct Pulse {
    sql: Sql,
    connection: Option<Conn>,
}

impl Pulse {
    pub fn new(sql: Sql) -> Self {
        Self { sql, connection: None }
    }

    /// Returns when it has answered. A server that stands still is waited for: a new connection would tell no more, and
    /// may not be had where clients have taken all.
    pub async fn beat(&mut self) -> Result<(), SqlError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.sql.connect().await?,
        };
        within(PULSE_WITHIN, connection.ping()).await?;
        self.connection = Some(connection);
        Ok(())
    }
}

pub(crate) async fn within<T>(
    limit: Duration,
    ask: impl Future<Output = Result<T, mysql_async::Error>>,
) -> Result<T, SqlError> {
    match tokio::time::timeout(limit, ask).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(SqlError::Timeout(limit)),
    }
}
