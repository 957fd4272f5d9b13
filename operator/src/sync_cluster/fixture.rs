//! A model of one SyncCluster for tests: what Raft makes of configurations, on the surroundings that all kinds share.
//! After every step it checks what must never happen.

mod raft;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use quartet_client::admin::MemberReport;
use quartet_crds::sync_cluster::{SyncCluster, SyncClusterSpec, SyncClusterStatus};
use uuid::Uuid;

use super::{Call, Seen, SyncClusters};
use crate::fixture::{self, Model, Spec};

pub(crate) type Cluster = fixture::Cluster<Raft>;

#[derive(Default)]
pub(crate) struct Raft {
    /// What it has made of the groups, by cluster: more than one entry is a second cluster.
    pub(crate) clusters: BTreeMap<Uuid, Vec<raft::Truth>>,
    /// Members that hear that they shall drain, and do not.
    pub(crate) stubborn: BTreeSet<u16>,
    /// Pods that the operator deleted although something ran in them, that are not back yet.
    restarting: BTreeSet<u16>,
}

pub(crate) struct Volume {
    pub(crate) incarnation: Uuid,
    pub(crate) cluster: Option<Uuid>,
    pub(crate) damaged: bool,
    /// Holds everything that its groups have acknowledged.
    pub(crate) complete: bool,
}

#[derive(Default)]
pub(crate) struct Process {
    drain: Option<Drain>,
}

/// In seconds of the model's clock.
#[derive(Clone, Copy)]
struct Drain {
    since: i64,
    /// Unless it is told again.
    until: i64,
}

/// A new resource that nobody has looked at yet: three members, three partitions.
pub(crate) fn cluster() -> Cluster {
    let spec = SyncClusterSpec { partitions: 3, ..SyncClusterSpec::default() };
    Cluster::new(SyncCluster::new(Raft::NAME, spec), Raft::default())
}

/// What befalls it.
impl Cluster {
    pub(crate) fn scaled(self, replicas: i32) -> Self {
        self.with_spec(|spec| spec.replicas = replicas)
    }

    pub(crate) fn three_members(self) -> Self {
        self.scaled(3).settled()
    }

    /// The volume is another one, and empty.
    pub(crate) fn wiped(mut self, ordinal: u16) -> Self {
        self.wipe(ordinal);
        self
    }

    pub(crate) fn wipe(&mut self, ordinal: u16) {
        let volume = Raft::volume(self);
        self.claims.get_mut(&ordinal).unwrap().volume = volume;
    }

    pub(crate) fn damaged(mut self, ordinal: u16) -> Self {
        self.claims.get_mut(&ordinal).unwrap().volume.damaged = true;
        self
    }

    pub(crate) fn cut(mut self, ordinal: u16) -> Self {
        self.cut.insert(ordinal);
        self
    }

    /// Time passes until the next elections and starts are over.
    pub(crate) fn later(mut self) -> Self {
        for _ in 0..3 {
            self.tick();
        }
        self
    }
}

impl Model for Raft {
    type Spec = SyncClusterSpec;
    type Status = SyncClusterStatus;
    type Kind = SyncClusters;
    type Report = MemberReport;
    type Volume = Volume;
    type Process = Process;

    const NAME: &'static str = "demo";

    fn seen(cluster: &Cluster) -> Seen {
        Seen {
            members: cluster.members(),
            disruption_budget: cluster.budgets.get(Self::NAME).cloned(),
            probes: cluster.probes(),
        }
    }

    fn conditions(status: &SyncClusterStatus) -> &[Condition] {
        &status.conditions
    }

    fn identity(status: &SyncClusterStatus) -> Option<&str> {
        status.cluster_id.as_deref()
    }

    fn spec(spec: &mut SyncClusterSpec) -> Spec<'_> {
        Spec { replicas: &mut spec.replicas, image: &mut spec.image, storage: &mut spec.storage }
    }

    fn volume(cluster: &mut Cluster) -> Volume {
        Volume { incarnation: cluster.fresh(), cluster: None, damaged: false, complete: false }
    }

    fn process(_: &mut Cluster) -> Process {
        Process::default()
    }

    fn is_ready(cluster: &Cluster, ordinal: u16) -> bool {
        cluster.is_ready(ordinal)
    }

    fn report(cluster: &Cluster, ordinal: u16) -> MemberReport {
        cluster.report(ordinal)
    }

    fn call(cluster: &mut Cluster, call: &Call) {
        cluster.call(call);
    }

    fn restart(cluster: &mut Cluster, ordinal: u16) {
        let member = cluster.pods.get_mut(&ordinal).unwrap();
        if std::mem::take(&mut member.runs) {
            let restarting = &mut cluster.own.restarting;
            restarting.insert(ordinal);
            assert!(restarting.len() <= 1, "members {restarting:?} are down by us");
        }
    }

    fn discard(cluster: &Cluster, ordinal: u16) {
        let incarnation = cluster.claims[&ordinal].volume.incarnation;
        assert!(
            !cluster.is_member_anywhere(incarnation),
            "the volume of member {ordinal} is deleted while it is one"
        );
    }

    /// As voters of every group.
    fn is_made_of(cluster: &Cluster, members: usize) -> bool {
        let groups = cluster.own.clusters.values().next().expect("a cluster");
        groups.iter().all(|group| group.configuration.voters.len() == members)
    }

    fn live(cluster: &mut Cluster) {
        cluster.elect();
        let mut restarting = std::mem::take(&mut cluster.own.restarting);
        restarting.retain(|ordinal| !cluster.is_ready(*ordinal));
        cluster.own.restarting = restarting;
    }

    fn check(cluster: &Cluster) {
        cluster.check();
    }
}
