//! What was synced is there, what was not may be cut, and what neither explains is damage.

use std::collections::BTreeMap;

use bytes::Bytes;
use quartet_raft::{
    Configuration, Entry, HardState, Index, LogTime, MemberId, Payload, Position, SnapshotMeta, Term,
};

use super::*;
use crate::disk::{Disk, DiskFile, MemoryDisk};

const SEGMENT: u64 = StoreSettings::SEGMENT_BYTES_MIN;
const ROOM: u64 = 4 << 20;

fn settings() -> StoreSettings {
    StoreSettings { segment_bytes: SEGMENT, segments_kept: 2, reserve_bytes: 2 * SEGMENT }
}

fn me() -> MemberId {
    MemberId { ordinal: 1, incarnation: 99 }
}

fn identity() -> Identity {
    Identity { id: me(), cluster: Some(5), groups: 3, boots: 1 }
}

fn open(disk: &MemoryDisk) -> (Store<MemoryDisk>, Opened) {
    Store::open(disk.clone(), settings()).unwrap()
}

/// A member's disk, its identity on it.
fn begun() -> (MemoryDisk, Store<MemoryDisk>) {
    let disk = MemoryDisk::new(ROOM);
    let (mut store, opened) = open(&disk);
    assert!(opened.identity.is_none() && opened.damage.is_none() && opened.groups.is_empty());
    write(&mut store, Batch { identity: Some(identity()), ..Batch::default() });
    (disk, store)
}

#[allow(clippy::needless_pass_by_value)]
fn write(store: &mut Store<MemoryDisk>, batch: Batch) -> Written {
    let written = store.write(&batch).unwrap();
    store.sync().unwrap();
    written
}

fn batch(record: Record) -> Batch {
    Batch { records: vec![record], ..Batch::default() }
}

fn entry(term: u64, index: u64, bytes: usize) -> Entry {
    let data = vec![u8::try_from(index % 251).unwrap(); bytes];
    let payload = if bytes == 0 { Payload::Empty } else { Payload::Command(data.into()) };
    Entry { term: Term(term), index: Index(index), time: LogTime(index), payload }
}

fn entries(group: u16, indexes: std::ops::RangeInclusive<u64>) -> Record {
    let entries = indexes.map(|index| entry(1, index, 100)).collect();
    Record::Entries { group: GroupId(group), entries }
}

fn snapshot(group: u16, term: u64, index: u64) -> Record {
    let configuration = Configuration { voters: [me()].into(), ..Configuration::default() };
    let last = Position { term: Term(term), index: Index(index) };
    let meta = SnapshotMeta { last, time: LogTime(index), configuration, configuration_index: Index(1) };
    Record::Snapshot { group: GroupId(group), meta, data: Bytes::from(format!("state at {index}")) }
}

fn indexes(opened: &Opened, group: u16) -> Vec<u64> {
    opened.groups[&GroupId(group)].recovered.entries.iter().map(|entry| entry.index.0).collect()
}

/// The same files on another disk, all durable, one of them changed; none removes it.
fn copy_with(disk: &MemoryDisk, name: &str, change: impl Fn(Vec<u8>) -> Option<Vec<u8>>) -> MemoryDisk {
    let copy = MemoryDisk::new(ROOM);
    for file in disk.list().unwrap() {
        let bytes = disk.file_bytes(&file).unwrap();
        if let Some(bytes) = if file == name { change(bytes) } else { Some(bytes) } {
            let mut new = copy.create(&file, bytes.len() as u64).unwrap();
            new.write_at(0, &bytes).unwrap();
            new.sync().unwrap();
        }
    }
    copy.sync_names().unwrap();
    copy
}

fn damage(disk: &MemoryDisk) -> Option<String> {
    let (mut store, opened) = open(disk);
    if opened.damage.is_some() {
        assert!(opened.groups.is_empty());
        assert!(matches!(store.write(&batch(entries(0, 1..=1))), Err(StoreError::Damaged(_))));
    }
    opened.damage
}

#[test]
fn what_was_written_is_read_back() {
    let (disk, mut store) = begun();
    let state = HardState { term: Term(3), vote: Some(me()) };
    let records = vec![Record::HardState { group: GroupId(0), state }, entries(0, 1..=5), entries(1, 1..=2)];
    write(&mut store, Batch { records, ..Batch::default() });
    write(&mut store, batch(snapshot(0, 1, 3)));
    write(&mut store, batch(entries(1, 2..=4)));
    for _ in 0..3 {
        let (_, opened) = open(&disk);
        assert_eq!(opened.identity, Some(identity()));
        assert_eq!(opened.groups[&GroupId(0)].recovered.hard_state, state);
        assert_eq!(opened.groups[&GroupId(0)].recovered.snapshot.last.index, Index(3));
        assert_eq!(&opened.groups[&GroupId(0)].snapshot[..], b"state at 3");
        assert_eq!((indexes(&opened, 0), indexes(&opened, 1)), (vec![4, 5], vec![1, 2, 3, 4]));
    }
}

#[test]
fn a_snapshot_that_the_log_does_not_agree_with_replaces_all_of_it() {
    let (disk, mut store) = begun();
    write(&mut store, batch(entries(0, 1..=9)));
    write(&mut store, batch(snapshot(0, 2, 5)));
    assert!(indexes(&open(&disk).1, 0).is_empty());
    let (mut store, _) = open(&disk);
    write(&mut store, batch(entries(0, 6..=7)));
    assert_eq!(indexes(&open(&disk).1, 0), [6, 7]);
}

#[test]
fn what_a_founding_that_was_cut_off_has_written_is_never_joined_to_another_log() {
    let (disk, mut store) = begun();
    let empty = Identity { cluster: None, ..identity() };
    write(&mut store, Batch { identity: Some(empty.clone()), ..Batch::default() });
    let voted = HardState { term: Term(9), vote: Some(me()) };
    write(&mut store, batch(Record::HardState { group: GroupId(0), state: voted }));
    // More than a segment.
    write(&mut store, batch(entries(0, 1..=300)));
    for _ in 0..2 {
        let (_, opened) = open(&disk);
        assert_eq!((opened.damage, opened.identity), (None, Some(empty.clone())));
        assert!(opened.groups.is_empty());
    }
    let (mut store, _) = open(&disk);
    write(&mut store, Batch { identity: Some(identity()), ..Batch::default() });
    write(&mut store, batch(entries(1, 1..=2)));
    let (_, opened) = open(&disk);
    assert_eq!(opened.damage, None);
    assert_eq!(opened.groups.keys().copied().collect::<Vec<_>>(), [GroupId(1)]);
    assert_eq!(opened.groups[&GroupId(1)].recovered.hard_state, HardState::default());
    assert_eq!(indexes(&opened, 1), [1, 2]);
}

/// One is received from the leader while an own one is taken of the state before it.
#[test]
fn a_snapshot_never_replaces_a_newer_one() {
    let (disk, mut store) = begun();
    write(&mut store, batch(entries(0, 1..=60)));
    write(&mut store, batch(snapshot(0, 1, 100)));
    write(&mut store, batch(snapshot(0, 1, 60)));
    write(&mut store, batch(entries(0, 101..=102)));
    let (_, opened) = open(&disk);
    assert_eq!(opened.damage, None);
    assert_eq!(opened.groups[&GroupId(0)].snapshot, Bytes::from_static(b"state at 100"));
    assert_eq!(indexes(&opened, 0), [101, 102]);
}

/// Entries that were on their way when the snapshot came; until it is synced the core goes on without it.
#[test]
fn entries_between_a_received_snapshot_and_what_follows_it_are_no_hole() {
    let (disk, mut store) = begun();
    write(&mut store, batch(entries(0, 1..=90)));
    store.write(&batch(snapshot(0, 1, 100))).unwrap();
    write(&mut store, batch(entries(0, 91..=95)));
    write(&mut store, batch(entries(0, 101..=102)));
    let (_, opened) = open(&disk);
    assert_eq!(opened.damage, None);
    assert_eq!(indexes(&opened, 0), [101, 102]);
}

#[test]
fn on_a_full_disk_a_snapshot_takes_the_room_that_was_kept_for_the_log() {
    let (disk, mut store) = begun();
    write(&mut store, batch(entries(0, 1..=10)));
    let filler = disk.create("filler", disk.free_bytes().unwrap()).unwrap();
    drop(filler);
    assert_eq!(disk.free_bytes().unwrap(), 0);
    // Each frees what the one before had to keep.
    for last in [10, 200, 400, 600] {
        write(&mut store, batch(snapshot(0, 1, last)));
        assert!(write(&mut store, batch(entries(0, last + 1..=last + 60))).short_of_space);
        store = open(&disk).0;
    }
    let (_, opened) = open(&disk);
    assert_eq!(opened.damage, None);
    assert_eq!(indexes(&opened, 0), (601..=660).collect::<Vec<_>>());
}

#[test]
fn an_entry_larger_than_a_segment_has_a_segment_of_its_own() {
    let (disk, mut store) = begun();
    let large = entry(1, 2, 3 * usize::try_from(SEGMENT).unwrap());
    let records = vec![entry(1, 1, 10), large.clone(), entry(1, 3, 10)];
    write(&mut store, batch(Record::Entries { group: GroupId(0), entries: records }));
    write(&mut store, batch(entries(0, 4..=4)));
    let (_, opened) = open(&disk);
    assert_eq!(indexes(&opened, 0), [1, 2, 3, 4]);
    assert_eq!(opened.groups[&GroupId(0)].recovered.entries[1], large);
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_and_what_was_synced_before_it_is_kept() {
    let (disk, mut store) = begun();
    write(&mut store, batch(entries(0, 1..=3)));
    let whole = disk.file_bytes(&segment::name(1)).unwrap();
    let start = whole.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    store.write(&batch(entries(0, 4..=6))).unwrap();
    let end = disk.file_bytes(&segment::name(1)).unwrap().iter().rposition(|byte| *byte != 0).unwrap() + 1;
    assert!(end > start + 300);
    for cut in start..=end {
        for garbage in [0, 0xff] {
            let torn = copy_with(&disk, &segment::name(1), |mut bytes| {
                bytes[cut..end].fill(garbage);
                Some(bytes)
            });
            let (mut store, opened) = open(&torn);
            assert_eq!(opened.damage, None, "cut at {cut}");
            let expected: &[u64] = if cut == end { &[1, 2, 3, 4, 5, 6] } else { &[1, 2, 3] };
            assert_eq!(indexes(&opened, 0), expected, "cut at {cut}");
            write(&mut store, batch(entries(0, 4..=4)));
            assert_eq!(indexes(&open(&torn).1, 0), [1, 2, 3, 4]);
        }
    }
}

#[test]
fn a_flip_before_the_last_sync_is_damage_and_names_the_file_and_the_offset() {
    let (disk, mut store) = begun();
    for index in 1..=3 {
        write(&mut store, batch(entries(0, index..=index)));
    }
    let name = segment::name(1);
    let last = disk.file_bytes(&name).unwrap().windows(4).rposition(|bytes| bytes == b"qREC").unwrap();
    let mut found = 0;
    for offset in 0..last {
        let flipped = copy_with(&disk, &name, |mut bytes| {
            bytes[offset] ^= 1 << (offset % 8);
            Some(bytes)
        });
        if let Some(why) = damage(&flipped) {
            assert!(why.contains(&name) && why.contains("offset"), "{why}");
            found += 1;
        } else {
            // Padding between records is nobody's.
            assert_eq!(indexes(&open(&flipped).1, 0), [1, 2, 3], "offset {offset}");
        }
    }
    assert!(found >= last - 3 * 8, "only {found} of {last} flips were found");
}

#[test]
fn a_flip_in_an_older_segment_in_a_snapshot_or_in_the_identity_is_damage() {
    let (disk, mut store) = begun();
    for index in 1..=300 {
        write(&mut store, batch(entries(0, index..=index)));
    }
    write(&mut store, batch(snapshot(1, 1, 7)));
    let snapshot = sealed::snapshot_name(GroupId(1), Index(7));
    assert_eq!(damage(&disk), None);
    for name in [segment::name(1), segment::name(2), snapshot.clone(), sealed::IDENTITY.to_owned()] {
        let bytes = disk.file_bytes(&name).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        for offset in [0, used / 2, used - 8] {
            let copy = copy_with(&disk, &name, Some);
            assert!(copy.flip(&name, offset as u64, 3));
            assert!(damage(&copy).is_some_and(|why| why.contains(&name)), "{name} at {offset}");
        }
        assert!(damage(&copy_with(&disk, &name, |_| None)).is_some(), "{name} missing");
    }
}

#[test]
fn a_log_without_an_identity_or_an_identity_without_a_log_is_not_an_empty_member() {
    let (disk, mut store) = begun();
    write(&mut store, batch(entries(0, 1..=1)));
    assert!(
        damage(&copy_with(&disk, sealed::IDENTITY, |_| None)).is_some_and(|why| why.contains("identity"))
    );
    let no_log = copy_with(&disk, &segment::name(1), |_| None);
    assert!(damage(&no_log).is_some_and(|why| why.contains("log")));
}

#[test]
fn after_a_failed_sync_what_a_restart_reads_is_made_durable_before_it_counts() {
    let mut kept = 0;
    for seed in 0..100 {
        let (disk, mut store) = begun();
        write(&mut store, batch(entries(0, 1..=2)));
        store.write(&batch(entries(0, 3..=20))).unwrap();
        disk.fail_sync();
        assert!(store.sync().is_err());
        // The process is started again; the disk was not.
        let (_, opened) = open(&disk);
        let read = indexes(&opened, 0);
        kept += usize::from(read.len() == 20);
        disk.crash(seed);
        let (_, opened) = open(&disk);
        assert_eq!((opened.damage.clone(), indexes(&opened, 0)), (None, read), "seed {seed}");
    }
    assert_eq!(kept, 100);
}

#[test]
fn segments_are_freed_when_snapshots_cover_them_and_an_idle_group_never_pins_any() {
    let (disk, mut store) = begun();
    let vote = HardState { term: Term(9), vote: Some(me()) };
    write(&mut store, batch(Record::HardState { group: GroupId(2), state: vote }));
    write(&mut store, batch(entries(1, 1..=1)));
    let mut pinned = Written::default();
    for index in 1..=1000 {
        pinned = write(&mut store, batch(entries(0, index..=index)));
    }
    assert_eq!(pinned.pinning, [GroupId(0), GroupId(1)]);
    assert_eq!(write(&mut store, batch(snapshot(0, 1, 1000))).pinning, [GroupId(1)]);
    assert_eq!(write(&mut store, batch(snapshot(1, 1, 1))).pinning, []);
    let segments = disk.list().unwrap().iter().filter(|name| segment::number(name).is_some()).count();
    assert_eq!(segments, 2, "the current and the spare one");
    let (_, opened) = open(&disk);
    assert_eq!(opened.damage, None);
    assert_eq!(opened.groups[&GroupId(2)].recovered.hard_state, vote);
}

#[test]
fn a_segment_is_freed_only_when_what_the_next_one_repeats_is_durable() {
    for seed in 0..50 {
        let (disk, mut store) = begun();
        let vote = HardState { term: Term(9), vote: Some(me()) };
        write(&mut store, batch(Record::HardState { group: GroupId(0), state: vote }));
        let mut index = 0;
        // Until there is no room for the record that tells of a snapshot: it begins the next segment.
        loop {
            let current = store.current.as_ref().unwrap();
            let left = current.size - current.position;
            if left < 48 {
                break;
            }
            index += 1;
            let entries = vec![entry(1, index, if left < 300 { left.saturating_sub(100) } else { 100 })];
            write(&mut store, batch(Record::Entries { group: GroupId(0), entries }));
        }
        assert_eq!(store.number(), 1);
        store.write(&batch(snapshot(0, 1, index))).unwrap();
        assert_eq!(store.segments.front().unwrap().number, 2);
        disk.crash(seed);
        let (_, opened) = open(&disk);
        assert_eq!(opened.damage, None, "seed {seed}");
        assert_eq!(opened.groups[&GroupId(0)].recovered.hard_state, vote, "seed {seed}");
    }
}

#[test]
fn a_disk_almost_full_is_told_before_anything_fails_and_recovers() {
    let disk = MemoryDisk::new(10 * SEGMENT);
    let (mut store, _) = open(&disk);
    write(&mut store, Batch { identity: Some(identity()), ..Batch::default() });
    let mut index = 0;
    let mut short = false;
    while !short {
        index += 1;
        short = write(&mut store, batch(entries(0, index..=index))).short_of_space;
        assert!(index < 10_000);
    }
    // What must go on does, for a while: the reserve.
    for more in index + 1..index + 50 {
        assert!(write(&mut store, batch(entries(0, more..=more))).short_of_space);
    }
    assert!(!write(&mut store, batch(snapshot(0, 1, index + 49))).short_of_space);
    disk.set_capacity(0);
    assert!(write(&mut store, batch(entries(0, index + 50..=index + 50))).short_of_space);
    disk.set_capacity(ROOM);
    assert!(!write(&mut store, batch(entries(0, index + 51..=index + 51))).short_of_space);
}

#[test]
fn a_wipe_is_whole_or_not_begun_wherever_it_is_cut() {
    for cut in 0..20 {
        for seed in 0..20 {
            let (disk, mut store) = begun();
            write(&mut store, batch(entries(0, 1..=3)));
            write(&mut store, batch(snapshot(0, 1, 2)));
            drop(store);
            disk.stop_after(cut);
            let wiped = Store::wipe(&disk).is_ok();
            disk.crash(seed);
            let (_, opened) = open(&disk);
            assert_eq!(opened.damage, None, "cut at {cut}, seed {seed}");
            assert!(!wiped || opened.identity.is_none());
            if opened.identity.is_some() {
                assert_eq!(indexes(&opened, 0), [3]);
            }
        }
    }
}

#[test]
fn ten_thousand_lives_cut_short_anywhere_lose_nothing_synced_and_invent_nothing() {
    let mut lives = Lives::default();
    for seed in 0..10_000 {
        lives.live(seed);
    }
    println!("{lives:?}");
    assert!(lives.crashes > 20_000 && lives.snapshots > 10_000 && lives.rotations > 2_000, "{lives:?}");
    assert!(lives.lost_unsynced > 1_000 && lives.kept_unsynced > 1_000, "{lives:?}");
}

#[derive(Debug, Default)]
struct Lives {
    crashes: u64,
    snapshots: u64,
    rotations: u64,
    lost_unsynced: u64,
    kept_unsynced: u64,
}

/// What a store should hold, kept simply.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model(BTreeMap<GroupId, ModelGroup>);

#[derive(Clone, Debug, Default, PartialEq)]
struct ModelGroup {
    hard_state: HardState,
    snapshot: SnapshotMeta,
    data: Bytes,
    entries: Vec<Entry>,
}

impl Model {
    fn of(opened: &Opened) -> Self {
        let group = |found: &OpenedGroup| ModelGroup {
            hard_state: found.recovered.hard_state,
            snapshot: found.recovered.snapshot.clone(),
            data: found.snapshot.clone(),
            entries: found.recovered.entries.clone(),
        };
        Self(opened.groups.iter().map(|(id, found)| (*id, group(found))).collect())
    }

    fn record(&mut self, record: &Record) {
        match record {
            Record::HardState { group, state } => self.0.entry(*group).or_default().hard_state = *state,
            Record::Entries { group, entries } => {
                let log = &mut self.0.entry(*group).or_default().entries;
                log.retain(|kept| kept.index < entries[0].index);
                log.extend(entries.iter().cloned());
            }
            Record::Snapshot { group, meta, data, .. } => {
                let group = self.0.entry(*group).or_default();
                let agrees = group.entries.iter().any(|kept| kept.position() == meta.last);
                group.entries.retain(|kept| agrees && kept.index > meta.last.index);
                (group.snapshot, group.data) = (meta.clone(), data.clone());
            }
        }
    }
}

impl Lives {
    fn live(&mut self, seed: u64) {
        let mut random = Random(seed);
        let (disk, mut store) = begun();
        let mut model = Model::default();
        for life in 0..3 {
            disk.stop_after(random.below(120));
            // States that a crash may leave: the last one synced, and each after it.
            let mut possible = vec![model.clone()];
            for _ in 0..60 {
                let records: Vec<Record> = (0..=random.below(2))
                    .map(|_| self.next_record(&mut random, &mut model, &mut possible))
                    .collect();
                if store.write(&Batch { records, ..Batch::default() }).is_err() {
                    break;
                }
                if random.below(2) == 0 {
                    if store.sync().is_err() {
                        break;
                    }
                    possible.drain(..possible.len() - 1);
                }
            }
            self.rotations += store.number();
            disk.crash(random.next());
            self.crashes += 1;
            let (opened_store, opened) = open(&disk);
            assert_eq!(opened.damage, None, "seed {seed}, life {life}");
            assert_eq!(opened.identity, Some(identity()), "seed {seed}, life {life}");
            let found = Model::of(&opened);
            let at = possible.iter().position(|state| *state == found);
            assert!(
                at.is_some(),
                "seed {seed}, life {life}: {found:?} was never the state after the last sync"
            );
            self.kept_unsynced += u64::from(at > Some(0));
            self.lost_unsynced += u64::from(at < Some(possible.len() - 1));
            (store, model) = (opened_store, found);
        }
    }

    fn next_record(&mut self, random: &mut Random, model: &mut Model, possible: &mut Vec<Model>) -> Record {
        let group = GroupId(u16::try_from(random.below(3)).unwrap());
        let log = model.0.entry(group).or_default().clone();
        let start = log.snapshot.last.index.0 + 1;
        let end = log.entries.last().map_or(start, |last| last.index.0 + 1);
        let term = log.hard_state.term.0;
        let record = match random.below(8) {
            0 => Record::HardState {
                group,
                state: HardState { term: Term(term + 1), vote: (random.below(2) == 0).then(me) },
            },
            1 => {
                self.snapshots += 1;
                let known = log.entries.get(usize::try_from(random.below(8)).unwrap());
                let last = known.map_or(
                    Position { term: Term(term + 1), index: Index(end + random.below(5)) },
                    Entry::position,
                );
                snapshot(group.0, last.term.0, last.index.0)
            }
            _ => {
                let first = end - random.below(3).min(end - start);
                let size = if random.below(10) == 0 { 4000 } else { random.below(300) };
                let entries = (first..=first + random.below(4))
                    .map(|index| entry(term, index, usize::try_from(size).unwrap()))
                    .collect();
                Record::Entries { group, entries }
            }
        };
        model.record(&record);
        possible.push(model.clone());
        record
    }
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }
}
