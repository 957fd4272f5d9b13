//! What the members say of themselves: asked inside their pods, over the server's own socket, past every proxy.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use jiff::Timestamp;
use quartet_client::galera::{CHECK_PORT, PeerReport};

use super::{Cluster, DATABASE, Joined};
use crate::wait::until;

const SOCKET: &str = "/run/mysqld/mysqld.sock";

/// `CHECKSUM TABLE` of each table.
pub type Checksums = BTreeMap<String, String>;

/// A server's `wsrep_%`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Server {
    values: BTreeMap<String, String>,
}

impl FromIterator<(String, String)> for Server {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(values: I) -> Self {
        Self { values: values.into_iter().collect() }
    }
}

impl Server {
    pub fn value(&self, name: &str) -> &str {
        self.values.get(name).map_or("", String::as_str)
    }

    pub fn is_primary(&self) -> bool {
        self.value("wsrep_cluster_status") == "Primary"
    }

    pub fn is_synced(&self) -> bool {
        self.is_primary() && self.value("wsrep_local_state_comment") == "Synced"
    }
}

impl Cluster {
    /// Rows of an answer, columns parted by tabs.
    pub async fn sql(&self, ordinal: u16, statement: &str) -> Result<Vec<String>> {
        let socket = format!("--socket={SOCKET}");
        let command = ["mariadb", "--no-defaults", &socket, "-N", "-B", "-e", statement];
        let text = self.stage.exec(&self.member(ordinal), &command).await?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    pub async fn server(&self, ordinal: u16) -> Result<Server> {
        let rows = self.sql(ordinal, "SHOW GLOBAL STATUS LIKE 'wsrep_%'").await?;
        let values = rows.iter().filter_map(|row| row.split_once('\t'));
        Ok(values.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// What its manager tells its peers, and how it would be routed to.
    pub async fn peer(&self, ordinal: u16) -> Result<PeerReport> {
        let url = self.stage.pod_url(&self.member(ordinal), CHECK_PORT).await?;
        Ok(serde_json::from_value(self.stage.get_json(&format!("{url}/peer")).await?)?)
    }

    /// How it came back after the death of its server at that moment, under a manager that lives.
    pub async fn joined(&self, ordinal: u16, since: Timestamp) -> Result<Joined> {
        let log = self.stage.log_since(&self.member(ordinal), since).await?;
        Joined::of(&log).with_context(|| format!("the log of member {ordinal} since {since}"))
    }

    /// Waits until all members are Synced in one component of that size.
    pub async fn synced(&self, replicas: u16, deadline: Duration) -> Result<()> {
        until(&format!("all {replicas} members Synced"), deadline, async || {
            for ordinal in 0..replicas {
                let server = self.server(ordinal).await.with_context(|| format!("member {ordinal}"))?;
                let size = server.value("wsrep_cluster_size");
                ensure!(
                    server.is_synced(),
                    "member {ordinal}: {}",
                    server.value("wsrep_local_state_comment")
                );
                ensure!(size == replicas.to_string(), "member {ordinal} sees {size} members");
            }
            Ok(())
        })
        .await
    }

    /// Waits until all members have come equally far, and compares their tables. Nothing must be written meanwhile.
    pub async fn equal_everywhere(
        &self,
        replicas: u16,
        tables: &[&str],
        deadline: Duration,
    ) -> Result<Checksums> {
        until("all members equally far", deadline, async || {
            let servers = try_join_all((0..replicas).map(|ordinal| self.server(ordinal))).await?;
            let far: BTreeSet<_> =
                servers.iter().map(|server| server.value("wsrep_last_committed")).collect();
            ensure!(far.len() == 1, "committed up to {far:?}");
            Ok(())
        })
        .await?;
        let all = try_join_all((0..replicas).map(|ordinal| self.checksums(ordinal, tables))).await?;
        let first = all.first().context("a cluster has members")?;
        ensure!(first.len() == tables.len(), "checksums of {first:?} only");
        ensure!(all.iter().all(|other| other == first), "the members differ: {all:?}");
        Ok(first.clone())
    }

    async fn checksums(&self, ordinal: u16, tables: &[&str]) -> Result<Checksums> {
        let named: Vec<_> = tables.iter().map(|table| format!("{DATABASE}.{table}")).collect();
        let rows = self.sql(ordinal, &format!("CHECKSUM TABLE {}", named.join(", "))).await?;
        let found: Checksums = rows
            .iter()
            .filter_map(|row| row.split_once('\t'))
            .map(|(table, sum)| (table.to_owned(), sum.to_owned()))
            .collect();
        ensure!(found.values().all(|sum| sum != "NULL"), "no such table: {found:?}");
        Ok(found)
    }
}
