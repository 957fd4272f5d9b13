//! Lives cut short: crashes in the middle of anything.

use super::*;

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
