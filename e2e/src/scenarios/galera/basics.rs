//! A GaleraCluster as a user meets it: a table written through the proxy is the same on every member.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use mysql_async::prelude::Queryable;
use quartet_client::galera::CHECK_PORT;

use crate::galera_cluster::Cluster;
use crate::load::bank::Account;
use crate::stage::Stage;

const MEMBERS: u16 = 3;
const SOON: Duration = Duration::from_secs(30);
const CONNECTIONS: usize = 12;
/// As the source system had it.
const LEGACY_PORT: u16 = 3300;
const STATS_PORT: u16 = 8404;
const PRODUCTS: u32 = 500;
const TABLE: &str = "CREATE TABLE products (id INT UNSIGNED PRIMARY KEY, name VARCHAR(64) NOT NULL, \
    price DECIMAL(10,2) NOT NULL, stock INT NOT NULL, created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP)";

pub(super) async fn written_once_read_everywhere(stage: Stage) -> Result<()> {
    let (cluster, took) = Cluster::make(&stage, "shop", Cluster::spec(MEMBERS)).await?;
    println!("    apply → Ready: {:.1} s", took.as_secs_f64());
    let account = cluster.account().await?;
    let mut conn = account.connect().await?;
    conn.query_drop(TABLE).await?;
    let products =
        (0..PRODUCTS).map(|id| (id, format!("product {id}"), format!("{}.{:02}", id, id % 100), id % 7));
    conn.exec_batch("INSERT INTO products (id, name, price, stock) VALUES (?, ?, ?, ?)", products).await?;
    conn.disconnect().await?;
    cluster.equal_everywhere(MEMBERS, &["products"], SOON).await?;
    for ordinal in 0..MEMBERS {
        let read = cluster.sql(ordinal, "SELECT COUNT(*), SUM(price) FROM beauty.products").await?;
        ensure!(read == [format!("{PRODUCTS}\t{}", sum())], "member {ordinal} reads {read:?}");
    }
    spread(&cluster).await?;
    one_writer(&cluster).await?;
    nobody_without_a_password(&cluster).await?;
    members_are_told(&cluster).await?;
    statistics(&cluster).await
}

/// Of all prices, as MariaDB writes it.
fn sum() -> String {
    let cents: u64 = (0..u64::from(PRODUCTS)).map(|id| id * 100 + id % 100).sum();
    format!("{}.{:02}", cents / 100, cents % 100)
}

/// Connections through the proxy go to all members.
async fn spread(cluster: &Cluster) -> Result<()> {
    let account = cluster.account().await?;
    for port in [account.port, LEGACY_PORT] {
        let served = servers(&Account { port, ..account.clone() }).await?;
        ensure!(served.len() == usize::from(MEMBERS), "connections to {port} went to {served:?} only");
    }
    Ok(())
}

/// Those of the writer's Service to one, whichever proxy they come through.
async fn one_writer(cluster: &Cluster) -> Result<()> {
    let served = servers(&cluster.writer_account().await?).await?;
    let primary = cluster.status().await?.primary;
    ensure!(served.iter().eq(primary.iter()), "writers were sent to {served:?}, the status says {primary:?}");
    Ok(())
}

async fn servers(account: &Account) -> Result<BTreeSet<String>> {
    let mut served = BTreeSet::new();
    for _ in 0..CONNECTIONS {
        let mut conn = account.connect().await?;
        served.extend(conn.query_first::<String, _>("SELECT @@wsrep_node_name").await?);
        conn.disconnect().await?;
    }
    Ok(served)
}

/// In the status, and as metrics.
async fn members_are_told(cluster: &Cluster) -> Result<()> {
    let http = reqwest::Client::builder().timeout(SOON).no_proxy().build()?;
    let status = cluster.status().await?;
    ensure!(status.member_summary.as_deref() == Some("3/3"), "{:?}", status.member_summary);
    ensure!(
        status.cluster.is_some() && status.version.is_some(),
        "no history or version is told: {status:?}"
    );
    ensure!(status.members.len() == usize::from(MEMBERS), "{:?}", status.members);
    for member in &status.members {
        let well = member.uuid == status.cluster
            && member.seqno.is_some_and(|seqno| seqno > 0)
            && member.wsrep_local_state_comment.as_deref() == Some("Synced")
            && member.wsrep_ready
            && member.cluster_size == Some(i32::from(MEMBERS))
            && member.flow_control_paused.is_some()
            && member.last_seen.is_some()
            && member.host.is_some();
        ensure!(well, "{member:?}");
        let url = cluster.stage.pod_url(&member.name, CHECK_PORT).await?;
        let text = http.get(format!("{url}/metrics")).send().await?.error_for_status()?.text().await?;
        for line in ["galera_cluster_size 3.0\n", "galera_member_routable 1\n"] {
            ensure!(text.contains(line), "{line:?} is not among the metrics of {}", member.name);
        }
    }
    Ok(())
}

/// HAProxy's page shows the members to those who have the credentials of its Secret.
async fn statistics(cluster: &Cluster) -> Result<()> {
    let secret = "shop-proxy-stats";
    let url = cluster.stage.service_url(secret, STATS_PORT).await?;
    let http = reqwest::Client::builder().timeout(SOON).no_proxy().build()?;
    let stranger = http.get(&url).send().await?.status();
    ensure!(stranger == reqwest::StatusCode::UNAUTHORIZED, "without credentials: {stranger}");
    let (user, password) =
        (cluster.secret_value(secret, "username").await?, cluster.secret_value(secret, "password").await?);
    let page =
        http.get(&url).basic_auth(user, Some(password)).send().await?.error_for_status()?.text().await?;
    for member in 0..MEMBERS {
        ensure!(page.contains(&cluster.member(member)), "member {member} is not on the page");
    }
    Ok(())
}

async fn nobody_without_a_password(cluster: &Cluster) -> Result<()> {
    let account = cluster.account().await?;
    for (user, password) in [("root", ""), ("", ""), ("app", ""), ("app", "app"), ("mysql", "")] {
        let stranger = Account {
            user: user.to_owned(),
            password: password.to_owned(),
            database: String::new(),
            ..account.clone()
        };
        ensure!(stranger.connect().await.is_err(), "{user:?} came in with {password:?}");
    }
    Ok(())
}
