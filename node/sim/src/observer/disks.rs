//! What is synced, and what is found again.

use quartet_raft::{Index, MemberId, Term};
use quartet_replica::GroupId;
use quartet_replica::store::Opened;
use xxhash_rust::xxh3::xxh3_64;

use super::shadow::Shadow;
use super::{Observer, Verdict, broken};
use crate::invariant::{Invariant, Violation};
use crate::model::Kept;

/// What a member found on a volume that a bit was flipped on, if it noticed nothing.
pub(crate) enum Unnoticed {
    /// Everything.
    Harmless,
    /// Without the last of what was synced: nothing after it says that it was.
    Tail,
}

impl Observer {
    /// A bit was flipped, and the member found no damage.
    pub(crate) fn unnoticed(&self, id: MemberId, opened: &Opened) -> Result<Unnoticed, Violation> {
        let Some(shadow) = self.disks.get(&id) else { return Ok(Unnoticed::Harmless) };
        let found = Kept::from_opened(opened);
        let mut unnoticed = Unnoticed::Harmless;
        for (group, held) in &shadow.durable.groups {
            let found = found.groups.get(group).cloned().unwrap_or_default();
            if shadow.explain(*group, held, &found).is_some() {
                if !shadow.may_have_lost_its_tail(*group, &found) {
                    let detail = format!("{id} group {} does not notice a flipped bit", group.0);
                    return Err(Violation::new(Invariant::Durability, detail));
                }
                unnoticed = Unnoticed::Tail;
            }
        }
        Ok(unnoticed)
    }

    /// A member is about to start from what its volume holds: some of what it wrote in order, and all that was synced.
    pub(crate) fn started(&mut self, id: MemberId, opened: &Opened) -> Verdict {
        if let Some(damage) = &opened.damage {
            return broken(Invariant::Recovery, format!("{id} found damage after a crash: {damage}"));
        }
        let shadow = self.disks.entry(id).or_default();
        let found = Kept::from_opened(opened);
        for (group, found) in &found.groups {
            let index = found.snapshot.last.index;
            if index > Index(0) && self.images.get(&(*group, index)) != Some(&xxh3_64(&found.data)) {
                let detail = format!("{id} group {} found another snapshot at {index:?}", group.0);
                return broken(Invariant::Durability, detail);
            }
        }
        for (group, held) in &shadow.durable.groups {
            let found = found.groups.get(group).cloned().unwrap_or_default();
            if let Some(detail) = shadow.explain(*group, held, &found) {
                return broken(Invariant::Durability, format!("{id} group {}: {detail}", group.0));
            }
        }
        // A lone voter elects itself at once. If its disk then has lost the term, so that it may have the same one
        // again, what it wrote in it has never left it.
        let lost = |group: &GroupId, term: &Term| {
            found.groups.get(group).is_none_or(|kept| kept.hard_state.term < *term)
        };
        self.entries.retain(|(group, _, term), (_, sole)| *sole != Some(id) || !lost(group, term));
        let leaders = &self.leaders;
        self.offices.retain(|at, office| office.of != id || leaders.contains_key(at) || !lost(&at.0, &at.1));
        let before = std::mem::take(shadow);
        let late = before.unproven.into_iter().chain(before.unsynced);
        let mut past = before.past;
        past.push((before.proven, late.flat_map(|(_, records)| records).collect()));
        *shadow = Shadow {
            written: found.clone(),
            proven: found.clone(),
            durable: found,
            past,
            ..Shadow::default()
        };
        Ok(())
    }

    pub(crate) fn synced(&mut self, id: MemberId, batch: u64) {
        let Some(shadow) = self.disks.get_mut(&id) else { return };
        while let Some((number, records)) = shadow.unsynced.pop_front_if(|(number, _)| *number <= batch) {
            for record in &records {
                shadow.durable.apply(record);
            }
            let before = shadow.synced_when_written.remove(&number).unwrap_or(0);
            // The identity has a file of its own, which says nothing of the log.
            if !records.is_empty() {
                shadow.past.clear();
                while let Some((_, proven)) = shadow.unproven.pop_front_if(|(number, _)| *number <= before) {
                    for record in &proven {
                        shadow.proven.apply(record);
                    }
                }
            }
            shadow.unproven.push_back((number, records));
        }
        shadow.synced = batch.max(shadow.synced);
    }

    /// The store has been given the batch: from now on it may be on the disk.
    pub(crate) fn handed_over(&mut self, id: MemberId, batch: u64) {
        if let Some(shadow) = self.disks.get_mut(&id) {
            shadow.synced_when_written.insert(batch, shadow.synced);
        }
    }
}
