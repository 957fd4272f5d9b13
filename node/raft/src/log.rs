//! The log in memory: what follows `base`, and the configurations set in it.
//!
//! Terms never fall along a log, which is what makes searching by term a bisection.

use std::collections::VecDeque;

use crate::types::{Configuration, Entry, Index, LogTime, Payload, Position, SnapshotMeta};

/// What an entry counts for in bounds of bytes, besides its payload.
const ENTRY_OVERHEAD_BYTES: usize = 32;
const MEMBER_BYTES: usize = 64;

pub(crate) struct Log {
    snapshot: SnapshotMeta,
    /// The position before the first entry. At most `snapshot.last`: some entries are kept for slow followers.
    base: Position,
    entries: VecDeque<Entry>,
    /// In order, never empty: the snapshot's, then those set by entries after it.
    configurations: Vec<(Index, Configuration)>,
}

impl Log {
    pub(crate) fn new(snapshot: SnapshotMeta) -> Self {
        Self {
            base: snapshot.last,
            configurations: vec![(snapshot.configuration_index, snapshot.configuration.clone())],
            entries: VecDeque::new(),
            snapshot,
        }
    }

    pub(crate) fn snapshot(&self) -> &SnapshotMeta {
        &self.snapshot
    }

    pub(crate) fn first_index(&self) -> Index {
        self.base.index.next()
    }

    pub(crate) fn last(&self) -> Position {
        self.entries.back().map_or(self.base, Entry::position)
    }

    pub(crate) fn last_time(&self) -> LogTime {
        self.entries.back().map_or(self.snapshot.time, |entry| entry.time)
    }

    pub(crate) fn configuration(&self) -> &Configuration {
        &self.set_last().1
    }

    pub(crate) fn configuration_index(&self) -> Index {
        self.set_last().0
    }

    /// The one before that in force, if an entry after the snapshot set the latter.
    pub(crate) fn previous_configuration(&self) -> Option<&Configuration> {
        self.configurations.iter().rev().nth(1).map(|(_, configuration)| configuration)
    }

    fn set_last(&self) -> &(Index, Configuration) {
        &self.configurations[self.configurations.len() - 1]
    }

    /// The configuration that `index` stands under; `index` is not before the snapshot.
    fn configuration_at(&self, index: Index) -> &(Index, Configuration) {
        let after = self.configurations.partition_point(|(set, _)| *set <= index);
        &self.configurations[after.saturating_sub(1)]
    }

    /// What a snapshot of the state at `index` stands for, if the log still reaches there.
    pub(crate) fn meta_at(&self, index: Index) -> Option<SnapshotMeta> {
        if index == self.snapshot.last.index {
            return Some(self.snapshot.clone());
        }
        let entry = self.entry(index).filter(|_| index > self.snapshot.last.index)?;
        let (configuration_index, configuration) = self.configuration_at(index).clone();
        Some(SnapshotMeta { last: entry.position(), time: entry.time, configuration, configuration_index })
    }

    fn offset(&self, index: Index) -> Option<usize> {
        usize::try_from(index.0.checked_sub(self.base.index.0 + 1)?).ok()
    }

    pub(crate) fn entry(&self, index: Index) -> Option<&Entry> {
        self.entries.get(self.offset(index)?)
    }

    /// The position at `index`, if the log still knows its term.
    pub(crate) fn position(&self, index: Index) -> Option<Position> {
        if index == self.base.index {
            return Some(self.base);
        }
        self.entry(index).map(Entry::position)
    }

    pub(crate) fn holds(&self, position: Position) -> bool {
        self.position(position.index) == Some(position)
    }

    /// The last place, not after `limit.index`, whose term is not after `limit.term`: where another log that ends
    /// at `limit` could at best agree with this one. Lies before the base if it cannot agree there.
    pub(crate) fn floor(&self, limit: Position) -> Index {
        if limit.index < self.base.index {
            return limit.index;
        }
        if self.base.term > limit.term {
            return Index(self.base.index.0.saturating_sub(1));
        }
        let by_term = self.entries.partition_point(|entry| entry.term <= limit.term) as u64;
        limit.index.min(Index(self.base.index.0 + by_term))
    }

    /// Entries from `from` on, at least one if there is one, up to `bytes_max` otherwise.
    pub(crate) fn slice(&self, from: Index, bytes_max: usize) -> Vec<Entry> {
        let mut bytes = 0;
        let mut slice = Vec::new();
        for entry in self.from(from) {
            bytes += size_bytes(entry);
            if bytes > bytes_max && !slice.is_empty() {
                break;
            }
            slice.push(entry.clone());
        }
        slice
    }

    /// Entries after `after`, up to and including `to`.
    pub(crate) fn between(&self, after: Index, to: Index) -> impl Iterator<Item = &Entry> {
        self.from(after.next()).take_while(move |entry| entry.index <= to)
    }

    fn from(&self, from: Index) -> impl Iterator<Item = &Entry> {
        let start = self.offset(from).unwrap_or(0).min(self.entries.len());
        self.entries.range(start..)
    }

    /// `entry` follows the last one.
    pub(crate) fn append(&mut self, entry: Entry) {
        debug_assert_eq!(entry.index, self.last().index.next(), "a log has no gaps");
        if let Payload::Configuration(configuration) = &entry.payload {
            self.configurations.push((entry.index, configuration.clone()));
        }
        self.entries.push_back(entry);
    }

    /// Forgets everything from `from` on, and the configurations set there. Never reaches below the snapshot.
    pub(crate) fn truncate(&mut self, from: Index) {
        debug_assert!(from > self.snapshot.last.index, "a snapshot holds only what is committed");
        self.entries.truncate(self.offset(from).unwrap_or(0));
        self.configurations.retain(|(set, _)| *set < from);
    }

    /// The snapshot now stands for the log up to its end; all but `keep` entries before that go.
    pub(crate) fn compact(&mut self, meta: SnapshotMeta, keep: u64) {
        let cut = Index(meta.last.index.0.saturating_sub(keep));
        while let Some(entry) = self.entries.front().filter(|entry| entry.index <= cut) {
            self.base = entry.position();
            self.entries.pop_front();
        }
        self.adopt(meta);
    }

    /// Replaces the log up to `meta.last`, and what follows too, unless it follows from the same entry.
    /// Entries after it may have been promised to a leader: they must not go without need.
    pub(crate) fn restore(&mut self, meta: SnapshotMeta) {
        if self.holds(meta.last) {
            self.compact(meta, 0);
        } else {
            *self = Self::new(meta);
        }
    }

    fn adopt(&mut self, meta: SnapshotMeta) {
        self.configurations.retain(|(set, _)| *set > meta.last.index);
        self.configurations.insert(0, (meta.configuration_index, meta.configuration.clone()));
        self.snapshot = meta;
    }
}

/// What an entry counts for in bounds of bytes.
pub(crate) fn size_bytes(entry: &Entry) -> usize {
    ENTRY_OVERHEAD_BYTES
        + match &entry.payload {
            Payload::Empty => 0,
            Payload::Configuration(configuration) => {
                let addresses: usize = configuration.addresses.values().map(String::len).sum();
                MEMBER_BYTES * configuration.members().len() + addresses
            }
            Payload::Command(data) => data.len(),
        }
}
