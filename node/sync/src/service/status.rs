//! What a member says about itself and the cluster, as far as it knows without asking anybody.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use quartet_client::admin::GroupRole;
use quartet_client::status::{Group, GroupMember, Member as MemberStatus, Partition, RaftStatus, Status};
use quartet_raft::{MemberId, Role};
use quartet_replica::engine::{GroupReport, Report};

use super::Service;
use crate::member::Member;

pub(super) async fn status<M: Member>(State(service): State<Arc<Service<M>>>) -> Json<Status> {
    let report = service.replicated.member.report().await;
    Json(Status {
        cluster: service.settings.cluster.clone(),
        member: service.settings.ordinal,
        ready: !service.is_draining() && knows_all_leaders(&report),
        version: service.settings.version.clone(),
        members: members(&report, &service.replicated.member.connected()),
        partitions: report.groups.iter().map(partition).collect(),
    })
}

pub(super) async fn raft_status<M: Member>(State(service): State<Arc<Service<M>>>) -> Json<RaftStatus> {
    let report = service.replicated.member.report().await;
    Json(RaftStatus { groups: report.groups.iter().map(group).collect() })
}

fn knows_all_leaders(report: &Report) -> bool {
    report.damage.is_none()
        && report.cluster.is_some()
        && !report.groups.is_empty()
        && report.groups.iter().all(|group| group.leader.is_some())
}

fn partition(group: &GroupReport) -> Partition {
    Partition { id: group.group.0, leader: group.leader.map(|leader| leader.ordinal), term: group.term.0 }
}

/// Of all groups. While a member is replaced, its ordinal stands for the incarnation that stays.
fn members(report: &Report, connected: &BTreeSet<MemberId>) -> Vec<MemberStatus> {
    let mut members = BTreeMap::new();
    for group in &report.groups {
        for id in group.configuration.members() {
            let address = group.configuration.addresses.get(&id).cloned();
            let status = MemberStatus {
                id: id.ordinal,
                address,
                reachable: id == report.id || connected.contains(&id),
            };
            let stays = group.configuration.voters.contains(&id);
            if stays || !members.contains_key(&id.ordinal) {
                members.insert(id.ordinal, status);
            }
        }
    }
    members.into_values().collect()
}

fn group(report: &GroupReport) -> Group {
    let matched: BTreeMap<_, _> =
        report.progress.iter().map(|(id, progress)| (*id, progress.matched.0)).collect();
    let member = |id: MemberId| GroupMember {
        id: id.ordinal,
        voter: report.configuration.is_voter(id),
        matched_index: matched.get(&id).copied(),
    };
    Group {
        group: report.group.0,
        role: role(report.role),
        term: report.term.0,
        leader: report.leader.map(|leader| leader.ordinal),
        commit_index: report.committed.0,
        applied_index: report.applied.0,
        members: report.configuration.members().into_iter().map(member).collect(),
    }
}

pub(crate) fn role(role: Role) -> GroupRole {
    match role {
        Role::Leader => GroupRole::Leader,
        Role::Follower => GroupRole::Follower,
        Role::Candidate => GroupRole::Candidate,
        Role::Learner => GroupRole::Learner,
    }
}
