//! Volumes that are full: what would grow the state is refused and says why; what frees room, and time, goes on.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use quartet_client::lock::{Release, Renew};
use quartet_client::{ClientError, SyncClient};
use serde_json::json;

use crate::faults::Fault;
use crate::faults::volume::{Place, SmallVolumes};
use crate::stage::Stage;
use crate::sync_cluster::{Cluster, exclusive, name_in};
use crate::wait::until;

const MEMBERS: u16 = 3;
const MEBIBYTES: u32 = 64;
const TTL: Duration = Duration::from_mins(5);
const SOON: Duration = Duration::from_secs(30);
const OWNER: &str = "holder";

pub(super) async fn run(stage: Stage) -> Result<()> {
    let volumes = SmallVolumes::offer(&stage.client, "quartet-e2e-full", MEBIBYTES, 1).await?;
    let storage = json!({"size": format!("{MEBIBYTES}Mi"), "storageClassName": volumes.class});
    let (cluster, _) =
        Cluster::make(&stage, "locks", json!({"replicas": MEMBERS, "storage": storage})).await?;
    let client = cluster.client().await?;
    let mut held = take_all(&cluster, &client).await?;

    one_full(&cluster, &client, &held).await?;
    cluster.ready(SOON).await?;
    all_full(&cluster, &client, &mut held).await?;
    cluster.ready(SOON).await?;

    stage.clear().await?;
    volumes.take_back(&stage.client).await
}

/// Partitions that a full member leads refuse; the others do not notice.
async fn one_full(cluster: &Cluster, client: &SyncClient, held: &Held) -> Result<()> {
    let (victim, _) = cluster.leader().await?;
    let full = fill(cluster, victim).await?;
    for (partition, leader) in cluster.leaders().await? {
        if leader == victim {
            refused(client, &new_name(cluster, partition)).await?;
        } else {
            granted(client, &new_name(cluster, partition)).await?;
        }
    }
    held.renew(client).await?;
    full.heal().await?;
    for partition in 0..cluster.partitions() {
        granted(client, &new_name(cluster, partition)).await?;
    }
    Ok(())
}

async fn all_full(cluster: &Cluster, client: &SyncClient, held: &mut Held) -> Result<()> {
    let full = try_join_all((0..MEMBERS).map(|ordinal| fill(cluster, ordinal))).await?;
    for partition in 0..cluster.partitions() {
        refused(client, &name_in(partition, cluster.partitions(), "other")).await?;
    }
    held.renew(client).await?;
    held.release(client).await?;
    client.release_owner("newcomer").await.context("release all that an owner holds")?;
    for fault in full {
        fault.heal().await?;
    }
    // Nothing is held any more, so that nothing is written by itself either: they must notice all the same.
    for partition in 0..cluster.partitions() {
        granted(client, &new_name(cluster, partition)).await?;
    }
    Ok(())
}

async fn fill(cluster: &Cluster, ordinal: u16) -> Result<Fault> {
    let place = Place::find(&cluster.stage.client, &cluster.stage.namespace, &cluster.claim(ordinal)).await?;
    place.fill(0).await
}

fn new_name(cluster: &Cluster, partition: u16) -> String {
    name_in(partition, cluster.partitions(), "new")
}

/// Until the member has noticed: within a second or two, since time is written while anything is held.
async fn refused(client: &SyncClient, name: &str) -> Result<()> {
    until(&format!("{name} refused for lack of room"), SOON, async || {
        let answer = client.acquire(&exclusive(name, "newcomer", TTL)).await;
        let Err(ClientError::Refused { status: 429, body }) = &answer else {
            anyhow::bail!("answered {answer:?}")
        };
        ensure!(
            body.error.code == "no_space" && body.error.retryable && body.error.message.contains("disk"),
            "{:?}",
            body.error
        );
        Ok(())
    })
    .await
}

async fn granted(client: &SyncClient, name: &str) -> Result<()> {
    until(&format!("{name} granted"), SOON, async || {
        client.acquire(&exclusive(name, "newcomer", TTL)).await.map(drop).context("acquire")
    })
    .await
}

/// One lock of each partition, with its token.
struct Held(BTreeMap<String, u64>);

async fn take_all(cluster: &Cluster, client: &SyncClient) -> Result<Held> {
    let mut held = BTreeMap::new();
    for partition in 0..cluster.partitions() {
        let name = name_in(partition, cluster.partitions(), "held");
        let grant = client.acquire(&exclusive(&name, OWNER, TTL)).await.context("take a lock")?;
        held.insert(name, grant.fencing_token);
    }
    Ok(Held(held))
}

impl Held {
    async fn renew(&self, client: &SyncClient) -> Result<()> {
        for (name, token) in &self.0 {
            let renew = Renew {
                resource: name.clone(),
                owner: OWNER.to_owned(),
                fencing_token: *token,
                ttl_ms: u64::try_from(TTL.as_millis()).ok(),
            };
            client.renew(&renew).await.with_context(|| format!("renew {name}"))?;
        }
        Ok(())
    }

    async fn release(&mut self, client: &SyncClient) -> Result<()> {
        while let Some((resource, token)) = self.0.pop_first() {
            let release = Release { resource, owner: OWNER.to_owned(), fencing_token: Some(token) };
            client.release(&release).await.with_context(|| format!("release {}", release.resource))?;
        }
        Ok(())
    }
}
