//! What a member's disk should hold, and what it may hold after a crash.

use std::collections::{BTreeMap, VecDeque};

use quartet_raft::{Entry, Index, Term};
use quartet_replica::GroupId;
use quartet_replica::store::Record;

use crate::model::{Kept, KeptGroup};

/// A member's disk as its batches describe it.
#[derive(Default)]
pub(super) struct Shadow {
    pub(super) written: Kept,
    pub(super) durable: Kept,
    pub(super) unsynced: VecDeque<(u64, Vec<Record>)>,
    /// The last batch that was synced.
    pub(super) synced: u64,
    /// What records that are durable themselves say to have been durable.
    pub(super) proven: Kept,
    /// Synced batches after it, and which had been synced when each was written.
    pub(super) unproven: VecDeque<(u64, Vec<Record>)>,
    pub(super) synced_when_written: BTreeMap<u64, u64>,
    /// The same of earlier lives, as long as no record of this one is durable.
    pub(super) past: Vec<(Kept, Vec<Record>)>,
    /// Where the log was replaced, from which index on, and in whose term: what was promised to earlier leaders
    /// does not hold from there on.
    pub(super) cuts: BTreeMap<GroupId, Vec<(Term, Index)>>,
}

impl Shadow {
    /// Whether `found` is what was proven durable and some of what was written since, in order.
    pub(super) fn may_have_lost_its_tail(&self, group: GroupId, found: &KeptGroup) -> bool {
        let since = self.unproven.iter().chain(&self.unsynced).flat_map(|(_, records)| records);
        is_reached(group, &self.proven, since, found)
            || self.past.iter().any(|(proven, since)| is_reached(group, proven, since.iter(), found))
    }

    /// What is wrong with `found` if no prefix of the unsynced records explains it.
    pub(super) fn explain(&self, group: GroupId, durable: &KeptGroup, found: &KeptGroup) -> Option<String> {
        let mut base = Kept::default();
        base.groups.insert(group, durable.clone());
        if is_reached(group, &base, self.unsynced.iter().flat_map(|(_, records)| records), found) {
            return None;
        }
        Some(format!(
            "synced up to {:?} with {:?} and snapshot {:?}, found {:?} with {:?} and snapshot {:?}",
            durable.last(),
            durable.hard_state,
            durable.snapshot.last,
            found.last(),
            found.hard_state,
            found.snapshot.last,
        ))
    }
}

/// Whether some of the records, in order, lead from `base` to `found`.
fn is_reached<'a>(
    group: GroupId,
    base: &Kept,
    since: impl Iterator<Item = &'a Record>,
    found: &KeptGroup,
) -> bool {
    let mut candidate = Kept::default();
    candidate.groups.insert(group, base.groups.get(&group).cloned().unwrap_or_default());
    let mut records = since.filter(|record| record_group(record) == group);
    loop {
        if candidate.groups.get(&group).is_some_and(|kept| explains(kept, found)) {
            return true;
        }
        let Some(record) = records.next() else { return false };
        candidate.apply(record);
    }
}

fn record_group(record: &Record) -> GroupId {
    match record {
        Record::HardState { group, .. } | Record::Entries { group, .. } | Record::Snapshot { group, .. } => {
            *group
        }
    }
}

/// A snapshot is durable by itself: it may have come to the disk before the log that was written before it.
fn explains(kept: &KeptGroup, found: &KeptGroup) -> bool {
    let from = found.snapshot.last.index;
    if found.hard_state != kept.hard_state || from < kept.snapshot.last.index {
        return false;
    }
    let after: Vec<&Entry> = kept.entries.iter().filter(|entry| entry.index > from).collect();
    let follows = kept.term_at(from) == Some(found.snapshot.last.term);
    found.entries.iter().eq(after.iter().copied().filter(|_| follows))
}
