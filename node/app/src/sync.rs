//! `sync`: one member of a SyncCluster.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use quartet_sync::AdminSettings;

use crate::args::{Cluster, Peers, Sync, port};
use crate::stops::stops;

/// Of member-to-member traffic, where nothing else is said.
const LISTEN_PORT: u16 = 8101;
/// How long endpoints of a Service take to change on every host.
const QUIET: Duration = Duration::from_secs(2);

pub(crate) async fn run(sync: Sync) -> anyhow::Result<()> {
    let Sync { id, peers, data, http, listen, admin, admin_token_file, cluster, drain_timeout } = sync;
    let Cluster { name, partitions, lock_default_ttl } = cluster;
    let peers = peers.map(|Peers(peers)| peers);
    let own = peers
        .as_ref()
        .map(|peers| peers.get(&id).with_context(|| format!("--peers does not list member {id}")));
    let own_port = own.transpose()?.and_then(|address| port(address));
    let listen = listen.unwrap_or(SocketAddr::from((Ipv4Addr::UNSPECIFIED, own_port.unwrap_or(LISTEN_PORT))));
    let settings = quartet_sync::Settings {
        cluster: name,
        ordinal: id,
        data,
        http,
        listen,
        peers,
        admin: admin.zip(admin_token_file).map(|(listen, token_file)| AdminSettings { listen, token_file }),
        partitions,
        lock_default_ttl,
        drain_timeout,
        quiet: QUIET,
    };
    let stops = stops()?;
    let member = quartet_sync::start(settings).await?;
    tracing::info!(id, %http, %listen, "serving");
    Ok(member.serve_until(stops).await?)
}
