//! The engine's report in the operator's words.

use quartet_client::admin::{GroupConfiguration, GroupReport, MemberReport, MemberState, PeerProgress};
use quartet_raft::MemberId;
use quartet_replica::engine;
use uuid::Uuid;

use super::peer;
use crate::service::role;

/// How far behind a member may be and still count as caught up: what a round trip or two can bring.
const CAUGHT_UP_ENTRIES: u64 = 64;

/// `room`: free and total bytes of the volume.
pub(super) fn member(report: &engine::Report, name: &str, version: &str, room: (u64, u64)) -> MemberReport {
    let state = match (&report.damage, report.cluster) {
        (Some(_), _) => MemberState::Blocked,
        (None, None) => MemberState::Empty,
        (None, Some(_)) => MemberState::Serving,
    };
    MemberReport {
        name: name.into(),
        version: version.into(),
        ordinal: report.id.ordinal,
        incarnation: Uuid::from_u128(report.id.incarnation),
        cluster: report.cluster.map(Uuid::from_u128),
        state,
        message: report.damage.clone().or_else(|| report.trouble.clone()),
        groups: report.groups.iter().map(group).collect(),
        disk_free_bytes: room.0,
        disk_total_bytes: room.1,
        draining: false,
        quiet: false,
    }
}

fn group(report: &engine::GroupReport) -> GroupReport {
    let configuration = &report.configuration;
    let peers = |ids: &std::collections::BTreeSet<MemberId>| ids.iter().copied().map(peer).collect();
    let last = report.last.index.0;
    GroupReport {
        group: report.group.0,
        role: role(report.role),
        term: report.term.0,
        leader: report.leader.map(peer),
        last_index: last,
        commit_index: report.committed.0,
        applied_index: report.applied.0,
        configuration: GroupConfiguration {
            index: report.configuration_index.0,
            committed: report.configuration_committed,
            voters: peers(&configuration.voters),
            outgoing: peers(&configuration.outgoing),
            learners: peers(&configuration.learners),
        },
        progress: report
            .progress
            .iter()
            .map(|(id, progress)| PeerProgress {
                peer: peer(*id),
                matched_index: progress.matched.0,
                active: progress.active,
                caught_up: progress.active
                    && !progress.in_snapshot
                    && progress.matched.0 + CAUGHT_UP_ENTRIES >= last,
            })
            .collect(),
    }
}
