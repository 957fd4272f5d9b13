//! Opening: what the disk holds, what a crash left undone, and what neither explains.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};
use quartet_raft::{HardState, Index, Position};

use super::log::{Current, Segment, Store};
use super::record::{self, Body, Place};
use super::replay::{Replay, Snapshots};
use super::segment::{self, Header};
use super::{Opened, StoreError, StoreSettings, sealed};
use crate::GroupId;
use crate::disk::{Disk, DiskFile};

/// While this name is there, everything else is being removed.
const WIPING: &str = "wiping";
const REWRITTEN: &str = "log.tmp";

/// Where the log ends.
struct End {
    /// What is valid of the last segment that was begun.
    last: Bytes,
    untold: Vec<(GroupId, Position)>,
}

impl<D: Disk> Store<D> {
    /// Reads everything. Unless it finds damage (and then it changes nothing), the end of the log is written anew
    /// and synced: what is read here may be in the page cache only, left by a process whose sync failed.
    pub fn open(disk: D, mut settings: StoreSettings) -> Result<(Self, Opened), StoreError> {
        settings.segment_bytes = settings.segment_bytes.max(StoreSettings::SEGMENT_BYTES_MIN);
        let names = list(&disk)?;
        if names.iter().any(|name| name == WIPING) {
            Self::wipe(&disk)?;
        }
        let mut opened = Opened::default();
        let mut store = Self {
            disk,
            settings,
            damage: None,
            segments: VecDeque::new(),
            current: None,
            spare_bytes: None,
            next_sequence: 1,
            durable: 0,
            hard_states: BTreeMap::new(),
            snapshots: BTreeMap::new(),
        };
        match store.recover(&mut opened)? {
            Ok(mut end) => {
                if opened.identity.as_ref().is_none_or(|identity| identity.cluster.is_none()) {
                    store.forget_groups(&mut end);
                    opened.groups.clear();
                }
                store.settle(&end)?;
            }
            Err(damage) => {
                store.damage = Some(damage.clone());
                opened.damage = Some(damage);
                opened.groups.clear();
            }
        }
        Ok((store, opened))
    }

    /// Removes everything that a store keeps, durably, also when a crash interrupts it: the next `open` goes on.
    pub fn wipe(disk: &D) -> Result<(), StoreError> {
        if !list(disk)?.iter().any(|name| name == WIPING) {
            disk.create(WIPING, 0).map_err(StoreError::io("create", WIPING))?;
        }
        disk.sync_names().map_err(StoreError::io("sync the name of", WIPING))?;
        for name in list(disk)?.iter().filter(|name| is_ours(name)) {
            disk.remove(name).map_err(StoreError::io("remove", name))?;
        }
        disk.sync_names().map_err(StoreError::io("sync the removal of", "everything"))?;
        disk.remove(WIPING).map_err(StoreError::io("remove", WIPING))?;
        disk.sync_names().map_err(StoreError::io("sync the removal of", WIPING))
    }

    /// Inner error: damage.
    fn recover(&mut self, opened: &mut Opened) -> Result<Result<End, String>, StoreError> {
        let names = list(&self.disk)?;
        if names.iter().any(|name| name == sealed::IDENTITY) {
            match sealed::read_identity(&self.disk)? {
                Ok(identity) => opened.identity = Some(identity),
                Err(damage) => return Ok(Err(damage)),
            }
        }
        let snapshots = match self.read_snapshots(&names)? {
            Ok(snapshots) => snapshots,
            Err(damage) => return Ok(Err(damage)),
        };
        let mut replay = Replay::default();
        let last = match self.read_log(&names, &mut replay)? {
            Ok(last) => last,
            Err(damage) => return Ok(Err(damage)),
        };
        if opened.identity.is_none() && (!replay.is_empty() || !snapshots.is_empty() || self.number() > 1) {
            return Ok(Err(format!("{} is missing and a log is there", sealed::IDENTITY)));
        }
        if opened.identity.is_some() && self.segments.is_empty() {
            return Ok(Err(format!("{} is there and the log is missing", sealed::IDENTITY)));
        }
        self.snapshots = snapshots.iter().map(|(group, (meta, _))| (*group, meta.last.index)).collect();
        let untold = replay.untold(&snapshots);
        Ok(replay.finish(snapshots).map(|groups| {
            self.hard_states = groups
                .iter()
                .map(|(group, found)| (*group, found.recovered.hard_state))
                .filter(|(_, state)| *state != HardState::default())
                .collect();
            opened.groups = groups;
            End { last, untold }
        }))
    }

    fn read_snapshots(&self, names: &[String]) -> Result<Result<Snapshots, String>, StoreError> {
        let mut newest = BTreeMap::new();
        for (group, indexes) in sealed::snapshots(names) {
            let index = indexes.last().copied().unwrap_or_default();
            match sealed::read_snapshot(&self.disk, group, index)? {
                Ok(snapshot) => newest.insert(group, snapshot),
                Err(damage) => return Ok(Err(damage)),
            };
        }
        Ok(Ok(newest))
    }

    /// Fills `segments` and the numbers of records. Returns the valid part of the last segment begun.
    fn read_log(
        &mut self,
        names: &[String],
        replay: &mut Replay,
    ) -> Result<Result<Bytes, String>, StoreError> {
        let mut numbers: Vec<u64> = names.iter().filter_map(|name| segment::number(name)).collect();
        numbers.sort_unstable();
        let mut last = Bytes::new();
        let mut blank = None;
        for number in numbers {
            let name = segment::name(number);
            let bytes = sealed::read_whole(&self.disk, &name)?;
            let first_sequence = match segment::decode_header(number, &bytes) {
                Header::Begun { first_sequence } => first_sequence,
                Header::Blank => {
                    // Before a segment's first sync returns, nothing in it can say that it was durable.
                    let from = Place { segment: number, offset: 0 };
                    if let Some(offset) = record::find_proof(&bytes, from, self.next_sequence) {
                        return Ok(Err(format!(
                            "the header of {name} is gone, and offset {offset} needs it"
                        )));
                    }
                    blank.get_or_insert(number);
                    continue;
                }
                Header::Bad => {
                    return Ok(Err(format!("the header of {name} (offset 0) is not what was written")));
                }
            };
            if let Some(gap) = blank {
                return Ok(Err(format!("{} is blank and {name} was begun after it", segment::name(gap))));
            }
            if let Err(damage) = self.check_follows(number, first_sequence) {
                return Ok(Err(damage));
            }
            match self.read_records(number, first_sequence, &bytes, replay) {
                Ok(end) => last = bytes.slice(..end),
                Err(damage) => return Ok(Err(damage)),
            }
        }
        Ok(Ok(last))
    }

    /// A segment's header proves that everything before it was durable: then it must be there.
    fn check_follows(&self, number: u64, first_sequence: u64) -> Result<(), String> {
        let Some(before) = self.segments.back() else { return Ok(()) };
        if before.number + 1 != number {
            return Err(format!("{} is missing", segment::name(before.number + 1)));
        }
        if self.next_sequence != first_sequence {
            return Err(format!(
                "{} ends with record {}, and was durable up to {}",
                segment::name(before.number),
                self.next_sequence - 1,
                first_sequence - 1,
            ));
        }
        Ok(())
    }

    fn read_records(
        &mut self,
        number: u64,
        first_sequence: u64,
        bytes: &[u8],
        replay: &mut Replay,
    ) -> Result<usize, String> {
        let name = segment::name(number);
        let mut highest: BTreeMap<GroupId, Index> = BTreeMap::new();
        let mut place = Place { segment: number, offset: segment::HEADER_BYTES };
        let mut sequence = first_sequence;
        while let Some(found) = record::read(bytes, place).filter(|found| found.sequence == sequence) {
            let body = record::decode(found.body).map_err(|why| {
                format!("{name}: the record at offset {} cannot be read: {why}", place.offset)
            })?;
            if let Body::Entries { group, entries } = &body
                && let Some(last) = entries.last()
            {
                let index = highest.entry(*group).or_default();
                *index = last.index.max(*index);
            }
            replay.record(body).map_err(|why| format!("{name}, offset {}: {why}", place.offset))?;
            place.offset = found.end;
            sequence += 1;
        }
        if let Some(offset) = record::find_proof(bytes, place, sequence) {
            return Err(format!(
                "{name}: the record at offset {} is not what was written, and offset {offset} shows that it was \
                 durable",
                place.offset
            ));
        }
        self.segments.push_back(Segment { number, highest });
        self.next_sequence = sequence;
        Ok(place.offset.min(bytes.len()))
    }

    /// No damage: what crashes left behind goes, and the last segment is written anew without its torn end.
    fn settle(&mut self, end: &End) -> Result<(), StoreError> {
        for name in list(&self.disk)? {
            let blank = segment::number(&name).is_some_and(|number| number > self.number());
            if blank || (is_ours(&name) && name.ends_with(sealed::TEMPORARY)) || self.is_older_snapshot(&name)
            {
                self.disk.remove(&name).map_err(StoreError::io("remove", &name))?;
            }
        }
        if self.segments.is_empty() {
            self.segments.push_back(Segment { number: 1, highest: BTreeMap::new() });
        }
        let header = segment::encode_header(self.number(), self.next_sequence);
        self.rewrite(if end.last.is_empty() { &header } else { &end.last })?;
        self.durable = self.next_sequence - 1;
        // Entries that will follow a snapshot must not seem to follow what it replaced.
        for (group, last) in &end.untold {
            self.append(&record::encode_snapshot_taken(*group, *last))?;
        }
        self.sync()?;
        self.free_segments()?;
        self.keep_room()?;
        Ok(())
    }

    /// A founding that was cut off before the volume belonged to the cluster: the beginning of its logs must not be
    /// joined to others. The last segment goes on as if nothing had been written to it, and those before it go, so
    /// that a crash on the way leaves no hole.
    fn forget_groups(&mut self, end: &mut End) {
        if let Header::Begun { first_sequence } = segment::decode_header(self.number(), &end.last) {
            self.next_sequence = first_sequence;
            end.last.truncate(segment::HEADER_BYTES);
        }
        for segment in &mut self.segments {
            segment.highest.clear();
        }
        self.hard_states.clear();
    }

    fn is_older_snapshot(&self, name: &str) -> bool {
        sealed::snapshots(&[name.to_owned()]).iter().any(|(group, found)| {
            self.snapshots.get(group).is_some_and(|kept| found.iter().all(|at| at < kept))
        })
    }

    fn rewrite(&mut self, content: &[u8]) -> Result<(), StoreError> {
        let name = segment::name(self.number());
        let (mut file, size) = self.create_segment(REWRITTEN, content.len() as u64)?;
        file.write_at(0, content).map_err(StoreError::io("write", REWRITTEN))?;
        file.sync().map_err(StoreError::io("sync", REWRITTEN))?;
        self.disk.rename(REWRITTEN, &name).map_err(StoreError::io("rename to", &name))?;
        self.disk.sync_names().map_err(StoreError::io("sync the name of", &name))?;
        self.current = Some(Current {
            file,
            size: usize::try_from(size).unwrap_or(usize::MAX),
            position: content.len(),
            pending: BytesMut::new(),
            dirty: false,
        });
        Ok(())
    }
}

fn list<D: Disk>(disk: &D) -> Result<Vec<String>, StoreError> {
    disk.list().map_err(StoreError::io("list", "the directory"))
}

/// The directory may hold files of others (the runtime's lock).
fn is_ours(name: &str) -> bool {
    let whole = name.strip_suffix(sealed::TEMPORARY).unwrap_or(name);
    [sealed::IDENTITY, sealed::FOUNDING].contains(&whole)
        || name == REWRITTEN
        || segment::number(name).is_some()
        || name.starts_with(sealed::SNAPSHOT_PREFIX)
}
