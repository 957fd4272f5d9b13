//! The first SQL of a database, carried out by one member for all.
//!
//! What is kept in the cluster: `quartet.initialised`, of each database how it stands and who is at it, and
//! `quartet.statements`, which statements of an unfinished text were carried out, by their own text.
//!
//! - Whoever is at it has said so before, and is let finish: another member takes over only when it is known that the
//!   one before does not go on.
//! - A statement that writes rows commits together with its note. The note writes the row that says who is at it, which a
//!   take-over writes too: of the two Galera lets one commit. Such a statement is carried out exactly once, whatever is
//!   known or believed of the other member.
//! - A statement that defines something commits by itself, as MariaDB has it. One whose end was not noted is carried out
//!   again: at least once.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Params};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::statement::{self, Kind, identifier};
use super::{Failure, Interrupted, LIMIT, Runner, split};
use crate::decide::Peer;
use crate::server::sql::{Sql, within};
use crate::server::status::{QUERY, Status};

/// Tables are filled.
const STATEMENT_LIMIT: Duration = Duration::from_mins(10);

/// A statement of a text, told from its like by how often the same text came before it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    sha256: String,
    nth: u32,
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}#{}", self.sha256, self.nth)
    }
}

fn keyed(text: &str) -> Vec<(Key, &str)> {
    let mut seen = std::collections::HashMap::new();
    let key = |statement| {
        let sha256 = sha256(statement);
        let nth = seen.entry(sha256.clone()).and_modify(|nth| *nth += 1).or_insert(0_u32);
        (Key { sha256, nth: *nth }, statement)
    };
    split::statements(text).into_iter().map(key).collect()
}

fn sha256(text: &str) -> String {
    format!("{:x}", Sha256::digest(text))
}

/// Who is, or was, at a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Claim {
    ordinal: u16,
    run: Uuid,
    connection: u32,
}

/// A row of `quartet.initialised`.
struct Known {
    sha256: String,
    finished: bool,
    error: Option<String>,
    /// The statement that was begun, or refused.
    begun: Option<String>,
    claim: Option<Claim>,
}

/// What came of it.
pub(super) enum Outcome {
    Done,
    Refused { statement: String, error: String },
}

pub(super) struct Initial<'a> {
    connection: Conn,
    sql: &'a Sql,
    runner: &'a Runner,
    database: &'a str,
}

/// In a session of its own: what the text sets is nobody else's.
pub(super) async fn initialise(
    sql: &Sql,
    runner: &Runner,
    database: &str,
    text: &str,
) -> Result<Outcome, Interrupted> {
    let connection = sql.connect().await?;
    let id = connection.id();
    let initial = Initial { connection, sql, runner, database };
    let outcome = initial.run(text).await;
    if matches!(outcome, Err(Interrupted::Sql(_))) {
        // A statement that was not waited for runs on in the server, and must not while it is carried out again.
        sql.end(id).await?;
    }
    outcome
}

impl Initial<'_> {
    async fn run(mut self, text: &str) -> Result<Outcome, Interrupted> {
        let text_sha256 = sha256(text);
        let statements = keyed(text);
        let known = self.known().await?;
        match &known {
            Some(known) if known.finished => return Ok(Outcome::Done),
            Some(Known { sha256, error: Some(error), begun, .. }) if *sha256 == text_sha256 => {
                let refused = |(key, _): &&(Key, &str)| Some(key.to_string()) == *begun;
                let statement = statements.iter().find(refused).map(|(_, statement)| (*statement).to_owned());
                return Ok(Outcome::Refused {
                    statement: statement.unwrap_or_default(),
                    error: error.clone(),
                });
            }
            _ => {}
        }
        self.take(known.as_ref(), &text_sha256).await?;
        let cut_off = known.as_ref().filter(|known| known.error.is_none());
        let done = self.noted().await?;
        self.command(&format!("USE {}", identifier(self.database))).await?;
        for (key, statement) in &statements {
            let kind = statement::kind(statement);
            if kind == Kind::Lock || (kind != Kind::Session && done.contains(key)) {
                continue;
            }
            match self.carry_out(key, statement, kind).await {
                Ok(()) => {}
                Err(Failure::Interrupted(error)) => return Err(error),
                Err(Failure::Refused { code, message }) => {
                    let again = cut_off.filter(|known| known.begun == Some(key.to_string()));
                    let error = told(statement, code, &message, again.and_then(|known| known.claim));
                    self.command("ROLLBACK").await?;
                    self.note(
                        "error = ?, begun = ?, ordinal = NULL, run = NULL, connection = NULL",
                        vec![error.as_str().into(), key.to_string().into()],
                    )
                    .await?;
                    return Ok(Outcome::Refused { statement: (*statement).to_owned(), error });
                }
            }
        }
        self.finish().await?;
        Ok(Outcome::Done)
    }

    async fn carry_out(&mut self, key: &Key, statement: &str, kind: Kind) -> Result<(), Failure> {
        // The user's own transaction is left as it is: its notes are part of it.
        let wrapped = kind != Kind::Session && !self.in_transaction().await?;
        if wrapped && kind == Kind::Other {
            self.note("begun = ?", vec![key.to_string().into()]).await?;
        }
        if wrapped {
            self.command("START TRANSACTION").await?;
        }
        // As text: not every statement can be prepared.
        within(STATEMENT_LIMIT, self.connection.query_drop(statement)).await?;
        if kind == Kind::Session {
            return Ok(());
        }
        let open = self.in_transaction().await?;
        if !open {
            self.command("START TRANSACTION").await?;
        }
        let note = "INSERT INTO quartet.statements (`database`, sha256, nth) VALUES (?, ?, ?)";
        within(LIMIT, self.connection.exec_drop(note, (self.database, &key.sha256, key.nth)))
            .await
            .map_err(Interrupted::from)?;
        self.write("done = done + 1, begun = NULL", vec![]).await?;
        if wrapped || !open {
            // Refused here is the statement: its rows are more than Galera replicates at once.
            within(STATEMENT_LIMIT, self.connection.query_drop("COMMIT")).await?;
        }
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), Interrupted> {
        // What the text has begun and not committed.
        self.command("COMMIT").await?;
        self.command("START TRANSACTION").await?;
        let forget = "DELETE FROM quartet.statements WHERE `database` = ?";
        within(LIMIT, self.connection.exec_drop(forget, (self.database,))).await?;
        self.write("finished = TRUE, begun = NULL, ordinal = NULL, run = NULL, connection = NULL", vec![])
            .await?;
        self.command("COMMIT").await
    }

    async fn known(&mut self) -> Result<Option<Known>, Interrupted> {
        type Row = (String, bool, Option<String>, Option<String>, Option<u16>, Option<String>, Option<u32>);
        let look = "SELECT sha256, finished, error, begun, ordinal, run, connection FROM quartet.initialised \
                    WHERE `database` = ?";
        let row: Option<Row> = within(LIMIT, self.connection.exec_first(look, (self.database,))).await?;
        Ok(row.map(|(sha256, finished, error, begun, ordinal, run, connection)| {
            let claim = || {
                let run = run?.parse().ok()?;
                Some(Claim { ordinal: ordinal?, run, connection: connection? })
            };
            Known { sha256, finished, error, begun, claim: claim() }
        }))
    }

    /// From here on it is this session's task, if nobody else has been faster.
    async fn take(&mut self, known: Option<&Known>, text_sha256: &str) -> Result<(), Interrupted> {
        let (ordinal, run, connection) =
            (self.runner.ordinal, self.runner.run.to_string(), self.connection.id());
        let Some(known) = known else {
            let first = "INSERT IGNORE INTO quartet.initialised (`database`, sha256, ordinal, run, connection) \
                         VALUES (?, ?, ?, ?, ?)";
            let values = (self.database, text_sha256, ordinal, run, connection);
            within(LIMIT, self.connection.exec_drop(first, values)).await?;
            return self.is_affected();
        };
        if let Some(before) = known.claim {
            self.await_end_of(before).await?;
        }
        let take = "UPDATE quartet.initialised SET sha256 = ?, error = NULL, ordinal = ?, run = ?, connection = ? \
                    WHERE `database` = ? AND finished = FALSE AND run <=> ? AND connection <=> ?";
        let before = (known.claim.map(|it| it.run.to_string()), known.claim.map(|it| it.connection));
        let values = (text_sha256, ordinal, run, connection, self.database, before.0, before.1);
        within(LIMIT, self.connection.exec_drop(take, values)).await?;
        self.is_affected()
    }

    async fn await_end_of(&mut self, before: Claim) -> Result<(), Interrupted> {
        if before.run == self.runner.run {
            let ended = before.connection == self.connection.id() || self.sql.end(before.connection).await?;
            return if ended { Ok(()) } else { Err(Interrupted::StillRuns(before.connection)) };
        }
        // What it says now, and not what it said before it began.
        self.runner.peers.ask_all().await;
        let peers = self.runner.peers.now();
        let rows: Vec<(String, String)> = within(LIMIT, self.connection.query(QUERY)).await?;
        let group: Vec<IpAddr> = Status::new(rows).members().collect();
        if goes_on(before, self.runner.ordinal, &peers, &group) {
            return Err(Interrupted::Elsewhere {
                ordinal: before.ordinal,
                database: self.database.to_owned(),
            });
        }
        Ok(())
    }

    async fn noted(&mut self) -> Result<HashSet<Key>, Interrupted> {
        let look = "SELECT sha256, nth FROM quartet.statements WHERE `database` = ?";
        let rows: Vec<(String, u32)> = within(LIMIT, self.connection.exec(look, (self.database,))).await?;
        Ok(rows.into_iter().map(|(sha256, nth)| Key { sha256, nth }).collect())
    }

    async fn in_transaction(&mut self) -> Result<bool, Interrupted> {
        let open: Option<bool> =
            within(LIMIT, self.connection.query_first("SELECT @@in_transaction")).await?;
        Ok(open == Some(true))
    }

    async fn command(&mut self, statement: &str) -> Result<(), Interrupted> {
        Ok(within(LIMIT, self.connection.query_drop(statement)).await?)
    }

    /// By itself, whatever the text has said of committing.
    async fn note(&mut self, set: &str, values: Vec<mysql_async::Value>) -> Result<(), Interrupted> {
        self.command("START TRANSACTION").await?;
        self.write(set, values).await?;
        self.command("COMMIT").await
    }

    /// Within a transaction: it does not commit, and nothing of it, where another member has taken over.
    async fn write(&mut self, set: &str, mut values: Vec<mysql_async::Value>) -> Result<(), Interrupted> {
        let note = format!(
            "UPDATE quartet.initialised SET {set}, notes = notes + 1 WHERE `database` = ? AND run = ? AND connection = ?"
        );
        values.push(self.database.into());
        values.push(self.runner.run.to_string().into());
        values.push(self.connection.id().into());
        within(LIMIT, self.connection.exec_drop(note, Params::Positional(values))).await?;
        self.is_affected()
    }

    fn is_affected(&self) -> Result<(), Interrupted> {
        // The session is given up, and with it what has not been committed.
        if self.connection.affected_rows() == 1 { Ok(()) } else { Err(Interrupted::Overtaken) }
    }
}

/// Whether the one before may still be at it. Whoever is silent is, as long as the group counts it: outside of the Primary
/// component it can commit nothing.
fn goes_on(before: Claim, own_ordinal: u16, peers: &[Peer], group: &[IpAddr]) -> bool {
    if before.ordinal == own_ordinal {
        // Another run: the server of that one is dead.
        return false;
    }
    let Some(peer) = peers.iter().find(|peer| peer.ordinal == before.ordinal) else { return false };
    match &peer.report {
        Some(report) => report.run == before.run && report.server_runs && report.applies_schema,
        None => peer.address.is_some_and(|address| group.contains(&address)),
    }
}

/// With what it may come from, where the statement had been begun by another and its end is not known.
fn told(statement: &str, code: u16, message: &str, before: Option<Claim>) -> String {
    let error = statement::shown_error(statement, message);
    match before {
        Some(before) if statement::is_done_already(code) => format!(
            "{code}: {error} (member {} had begun this statement and was cut off, maybe after it was carried out: if so, \
             take it out of the text, or write it so that it can be repeated, as with IF NOT EXISTS)",
            before.ordinal
        ),
        _ if code == NOT_REPLICATED => {
            format!("{code}: {error} (tables have to be InnoDB, unless they are temporary)")
        }
        _ => format!("{code}: {error}"),
    }
}

/// ER_GALERA_REPLICATION_NOT_SUPPORTED
const NOT_REPLICATED: u16 = 4165;

#[cfg(test)]
mod tests {
    use quartet_client::galera::{MemberState, PeerReport};

    use super::*;

    const RUN: Uuid = Uuid::from_u128(7);
    const CLAIM: Claim = Claim { ordinal: 1, run: RUN, connection: 42 };

    fn peer(change: impl FnOnce(&mut PeerReport)) -> Peer {
        let mut report = PeerReport {
            cluster_name: "shop-1".into(),
            group_name: None,
            ordinal: 1,
            run: RUN,
            state: MemberState::Synced,
            position: None,
            node: None,
            server_runs: true,
            serves: true,
            applies_schema: true,
            primary: true,
            begun: None,
            members: vec![],
        };
        change(&mut report);
        Peer { ordinal: 1, address: Some([10, 0, 0, 1].into()), report: Some(report), dead: vec![] }
    }

    fn taken_over(peers: &[Peer], group: &[IpAddr]) -> bool {
        !goes_on(CLAIM, 0, peers, group)
    }

    #[test]
    fn whoever_is_at_it_is_let_finish() {
        assert!(!taken_over(&[peer(|_| ())], &[]));
        assert!(taken_over(&[peer(|it| it.applies_schema = false)], &[]), "it has given up");
        assert!(taken_over(&[peer(|it| it.run = Uuid::from_u128(8))], &[]), "another life");
        assert!(taken_over(&[peer(|it| it.server_runs = false)], &[]));
        assert!(taken_over(&[], &[]), "it is no member any more");
        assert!(!goes_on(CLAIM, 1, &[], &[]), "its own earlier life");
    }

    #[test]
    fn whoever_is_silent_is_at_it_as_long_as_the_group_counts_it() {
        let silent = Peer { report: None, ..peer(|_| ()) };
        let address = silent.address.unwrap();
        assert!(!taken_over(std::slice::from_ref(&silent), &[address]));
        assert!(taken_over(&[silent], &[[10, 0, 0, 2].into()]));
    }

    #[test]
    fn statements_are_known_by_their_text_wherever_they_stand() {
        let keys = |text: &str| keyed(text).into_iter().map(|(key, _)| key).collect::<Vec<_>>();
        let before = keys("INSERT INTO a VALUES (1); INSERT INTO a VALUES (1); CREAT TABLE b (c INT)");
        let after = keys("CREATE TABLE z (y INT); INSERT INTO a VALUES (1); INSERT INTO a VALUES (1)");
        assert_eq!(before[..2], after[1..]);
        assert_ne!(before[0], before[1], "the same twice is two statements");
        assert!(!after.contains(&before[2]));
    }

    #[test]
    fn an_error_that_may_come_from_an_earlier_try_says_so() {
        let create = "CREATE TABLE a (b INT)";
        assert_eq!(told(create, 1050, "Table 'a' already exists", None), "1050: Table 'a' already exists");
        assert!(told(create, 1050, "Table 'a' already exists", Some(CLAIM)).contains("member 1 had begun"));
        assert_eq!(told(create, 1064, "near x", Some(CLAIM)), "1064: near x");
        assert!(told(create, NOT_REPLICATED, "Galera replication not supported", None).contains("InnoDB"));
    }
}
