//! What was synced is there, what was not may be cut, and what neither explains is damage.

use std::collections::BTreeMap;

use bytes::Bytes;
use quartet_raft::{
    Configuration, Entry, HardState, Index, LogTime, MemberId, Payload, Position, SnapshotMeta, Term,
};

use super::*;
use crate::disk::{Disk, DiskFile, MemoryDisk};

mod damage;
mod lives;
mod space;
mod written;

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
