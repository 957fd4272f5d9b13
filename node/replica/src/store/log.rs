//! Writing: records go into the current segment; a full one is synced before the next begins.

use std::collections::{BTreeMap, VecDeque};
use std::io;

use bytes::{Bytes, BytesMut};
use quartet_raft::{Entry, HardState, Index, SnapshotMeta};

use super::record::{self, Place};
use super::{Batch, Record, StoreError, StoreSettings, Written, sealed, segment};
use crate::GroupId;
use crate::disk::{Disk, DiskFile};
use crate::wire::values::ENTRY_HEADER_BYTES;

/// Entries of one record, so that reading one back stays cheap. A larger entry has a record of its own.
const RECORD_BYTES: usize = 1 << 20;

/// What a member keeps on its disk. Made by [`Store::open`].
pub struct Store<D: Disk> {
    pub(super) disk: D,
    pub(super) settings: StoreSettings,
    pub(super) damage: Option<String>,
    /// Those begun, oldest first; the last one is written to.
    pub(super) segments: VecDeque<Segment>,
    pub(super) current: Option<Current<D::File>>,
    /// Size of the next segment, if its room is kept already.
    pub(super) spare_bytes: Option<u64>,
    pub(super) next_sequence: u64,
    /// All records up to this one are durable.
    pub(super) durable: u64,
    pub(super) hard_states: BTreeMap<GroupId, HardState>,
    pub(super) snapshots: BTreeMap<GroupId, Index>,
}

pub(super) struct Segment {
    pub(super) number: u64,
    /// The last entry of each group in it.
    pub(super) highest: BTreeMap<GroupId, Index>,
}

pub(super) struct Current<F> {
    pub(super) file: F,
    pub(super) size: usize,
    /// Up to here it is written.
    pub(super) position: usize,
    /// Framed, and not yet written.
    pub(super) pending: BytesMut,
    pub(super) dirty: bool,
}

impl<D: Disk> Store<D> {
    /// Writes a batch; it is durable after the next [`Store::sync`].
    pub fn write(&mut self, batch: &Batch) -> Result<Written, StoreError> {
        if let Some(why) = &self.damage {
            return Err(StoreError::Damaged(why.clone()));
        }
        if let Some(identity) = &batch.identity {
            sealed::write_identity(&self.disk, identity)?;
        }
        for record in &batch.records {
            match record {
                Record::HardState { group, state } => {
                    self.hard_states.insert(*group, *state);
                    self.append(&record::encode_hard_state(*group, state))?;
                }
                Record::Entries { group, entries } => self.write_entries(*group, entries)?,
                Record::Snapshot { group, meta, data, .. } => self.write_snapshot(*group, meta, data)?,
            }
        }
        self.flush()?;
        let short_of_space = self.keep_room()?;
        Ok(Written { pinning: self.pinning(), short_of_space })
    }

    /// Makes everything written durable.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        self.flush()?;
        let number = self.number();
        if let Some(current) = &mut self.current
            && std::mem::take(&mut current.dirty)
        {
            current.file.sync().map_err(StoreError::io("sync", &segment::name(number)))?;
        }
        self.durable = self.next_sequence - 1;
        Ok(())
    }

    pub fn settings(&self) -> &StoreSettings {
        &self.settings
    }

    pub fn disk(&self) -> &D {
        &self.disk
    }

    pub fn into_disk(self) -> D {
        self.disk
    }

    fn write_entries(&mut self, group: GroupId, entries: &[Entry]) -> Result<(), StoreError> {
        let mut rest = entries;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fitting = rest
                .iter()
                .take_while(|entry| {
                    bytes += entry_bytes(entry);
                    bytes <= RECORD_BYTES
                })
                .count();
            let (now, later) = rest.split_at(fitting.max(1));
            self.append(&record::encode_entries(group, now))?;
            if let (Some(segment), Some(last)) = (self.segments.back_mut(), now.last()) {
                let highest = segment.highest.entry(group).or_default();
                *highest = last.index.max(*highest);
            }
            rest = later;
        }
        Ok(())
    }

    fn write_snapshot(
        &mut self,
        group: GroupId,
        meta: &SnapshotMeta,
        data: &Bytes,
    ) -> Result<(), StoreError> {
        // An own one, taken while a received one was on its way here: the newer stands for it.
        if self.snapshots.get(&group).is_some_and(|newest| *newest >= meta.last.index) {
            return Ok(());
        }
        // What comes before it must not be lost when it is kept: its term may be in a hard state not yet synced.
        self.sync()?;
        match sealed::write_snapshot(&self.disk, group, meta, data) {
            Err(StoreError::Io { source, .. }) if is_full(&source) && self.spare_bytes.is_some() => {
                self.give_up_spare()?;
                sealed::write_snapshot(&self.disk, group, meta, data)?;
            }
            written => written?,
        }
        self.append(&record::encode_snapshot_taken(group, meta.last))?;
        if let Some(older) = self.snapshots.insert(group, meta.last.index) {
            let name = sealed::snapshot_name(group, older);
            self.disk.remove(&name).map_err(StoreError::io("remove", &name))?;
        }
        self.free_segments()
    }

    /// Removes the oldest segments in which nothing is needed any more, one durably before the next, so that a
    /// crash leaves no hole.
    pub(super) fn free_segments(&mut self) -> Result<(), StoreError> {
        while self.segments.len() > 1 && self.segments.front().is_some_and(|oldest| !self.is_live(oldest)) {
            // Later segments repeat its hard states, but perhaps not yet durably.
            self.sync()?;
            let Some(oldest) = self.segments.pop_front() else { break };
            let name = segment::name(oldest.number);
            self.disk.remove(&name).map_err(StoreError::io("remove", &name))?;
            self.disk.sync_names().map_err(StoreError::io("sync the removal of", &name))?;
        }
        Ok(())
    }

    /// Takes room for the next segment ahead of need. True when there is less room than the reserve.
    pub(crate) fn keep_room(&mut self) -> Result<bool, StoreError> {
        let free = self.disk.free_bytes().map_err(StoreError::io("measure", "the disk"))?;
        if self.spare_bytes.is_none() && free >= self.settings.segment_bytes {
            let name = segment::name(self.number() + 1);
            match self.disk.create(&name, self.settings.segment_bytes) {
                Ok(_) => {
                    self.disk.sync_names().map_err(StoreError::io("sync the name of", &name))?;
                    self.spare_bytes = Some(self.settings.segment_bytes);
                }
                // Somebody else was faster; there is still room in the current one.
                Err(error) if is_full(&error) => return Ok(true),
                Err(error) => return Err(StoreError::io("create", &name)(error)),
            }
        }
        Ok(self.spare_bytes.is_none() || free < self.settings.reserve_bytes)
    }

    pub(super) fn append(&mut self, body: &[u8]) -> Result<(), StoreError> {
        let bytes = record::framed_bytes(body.len());
        if self.current.as_ref().is_none_or(|current| current.end() + bytes > current.size) {
            self.begin_segment(bytes)?;
        }
        self.frame(body);
        Ok(())
    }

    fn frame(&mut self, body: &[u8]) {
        let segment = self.number();
        if let Some(current) = &mut self.current {
            let place = Place { segment, offset: current.end() };
            record::frame(&mut current.pending, place, self.next_sequence, self.durable, body);
            self.next_sequence += 1;
        }
    }

    /// The current segment is full: a new one with room for so many bytes. It begins with all hard states, so that
    /// they never keep an old segment.
    fn begin_segment(&mut self, bytes: usize) -> Result<(), StoreError> {
        // Its header says that everything before it is durable.
        self.sync()?;
        let states: Vec<BytesMut> =
            self.hard_states.iter().map(|(group, state)| record::encode_hard_state(*group, state)).collect();
        let needed = segment::HEADER_BYTES
            + states.iter().map(|body| record::framed_bytes(body.len())).sum::<usize>()
            + bytes;
        let number = self.number() + 1;
        let (file, size) = self.take_file(number, needed)?;
        let pending = BytesMut::from(&segment::encode_header(number, self.next_sequence)[..]);
        self.current = Some(Current { file, size, position: 0, pending, dirty: false });
        self.segments.push_back(Segment { number, highest: BTreeMap::new() });
        for body in &states {
            self.frame(body);
        }
        Ok(())
    }

    /// A file of zeros under the segment's name, durably so.
    fn take_file(&mut self, number: u64, needed: usize) -> Result<(D::File, usize), StoreError> {
        let name = segment::name(number);
        if let Some(spare) = self.spare_bytes.filter(|spare| *spare >= needed as u64) {
            self.spare_bytes = None;
            let file = self.disk.open(&name).map_err(StoreError::io("open", &name))?;
            return Ok((file, usize::try_from(spare).unwrap_or(usize::MAX)));
        }
        self.give_up_spare()?;
        let (file, size) = self.create_segment(&name, needed as u64)?;
        self.disk.sync_names().map_err(StoreError::io("sync the name of", &name))?;
        Ok((file, usize::try_from(size).unwrap_or(usize::MAX)))
    }

    /// A smaller one if there is no room for a whole one: it takes half of what is left, and snapshots the rest.
    pub(super) fn create_segment(&self, name: &str, needed: u64) -> Result<(D::File, u64), StoreError> {
        let mut size = self.settings.segment_bytes.max(needed);
        let mut created = self.disk.create(name, size);
        if created.as_ref().is_err_and(is_full) {
            let free = self.disk.free_bytes().map_err(StoreError::io("measure", "the disk"))?;
            size = needed.max(free / 2);
            created = self.disk.create(name, size);
        }
        created.map(|file| (file, size)).map_err(StoreError::io("create", name))
    }

    fn give_up_spare(&mut self) -> Result<(), StoreError> {
        if self.spare_bytes.take().is_some() {
            let name = segment::name(self.number() + 1);
            self.disk.remove(&name).map_err(StoreError::io("remove", &name))?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        let number = self.number();
        if let Some(current) = &mut self.current
            && !current.pending.is_empty()
        {
            let (file, offset) = (&mut current.file, current.position as u64);
            file.write_at(offset, &current.pending)
                .map_err(StoreError::io("write", &segment::name(number)))?;
            current.position += current.pending.len();
            current.pending.clear();
            current.dirty = true;
        }
        Ok(())
    }

    fn pinning(&self) -> Vec<GroupId> {
        let old = self.segments.len().saturating_sub(self.settings.segments_kept);
        let mut groups: Vec<GroupId> =
            self.segments.iter().take(old).flat_map(|segment| self.live_groups(segment)).collect();
        groups.sort();
        groups.dedup();
        groups
    }

    fn is_live(&self, segment: &Segment) -> bool {
        self.live_groups(segment).next().is_some()
    }

    fn live_groups(&self, segment: &Segment) -> impl Iterator<Item = GroupId> {
        let after = |group: &GroupId| self.snapshots.get(group).copied().unwrap_or_default();
        segment.highest.iter().filter(move |(group, last)| **last > after(group)).map(|(group, _)| *group)
    }

    /// Of the current segment; 0 before the first.
    pub(super) fn number(&self) -> u64 {
        self.segments.back().map_or(0, |segment| segment.number)
    }
}

impl<F> Current<F> {
    fn end(&self) -> usize {
        self.position + self.pending.len()
    }
}

fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::StorageFull
}

fn entry_bytes(entry: &Entry) -> usize {
    let payload = match &entry.payload {
        quartet_raft::Payload::Command(data) => data.len(),
        quartet_raft::Payload::Empty | quartet_raft::Payload::Configuration(_) => 0,
    };
    ENTRY_HEADER_BYTES + payload
}
