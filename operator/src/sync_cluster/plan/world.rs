//! What the members' reports say together.

use std::collections::BTreeSet;

use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::Time};
use quartet_client::admin::{
    Address, GroupConfiguration, GroupReport, GroupRole, MemberReport, MemberState, Peer,
};
use quartet_crds::sync_cluster::{Operation, OperationKind, SyncCluster, SyncClusterStatus};
use uuid::Uuid;

use crate::{
    members::{hibernate, pods::is_ready},
    names,
    plan::{Record, open, opened},
    reconcile::Given,
    sync_cluster::{PEER_PORT, Seen, build::quorum, validate::Valid},
};

pub struct World<'a> {
    pub valid: &'a Valid,
    pub seen: &'a Seen,
    pub given: &'a Given,
    pub status: SyncClusterStatus,
    /// When the resource was created.
    pub born: Option<Time>,
    /// The cluster that the status records.
    pub cluster: Option<Uuid>,
    pub groups: Vec<Group<'a>>,
}

/// One Raft group: its leader, if a quorum follows one, and the newest configuration that anybody knows.
pub struct Group<'a> {
    pub id: u16,
    pub leader: Option<(u16, &'a GroupReport)>,
    pub configuration: Option<&'a GroupConfiguration>,
}

impl<'a> World<'a> {
    pub fn new(obj: &SyncCluster, valid: &'a Valid, seen: &'a Seen, given: &'a Given) -> Self {
        let status = obj.status.clone().unwrap_or_default();
        let cluster = status.cluster_id.as_deref().and_then(|id| id.parse().ok());
        let groups = (0..valid.partitions).map(|id| Group::new(id, cluster, seen)).collect();
        let born = obj.metadata.creation_timestamp.clone();
        Self { valid, seen, given, status, born, cluster, groups }
    }

    /// The open operation, with its id.
    pub fn operation(&self) -> Option<(Uuid, &Operation)> {
        opened(self.status.operation.as_ref())
    }

    /// The same, if it is of this kind.
    pub fn operation_of(&self, kind: OperationKind) -> Option<(Uuid, &Operation)> {
        self.operation().filter(|(_, operation)| operation.kind == kind)
    }

    /// The id under which this is recorded, with the record, unless it is open already.
    pub fn open(&self, wanted: Operation) -> (Uuid, Option<Record>) {
        open(self.status.operation.as_ref(), wanted, self.given.ids[0], self.given.now)
    }

    /// Every group's leader has committed its configuration: what is not in it is not a member any more.
    pub fn all_committed(&self) -> bool {
        self.groups.iter().all(|group| group.quiet().is_some())
    }

    pub fn all_led(&self) -> bool {
        self.groups.iter().all(|group| group.leader.is_some())
    }

    /// The partitions without a leader that a quorum follows.
    pub fn leaderless(&self) -> Vec<u16> {
        self.groups.iter().filter(|group| group.leader.is_none()).map(|group| group.id).collect()
    }

    /// A member of the recorded cluster; members of another one, and empty ones, have no say.
    pub fn serving(&self, ordinal: u16) -> Option<&'a MemberReport> {
        let report = self.seen.report(ordinal)?;
        let ours = self.cluster.is_some() && report.cluster == self.cluster;
        (ours && report.state == MemberState::Serving).then_some(report)
    }

    /// One more than the highest ordinal in any configuration that anybody reports.
    pub fn members_known(&self) -> u16 {
        // A volume of another cluster says nothing about this one.
        let ours = |report: &&MemberReport| self.cluster.is_none() || report.cluster == self.cluster;
        let configurations = self
            .seen
            .reports()
            .filter(ours)
            .flat_map(|report| &report.groups)
            .map(|group| &group.configuration);
        let leaders = self.groups.iter().filter_map(|group| group.configuration);
        if self.all_led() { highest(leaders) } else { highest(configurations) }
    }

    /// How many pods there shall be: as many as the spec asks for, and never fewer than are still members. Where it is
    /// not known who is a member, none of those that were is taken away.
    pub fn pods_wanted(&self) -> u16 {
        if self.valid.spec.common.hibernated {
            return hibernate::replicas(&self.seen.members);
        }
        let wanted = self.valid.replicas;
        if let Some((_, found)) = self.operation_of(OperationKind::Found) {
            return u16::try_from(found.members.len()).unwrap_or(wanted);
        }
        let wanted = match self.operation_of(OperationKind::Shrink) {
            // Volumes of removed members go before new members come.
            Some((_, shrink)) if self.all_committed() => {
                shrink.to.and_then(|to| u16::try_from(to).ok()).unwrap_or(wanted)
            }
            _ => wanted,
        };
        let known = self.members_known();
        let nobody_is_a_member = self.cluster.is_none() && known == 0;
        if nobody_is_a_member || (self.cluster.is_some() && self.all_committed()) {
            return wanted.max(known);
        }
        let recorded =
            self.status.members.iter().filter_map(|member| u16::try_from(member.ordinal + 1).ok()).max();
        wanted.max(known).max(recorded.unwrap_or(0))
    }

    /// In every configuration, as it is in its member's own words.
    pub fn votes_everywhere(&self, peer: Peer) -> bool {
        self.groups.iter().all(|group| group.configuration.is_some_and(|now| now.voters.contains(&peer)))
    }

    pub fn peer(&self, ordinal: u16) -> Option<Peer> {
        self.seen.incarnation(ordinal).map(|incarnation| Peer { ordinal, incarnation })
    }

    /// How many partitions a member leads.
    pub fn led_by(&self, ordinal: u16) -> usize {
        self.groups.iter().filter(|group| group.leader.is_some_and(|(leader, _)| leader == ordinal)).count()
    }

    pub fn pod(&self, ordinal: u16) -> Option<&'a Pod> {
        self.seen.members.pods.get(&ordinal)
    }

    pub fn is_ready(&self, ordinal: u16) -> bool {
        self.pod(ordinal).is_some_and(is_ready)
    }

    /// Ready, a voter of every group, and within reach of every leader.
    pub fn is_healthy(&self, ordinal: u16) -> bool {
        let Some(report) = self.serving(ordinal) else { return false };
        let peer = Peer { ordinal, incarnation: report.incarnation };
        self.is_ready(ordinal) && self.groups.iter().all(|group| group.counts_on(peer))
    }

    /// Every group has exactly these voters, no learner, and no change under way.
    pub fn is_settled(&self, members: u16) -> bool {
        let wanted: BTreeSet<u16> = (0..members).collect();
        self.groups.iter().all(|group| {
            group.leader.is_some()
                && group.configuration.is_some_and(|now| {
                    let voters: BTreeSet<u16> = now.voters.iter().map(|peer| peer.ordinal).collect();
                    is_quiet(now)
                        && now.learners.is_empty()
                        && voters == wanted
                        && now.voters.len() == wanted.len()
                })
        })
    }

    pub fn address(&self, peer: Peer) -> Address {
        let host = names::host(&self.valid.parent.name, &self.valid.parent.namespace, peer.ordinal);
        Address { peer, address: format!("{host}:{PEER_PORT}") }
    }
}

impl<'a> Group<'a> {
    fn new(id: u16, cluster: Option<Uuid>, seen: &'a Seen) -> Self {
        let said: Vec<(u16, &GroupReport)> = seen
            .reports()
            .filter(|report| cluster.is_some() && report.cluster == cluster)
            .filter_map(|report| {
                Some((report.ordinal, report.groups.iter().find(|group| group.group == id)?))
            })
            .collect();
        let leader = said
            .iter()
            .filter(|(_, group)| group.role == GroupRole::Leader)
            .max_by_key(|(_, group)| group.term)
            .filter(|(ordinal, group)| is_followed(*ordinal, group))
            .copied();
        let newest = said
            .iter()
            .map(|(_, group)| &group.configuration)
            .max_by_key(|configuration| configuration.index);
        let configuration = leader.map(|(_, group)| &group.configuration).or(newest);
        Self { id, leader, configuration }
    }

    /// A voter that this group's leader hears and that is within its reach; or the leader itself.
    pub fn counts_on(&self, peer: Peer) -> bool {
        let Some((leader, report)) = self.leader else { return false };
        report.configuration.voters.contains(&peer) && (leader == peer.ordinal || is_caught_up(report, peer))
    }

    /// The leader, where its configuration is committed and no change is under way.
    pub fn quiet(&self) -> Option<(u16, &'a GroupReport)> {
        self.leader.filter(|(_, report)| is_quiet(&report.configuration))
    }
}

pub(super) fn is_caught_up(report: &GroupReport, peer: Peer) -> bool {
    report.progress.iter().any(|progress| progress.peer == peer && progress.active && progress.caught_up)
}

pub(super) fn is_quiet(configuration: &GroupConfiguration) -> bool {
    configuration.committed && configuration.outgoing.is_empty()
}

/// A leader that hears a quorum of its voters. One that does not is deposed and has not noticed yet.
fn is_followed(leader: u16, report: &GroupReport) -> bool {
    let heard = |peer: &&Peer| {
        peer.ordinal == leader
            || report.progress.iter().any(|progress| progress.peer == **peer && progress.active)
    };
    [&report.configuration.voters, &report.configuration.outgoing].into_iter().all(|voters| {
        voters.is_empty() || voters.iter().filter(heard).count() >= usize::from(quorum(count(voters)))
    })
}

fn count(voters: &[Peer]) -> u16 {
    u16::try_from(voters.len()).unwrap_or(u16::MAX)
}

fn highest<'a>(configurations: impl Iterator<Item = &'a GroupConfiguration>) -> u16 {
    configurations
        .flat_map(|now| now.voters.iter().chain(&now.outgoing).chain(&now.learners))
        .map(|peer| peer.ordinal + 1)
        .max()
        .unwrap_or(0)
}
