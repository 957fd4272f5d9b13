//! Databases, their first SQL, and users: made as the settings say, by one member for all.
//!
//! What was done is remembered in the database `quartet`, in the cluster itself: how far a first SQL has come, and which
//! users are ours to drop.

mod initial;
mod split;
mod statement;

use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error};
use quartet_client::galera::{Database, SchemaFault, SchemaReport, User};
use uuid::Uuid;

use crate::inputs::{Inputs, Password};
use crate::peers::Peers;
use crate::server::sql::{Sql, SqlError, leave, within};
use initial::{Outcome, initialise};
use statement::{identifier, shown, shown_error};

/// A statement of ours.
const LIMIT: Duration = Duration::from_secs(30);

const OWN_TABLES: [&str; 4] = [
    "CREATE DATABASE IF NOT EXISTS quartet",
    // `sha256`: of the whole text. `ordinal`, `run`, `connection`: who is at it.
    "CREATE TABLE IF NOT EXISTS quartet.initialised (`database` VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin \
     PRIMARY KEY, sha256 CHAR(64) NOT NULL, done INT UNSIGNED NOT NULL DEFAULT 0, \
     finished BOOLEAN NOT NULL DEFAULT FALSE, error TEXT, begun VARCHAR(80), ordinal SMALLINT UNSIGNED, run CHAR(36), \
     connection INT UNSIGNED, notes INT UNSIGNED NOT NULL DEFAULT 0, \
     at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP) ENGINE=InnoDB",
    // Of texts that are not finished, by the statement's own text.
    "CREATE TABLE IF NOT EXISTS quartet.statements (`database` VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, \
     sha256 CHAR(64), nth INT UNSIGNED, at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, \
     PRIMARY KEY (`database`, sha256, nth)) ENGINE=InnoDB",
    "CREATE TABLE IF NOT EXISTS quartet.users (name VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PRIMARY KEY, \
     `database` VARCHAR(64)) ENGINE=InnoDB",
];

/// Who applies, and what it knows of the others.
#[derive(Clone)]
pub struct Runner {
    pub ordinal: u16,
    /// Of the manager and its server.
    pub run: Uuid,
    pub peers: Peers,
}

/// All that remains is to be done again, by this member or another.
#[derive(Debug, thiserror::Error)]
pub enum Interrupted {
    /// The connection is of no more use, or the server is not in a state to answer.
    #[error("the schema could not be applied now")]
    Sql(#[from] SqlError),
    #[error("member {ordinal} is still at the initSql of {database}")]
    Elsewhere { ordinal: u16, database: String },
    #[error("another member has taken over")]
    Overtaken,
    #[error("connection {0}, which was cut off, has not ended yet")]
    StillRuns(u32),
}

/// Why one statement was not carried out.
enum Failure {
    Refused { code: u16, message: String },
    Interrupted(Interrupted),
}

impl From<SqlError> for Failure {
    fn from(error: SqlError) -> Self {
        match error {
            SqlError::Server(Error::Server(server)) if !is_passing(server.code, &server.message) => {
                Self::Refused { code: server.code, message: server.message }
            }
            other => Self::Interrupted(other.into()),
        }
    }
}

impl From<Interrupted> for Failure {
    fn from(error: Interrupted) -> Self {
        Self::Interrupted(error)
    }
}

/// Errors of the moment: deadlock, a lock not had in time, no Primary component, shutdown, interrupted, too many
/// connections, killed. A commit that meets the loss of the Primary component has the code of any that fails.
fn is_passing(code: u16, message: &str) -> bool {
    matches!(code, 1213 | 1205 | 1047 | 1053 | 1317 | 1040 | 1927)
        || message.contains("Not connected to Primary Component")
}

/// Applies everything, and tells of each statement that the server refuses: one fault does not keep the rest back.
/// What is as it should be is not written again: whatever changes definitions stops the whole cluster for a moment.
pub async fn apply(sql: &Sql, runner: &Runner, inputs: &Inputs) -> Result<SchemaReport, Interrupted> {
    let mut work = Work { connection: sql.connect().await?, faults: Vec::new() };
    if !work.has_own_tables().await? {
        for table in OWN_TABLES {
            work.own("", table.to_owned()).await?;
        }
    }
    let settings = &inputs.settings;
    let mut waits = Ok(());
    for (index, database) in settings.databases.iter().enumerate() {
        let field = format!("spec.databases[{index}]");
        if !work.database(&field, database).await? {
            continue;
        }
        match &database.init_sql {
            None => {}
            Some(text) => match initialise(sql, runner, &database.name, text).await {
                Ok(Outcome::Done) => {}
                Ok(Outcome::Refused { statement, error }) => {
                    work.told(format!("{field}.initSql"), &statement, error);
                }
                // Somebody else is at this one. The rest need not wait.
                Err(elsewhere @ Interrupted::Elsewhere { .. }) => waits = Err(elsewhere),
                Err(error) => return Err(error),
            },
        }
    }
    for (index, (user, password)) in settings.users.iter().zip(&inputs.passwords).enumerate() {
        work.user(index, user, password.as_ref()).await?;
    }
    work.drop_others(&settings.users).await?;
    leave(work.connection).await;
    waits?;
    Ok(SchemaReport { settings: settings.schema.clone(), faults: work.faults })
}

struct Work {
    connection: Conn,
    faults: Vec<SchemaFault>,
}

const FAULTS_MAX: usize = 32;

impl Work {
    async fn run(&mut self, statement: &str) -> Result<(), Failure> {
        // As text: not every statement can be prepared.
        Ok(within(LIMIT, self.connection.query_drop(statement)).await?)
    }

    fn told(&mut self, field: String, statement: &str, error: String) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(SchemaFault { field, statement: shown(statement), error });
        }
    }

    async fn has_own_tables(&mut self) -> Result<bool, Interrupted> {
        let count = "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'quartet' \
                     AND TABLE_NAME IN ('initialised', 'statements', 'users')";
        let there: Option<u8> = within(LIMIT, self.connection.query_first(count)).await?;
        Ok(there == Some(3))
    }

    /// True if the server has carried it out.
    async fn own(&mut self, field: &str, statement: String) -> Result<bool, Interrupted> {
        match self.run(&statement).await {
            Ok(()) => Ok(true),
            Err(Failure::Refused { code, message }) => {
                let error = format!("{code}: {}", shown_error(&statement, &message));
                self.told(field.to_owned(), &statement, error);
                Ok(false)
            }
            Err(Failure::Interrupted(error)) => Err(error),
        }
    }

    /// True if it is there.
    async fn database(&mut self, field: &str, database: &Database) -> Result<bool, Interrupted> {
        let there = "SELECT 1 FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = ?";
        let there: Option<u8> = within(LIMIT, self.connection.exec_first(there, (&database.name,))).await?;
        let create = format!("CREATE DATABASE IF NOT EXISTS {}", identifier(&database.name));
        Ok(there.is_some() || self.own(&format!("{field}.name"), create).await?)
    }

    async fn user(
        &mut self,
        index: usize,
        user: &User,
        password: Option<&Password>,
    ) -> Result<(), Interrupted> {
        let field = format!("spec.users[{index}]");
        let Some(password) = password else {
            self.told(format!("{field}.passwordSecretRef"), "", "there is no password".to_owned());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_primary_component_refuses_no_statement() {
        let lost = "Error while appending streaming replication fragment(provider status: Not connected to Primary \
                    Component)";
        assert!(is_passing(1180, lost));
        assert!(!is_passing(1180, "Got error 90 \"Message too long\" during COMMIT"));
        assert!(is_passing(1213, "") && !is_passing(1050, ""));
    }
}
