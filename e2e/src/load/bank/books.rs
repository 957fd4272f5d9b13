//! The tables of the load, and whether they are what they must be.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::{ACCOUNTS, Account, INITIAL_BALANCE, Report, Work};

pub const TABLES: [&str; 3] = ["accounts", "transfers", "entries"];

const SCHEMA: [&str; 3] = [
    "CREATE TABLE IF NOT EXISTS accounts (id INT UNSIGNED PRIMARY KEY, balance BIGINT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS transfers (id BIGINT UNSIGNED PRIMARY KEY, source INT UNSIGNED NOT NULL, \
     target INT UNSIGNED NOT NULL, amount INT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS entries (id BIGINT UNSIGNED PRIMARY KEY)",
];
/// Accounts whose balance is not what their transfers have made of it.
const WRONG: &str = "SELECT COUNT(*) FROM accounts LEFT JOIN (SELECT account, SUM(amount) AS moved FROM \
    (SELECT source AS account, -amount AS amount FROM transfers UNION ALL \
     SELECT target AS account, amount FROM transfers) AS legs GROUP BY account) AS moves \
    ON moves.account = accounts.id WHERE accounts.balance <> ? + COALESCE(moved, 0)";

pub struct Books;

impl Books {
    /// Where there are none yet.
    pub async fn open(account: &Account) -> Result<()> {
        let mut conn = account.connect().await.context("connect to open the books")?;
        for statement in SCHEMA {
            conn.query_drop(statement).await.context("make the tables")?;
        }
        let accounts = (0..ACCOUNTS).map(|id| (id, INITIAL_BALANCE));
        let open = "INSERT IGNORE INTO accounts (id, balance) VALUES (?, ?)";
        conn.query_drop("START TRANSACTION").await?;
        conn.exec_batch(open, accounts).await.context("open the accounts")?;
        conn.query_drop("COMMIT").await?;
        Ok(conn.disconnect().await?)
    }

    pub(super) async fn next_id(account: &Account) -> Result<u64> {
        let mut conn = account.connect().await?;
        let mut next = 0;
        for table in ["transfers", "entries"] {
            let last: Option<Option<u64>> = conn.query_first(format!("SELECT MAX(id) FROM {table}")).await?;
            next = next.max(last.flatten().map_or(0, |last| last + 1));
        }
        conn.disconnect().await?;
        Ok(next)
    }

    /// All that was acknowledged is there, no money came or went, and each balance is what its transfers made of it.
    pub async fn check(account: &Account, report: &Report) -> Result<()> {
        let mut conn = account.connect().await.context("connect to check the books")?;
        let total: Option<i64> =
            conn.query_first("SELECT CAST(SUM(balance) AS SIGNED) FROM accounts").await?;
        let expected = i64::from(ACCOUNTS) * INITIAL_BALANCE;
        ensure!(total == Some(expected), "the balances sum up to {total:?}, not to {expected}");
        let wrong: Option<u64> = conn.exec_first(WRONG, (INITIAL_BALANCE,)).await?;
        ensure!(wrong == Some(0), "{wrong:?} accounts have another balance than their transfers");
        for (table, work) in [("transfers", Work::Transfer), ("entries", Work::Entry)] {
            let acknowledged = report.acknowledged(work);
            ensure!(!acknowledged.is_empty(), "no {table} were acknowledged: there is nothing to check");
            let there = ids(&mut conn, table).await?;
            let missing: Vec<_> = acknowledged.difference(&there).collect();
            ensure!(
                missing.is_empty(),
                "{} of {} acknowledged {table} are missing, the first {:?}",
                missing.len(),
                acknowledged.len(),
                missing.first()
            );
        }
        Ok(conn.disconnect().await?)
    }
}

async fn ids(conn: &mut Conn, table: &str) -> Result<BTreeSet<u64>> {
    let ids: Vec<u64> = conn.query(format!("SELECT id FROM {table}")).await?;
    Ok(ids.into_iter().collect())
}
