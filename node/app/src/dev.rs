//! `dev`: all members of a SyncCluster in one process, on 127.0.0.1.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use futures::StreamExt;
use futures::future::try_join_all;
use futures::stream::FuturesUnordered;
use quartet_client::SyncClient;
use quartet_sync::RunError;
use tokio::task::JoinHandle;

use crate::args::{Cluster, Dev};
use crate::stops::stops;

const READY_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);

pub(crate) async fn run(dev: Dev) -> anyhow::Result<()> {
    let Dev { members, data, http_base, cluster } = dev;
    let (data, _removed_at_the_end) = directory(data)?;
    let peers = peers(&data, members)?;
    let settings = (0..members).map(|ordinal| settings(&data, ordinal, http_base, &peers, &cluster));
    let settings = settings.collect::<anyhow::Result<Vec<_>>>()?;
    let mut stops = stops()?;
    let started = try_join_all(settings.iter().cloned().map(quartet_sync::start)).await?;
    let mut serving =
        started.into_iter().map(|member| tokio::spawn(member.serve_until(stops.clone()))).collect();
    tokio::select! {
        ended = first_to_end(&mut serving) => return ended,
        ready = ready(&settings) => { ready?; greet(&settings, &data); }
        _ = stops.wait_for(|stops| *stops > 0) => {}
    }
    while !serving.is_empty() {
        first_to_end(&mut serving).await?;
    }
    Ok(())
}

type Serving = FuturesUnordered<JoinHandle<Result<(), RunError>>>;

async fn first_to_end(serving: &mut Serving) -> anyhow::Result<()> {
    match serving.next().await {
        Some(ended) => Ok(ended.context("a member's task has failed")??),
        None => Ok(()),
    }
}

/// Where the data goes; a temporary directory goes away with the second value.
fn directory(data: Option<PathBuf>) -> anyhow::Result<(PathBuf, Option<tempfile::TempDir>)> {
    if let Some(data) = data {
        std::fs::create_dir_all(&data).with_context(|| format!("cannot make --data {}", data.display()))?;
        return Ok((data, None));
    }
    let temporary = tempfile::tempdir().context("cannot make a temporary directory")?;
    Ok((temporary.path().to_owned(), Some(temporary)))
}

fn settings(
    data: &Path,
    ordinal: u16,
    http_base: u16,
    peers: &BTreeMap<u16, String>,
    cluster: &Cluster,
) -> anyhow::Result<quartet_sync::Settings> {
    let http = http_base.checked_add(ordinal).context("--http-base leaves no room for all members")?;
    let listen = peers.get(&ordinal).context("a member has no address")?.parse()?;
    let data = data.join(format!("member-{ordinal}"));
    std::fs::create_dir_all(&data).with_context(|| format!("cannot make {}", data.display()))?;
    Ok(quartet_sync::Settings {
        cluster: cluster.name.clone(),
        ordinal,
        data,
        http: SocketAddr::from((Ipv4Addr::LOCALHOST, http)),
        listen,
        peers: Some(peers.clone()),
        admin: None,
        partitions: cluster.partitions,
        lock_default_ttl: cluster.lock_default_ttl,
        drain_timeout: Duration::from_secs(5),
        quiet: Duration::ZERO,
    })
}

/// Free ports the first time; the same ones ever after, since the members' configuration names them.
fn peers(data: &Path, members: u16) -> anyhow::Result<BTreeMap<u16, String>> {
    let file = data.join("peers");
    if let Ok(known) = std::fs::read_to_string(&file) {
        let peers: BTreeMap<u16, String> =
            known.lines().map(str::to_owned).zip(0..).map(|(a, n)| (n, a)).collect();
        if peers.len() != usize::from(members) {
            bail!("{} is of a cluster of {} members, not of {members}", data.display(), peers.len());
        }
        return Ok(peers);
    }
    // All are held until all are found, so that they differ.
    let free: Vec<_> =
        (0..members).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<_, _>>()?;
    let addresses: Vec<String> =
        free.iter().map(|port| Ok(port.local_addr()?.to_string())).collect::<std::io::Result<_>>()?;
    std::fs::write(&file, addresses.join("\n"))
        .with_context(|| format!("cannot write {}", file.display()))?;
    Ok((0..).zip(addresses).collect())
}

/// Comes back once every member serves.
async fn ready(settings: &[quartet_sync::Settings]) -> anyhow::Result<()> {
    let each = settings.iter().map(|member| async move {
        let client = SyncClient::new(&format!("http://{}", member.http))?;
        while !client.is_ready().await.unwrap_or(false) {
            tokio::time::sleep(POLL).await;
        }
        anyhow::Ok(())
    });
    match tokio::time::timeout(READY_WITHIN, try_join_all(each)).await {
        Ok(ready) => ready.map(|_| ()),
        Err(_) => bail!("the members did not get ready within {} s", READY_WITHIN.as_secs()),
    }
}

fn greet(settings: &[quartet_sync::Settings], data: &Path) {
    for member in settings {
        let (ordinal, http, data) = (member.ordinal, member.http, member.data.display());
        println!("member {ordinal}: http://{http} (data in {data})");
    }
    let Some(first) = settings.first() else { return };
    println!(
        "\nReady. All data is in {}. Try:\n\n  \
         curl -s http://{}/lock/acquire -d '{{\"resource\":\"orders\",\"owner\":\"me\",\"mode\":\"exclusive\",\"ttl_ms\":10000}}'\n  \
         curl -s 'http://{}/lock?resource=orders'\n\nCtrl-C stops it.",
        data.display(),
        first.http,
        settings.last().unwrap_or(first).http,
    );
}
