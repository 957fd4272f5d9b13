//! A torn tail is cut; anything else that is not as it was written is damage.

use super::*;

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
