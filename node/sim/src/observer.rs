//! Watches what every member writes, says and applies, and holds it to Raft's safety properties
//! (Raft dissertation, figure 3.2).

mod disks;
mod shadow;

use std::collections::BTreeMap;

use quartet_raft::{AppendOutcome, Body, Entry, Index, LogTime, MemberId, Message, Payload, Position, Term};
use quartet_replica::GroupId;
use quartet_replica::engine::Output;
use quartet_replica::store::{Batch, Record};
use quartet_replica::wire::PeerMessage;
use xxhash_rust::xxh3::xxh3_64;

pub(crate) use disks::Unnoticed;
use shadow::Shadow;

use crate::host::Slept;
use crate::invariant::{Invariant, Violation};
use crate::model::KeptGroup;
use crate::queue::Micros;
use crate::seam::Applied;

type Verdict = Result<(), Violation>;

#[derive(Default)]
pub(crate) struct Observer {
    disks: BTreeMap<MemberId, Shadow>,
    leaders: BTreeMap<(GroupId, Term), MemberId>,
    entries: BTreeMap<(GroupId, Index, Term), (Seen, Sole)>,
    committed: BTreeMap<GroupId, Vec<Committed>>,
    applied: BTreeMap<(GroupId, Index), (LogTime, u64)>,
    states: BTreeMap<(GroupId, Index), u64>,
    /// Digests of snapshots: at the same place all are the same, whoever took or received them.
    images: BTreeMap<(GroupId, Index), u64>,
    /// How fast clocks may run, in parts per million above real time.
    drift_ppm: u64,
    /// The longest step of replicated time at once, if the members promise one.
    step_max_us: Option<u64>,
    offices: BTreeMap<(GroupId, Term), Office>,
    pub(crate) elections: u64,
    pub(crate) snapshots: u64,
    pub(crate) configurations: u64,
}

/// When a leader wrote its first entry, and how that was stamped.
#[derive(Clone, Copy)]
struct Office {
    of: MemberId,
    time: LogTime,
    since: Awake,
}

/// Real time, and how much of it a member has slept in this life.
#[derive(Clone, Copy)]
pub(crate) struct Awake {
    pub(crate) now: Micros,
    pub(crate) slept: Slept,
}

/// What an entry was when it was first seen.
#[derive(Clone, Copy, PartialEq)]
struct Seen {
    digest: u64,
    time: LogTime,
    term_before: Term,
}

/// The only member that has written an entry so far, if it is one.
type Sole = Option<MemberId>;

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
    pub(crate) fn new(drift_ppm: u64, step_max_us: Option<u64>) -> Self {
        Self { drift_ppm, step_max_us, ..Self::default() }
    }

    pub(crate) fn output(&mut self, id: MemberId, output: &Output, awake: Awake) -> Verdict {
        if let Some(batch) = &output.batch {
            self.wrote(id, batch, awake)?;
        }
        for (to, message) in &output.send {
            if let PeerMessage::Raft { group, message } = message {
                self.said(id, *to, *group, message)?;
            }
        }
        Ok(())
    }

    fn wrote(&mut self, id: MemberId, batch: &Batch, awake: Awake) -> Verdict {
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
                Record::Entries { group, entries } => {
                    self.appended(id, *group, entries, awake)?;
                    self.cut(id, *group, entries);
                }
                Record::Snapshot { group, meta, data } => {
                    self.snapshots += 1;
                    let image = xxh3_64(data);
                    if *self.images.entry((*group, meta.last.index)).or_insert(image) != image {
                        let index = meta.last.index;
                        let detail = format!("{id} group {} has another snapshot at {index:?}", group.0);
                        return broken(Invariant::StateMachineSafety, detail);
                    }
                    self.stands_for(id, *group, meta.last)?;
                    self.cut_by_snapshot(id, *group, meta.last);
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
    fn appended(&mut self, id: MemberId, group: GroupId, entries: &[Entry], awake: Awake) -> Verdict {
        let kept = self.written(id, group);
        let Some(first) = entries.first() else { return Ok(()) };
        let before = kept.and_then(|kept| kept.term_at(Index(first.index.0 - 1)));
        let Some(mut term_before) = before.or((first.index == Index(1)).then_some(Term(0))) else {
            let detail = format!("{id} group {} left a gap before {:?}", group.0, first.index);
            return broken(Invariant::LogMatching, detail);
        };
        let mut stamped = Vec::new();
        let mut time_before = kept
            .and_then(|kept| kept.entry(Index(first.index.0 - 1)).map(|entry| entry.time))
            .unwrap_or_default();
        for entry in entries {
            let seen = Seen { digest: digest(entry), time: entry.time, term_before };
            let at = (group, entry.index, entry.term);
            let (known, sole) = self.entries.get(&at).copied().unwrap_or((seen, Some(id)));
            let sole = sole.filter(|sole| *sole == id);
            if self.entries.insert(at, (known, sole)).is_none() {
                if matches!(entry.payload, Payload::Configuration(_)) {
                    self.configurations += 1;
                }
                stamped.push(entry);
            }
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
        stamped.into_iter().try_for_each(|entry| self.stamped(id, group, entry, awake))
    }

    /// An entry that nobody had before is its leader's. Its stamp follows the leader's clock, and of each sleep no
    /// more than one step; one more, for a sleep that its first entry came after.
    fn stamped(&mut self, of: MemberId, group: GroupId, entry: &Entry, awake: Awake) -> Verdict {
        let Some(step_max_us) = self.step_max_us else { return Ok(()) };
        let office = Office { of, time: entry.time, since: awake };
        let office = *self.offices.entry((group, entry.term)).or_insert(office);
        let slept = awake.slept.us.saturating_sub(office.since.slept.us);
        let gone = (awake.now - office.since.now).saturating_sub(slept);
        let steps = awake.slept.times.saturating_sub(office.since.slept.times) + 1;
        let may = gone + gone * self.drift_ppm / 1_000_000 + steps * step_max_us + 10_000;
        if entry.time.0.saturating_sub(office.time.0) * 1000 > may {
            let detail = format!(
                "the leader of group {} in {:?} stamped {} ms after {} ms, of which it slept all but {gone} us",
                group.0, entry.term, entry.time.0, office.time.0,
            );
            return broken(Invariant::LogTime, detail);
        }
        Ok(())
    }

    fn cut(&mut self, id: MemberId, group: GroupId, entries: &[Entry]) {
        let Some(shadow) = self.disks.get_mut(&id) else { return };
        let Some(kept) = shadow.written.groups.get(&group) else { return };
        if let Some(first) = entries.first()
            && first.index <= kept.last().index
        {
            shadow.cuts.entry(group).or_default().push((kept.hard_state.term, first.index));
        }
    }

    /// What conflicts with a snapshot was promised to leaders before the one that committed what it stands for.
    fn cut_by_snapshot(&mut self, id: MemberId, group: GroupId, last: Position) {
        let by = self.committed_at(group, last.index).map(|committed| committed.by);
        let (Some(by), Some(shadow)) = (by, self.disks.get_mut(&id)) else { return };
        let held = shadow.written.groups.get(&group).and_then(|kept| kept.term_at(last.index));
        if held.is_some_and(|term| term != last.term) {
            shadow.cuts.entry(group).or_default().push((by, last.index));
        }
    }

    /// Whether `id` may say in `term` that its disk holds the leader's log up to `index`. A promise that waited
    /// for the disk may have been taken back meanwhile, by the log of a later leader.
    fn may_promise(&self, id: MemberId, group: GroupId, term: Term, index: Index) -> bool {
        let shadow = self.disks.get(&id);
        let Some(kept) = shadow.and_then(|shadow| shadow.durable.groups.get(&group)) else {
            return index == Index(0) && term == Term(0);
        };
        if kept.hard_state.term < term {
            return false;
        }
        let leader = self.leaders.get(&(group, term)).and_then(|leader| self.written(*leader, group));
        let told = leader.filter(|leader| leader.hard_state.term == term).and_then(|it| it.term_at(index));
        let holds = match kept.term_at(index) {
            _ if index <= kept.snapshot.last.index => true,
            Some(held) => told.is_none_or(|told| told == held),
            None => false,
        };
        let cuts = shadow.and_then(|shadow| shadow.cuts.get(&group));
        holds || cuts.is_some_and(|cuts| cuts.iter().any(|(by, from)| *by > term && *from <= index))
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
                if !self.may_promise(id, group, message.term, *index) {
                    let detail = format!("{id} group {} promised {index:?} without having it", group.0);
                    return broken(Invariant::Durability, detail);
                }
                Ok(())
            }
            Body::VoteReply { granted: true } => {
                let kept = self.disks.get(&id).and_then(|shadow| shadow.durable.groups.get(&group));
                let durable = kept.map(|kept| kept.hard_state).unwrap_or_default();
                if durable.term < message.term || (durable.term == message.term && durable.vote != Some(to)) {
                    let detail = format!("{id} group {} gave a vote that it had not written", group.0);
                    return broken(Invariant::Durability, detail);
                }
                Ok(())
            }
            _ => Ok(()),
        }
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
