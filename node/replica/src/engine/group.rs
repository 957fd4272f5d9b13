//! One group of this member: its consensus core, its state machine, and what joins them.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use quartet_raft::{
    Body, Effects, Entry, Index, Input, LogTime, MemberId, Message, Payload, Proposal, Raft, ReadId,
    Recovered, Refusal, Role, SnapshotMeta,
};

use super::EngineSettings;
use super::broken::BrokenRule;
use super::clock::LogClock;
use super::envelope::{Envelope, Session};
use super::once::{Begin, Once, OnceWire};
use super::outbox::Outbox;
use super::transfer::{Incoming, Outgoing, RefusedSnapshot};
use crate::GroupId;
use crate::state_machine::{At, CorruptSnapshot, Settled, StateMachine};
use crate::store::{OpenedGroup, Record};
use crate::wire::{Failure, PeerMessage};

/// Who asked a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    Here { sequence: u64 },
    Peer { member: MemberId, id: u64 },
}

/// A command on its way into the log.
pub(super) struct Waiting {
    pub(super) asker: Asker,
    pub(super) session: Session,
    pub(super) entry: Bytes,
}

pub(super) struct Snapshot {
    pub(super) meta: SnapshotMeta,
    pub(super) data: Bytes,
}

pub(super) struct Group<S> {
    pub(super) id: GroupId,
    pub(super) raft: Raft,
    pub(super) machine: S,
    once: Once,
    /// While this member leads.
    clock: Option<LogClock>,
    /// The latest stamp that was proposed here while leading.
    stamped: LogTime,
    pub(super) applied: Index,
    pub(super) applied_time: LogTime,
    /// Bytes applied since the last snapshot was begun.
    log_bytes: u64,
    /// The last durable one.
    pub(super) snapshot: Option<Snapshot>,
    /// Taken, and on its way to the disk.
    pub(super) snapshot_pending: bool,
    /// Where the latest snapshot given to the disk ends, whether taken here or received: an older one after it
    /// would take its place there, without the log that leads on from it.
    pub(super) snapshot_given: Index,
    pub(super) commands: Vec<Waiting>,
    pub(super) questions: Vec<(Asker, Bytes)>,
    next_read: u64,
    /// Rounds of confirmation under way, and what is asked in each.
    reads: BTreeMap<ReadId, Vec<(Asker, Bytes)>>,
    /// Confirmed; wait for their index to be applied.
    confirmed: BTreeMap<Index, Vec<(Asker, Bytes)>>,
    /// Since when nobody is known to lead.
    pub(super) leaderless_since: Option<Duration>,
    pub(super) outgoing: BTreeMap<MemberId, Outgoing>,
    pub(super) incoming: Option<Incoming>,
    /// What received snapshots on their way to the disk stand for, by where they end.
    pub(super) received: BTreeMap<Index, State<S>>,
    pub(super) refused: Option<RefusedSnapshot>,
}

/// What commands lead to: what a snapshot holds.
pub(super) struct State<S> {
    once: Once,
    machine: S,
}

impl<S: StateMachine> State<S> {
    /// `empty`: the state machine to begin with.
    pub(super) fn decode(data: Bytes, mut empty: S) -> Result<Self, CorruptSnapshot> {
        let wire = StateWire::decode(data).map_err(|error| CorruptSnapshot(format!("group: {error}")))?;
        let once = Once::decode(wire.once.unwrap_or_default())?;
        empty.restore(&wire.machine)?;
        Ok(Self { once, machine: empty })
    }
}

impl<S: StateMachine> Group<S> {
    pub(super) fn open(
        id: GroupId,
        member: MemberId,
        settings: &EngineSettings,
        opened: OpenedGroup,
        machine: S,
        now: Duration,
    ) -> Result<Self, CorruptSnapshot> {
        let meta = opened.recovered.snapshot.clone();
        let snapshot =
            (meta.last.index > Index(0)).then_some(Snapshot { meta: meta.clone(), data: opened.snapshot });
        let state = match &snapshot {
            None => State { once: Once::default(), machine },
            Some(snapshot) => State::decode(snapshot.data.clone(), machine)?,
        };
        let mut raft_settings = settings.raft.clone();
        raft_settings.seed ^= u64::from(id.0) << 32;
        Ok(Self {
            id,
            raft: Raft::new(member, raft_settings, opened.recovered),
            machine: state.machine,
            once: state.once,
            clock: None,
            stamped: LogTime::default(),
            applied: meta.last.index,
            applied_time: meta.time,
            log_bytes: 0,
            snapshot,
            snapshot_pending: false,
            snapshot_given: meta.last.index,
            commands: Vec::new(),
            questions: Vec::new(),
            next_read: 0,
            reads: BTreeMap::new(),
            confirmed: BTreeMap::new(),
            leaderless_since: Some(now),
            outgoing: BTreeMap::new(),
            incoming: None,
            received: BTreeMap::new(),
            refused: None,
        })
    }

    pub(super) fn founded(
        id: GroupId,
        member: MemberId,
        settings: &EngineSettings,
        recovered: Recovered,
        machine: S,
        now: Duration,
    ) -> Result<Self, CorruptSnapshot> {
        let opened = OpenedGroup { recovered, snapshot: Bytes::new() };
        Self::open(id, member, settings, opened, machine, now)
    }

    pub(super) fn leads(&self) -> bool {
        self.raft.standing().role == Role::Leader
    }

    /// A message of the core. While a received snapshot is on its way to the disk, entries are left out of it: the
    /// disk would hold them after the snapshot, and the core, which does not know the snapshot yet, before it; what
    /// the core then takes after the snapshot would not follow them on the disk.
    pub(super) fn receive(
        &mut self,
        now: Duration,
        settings: &EngineSettings,
        from: MemberId,
        mut message: Message,
        out: &mut Outbox,
    ) {
        if let Body::Append { entries, .. } = &mut message.body
            && self.snapshot_given > self.raft.committed()
        {
            entries.clear();
        }
        // A message is never refused.
        let _ = self.step(now, settings, Input::Receive { from, message }, out);
    }

    pub(super) fn leader(&self) -> Option<MemberId> {
        self.raft.standing().leader
    }

    /// One input to the core, and all that follows from it.
    pub(super) fn step(
        &mut self,
        now: Duration,
        settings: &EngineSettings,
        input: Input,
        out: &mut Outbox,
    ) -> Result<(), Refusal> {
        let effects = self.raft.step(input)?;
        self.carry_out(now, settings, effects, out);
        Ok(())
    }

    pub(super) fn carry_out(
        &mut self,
        now: Duration,
        settings: &EngineSettings,
        effects: Effects,
        out: &mut Outbox,
    ) {
        if let Some(state) = effects.hard_state {
            out.records.push(Record::HardState { group: self.id, state });
        }
        if let Some(last) = effects.append.last() {
            out.positions.push((self.id, last.position()));
            out.records.push(Record::Entries { group: self.id, entries: effects.append });
        }
        let framed = |(to, message)| (to, PeerMessage::Raft { group: self.id, message });
        out.send.extend(effects.send.into_iter().map(framed));
        out.send_durable.extend(effects.send_durable.into_iter().map(framed));
        if let Some(standing) = effects.standing {
            self.stand(now, settings, standing.role == Role::Leader, standing.leader.is_some());
            out.stood.push(self.id);
        }
        for entry in effects.apply {
            self.apply(settings, entry, out);
        }
        for (read, index) in effects.reads {
            if let Some(questions) = self.reads.remove(&read) {
                self.confirmed.entry(index).or_default().extend(questions);
            }
        }
        for read in effects.lost_reads {
            for (asker, _) in self.reads.remove(&read).unwrap_or_default() {
                out.replies.push((asker, Err(Failure::Unavailable)));
            }
        }
        for to in effects.snapshots {
            self.begin_transfer(to, settings.chunk_bytes, out);
        }
        self.answer_questions(settings, out);
        self.take_snapshot_if_due(settings, false, out);
    }

    fn stand(&mut self, now: Duration, settings: &EngineSettings, leads: bool, leader_known: bool) {
        if !leads {
            self.clock = None;
            self.outgoing.clear();
        } else if self.clock.is_none() {
            let own = settings.breaks(BrokenRule::StampByOwnClock);
            let last = if own { LogTime(now.as_secs() * 1000) } else { self.raft.last_time() };
            self.stamped = last;
            let step_max =
                if settings.breaks(BrokenRule::LeapInTime) { Duration::MAX } else { settings.time_step_max };
            self.clock = Some(LogClock::starting_at(last, now, step_max));
        }
        self.leaderless_since = match (leader_known, self.leaderless_since) {
            (true, _) => None,
            (false, since) => Some(since.unwrap_or(now)),
        };
    }

    fn apply(&mut self, settings: &EngineSettings, entry: Entry, out: &mut Outbox) {
        let at = At { index: entry.index, time: entry.time };
        self.applied = entry.index;
        self.applied_time = entry.time;
        self.log_bytes += entry_bytes(&entry);
        let mut settled = Settled::default();
        self.machine.advance(at, &mut settled);
        match entry.payload {
            Payload::Empty => {}
            Payload::Configuration(configuration) => self.once.keep_members(&configuration.members()),
            Payload::Command(data) => self.apply_command(settings, at, data, &mut settled, out),
        }
        let lifetime_ms = u64::try_from(settings.key_lifetime.as_millis()).unwrap_or(u64::MAX);
        for (ticket, answer) in settled.0 {
            for session in self.once.settle(at, ticket, &answer, lifetime_ms) {
                out.settled.push((self.id, session, Ok(answer.body.clone())));
            }
        }
    }

    /// An empty command carries nothing but time.
    fn apply_command(
        &mut self,
        settings: &EngineSettings,
        at: At,
        data: Bytes,
        settled: &mut Settled,
        out: &mut Outbox,
    ) {
        if data.is_empty() {
            return;
        }
        let Some(envelope) = Envelope::decode(data) else {
            return;
        };
        match self.once.begin(at, &envelope, settings.keys_max) {
            Begin::Apply => self.machine.apply(at, &envelope.command, settled),
            known if settings.breaks(BrokenRule::ApplyAgain) => {
                self.machine.apply(at, &envelope.command, settled);
                if let Begin::Known(outcome) = known {
                    out.settled.push((self.id, envelope.session, outcome));
                }
            }
            Begin::Known(outcome) => out.settled.push((self.id, envelope.session, outcome)),
            Begin::Pending | Begin::Stale => {}
        }
    }

    /// What came in since the last flush goes to the core, all of it in one step each.
    pub(super) fn flush(&mut self, now: Duration, settings: &EngineSettings, out: &mut Outbox) {
        self.propose(now, settings, out);
        self.ask(now, settings, out);
    }

    fn propose(&mut self, now: Duration, settings: &EngineSettings, out: &mut Outbox) {
        let members = self.raft.configuration();
        // In the log after a configuration without it, the command of a member would find no session and be passed
        // over without a word; here it is known which try it is that certainly came to nothing.
        let (commands, strangers): (Vec<_>, Vec<_>) = std::mem::take(&mut self.commands)
            .into_iter()
            .partition(|command| members.contains(command.session.member));
        out.replies.extend(strangers.into_iter().map(|command| (command.asker, Err(Failure::NotMember))));
        if commands.is_empty() {
            return;
        }
        let time = self.read_clock(now);
        let proposal = |command: &Waiting| Proposal { time, data: command.entry.clone() };
        let proposals = commands.iter().map(proposal).collect();
        match self.step(now, settings, Input::Propose(proposals), out) {
            Ok(()) => {
                self.stamped = time;
                out.proposed.extend(commands.iter().map(|command| command.session));
            }
            Err(refusal) => {
                let failure = match refusal {
                    Refusal::Full => Failure::Full,
                    _ => Failure::Unavailable,
                };
                out.replies.extend(commands.into_iter().map(|command| (command.asker, Err(failure))));
            }
        }
    }

    fn ask(&mut self, now: Duration, settings: &EngineSettings, out: &mut Outbox) {
        if self.questions.is_empty() {
            return;
        }
        let questions = std::mem::take(&mut self.questions);
        let read = ReadId(self.next_read);
        self.next_read += 1;
        // Known before the step: a lone voter is confirmed within it.
        self.reads.insert(read, questions);
        if self.step(now, settings, Input::Read(read), out).is_err() {
            for (asker, _) in self.reads.remove(&read).unwrap_or_default() {
                out.replies.push((asker, Err(Failure::Unavailable)));
            }
        }
    }

    fn answer_questions(&mut self, settings: &EngineSettings, out: &mut Outbox) {
        while let Some(first) = self.confirmed.first_entry() {
            if *first.key() > self.applied && !settings.breaks(BrokenRule::AnswerBeforeApplied) {
                break;
            }
            for (asker, question) in first.remove() {
                out.replies.push((asker, Ok(self.machine.query(&question))));
            }
        }
    }

    /// Leads no more, and has no ticks until it may again.
    pub(super) fn resign(&mut self, now: Duration, settings: &EngineSettings, out: &mut Outbox) {
        // Giving up is never refused.
        let _ = self.step(now, settings, Input::Resign, out);
    }

    /// A tick of the core's clock; the leader also lets replicated time pass where something waits for it.
    pub(super) fn tick(&mut self, now: Duration, settings: &EngineSettings, out: &mut Outbox) {
        // A tick is never refused.
        let _ = self.step(now, settings, Input::Tick, out);
        let Some(deadline) = self.machine.deadline() else {
            self.read_clock(now);
            return;
        };
        if !self.leads() {
            return;
        }
        let time = self.read_clock(now);
        let due = deadline <= time && self.stamped < deadline;
        if due || time.0 >= self.stamped.0 + TIME_COMMIT_MS {
            let proposal = Proposal { time, data: Bytes::new() };
            if self.step(now, settings, Input::Propose(vec![proposal]), out).is_ok() {
                self.stamped = time;
            }
        }
    }

    fn read_clock(&mut self, now: Duration) -> LogTime {
        self.clock.as_mut().map_or(self.stamped, |clock| clock.read(now))
    }

    pub(super) fn take_snapshot_if_due(&mut self, settings: &EngineSettings, wanted: bool, out: &mut Outbox) {
        let due = wanted || self.log_bytes > settings.snapshot_after_bytes;
        let newer = self.snapshot_given < self.applied;
        if !due || !newer || self.snapshot_pending {
            return;
        }
        let Some(meta) = self.raft.meta_at(self.applied) else {
            return;
        };
        self.log_bytes = 0;
        self.snapshot_pending = true;
        self.snapshot_given = meta.last.index;
        let data = Bytes::from(self.encode_state());
        out.records.push(Record::Snapshot { group: self.id, meta: meta.clone(), data: data.clone() });
        out.snapshots.push((self.id, Snapshot { meta, data }));
    }

    /// A snapshot of this member's own is on disk.
    pub(super) fn compact(
        &mut self,
        now: Duration,
        settings: &EngineSettings,
        snapshot: Snapshot,
        out: &mut Outbox,
    ) {
        self.snapshot_pending = false;
        if self.snapshot.as_ref().is_some_and(|last| last.meta.last.index >= snapshot.meta.last.index) {
            return;
        }
        let keep = settings.keep_entries.max(self.kept_for_followers(snapshot.meta.last.index));
        let compact = Input::Compact { meta: snapshot.meta.clone(), keep };
        // Refused only when a later snapshot has come from the leader meanwhile.
        if self.step(now, settings, compact, out).is_ok() {
            self.snapshot = Some(snapshot);
        }
    }

    pub(super) fn encode_state(&self) -> Vec<u8> {
        let state = StateWire { once: Some(self.once.encode()), machine: self.machine.snapshot().into() };
        state.encode_to_vec()
    }

    /// The state becomes the snapshot's.
    pub(super) fn install(&mut self, snapshot: Snapshot, state: State<S>) {
        self.once = state.once;
        self.machine = state.machine;
        self.applied = snapshot.meta.last.index;
        self.applied_time = snapshot.meta.time;
        self.log_bytes = 0;
        self.snapshot = Some(snapshot);
    }

    /// What keeps it from following its leader.
    pub(super) fn trouble(&self) -> Option<String> {
        let RefusedSnapshot { last, why, .. } = self.refused.as_ref()?;
        Some(format!(
            "group {}: the leader's snapshot at {} is of no use here: {why}",
            self.id.0, last.index.0
        ))
    }
}

/// Replicated time is committed at least this often while anything waits for it, so that a change of leader gives
/// no more than this away.
const TIME_COMMIT_MS: u64 = 1000;

fn entry_bytes(entry: &Entry) -> u64 {
    const HEADER_BYTES: u64 = 40;
    let payload = match &entry.payload {
        Payload::Command(data) => data.len() as u64,
        Payload::Configuration(configuration) => 64 * configuration.addresses.len() as u64,
        Payload::Empty => 0,
    };
    HEADER_BYTES + payload
}

#[derive(Clone, PartialEq, prost::Message)]
struct StateWire {
    #[prost(message, optional, tag = "1")]
    once: Option<OnceWire>,
    #[prost(bytes = "bytes", tag = "2")]
    machine: Bytes,
}
