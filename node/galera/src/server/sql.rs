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

    /// Ends connections of clients that do nothing and have no transaction open. Says how many clients there were.
    pub async fn send_idle_away(&self) -> Result<usize, SqlError> {
        let mut connection = self.connect().await?;
        let clients: Vec<(u64, bool)> = within(ROUND, connection.query(CLIENTS)).await?;
        let idle: Vec<u64> = clients.iter().filter(|(_, idle)| *idle).map(|(id, _)| *id).collect();
        for id in idle {
            // It may have gone by itself.
            if let Err(SqlError::Timeout(after)) =
                within(QUICK, connection.query_drop(format!("KILL CONNECTION {id}"))).await
            {
                return Err(SqlError::Timeout(after));
            }
        }
        leave(connection).await;
        Ok(clients.len())
    }
}

/// Said, so that the server does not log a connection that was cut off.
pub(crate) async fn leave(connection: Conn) {
    let _ = tokio::time::timeout(QUICK, connection.disconnect()).await;
}

/// Clients come over TCP; appliers and the manager do not.
const CLIENTS: &str = "SELECT p.ID, p.COMMAND = 'Sleep' AND t.trx_id IS NULL \
     FROM information_schema.PROCESSLIST p \
     LEFT JOIN information_schema.INNODB_TRX t ON t.trx_mysql_thread_id = p.ID \
     WHERE p.USER <> 'system user' AND p.HOST <> 'localhost' AND p.HOST <> ''";

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

pub(crate) async fn within<T>(
    limit: Duration,
    ask: impl Future<Output = Result<T, mysql_async::Error>>,
) -> Result<T, SqlError> {
    match tokio::time::timeout(limit, ask).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(SqlError::Timeout(limit)),
    }
}
