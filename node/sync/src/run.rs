//! A member as a whole: the replica, its clients' HTTP, the operator's port; and how it stops.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quartet_raft::Role;
use quartet_replica::GroupId;
use quartet_replica::engine::{EngineSettings, MemberCommand};
use quartet_replica::runtime::{self, Handle, Running, RuntimeSettings, StartError};
use quartet_serve::server::{Bounded, ListenError, OPERATORS_CONNECTIONS_MAX, Server};
use tokio::sync::watch;

use crate::service::{self, Service};
use crate::{Gauges, Member, Partition, admin};

pub const PARTITIONS_MAX: u16 = 64;

#[derive(Clone, Debug)]
pub struct Settings {
    /// The cluster's name.
    pub cluster: String,
    pub ordinal: u16,
    pub data: PathBuf,
    /// For clients.
    pub http: SocketAddr,
    /// For other members.
    pub listen: SocketAddr,
    /// Everyone's `listen`, this member's own too; none when an operator founds the cluster.
    pub peers: Option<BTreeMap<u16, String>>,
    /// For the operator.
    pub admin: Option<AdminSettings>,
    /// 1 to [`PARTITIONS_MAX`]. Counts when the cluster is founded; after that the cluster's own number does.
    pub partitions: u16,
    pub lock_default_ttl: Duration,
    /// How long a member that is told to stop serves on at most.
    pub drain_timeout: Duration,
    /// How long no request may have come before it stops: the time that a change of the Service's endpoints takes to
    /// reach every host.
    pub quiet: Duration,
}

#[derive(Clone, Debug)]
pub struct AdminSettings {
    pub listen: SocketAddr,
    pub token_file: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("cannot start the member")]
    Start(#[from] StartError),
    #[error("the member has ended by itself")]
    Ended,
}

/// A member that serves.
pub struct SyncMember {
    settings: Settings,
    handle: Handle,
    running: Running,
    service: Arc<Service<Handle>>,
    http: Server,
    admin: Option<Server>,
}

/// Starts a member: it serves, as far as it can, when this returns.
pub async fn start(settings: Settings) -> Result<SyncMember, RunError> {
    // Ports first: what cannot be had is told before anything is begun.
    let http = Bounded::bind(settings.http, CONNECTIONS_MAX).await?;
    let admin = match &settings.admin {
        Some(AdminSettings { listen, token_file }) => {
            Some((Bounded::bind(*listen, OPERATORS_CONNECTIONS_MAX).await?, token_file.clone()))
        }
        None => None,
    };
    let gauges: Vec<Arc<Gauges>> = (0..PARTITIONS_MAX).map(|_| Arc::default()).collect();
    let watched = gauges.clone();
    let make = move |group: GroupId| {
        Partition::watched(watched.get(usize::from(group.0)).cloned().unwrap_or_default())
    };
    let engine = EngineSettings { groups: settings.partitions, ..EngineSettings::default() };
    let replica = RuntimeSettings {
        name: settings.cluster.clone(),
        ordinal: settings.ordinal,
        data: settings.data.clone(),
        listen: settings.listen,
        peers: settings.peers.clone(),
        engine,
        store: None,
    };
    let (handle, running) = runtime::start(replica, make).await?;
    if let Some(founded_with) = handle.groups().filter(|founded_with| *founded_with != settings.partitions) {
        let asked = settings.partitions;
        tracing::warn!(founded_with, asked, "the number of partitions is fixed: the cluster's own counts");
    }
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let service = Service::new(
        service::Settings {
            cluster: settings.cluster.clone(),
            ordinal: settings.ordinal,
            version: version.clone(),
            lock_default_ttl_ms: u64::try_from(settings.lock_default_ttl.as_millis()).unwrap_or(u64::MAX),
        },
        handle.clone(),
        gauges,
    );
    let http = Server::start(http, service.router());
    let admin = admin.map(|(listener, token_file)| {
        let cluster = settings.cluster.clone();
        let settings = admin::Settings { cluster, version, token_file, quiet: settings.quiet };
        Server::start(listener, admin::router(settings, Arc::clone(&service)))
    });
    Ok(SyncMember { settings, handle, running, service, http, admin })
}

impl SyncMember {
    /// `stops` counts how often the member was told to stop: the first time it leaves gracefully, the second at once.
    pub async fn serve_until(self, mut stops: watch::Receiver<u32>) -> Result<(), RunError> {
        tokio::select! {
            () = self.running.ended() => return Err(RunError::Ended),
            _ = told(&mut stops, 1) => {}
        }
        tokio::select! {
            () = self.leave() => {}
            _ = told(&mut stops, 2) => {}
        }
        Ok(())
    }

    /// Not ready first, so that no new clients come; then without leaderships, so that nobody waits for an election;
    /// then serves those that are there until they have gone.
    async fn leave(self) {
        let deadline = Instant::now() + self.settings.drain_timeout;
        tracing::info!("draining");
        self.service.drain();
        let _: Result<(), _> = tokio::time::timeout_at(deadline.into(), self.hand_over()).await;
        while !self.service.is_quiet(self.settings.quiet) && Instant::now() < deadline {
            tokio::time::sleep(POLL).await;
        }
        let rest = deadline.saturating_duration_since(Instant::now()).max(LAST_ANSWERS);
        self.http.stop(rest).await;
        if let Some(admin) = self.admin {
            admin.stop(LAST_ANSWERS).await;
        }
        self.running.stop().await;
        tracing::info!("stopped");
    }

    async fn hand_over(&self) {
        let report = self.handle.report().await;
        let others = report.groups.iter().any(|group| group.configuration.voters.len() > 1);
        let Some(cluster) = report.cluster.filter(|_| others) else { return };
        let began = Instant::now();
        // Asked again until it is done: a transfer fails when its target lags.
        while began.elapsed() < HANDOVER_MAX && self.leads().await {
            let handover = MemberCommand::Handover { cluster, except: BTreeSet::new() };
            if let Err(why) = self.handle.command(handover).await {
                tracing::warn!(why, "cannot hand over the leaderships");
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn leads(&self) -> bool {
        self.handle.report().await.groups.iter().any(|group| group.role == Role::Leader)
    }
}

/// False if nobody is left to tell.
async fn told(stops: &mut watch::Receiver<u32>, times: u32) -> bool {
    stops.wait_for(|stops| *stops >= times).await.is_ok()
}

const POLL: Duration = Duration::from_millis(100);
/// A handover takes a round trip; a target that cannot take over in this time never will.
const HANDOVER_MAX: Duration = Duration::from_secs(5);
const LAST_ANSWERS: Duration = Duration::from_millis(500);
/// More than there can be requests under way, so that whoever renews a lock finds a connection beside those who wait.
const CONNECTIONS_MAX: usize = 32_768;
