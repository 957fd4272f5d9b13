//! Databases, their first SQL, and users: made as the settings say, by one member for all.
//!
//! What was done is remembered in the database `quartet`, in the cluster itself: which statements of a first SQL have
//! run (each runs once, also when the member that ran it dies in between), and which users are ours to drop.

mod split;
mod statement;

use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Params};
use quartet_client::galera::{Database, SchemaFault, SchemaReport, User};
use sha2::{Digest, Sha256};

use crate::inputs::{Inputs, Password};
use crate::server::sql::{Sql, SqlError, leave, within};
use statement::{identifier, shown};

/// A statement of ours. One of the user's may need longer: tables are filled.
const LIMIT: Duration = Duration::from_secs(30);
const INITIAL_LIMIT: Duration = Duration::from_mins(10);

const OWN_TABLES: [&str; 3] = [
    "CREATE DATABASE IF NOT EXISTS quartet",
    "CREATE TABLE IF NOT EXISTS quartet.initialised (`database` VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin \
     PRIMARY KEY, sha256 CHAR(64) NOT NULL, done INT UNSIGNED NOT NULL, finished BOOLEAN NOT NULL, error TEXT, \
     at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP) ENGINE=InnoDB",
    "CREATE TABLE IF NOT EXISTS quartet.users (name VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PRIMARY KEY, \
     `database` VARCHAR(64)) ENGINE=InnoDB",
];

/// The connection is of no more use, or the server is not in a state to answer: all that remains is to be done again.
#[derive(Debug, thiserror::Error)]
#[error("the schema could not be applied now")]
pub struct Interrupted(#[from] SqlError);

/// Why one statement was not carried out.
enum Failure {
    Refused { code: u16, message: String },
    Interrupted(SqlError),
}

impl From<SqlError> for Failure {
    fn from(error: SqlError) -> Self {
        match error {
            SqlError::Server(Error::Server(server)) if !is_passing(server.code) => {
                Self::Refused { code: server.code, message: server.message }
            }
            other => Self::Interrupted(other),
        }
    }
}

/// Errors of the moment: deadlock, a lock not had in time, no Primary component, shutdown, interrupted, too many
/// connections, killed.
fn is_passing(code: u16) -> bool {
    matches!(code, 1213 | 1205 | 1047 | 1053 | 1317 | 1040 | 1927)
}

/// Applies everything, and tells of each statement that the server refuses: one fault does not keep the rest back.
/// What is as it should be is not written again: whatever changes definitions stops the whole cluster for a moment.
pub async fn apply(sql: &Sql, inputs: &Inputs) -> Result<SchemaReport, Interrupted> {
    let connection = sql.connect().await?;
    let mut work = Work { connection, faults: Vec::new() };
    if !work.has_own_tables().await? {
        for table in OWN_TABLES {
            work.own("", table.to_owned()).await?;
        }
    }
    let settings = &inputs.settings;
    for (index, database) in settings.databases.iter().enumerate() {
        work.database(index, database).await?;
    }
    for (index, (user, password)) in settings.users.iter().zip(&inputs.passwords).enumerate() {
        work.user(index, user, password.as_ref()).await?;
    }
    work.drop_others(&settings.users).await?;
    leave(work.connection).await;
    Ok(SchemaReport { settings: settings.schema.clone(), faults: work.faults })
}

struct Work {
    connection: Conn,
    faults: Vec<SchemaFault>,
}

const FAULTS_MAX: usize = 32;

impl Work {
    async fn run(&mut self, statement: &str, params: Params, limit: Duration) -> Result<(), Failure> {
        let ran = match params {
            // As text: not every statement can be prepared.
            Params::Empty => within(limit, self.connection.query_drop(statement)).await,
            params => within(limit, self.connection.exec_drop(statement, params)).await,
        };
        Ok(ran?)
    }

    fn fault(&mut self, field: String, statement: &str, code: u16, message: &str) {
        if self.faults.len() < FAULTS_MAX {
            let error = if code == 0 { message.to_owned() } else { format!("{code}: {message}") };
            self.faults.push(SchemaFault { field, statement: shown(statement), error });
        }
    }

    async fn has_own_tables(&mut self) -> Result<bool, Interrupted> {
        let count = "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'quartet' \
                     AND TABLE_NAME IN ('initialised', 'users')";
        let there: Option<u8> = within(LIMIT, self.connection.query_first(count)).await?;
        Ok(there == Some(2))
    }

    /// True if the server has carried it out.
    async fn own(&mut self, field: &str, statement: String) -> Result<bool, Interrupted> {
        match self.run(&statement, Params::Empty, LIMIT).await {
            Ok(()) => Ok(true),
            Err(Failure::Refused { code, message }) => {
                self.fault(field.to_owned(), &statement, code, &message);
                Ok(false)
            }
            Err(Failure::Interrupted(error)) => Err(error.into()),
        }
    }

    async fn database(&mut self, index: usize, database: &Database) -> Result<(), Interrupted> {
        let field = format!("spec.databases[{index}]");
        let there = "SELECT 1 FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = ?";
        let there: Option<u8> = within(LIMIT, self.connection.exec_first(there, (&database.name,))).await?;
        let create = format!("CREATE DATABASE IF NOT EXISTS {}", identifier(&database.name));
        if there.is_none() && !self.own(&format!("{field}.name"), create).await? {
            return Ok(());
        }
        match &database.init_sql {
            Some(text) => self.initialise(format!("{field}.initSql"), database, text).await,
            None => Ok(()),
        }
    }

    /// Each statement once. A statement that was refused is tried again when the text has changed; what was done by
    /// then stays done.
    async fn initialise(
        &mut self,
        field: String,
        database: &Database,
        text: &str,
    ) -> Result<(), Interrupted> {
        let sha256 = format!("{:x}", Sha256::digest(text));
        let known: Option<(String, usize, bool, Option<String>)> = within(
            LIMIT,
            self.connection.exec_first(
                "SELECT sha256, done, finished, error FROM quartet.initialised WHERE `database` = ?",
                (&database.name,),
            ),
        )
        .await?;
        let statements = split::statements(text);
        let mut done = match known {
            Some((_, _, true, _)) => return Ok(()),
            Some((known, done, false, Some(error))) if known == sha256 => {
                let statement = statements.get(done).copied().unwrap_or_default();
                self.fault(field, statement, 0, &error);
                return Ok(());
            }
            Some((_, done, false, _)) => done,
            None => 0,
        };
        // Not in a transaction: what defines tables commits by itself.
        self.note(&database.name, &sha256, done, false, None).await?;
        within(LIMIT, self.connection.query_drop(format!("USE {}", identifier(&database.name)))).await?;
        while let Some(statement) = statements.get(done).copied() {
            match self.run(statement, Params::Empty, INITIAL_LIMIT).await {
                Ok(()) => done += 1,
                Err(Failure::Refused { code, message }) => {
                    let error = format!("{code}: {message}");
                    self.note(&database.name, &sha256, done, false, Some(&error)).await?;
                    self.fault(field, statement, 0, &error);
                    return Ok(());
                }
                Err(Failure::Interrupted(error)) => return Err(error.into()),
            }
            self.note(&database.name, &sha256, done, false, None).await?;
        }
        self.note(&database.name, &sha256, done, true, None).await
    }

    async fn note(
        &mut self,
        database: &str,
        sha256: &str,
        done: usize,
        finished: bool,
        error: Option<&str>,
    ) -> Result<(), Interrupted> {
        let note = "REPLACE INTO quartet.initialised (`database`, sha256, done, finished, error) VALUES (?, ?, ?, ?, ?)";
        Ok(within(LIMIT, self.connection.exec_drop(note, (database, sha256, done, finished, error))).await?)
    }

    async fn user(
        &mut self,
        index: usize,
        user: &User,
        password: Option<&Password>,
    ) -> Result<(), Interrupted> {
        let field = format!("spec.users[{index}]");
        let Some(password) = password else {
            self.fault(format!("{field}.passwordSecretRef"), "", 0, "there is no password");
            return Ok(());
        };
        let name = statement::account(&user.name);
        let hash = statement::password_hash(&password.0);
        let known: Option<(Option<String>,)> = within(
            LIMIT,
            self.connection.exec_first(
                "SELECT JSON_VALUE(Priv, '$.authentication_string') FROM mysql.global_priv \
                 WHERE User = ? AND Host = '%'",
                (&user.name,),
            ),
        )
        .await?;
        let change = match known {
            Some((Some(known),)) if known == hash => None,
            Some(_) => Some(format!("ALTER USER {name} IDENTIFIED BY PASSWORD '{hash}'")),
            None => Some(format!("CREATE USER IF NOT EXISTS {name} IDENTIFIED BY PASSWORD '{hash}'")),
        };
        if let Some(change) = change
            && !self.own(&field, change).await?
        {
            return Ok(());
        }
        self.grant(field, user, &name).await
    }

    async fn grant(&mut self, field: String, user: &User, name: &str) -> Result<(), Interrupted> {
        let known: Option<(Option<String>,)> = within(
            LIMIT,
            self.connection.exec_first("SELECT `database` FROM quartet.users WHERE name = ?", (&user.name,)),
        )
        .await?;
        if known.as_ref().is_some_and(|(database,)| *database == user.database) {
            return Ok(());
        }
        if let Some((Some(before),)) = known {
            let revoke = format!("REVOKE ALL PRIVILEGES ON {}.* FROM {name}", statement::pattern(&before));
            self.own(&field, revoke).await?;
        }
        if let Some(database) = &user.database {
            let grant = format!("GRANT ALL PRIVILEGES ON {}.* TO {name}", statement::pattern(database));
            if !self.own(&field, grant).await? {
                return Ok(());
            }
        }
        let note = "REPLACE INTO quartet.users (name, `database`) VALUES (?, ?)";
        Ok(within(LIMIT, self.connection.exec_drop(note, (&user.name, &user.database))).await?)
    }

    /// Users that were made here and are in the settings no more.
    async fn drop_others(&mut self, users: &[User]) -> Result<(), Interrupted> {
        let known: Vec<(String,)> =
            within(LIMIT, self.connection.query("SELECT name FROM quartet.users")).await?;
        for (name,) in known {
            if users.iter().any(|user| user.name == name) {
                continue;
            }
            let drop = format!("DROP USER IF EXISTS {}", statement::account(&name));
            if self.own("spec.users", drop).await? {
                let forget = "DELETE FROM quartet.users WHERE name = ?";
                within(LIMIT, self.connection.exec_drop(forget, (&name,))).await?;
            }
        }
        Ok(())
    }
}
