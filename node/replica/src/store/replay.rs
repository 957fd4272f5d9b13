//! What the records of the log add up to, group by group.

use std::collections::BTreeMap;

use bytes::Bytes;
use quartet_raft::{Entry, HardState, Index, Position, Recovered, SnapshotMeta};

use super::OpenedGroup;
use super::record::Body;
use crate::GroupId;

/// The newest of each group.
pub(super) type Snapshots = BTreeMap<GroupId, (SnapshotMeta, Bytes)>;

#[derive(Debug, Default)]
pub(super) struct Replay {
    groups: BTreeMap<GroupId, GroupReplay>,
}

#[derive(Debug, Default)]
struct GroupReplay {
    hard_state: HardState,
    entries: Vec<Entry>,
    /// The newest snapshot that the log says there is.
    snapshot_taken: Index,
}

impl Replay {
    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The error says what is missing.
    pub(super) fn record(&mut self, body: Body) -> Result<(), String> {
        match body {
            Body::HardState { group, state } => {
                self.groups.entry(group).or_default().hard_state = state;
                Ok(())
            }
            Body::Entries { group, entries } => {
                let log = self.groups.entry(group).or_default();
                log.append(entries).map_err(|why| format!("group {}: {why}", group.0))
            }
            Body::SnapshotTaken { group, last } => {
                let log = self.groups.entry(group).or_default();
                log.snapshot_taken = log.snapshot_taken.max(last.index);
                log.start_after(last);
                Ok(())
            }
        }
    }

    /// Snapshots that are there and that the log does not tell of: a crash came before it could.
    pub(super) fn untold(&self, snapshots: &Snapshots) -> Vec<(GroupId, Position)> {
        let told = |group: &GroupId| self.groups.get(group).map_or(Index(0), |log| log.snapshot_taken);
        let found = snapshots.iter().map(|(group, (meta, _))| (*group, meta.last));
        found.filter(|(group, last)| told(group) < last.index).collect()
    }

    /// Joins the log with the snapshots that were found.
    pub(super) fn finish(mut self, snapshots: Snapshots) -> Result<BTreeMap<GroupId, OpenedGroup>, String> {
        let mut found = snapshots;
        for group in found.keys() {
            self.groups.entry(*group).or_default();
        }
        let mut opened = BTreeMap::new();
        for (group, mut log) in self.groups {
            let (meta, data) = found.remove(&group).unwrap_or_default();
            log.start_after(meta.last);
            log.check(meta.last).map_err(|why| format!("group {}: {why}", group.0))?;
            let recovered = Recovered { hard_state: log.hard_state, snapshot: meta, entries: log.entries };
            opened.insert(group, OpenedGroup { recovered, snapshot: data });
        }
        Ok(opened)
    }
}

impl GroupReplay {
    fn append(&mut self, entries: Vec<Entry>) -> Result<(), String> {
        let Some(first) = entries.first().map(|entry| entry.index) else { return Ok(()) };
        if entries.windows(2).any(|pair| pair[1].index != pair[0].index.next()) {
            return Err(format!("entries after {} do not follow each other", first.0));
        }
        let start = self.entries.first().map_or(first, |entry| entry.index);
        // What came between a received snapshot's record and its restoring was replaced by it.
        let restored = first == self.snapshot_taken.next()
            && self.entries.last().is_some_and(|last| last.index < self.snapshot_taken);
        if first <= start || restored {
            self.entries = entries;
            return Ok(());
        }
        let kept = usize::try_from(first.0 - start.0).unwrap_or(usize::MAX);
        if kept > self.entries.len() {
            let last = start.0 + self.entries.len() as u64 - 1;
            return Err(format!("entries {} to {} are missing", last + 1, first.0 - 1));
        }
        self.entries.truncate(kept);
        self.entries.extend(entries);
        Ok(())
    }

    /// Raft §7: what follows a snapshot stays only if the log agrees with the snapshot's end.
    fn start_after(&mut self, last: Position) {
        let Some(first) = self.entries.first().map(|entry| entry.index) else { return };
        if last.index < first {
            return;
        }
        let at = usize::try_from(last.index.0 - first.0).unwrap_or(usize::MAX);
        match self.entries.get(at) {
            Some(entry) if entry.term == last.term => drop(self.entries.drain(..=at)),
            _ => self.entries.clear(),
        }
    }

    fn check(&self, snapshot: Position) -> Result<(), String> {
        if snapshot.index < self.snapshot_taken {
            return Err(format!("the snapshot at {} is missing", self.snapshot_taken.0));
        }
        match self.entries.first() {
            Some(entry) if entry.index != snapshot.index.next() => Err(format!(
                "entries {} to {} are missing",
                snapshot.index.0 + 1,
                entry.index.0.saturating_sub(1)
            )),
            _ => Ok(()),
        }
    }
}
