//! Segments come and go, and a disk that fills up is told of in time.

use super::*;

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
