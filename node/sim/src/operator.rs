//! What the operator would do: learners first, then one joint change to the members that are wanted.
//!
//! It acts on what it saw a while ago, so its commands may be stale; the members have to notice.

use std::collections::{BTreeMap, BTreeSet};

use quartet_raft::{MemberId, Role};
use quartet_replica::GroupId;
use quartet_replica::engine::{GroupChange, GroupReport, MemberCommand, Report};

pub(crate) const CLUSTER: u128 = 0x51a7;

#[derive(Default)]
pub(crate) struct Operator {
    pub(crate) wanted: BTreeSet<MemberId>,
}

/// How many entries behind a learner may be to become a voter.
const CLOSE: u64 = 30;

pub(crate) fn address(id: MemberId) -> (MemberId, String) {
    (id, format!("m{}:1", id.ordinal))
}

/// The report of each group's leader, if one is known.
pub(crate) fn leaders(reports: &[Report]) -> BTreeMap<GroupId, (MemberId, GroupReport)> {
    let mut leaders: BTreeMap<GroupId, (MemberId, GroupReport)> = BTreeMap::new();
    for report in reports {
        for group in report.groups.iter().filter(|group| group.role == Role::Leader) {
            let known = leaders.get(&group.group).is_some_and(|(_, known)| known.term >= group.term);
            if !known {
                leaders.insert(group.group, (report.id, group.clone()));
            }
        }
    }
    leaders
}

impl Operator {
    /// Whether every group is made of the wanted members.
    pub(crate) fn is_settled(&self, groups: u16, reports: &[Report]) -> bool {
        let leaders = leaders(reports);
        leaders.len() == usize::from(groups)
            && leaders.values().all(|(_, group)| {
                let configuration = &group.configuration;
                group.configuration_committed
                    && !configuration.is_joint()
                    && configuration.learners.is_empty()
                    && configuration.voters == self.wanted
            })
    }

    pub(crate) fn next(&self, reports: &[Report]) -> Vec<(MemberId, MemberCommand)> {
        let mut changes: BTreeMap<MemberId, Vec<GroupChange>> = BTreeMap::new();
        for (leader, group) in leaders(reports).into_values() {
            if let Some(change) = self.change(&group) {
                changes.entry(leader).or_default().push(change);
            }
        }
        let command = |groups| MemberCommand::Change { cluster: CLUSTER, groups };
        changes.into_iter().map(|(leader, groups)| (leader, command(groups))).collect()
    }

    fn change(&self, group: &GroupReport) -> Option<GroupChange> {
        let configuration = &group.configuration;
        let done = configuration.voters == self.wanted && configuration.learners.is_empty();
        if done || configuration.is_joint() || !group.configuration_committed {
            return None;
        }
        let close = |id: &MemberId| {
            configuration.voters.contains(id)
                || group.progress.iter().any(|(peer, progress)| {
                    peer == id && progress.active && progress.matched.0 + CLOSE >= group.last.index.0
                })
        };
        let missing: Vec<MemberId> =
            self.wanted.iter().filter(|id| !configuration.contains(**id)).copied().collect();
        let (voters, learners) = if !missing.is_empty() {
            let unwanted = |id: &&MemberId| self.wanted.contains(id);
            let learners = configuration.learners.iter().filter(unwanted).copied().chain(missing);
            (configuration.voters.clone(), learners.collect::<BTreeSet<_>>())
        } else if self.wanted.iter().all(close) {
            (self.wanted.clone(), BTreeSet::new())
        } else {
            return None;
        };
        Some(GroupChange {
            group: group.group,
            expected: group.configuration_index,
            voters: voters.into_iter().map(address).collect(),
            learners: learners.into_iter().map(address).collect(),
        })
    }
}
