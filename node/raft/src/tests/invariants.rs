//! What must hold at every moment, whatever happens (Raft paper, figure 3).

use std::collections::BTreeMap;

use super::cluster::Cluster;
use crate::*;

#[derive(Default)]
pub(super) struct Invariants {
    leaders: BTreeMap<Term, MemberId>,
    applied: BTreeMap<Index, Entry>,
    /// What was applied anywhere when a read was asked for.
    reads: BTreeMap<ReadId, Index>,
}

impl Invariants {
    pub(super) fn asked(&mut self, id: ReadId) {
        let newest = self.applied.keys().next_back().copied().unwrap_or_default();
        self.reads.insert(id, newest);
    }

    pub(super) fn check(&mut self, cluster: &Cluster) {
        for (id, node) in &cluster.nodes {
            let Some(raft) = &node.raft else { continue };
            let standing = raft.standing();
            if standing.role == Role::Leader {
                let first = *self.leaders.entry(standing.term).or_insert(*id);
                assert_eq!(first, *id, "election safety: two leaders of {:?}", standing.term);
            }
            for (read, index) in &node.reads {
                assert!(
                    *index >= self.reads[read],
                    "a read would miss what was applied before it was asked for"
                );
            }
            for (place, entry) in (1..).zip(&node.applied) {
                assert_eq!(entry.index, Index(place), "{id} applies in order, each once");
                let first = self.applied.entry(entry.index).or_insert_with(|| entry.clone());
                assert_eq!(first, entry, "state machine safety: {id} applied another");
            }
        }
        let disks: Vec<_> = cluster.nodes.values().map(|node| &node.disk.entries).collect();
        for (place, one) in disks.iter().enumerate() {
            for other in &disks[place + 1..] {
                log_matching(one, other);
            }
        }
        self.leader_completeness(cluster);
    }

    /// A leader holds all that was applied before its term.
    fn leader_completeness(&self, cluster: &Cluster) {
        for node in cluster.nodes.values() {
            let Some(raft) = &node.raft else { continue };
            let standing = raft.standing();
            let Some((index, _)) = self.applied.iter().rfind(|(_, entry)| entry.term < standing.term) else {
                continue;
            };
            if standing.role == Role::Leader {
                assert!(raft.last().index >= *index, "leader completeness: {} lacks {index:?}", raft.id());
            }
        }
    }
}

/// Logs that agree at one place agree before it.
fn log_matching(one: &[Entry], other: &[Entry]) {
    let at = |log: &[Entry], index: Index| {
        let first = log.first()?.index;
        log.get(usize::try_from(index.0.checked_sub(first.0)?).ok()?).cloned()
    };
    let mut agreed = false;
    for entry in one.iter().rev() {
        let Some(same) = at(other, entry.index) else { continue };
        if agreed {
            assert_eq!(*entry, same, "log matching");
        }
        agreed |= entry.term == same.term;
    }
}
