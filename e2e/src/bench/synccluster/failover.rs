//! The leader killed twenty times: for how long do the partitions that it led answer nobody? On the kind cluster, and
//! as processes of this machine beside etcd. A prober asks the others every 10 ms.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use quartet_client::SyncClient;
use serde_json::{Value, json};

use super::super::statistics::seconds;
use super::system::{Binaries, Members, System};
use crate::faults::process;
use crate::load::Prober;
use crate::progress::Progress;
use crate::stage::Stage;
use crate::sync_cluster::{Cluster, READY_DEADLINE};
use crate::wait::until;

const ROUNDS: usize = 5;
const KILLS: usize = 20;
const PACE: Duration = Duration::from_millis(10);
const SOON: Duration = Duration::from_secs(30);
const PARTITIONS: u16 = 8;

/// Apply → Ready, five times on an empty namespace, and then the kills on the last of these clusters.
pub(super) async fn on_kind(stage: &Stage, progress: &Progress) -> Result<Value> {
    let (mut cluster, took) = made(stage, 0, progress).await?;
    let mut ready = vec![took];
    for round in 1..ROUNDS {
        remove(&cluster).await?;
        let (next, took) = made(stage, round, progress).await?;
        cluster = next;
        ready.push(took);
    }
    let mut silences = Vec::new();
    for _ in 0..KILLS {
        let silence = kill_leader(&cluster).await?;
        progress.note(&format!("silent for {:.3} s", silence.as_secs_f64()));
        silences.push(silence);
    }
    Ok(json!({"apply_to_ready": seconds(&ready), "kills": KILLS, "failover": seconds(&silences)}))
}

async fn made(stage: &Stage, round: usize, progress: &Progress) -> Result<(Cluster, Duration)> {
    let made = Cluster::make(stage, &format!("ready-{round}"), json!({"replicas": 3})).await?;
    progress.note(&format!("Ready after {:.1} s", made.1.as_secs_f64()));
    Ok(made)
}

/// Its pods' end is not to burden the next.
async fn remove(cluster: &Cluster) -> Result<()> {
    cluster.delete(READY_DEADLINE).await?;
    until("its pods gone", READY_DEADLINE, async || {
        let left = cluster.pods().await?.len();
        ensure!(left == 0, "{left} are left");
        Ok(())
    })
    .await
}

async fn kill_leader(cluster: &Cluster) -> Result<Duration> {
    let (leader, led) = cluster.leader().await?;
    let target = cluster.target(leader).await?;
    let mut urls = cluster.member_urls().await?;
    urls.remove(&leader);
    let survivors: Vec<_> = urls.keys().copied().collect();
    let prober = Prober::start(&urls.into_values().collect::<Vec<_>>(), cluster.partitions(), PACE)?;
    prober.all_answer(SOON).await?;
    let terms = cluster.terms(survivors[0], &led).await?;
    let since = Instant::now();
    process::kill(&target).await?;
    cluster.led_anew(&survivors, &terms, SOON).await?;
    prober.all_answer(SOON).await?;
    let silences = prober.silences(since);
    drop(prober);
    // A container that is killed again and again is started later and later: a new pod starts at once.
    let pods = cluster.stage.api::<Pod>();
    pods.delete(&target.pod, &DeleteParams::default().grace_period(0)).await?;
    until("the pod made anew", READY_DEADLINE, async || {
        let now = pods.get(&target.pod).await?;
        ensure!(now.metadata.uid.as_ref() != Some(&target.uid), "still the old one");
        Ok(())
    })
    .await?;
    cluster.ready(READY_DEADLINE).await?;
    led.iter().filter_map(|partition| silences.get(partition)).max().copied().context("it led nothing")
}

/// The same to processes of this machine, for both systems.
pub(super) async fn beside_etcd(binaries: &Binaries, folder: &Path, progress: &Progress) -> Result<Value> {
    let mut table = Vec::new();
    for system in [System::Quartet, System::EtcdTxn] {
        let name = if system == System::Quartet { "quartet" } else { "etcd" };
        let mut members = Members::start(system, binaries, &folder.join(format!("failover-{name}"))).await?;
        let mut silences = Vec::new();
        for _ in 0..KILLS {
            silences.push(kill_process(&mut members).await.with_context(|| name.to_owned())?);
        }
        let row = json!({"system": name, "kills": KILLS, "failover": seconds(&silences)});
        progress.note(&row.to_string());
        table.push(row);
    }
    Ok(json!(table))
}

async fn kill_process(members: &mut Members) -> Result<Duration> {
    let addresses = members.addresses();
    let (place, led) =
        until("a leader of everything", SOON, async || leader(members.system(), &addresses).await).await?;
    let others: Vec<_> = addresses.iter().filter(|address| **address != addresses[place]).copied().collect();
    let prober = prober(members.system(), &others)?;
    prober.all_answer(SOON).await?;
    let since = Instant::now();
    members.kill(place).await?;
    until("others lead in its place", SOON, async || {
        let asked = others.clone();
        // By their places among the others: the one that was killed is none of them.
        leader(members.system(), &asked).await.map(drop)
    })
    .await?;
    prober.all_answer(SOON).await?;
    let silences = prober.silences(since);
    drop(prober);
    members.restart(place).await?;
    led.iter().filter_map(|partition| silences.get(partition)).max().copied().context("it led nothing")
}

fn prober(system: System, others: &[SocketAddr]) -> Result<Prober> {
    let urls: Vec<_> = others.iter().map(|address| format!("http://{address}")).collect();
    if system == System::Quartet {
        return Prober::start(&urls, PARTITIONS, PACE);
    }
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build()?;
    Ok(Prober::with(1, PACE, move |_, turn| {
        let put = http.post(format!("{}/v3/kv/put", urls[turn % urls.len()]));
        let put = put.json(&json!({"key": "cHJvYmU=", "value": "cHJvYmU="}));
        async move { put.send().await.is_ok_and(|answer| answer.status().is_success()) }
    }))
}

/// Who leads the most, by its place among those asked, and which partitions; an error while not all have a leader
/// among them.
async fn leader(system: System, asked: &[SocketAddr]) -> Result<(usize, Vec<u16>)> {
    if system == System::Quartet { quartet_leader(asked).await } else { etcd_leader(asked).await }
}

async fn quartet_leader(asked: &[SocketAddr]) -> Result<(usize, Vec<u16>)> {
    let mut led: Vec<Vec<u16>> = vec![Vec::new(); asked.len()];
    let mut total = 0;
    for (place, address) in asked.iter().enumerate() {
        let client = SyncClient::new(&format!("http://{address}"))?.timeout(Duration::from_secs(1));
        let status = client.status().await?;
        let own = status.partitions.iter().filter(|partition| partition.leader == Some(status.member));
        led[place] = own.map(|partition| partition.id).collect();
        total += led[place].len();
    }
    ensure!(total == usize::from(PARTITIONS), "led: {led:?}");
    led.into_iter().enumerate().max_by_key(|(_, led)| led.len()).context("nobody was asked")
}

async fn etcd_leader(asked: &[SocketAddr]) -> Result<(usize, Vec<u16>)> {
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(1)).build()?;
    for (place, address) in asked.iter().enumerate() {
        let url = format!("http://{address}/v3/maintenance/status");
        let status: Value = http.post(url).json(&json!({})).send().await?.json().await?;
        if status["leader"] == status["header"]["member_id"] {
            return Ok((place, vec![0]));
        }
    }
    anyhow::bail!("no leader among them")
}
