//! Watches what every member writes, says and applies, and holds it to Raft's safety properties
//! (Raft dissertation, figure 3.2).

use std::collections::{BTreeMap, VecDeque};

use quartet_raft::{AppendOutcome, Body, Entry, Index, LogTime, MemberId, Message, Payload, Position, Term};
use quartet_replica::GroupId;
use quartet_replica::engine::Output;
use quartet_replica::store::{Batch, Opened, Record};
use quartet_replica::wire::PeerMessage;
use xxhash_rust::xxh3::xxh3_64;

use crate::invariant::{Invariant, Violation};
use crate::model::{Kept, KeptGroup};
use crate::queue::Micros;
use crate::seam::Applied;

type Verdict = Result<(), Violation>;

#[derive(Default)]
pub(crate) struct Observer {
    disks: BTreeMap<MemberId, Shadow>,
    leaders: BTreeMap<(GroupId, Term), MemberId>,
    entries: BTreeMap<(GroupId, Index, Term), Seen>,
    committed: BTreeMap<GroupId, Vec<Committed>>,
    applied: BTreeMap<(GroupId, Index), (LogTime, u64)>,
    states: BTreeMap<(GroupId, Index), u64>,
    /// Digests of snapshots: at the same place all are the same, whoever took or received them.
    images: BTreeMap<(GroupId, Index), u64>,
    /// How fast clocks may run, in parts per million above real time.
    drift_ppm: u64,
    pub(crate) elections: u64,
    pub(crate) snapshots: u64,
    pub(crate) configurations: u64,
}

/// A member's disk as its batches describe it.
#[derive(Default)]
struct Shadow {
    written: Kept,
    durable: Kept,
    unsynced: VecDeque<(u64, Vec<Record>)>,
}

/// What an entry was when it was first seen.
#[derive(Clone, Copy, PartialEq)]
struct Seen {
    digest: u64,
    time: LogTime,
    term_before: Term,
}

#[derive(Clone, Copy)]
struct Committed {
    term: Term,
    /// It was committed in this term or an earlier one.
    by: Term,
}

fn broken(invariant: Invariant, detail: String) -> Verdict {
    Err(Violation::new(invariant, detail))
}

fn digest(entry: &Entry) -> u64 {
    match &entry.payload {
        Payload::Empty => 1,
        Payload::Configuration(configuration) => xxh3_64(format!("{configuration:?}").as_bytes()),
        Payload::Command(data) => xxh3_64(data),
    }
}

impl Observer {
    pub(crate) fn new(drift_ppm: u64) -> Self {
        Self { drift_ppm, ..Self::default() }
    }

    /// A member is about to start from what its volume holds: some of what it wrote in order, and all that was synced.
    pub(crate) fn started(&mut self, id: MemberId, opened: &Opened) -> Verdict {
        if let Some(damage) = &opened.damage {
            return broken(Invariant::Recovery, format!("{id} found damage after a crash: {damage}"));
        }
        let shadow = self.disks.entry(id).or_default();
        let found = Kept::from_opened(opened);
        for (group, found) in &found.groups {
            let index = found.snapshot.last.index;
            if index > Index(0) && self.images.get(&(*group, index)) != Some(&xxh3_64(&found.data)) {
                let detail = format!("{id} group {} found another snapshot at {index:?}", group.0);
                return broken(Invariant::Durability, detail);
            }
        }
        for (group, held) in &shadow.durable.groups {
            let found = found.groups.get(group).cloned().unwrap_or_default();
            if let Some(detail) = shadow.explain(*group, held, &found) {
                return broken(Invariant::Durability, format!("{id} group {}: {detail}", group.0));
            }
        }
        *shadow = Shadow { written: found.clone(), durable: found, unsynced: VecDeque::new() };
        Ok(())
    }

    pub(crate) fn synced(&mut self, id: MemberId, batch: u64) {
        let Some(shadow) = self.disks.get_mut(&id) else { return };
        while let Some((_, records)) = shadow.unsynced.pop_front_if(|(number, _)| *number <= batch) {
            for record in &records {
                shadow.durable.apply(record);
            }
        }
    }

    pub(crate) fn output(&mut self, id: MemberId, output: &Output) -> Verdict {
        if let Some(batch) = &output.batch {
            self.wrote(id, batch)?;
        }
        for (to, message) in &output.send {
            if let PeerMessage::Raft { group, message } = message {
                self.said(id, *to, *group, message)?;
            }
        }
        Ok(())
    }

    fn wrote(&mut self, id: MemberId, batch: &Batch) -> Verdict {
        for record in &batch.records {
            match record {
                Record::HardState { group, state } => {
                    let before = self.written(id, *group).map(|kept| kept.hard_state).unwrap_or_default();
                    if state.term < before.term {
                        let detail = format!("{id} group {} went back to {:?}", group.0, state.term);
                        return broken(Invariant::ElectionSafety, detail);
                    }
                    if state.term == before.term && before.vote.is_some() && state.vote != before.vote {
                        let detail = format!("{id} group {} voted twice in {:?}", group.0, state.term);
                        return broken(Invariant::ElectionSafety, detail);
                    }
                }
                Record::Entries { group, entries } => self.appended(id, *group, entries)?,
                Record::Snapshot { group, meta, data } => {
                    self.snapshots += 1;
                    let image = xxh3_64(data);
                    if *self.images.entry((*group, meta.last.index)).or_insert(image) != image {
                        let index = meta.last.index;
                        let detail = format!("{id} group {} has another snapshot at {index:?}", group.0);
                        return broken(Invariant::StateMachineSafety, detail);
                    }
                    self.stands_for(id, *group, meta.last)?;
                }
            }
            self.disks.entry(id).or_default().written.apply(record);
        }
        let shadow = self.disks.entry(id).or_default();
        shadow.unsynced.push_back((batch.number, batch.records.clone()));
        Ok(())
    }

    /// A snapshot holds what is committed: the member's own log up to there, or another's.
    fn stands_for(&mut self, id: MemberId, group: GroupId, last: Position) -> Verdict {
        if self.written(id, group).and_then(|kept| kept.term_at(last.index)) == Some(last.term) {
            self.commits(id, group, last.index, last.term)?;
        }
        match self.committed_at(group, last.index) {
            Some(committed) if committed.term == last.term => Ok(()),
            _ => {
                let detail = format!("{id} group {} has a snapshot of {last:?}", group.0);
                broken(Invariant::StateMachineSafety, detail)
            }
        }
    }

    fn written(&self, id: MemberId, group: GroupId) -> Option<&KeptGroup> {
        self.disks.get(&id)?.written.groups.get(&group)
    }

    /// Entries that follow each other agree with all others of their index and term, and replace nothing committed.
    fn appended(&mut self, id: MemberId, group: GroupId, entries: &[Entry]) -> Verdict {
        let kept = self.written(id, group);
        // What a snapshot on its way to the disk stands for is not looked at again.
        let covered = kept.map_or(Index(0), |kept| kept.snapshot.last.index);
        let entries = &entries[entries.partition_point(|entry| entry.index <= covered)..];
        let Some(first) = entries.first() else {
            return Ok(());
        };
        let before = kept.and_then(|kept| kept.term_at(Index(first.index.0 - 1)));
        let Some(mut term_before) = before.or((first.index == Index(1)).then_some(Term(0))) else {
            let detail = format!("{id} group {} left a gap before {:?}", group.0, first.index);
            return broken(Invariant::LogMatching, detail);
        };
        let mut time_before = kept
            .and_then(|kept| kept.entry(Index(first.index.0 - 1)).map(|entry| entry.time))
            .unwrap_or_default();
        for entry in entries {
            let seen = Seen { digest: digest(entry), time: entry.time, term_before };
            let known = *self.entries.entry((group, entry.index, entry.term)).or_insert_with(|| {
                if matches!(entry.payload, Payload::Configuration(_)) {
                    self.configurations += 1;
                }
                seen
            });
            if known != seen {
                let detail = format!("{id} group {} holds another {:?}", group.0, entry.position());
                return broken(Invariant::LogMatching, detail);
            }
            if entry.time < time_before {
                let detail = format!("{id} group {} goes back in time at {:?}", group.0, entry.index);
                return broken(Invariant::LogTime, detail);
            }
            self.keeps_committed(id, group, entry)?;
            (term_before, time_before) = (entry.term, entry.time);
        }
        Ok(())
    }

    fn keeps_committed(&self, id: MemberId, group: GroupId, entry: &Entry) -> Verdict {
        let Some(committed) = self.committed_at(group, entry.index) else { return Ok(()) };
        // Only if it held the committed one: what it never had it may write over.
        let held = self.written(id, group).and_then(|kept| kept.term_at(entry.index));
        if held == Some(committed.term) && committed.term != entry.term {
            let detail = format!("{id} group {} replaced the committed {:?}", group.0, entry.index);
            return broken(Invariant::LeaderCompleteness, detail);
        }
        Ok(())
    }

    fn committed_at(&self, group: GroupId, index: Index) -> Option<Committed> {
        let at = usize::try_from(index.0.checked_sub(1)?).ok()?;
        self.committed.get(&group)?.get(at).copied()
    }

    fn said(&mut self, id: MemberId, to: MemberId, group: GroupId, message: &Message) -> Verdict {
        match &message.body {
            Body::Append { commit, .. } => {
                self.leads(id, group, message.term)?;
                self.commits(id, group, *commit, message.term)
            }
            Body::AppendReply { outcome: AppendOutcome::Matched(index), .. } => {
                let durable = self.durable(id, group);
                let term = durable.hard_state.term;
                // What a later leader has taken back since it was promised does not count any more.
                if term < message.term || (term == message.term && durable.last().index < *index) {
                    let detail = format!("{id} group {} promised {index:?} without having it", group.0);
                    return broken(Invariant::Durability, detail);
                }
                Ok(())
            }
            Body::VoteReply { granted: true } => {
                let durable = self.durable(id, group).hard_state;
                if durable.term < message.term || (durable.term == message.term && durable.vote != Some(to)) {
                    let detail = format!("{id} group {} gave a vote that it had not written", group.0);
                    return broken(Invariant::Durability, detail);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn durable(&self, id: MemberId, group: GroupId) -> KeptGroup {
        let kept = self.disks.get(&id).and_then(|shadow| shadow.durable.groups.get(&group));
        kept.map_or_else(KeptGroup::default, |kept| KeptGroup {
            hard_state: kept.hard_state,
            snapshot: kept.snapshot.clone(),
            entries: kept.entries.last().cloned().into_iter().collect(),
            ..KeptGroup::default()
        })
    }

    fn leads(&mut self, id: MemberId, group: GroupId, term: Term) -> Verdict {
        if let Some(leader) = self.leaders.get(&(group, term)) {
            if *leader != id {
                let detail = format!("{leader} and {id} lead group {} in {term:?}", group.0);
                return broken(Invariant::ElectionSafety, detail);
            }
            return Ok(());
        }
        self.leaders.insert((group, term), id);
        self.elections += 1;
        let (Some(kept), Some(committed)) = (self.written(id, group), self.committed.get(&group)) else {
            return Ok(());
        };
        for (index, entry) in (1..).map(Index).zip(committed).filter(|(_, entry)| entry.by < term) {
            if index > kept.snapshot.last.index && kept.term_at(index) != Some(entry.term) {
                let detail = format!("{id} leads group {} in {term:?} without {index:?}", group.0);
                return broken(Invariant::LeaderCompleteness, detail);
            }
        }
        Ok(())
    }

    /// `id` takes everything in its log up to `index` for committed.
    fn commits(&mut self, id: MemberId, group: GroupId, index: Index, by: Term) -> Verdict {
        let Some(kept) = self.disks.get(&id).and_then(|shadow| shadow.written.groups.get(&group)) else {
            return Ok(());
        };
        let committed = self.committed.entry(group).or_default();
        if let (Some(term), Some(known)) = (
            kept.term_at(index),
            usize::try_from(index.0).ok().and_then(|at| committed.get(at.checked_sub(1)?)),
        ) && known.term != term
        {
            let detail = format!("{id} group {} has committed another {index:?}", group.0);
            return broken(Invariant::StateMachineSafety, detail);
        }
        while (committed.len() as u64) < index.0 {
            let next = Index(committed.len() as u64 + 1);
            let Some(term) = kept.term_at(next) else { break };
            committed.push(Committed { term, by });
        }
        Ok(())
    }

    pub(crate) fn applied(&mut self, id: MemberId, applied: &Applied, now: Micros) -> Verdict {
        let Applied { group, index, time, command, state } = *applied;
        let term = self.written(id, group).map(|kept| kept.hard_state.term).unwrap_or_default();
        self.commits(id, group, index, term)?;
        let known = *self.applied.entry((group, index)).or_insert((time, command));
        if known != (time, command) {
            let detail = format!("{id} group {} applied another command at {index:?}", group.0);
            return broken(Invariant::StateMachineSafety, detail);
        }
        if let Some(state) = state
            && *self.states.entry((group, index)).or_insert(state) != state
        {
            let detail = format!("{id} group {} came to another state at {index:?}", group.0);
            return broken(Invariant::StateMachineSafety, detail);
        }
        if time.0 * 1000 > now + now * self.drift_ppm / 1_000_000 + 1000 {
            let detail = format!("group {} is at {} ms at {now} us", group.0, time.0);
            return broken(Invariant::LogTime, detail);
        }
        Ok(())
    }
}

impl Shadow {
    /// What is wrong with `found` if no prefix of the unsynced records explains it.
    fn explain(&self, group: GroupId, durable: &KeptGroup, found: &KeptGroup) -> Option<String> {
        let mut candidate = Kept::default();
        candidate.groups.insert(group, durable.clone());
        let unsynced = self.unsynced.iter().flat_map(|(_, records)| records);
        let mut records = unsynced.filter(|record| record_group(record) == group);
        loop {
            if candidate.groups.get(&group).is_some_and(|kept| explains(kept, found)) {
                return None;
            }
            let Some(record) = records.next() else { break };
            candidate.apply(record);
        }
        Some(format!(
            "synced up to {:?} with {:?} and snapshot {:?}, found {:?} with {:?} and snapshot {:?}",
            durable.last(),
            durable.hard_state,
            durable.snapshot.last,
            found.last(),
            found.hard_state,
            found.snapshot.last,
        ))
    }
}

fn record_group(record: &Record) -> GroupId {
    match record {
        Record::HardState { group, .. } | Record::Entries { group, .. } | Record::Snapshot { group, .. } => {
            *group
        }
    }
}

/// A snapshot is durable by itself: it may have come to the disk before the log that was written before it.
fn explains(kept: &KeptGroup, found: &KeptGroup) -> bool {
    let from = found.snapshot.last.index;
    if found.hard_state != kept.hard_state || from < kept.snapshot.last.index {
        return false;
    }
    let after: Vec<&Entry> = kept.entries.iter().filter(|entry| entry.index > from).collect();
    let follows = kept.term_at(from) == Some(found.snapshot.last.term);
    found.entries.iter().eq(after.iter().copied().filter(|_| follows))
}
