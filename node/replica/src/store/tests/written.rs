//! What is written is read back, in whatever order it came.

use super::*;

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
