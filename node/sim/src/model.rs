//! What a volume holds, as plain data: by which recovery is judged, and a volume of its own for the core alone.

use std::collections::BTreeMap;

use bytes::Bytes;
use quartet_raft::{Entry, HardState, Index, Position, Recovered, SnapshotMeta, Term};
use quartet_replica::GroupId;
use quartet_replica::store::{Batch, Identity, Opened, OpenedGroup, Record, Written};

use crate::rng::Rng;
use crate::seam::Volume;

#[derive(Clone, Debug, Default)]
pub(crate) struct Kept {
    pub(crate) identity: Option<Identity>,
    pub(crate) groups: BTreeMap<GroupId, KeptGroup>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct KeptGroup {
    pub(crate) hard_state: HardState,
    pub(crate) snapshot: SnapshotMeta,
    pub(crate) data: Bytes,
    /// Contiguous after the snapshot.
    pub(crate) entries: Vec<Entry>,
}

impl Kept {
    pub(crate) fn from_opened(opened: &Opened) -> Self {
        let groups = opened.groups.iter().map(|(id, group)| {
            let Recovered { hard_state, snapshot, entries } = group.recovered.clone();
            (*id, KeptGroup { hard_state, snapshot, data: group.snapshot.clone(), entries })
        });
        Self { identity: opened.identity.clone(), groups: groups.collect() }
    }

    pub(crate) fn apply(&mut self, record: &Record) {
        match record {
            Record::HardState { group, state } => self.groups.entry(*group).or_default().hard_state = *state,
            Record::Entries { group, entries } => self.groups.entry(*group).or_default().append(entries),
            Record::Snapshot { group, meta, data, .. } => {
                self.groups.entry(*group).or_default().restore(meta, data);
            }
        }
    }

    pub(crate) fn opened(&self) -> Opened {
        let groups = self.groups.iter().map(|(id, group)| {
            let recovered = Recovered {
                hard_state: group.hard_state,
                snapshot: group.snapshot.clone(),
                entries: group.entries.clone(),
            };
            (*id, OpenedGroup { recovered, snapshot: group.data.clone() })
        });
        Opened { identity: self.identity.clone(), groups: groups.collect(), damage: None }
    }
}

impl KeptGroup {
    pub(crate) fn last(&self) -> Position {
        self.entries.last().map_or(self.snapshot.last, Entry::position)
    }

    fn offset(&self, index: Index) -> Option<usize> {
        usize::try_from(index.0.checked_sub(self.snapshot.last.index.0 + 1)?).ok()
    }

    pub(crate) fn entry(&self, index: Index) -> Option<&Entry> {
        self.entries.get(self.offset(index)?)
    }

    pub(crate) fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.snapshot.last.index {
            return Some(self.snapshot.last.term);
        }
        self.entry(index).map(|entry| entry.term)
    }

    fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        if let Some(offset) = self.offset(first.index) {
            self.entries.truncate(offset);
        }
        self.entries.extend_from_slice(entries);
    }

    fn restore(&mut self, meta: &SnapshotMeta, data: &Bytes) {
        if self.term_at(meta.last.index) == Some(meta.last.term) {
            let offset = self.offset(meta.last.index.next()).unwrap_or(0);
            self.entries.drain(..offset.min(self.entries.len()));
        } else {
            self.entries.clear();
        }
        self.snapshot = meta.clone();
        self.data = data.clone();
    }
}

/// A volume that is nothing but the model.
#[derive(Default)]
pub(crate) struct ModelVolume {
    synced: Kept,
    unsynced: Vec<Record>,
    identity: Option<Identity>,
}

impl Volume for ModelVolume {
    fn open(&mut self) -> Result<Opened, String> {
        Ok(self.synced.opened())
    }

    fn write(&mut self, batch: &Batch) -> Result<Written, String> {
        if batch.identity.is_some() {
            self.identity.clone_from(&batch.identity);
        }
        self.unsynced.extend(batch.records.iter().cloned());
        Ok(Written::default())
    }

    fn sync(&mut self) -> Result<(), String> {
        for record in self.unsynced.drain(..) {
            self.synced.apply(&record);
        }
        self.synced.identity.clone_from(&self.identity);
        Ok(())
    }

    fn crash(&mut self, rng: &mut Rng) {
        let kept = rng.below(self.unsynced.len() as u64 + 1);
        for record in self.unsynced.drain(..).take(usize::try_from(kept).unwrap_or(0)) {
            self.synced.apply(&record);
        }
        if kept > 0 {
            self.synced.identity.clone_from(&self.identity);
        }
        self.identity.clone_from(&self.synced.identity);
    }
}
