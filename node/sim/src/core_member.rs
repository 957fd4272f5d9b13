//! The consensus core with the least around it that makes a member: no sessions, no forwarding, whole snapshots.
//! What fails here as well as in the engine is the core's fault.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use quartet_raft::{
    Configuration, Effects, Index, Input, LogTime, MemberId, Payload, Position, Proposal, Raft, ReadId,
    Recovered, Refusal, Role, SnapshotMeta, Term, founding,
};
use quartet_replica::engine::{
    CommandResult, EngineSettings, Event, GroupChange, GroupReport, MemberCommand, Output, Report, Request,
    RequestId,
};
use quartet_replica::store::{Batch, Identity, Opened, OpenedGroup, Record};
use quartet_replica::wire::{Failure, PeerMessage};
use quartet_replica::{At, GroupId, Settled, StateMachine};

use xxhash_rust::xxh3::xxh3_64;

use crate::register::Registers;
use crate::seam::{Eye, Member, Watched};

pub(crate) struct CoreMember {
    identity: Identity,
    settings: EngineSettings,
    eye: Eye,
    groups: BTreeMap<GroupId, Group>,
    now: Duration,
    batch: Batch,
    /// Of the batch that is being filled.
    held: Held,
    /// Of batches given out and not yet synced.
    waiting: VecDeque<(u64, Held)>,
    output: Output,
}

#[derive(Default)]
struct Held {
    send: Vec<(MemberId, PeerMessage)>,
    persisted: Vec<(GroupId, Position)>,
    compact: Vec<(GroupId, SnapshotMeta)>,
}

struct Group {
    raft: Raft,
    machine: Watched<Registers>,
    applied: Index,
    /// The last snapshot given to the disk.
    snapshot: (SnapshotMeta, Bytes),
    compacting: bool,
    proposed: BTreeMap<Index, (Term, RequestId)>,
    reads: BTreeMap<ReadId, (RequestId, Bytes)>,
    confirmed: Vec<(Index, ReadId)>,
    /// Followers that are being sent a snapshot, and for how many ticks.
    sending: BTreeMap<MemberId, u32>,
    /// The leader's clock and the time of its log when its office began.
    office: Option<(Duration, LogTime)>,
}

/// A snapshot is given up when it is not acknowledged for so long.
const SNAPSHOT_TICKS: u32 = 20;

impl CoreMember {
    pub(crate) fn new(
        settings: EngineSettings,
        identity: Identity,
        opened: Opened,
        eye: Eye,
    ) -> Result<Self, String> {
        let mut member = Self {
            identity,
            settings,
            eye,
            groups: BTreeMap::new(),
            now: Duration::ZERO,
            batch: Batch { number: 1, ..Batch::default() },
            held: Held::default(),
            waiting: VecDeque::new(),
            output: Output::default(),
        };
        for (id, group) in opened.groups {
            member.add_group(id, group)?;
        }
        if member.identity.cluster.is_some() {
            member.add_missing()?;
        }
        Ok(member)
    }

    fn add_missing(&mut self) -> Result<(), String> {
        for id in (0..self.identity.groups).map(GroupId) {
            if !self.groups.contains_key(&id) {
                self.add_group(id, OpenedGroup::default())?;
            }
        }
        Ok(())
    }

    fn add_group(&mut self, id: GroupId, opened: OpenedGroup) -> Result<(), String> {
        let OpenedGroup { recovered, snapshot } = opened;
        let mut machine = Watched::new(Registers::default(), id, self.eye.clone());
        let meta = recovered.snapshot.clone();
        if meta.last.index > Index(0) {
            machine.restore(&snapshot).map_err(|error| error.to_string())?;
        }
        let mut settings = self.settings.raft.clone();
        settings.seed ^= u64::from(id.0) << 32;
        let raft = Raft::new(self.identity.id, settings, recovered);
        let group = Group {
            raft,
            machine,
            applied: meta.last.index,
            snapshot: (meta, snapshot),
            compacting: false,
            proposed: BTreeMap::new(),
            reads: BTreeMap::new(),
            confirmed: Vec::new(),
            sending: BTreeMap::new(),
            office: None,
        };
        self.groups.insert(id, group);
        Ok(())
    }

    fn step(&mut self, id: GroupId, input: Input) -> Result<(), Refusal> {
        let Some(group) = self.groups.get_mut(&id) else { return Ok(()) };
        let effects = group.raft.step(input)?;
        self.carry_out(id, effects);
        Ok(())
    }

    /// As [`Self::step`], for inputs that may come too late to matter.
    fn step_or_skip(&mut self, id: GroupId, input: Input) {
        // A refusal has changed nothing.
        let _ = self.step(id, input);
    }

    fn carry_out(&mut self, id: GroupId, effects: Effects) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        if let Some(state) = effects.hard_state {
            self.batch.records.push(Record::HardState { group: id, state });
        }
        if let Some(last) = effects.append.last() {
            self.held.persisted.push((id, last.position()));
            self.batch.records.push(Record::Entries { group: id, entries: effects.append.clone() });
        }
        let wrap = |(to, message)| (to, PeerMessage::Raft { group: id, message });
        self.output.send.extend(effects.send.into_iter().map(wrap));
        self.held.send.extend(effects.send_durable.into_iter().map(wrap));
        if let Some(standing) = effects.standing {
            if standing.role == Role::Leader {
                group.office.get_or_insert((self.now, group.raft.last_time()));
            } else {
                group.office = None;
                let unknown = std::mem::take(&mut group.proposed).into_values();
                self.output.answers.extend(unknown.map(|(_, request)| (request, Err(Failure::Unknown))));
            }
        }
        for lost in effects.lost_reads {
            if let Some((request, _)) = group.reads.remove(&lost) {
                self.output.answers.push((request, Err(Failure::Unavailable)));
            }
        }
        for entry in effects.apply {
            group.applied = entry.index;
            let Payload::Command(command) = &entry.payload else { continue };
            let mut settled = Settled::default();
            group.machine.apply(At { index: entry.index, time: entry.time }, command, &mut settled);
            let proposed = group.proposed.remove(&entry.index);
            for (_, answer) in settled.0 {
                if let Some((_, request)) = proposed.filter(|(term, _)| *term == entry.term) {
                    self.output.answers.push((request, Ok(answer.body)));
                }
            }
        }
        group.confirmed.extend(effects.reads.into_iter().map(|(read, index)| (index, read)));
        let confirmed = std::mem::take(&mut group.confirmed);
        for (index, read) in confirmed {
            if index > group.applied {
                group.confirmed.push((index, read));
            } else if let Some((request, query)) = group.reads.remove(&read) {
                self.output.answers.push((request, Ok(group.machine.query(&query))));
            }
        }
        for to in effects.snapshots {
            group.sending.insert(to, 0);
            let (meta, data) = group.snapshot.clone();
            let term = group.raft.standing().term;
            let total_bytes = data.len() as u64;
            let chunk = PeerMessage::SnapshotChunk { group: id, term, meta, total_bytes, offset: 0, data };
            self.output.send.push((to, chunk));
        }
        self.take_snapshot(id);
    }

    fn take_snapshot(&mut self, id: GroupId) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        let since = group.applied.0.saturating_sub(group.snapshot.0.last.index.0);
        if group.compacting || since * 32 < self.settings.snapshot_after_bytes {
            return;
        }
        let Some(meta) = group.raft.meta_at(group.applied) else { return };
        let data = Bytes::from(group.machine.snapshot());
        group.snapshot = (meta.clone(), data.clone());
        group.compacting = true;
        self.held.compact.push((id, meta.clone()));
        self.batch.records.push(Record::Snapshot { group: id, meta, data });
    }

    fn receive(&mut self, from: MemberId, message: PeerMessage) {
        match message {
            PeerMessage::Raft { group, message } => {
                self.step_or_skip(group, Input::Receive { from, message });
            }
            PeerMessage::SnapshotChunk { group, term, meta, data, .. } => {
                self.install(from, group, term, &meta, &data);
            }
            PeerMessage::SnapshotAck { group, index, installed, .. } => {
                if self.groups.get_mut(&group).is_some_and(|g| g.sending.remove(&from).is_some()) {
                    let index = installed.then_some(index);
                    self.step_or_skip(group, Input::SnapshotSent { to: from, index });
                }
            }
            PeerMessage::Forward { .. } | PeerMessage::ForwardReply { .. } => {}
        }
    }

    fn install(&mut self, from: MemberId, id: GroupId, term: Term, meta: &SnapshotMeta, data: &Bytes) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        let index = meta.last.index;
        if let Ok(effects) = group.raft.step(Input::Restore { from, term, meta: meta.clone() }) {
            if group.machine.restore(data).is_err() {
                return;
            }
            group.applied = index;
            group.snapshot = (meta.clone(), data.clone());
            let (meta, data) = (meta.clone(), data.clone());
            self.batch.records.push(Record::Snapshot { group: id, meta, data });
            self.carry_out(id, effects);
        }
        let ack = PeerMessage::SnapshotAck { group: id, term, index, received_bytes: 0, installed: true };
        self.held.send.push((from, ack));
    }

    fn synced(&mut self, batch: u64) {
        while let Some((_, held)) = self.waiting.pop_front_if(|(number, _)| *number <= batch) {
            self.output.send.extend(held.send);
            for (group, position) in held.persisted {
                self.step_or_skip(group, Input::Persisted(position));
            }
            for (id, meta) in held.compact {
                self.step_or_skip(id, Input::Compact { meta, keep: self.settings.keep_entries });
                if let Some(group) = self.groups.get_mut(&id) {
                    group.compacting = false;
                }
            }
        }
    }

    fn tick(&mut self) {
        let ids: Vec<GroupId> = self.groups.keys().copied().collect();
        for id in ids {
            let mut given_up = Vec::new();
            if let Some(group) = self.groups.get_mut(&id) {
                group.sending.retain(|to, ticks| {
                    *ticks += 1;
                    if *ticks > SNAPSHOT_TICKS {
                        given_up.push(*to);
                    }
                    *ticks <= SNAPSHOT_TICKS
                });
            }
            for to in given_up {
                self.step_or_skip(id, Input::SnapshotSent { to, index: None });
            }
            self.step_or_skip(id, Input::Tick);
        }
    }

    fn request(&mut self, request_id: RequestId, request: Request) {
        let done = match request {
            Request::Execute { group, command, .. } => self.execute(group, request_id, command),
            Request::Query { group, query } => {
                let read = ReadId(request_id.0);
                if let Some(group) = self.groups.get_mut(&group) {
                    group.reads.insert(read, (request_id, query));
                }
                let done = self.step(group, Input::Read(read));
                if let (Err(_), Some(group)) = (&done, self.groups.get_mut(&group)) {
                    group.reads.remove(&read);
                }
                done
            }
        };
        if done.is_err() {
            self.output.answers.push((request_id, Err(Failure::Unavailable)));
        }
    }

    fn execute(&mut self, id: GroupId, request: RequestId, data: Bytes) -> Result<(), Refusal> {
        let Some(group) = self.groups.get_mut(&id) else {
            return Err(Refusal::NotLeader { leader: None });
        };
        let (began, from) = group.office.unwrap_or((self.now, group.raft.last_time()));
        let gone_ms = u64::try_from((self.now.saturating_sub(began)).as_millis()).unwrap_or(0);
        let time = LogTime(from.0 + gone_ms);
        let effects = group.raft.step(Input::Propose(vec![Proposal { time, data }]))?;
        if let Some(entry) = effects.append.last() {
            group.proposed.insert(entry.index, (entry.term, request));
        }
        self.carry_out(id, effects);
        Ok(())
    }

    fn command(&mut self, command: MemberCommand) -> CommandResult {
        match command {
            MemberCommand::Found { cluster, members } => {
                if self.identity.cluster.is_some() {
                    return Err("not empty".to_owned());
                }
                self.join(cluster, self.settings.groups);
                let configuration = configuration(&members, &[]);
                for id in (0..self.settings.groups).map(GroupId) {
                    let Recovered { hard_state, entries, .. } = founding(configuration.clone());
                    self.batch.records.push(Record::HardState { group: id, state: hard_state });
                    self.batch.records.push(Record::Entries { group: id, entries });
                    let opened =
                        OpenedGroup { recovered: founding(configuration.clone()), snapshot: Bytes::new() };
                    self.add_group(id, opened)?;
                }
                Ok(Vec::new())
            }
            MemberCommand::Change { groups, .. } => Ok(groups
                .into_iter()
                .map(|GroupChange { group, expected, voters, learners }| {
                    let target = configuration(&voters, &learners);
                    let done = self.step(group, Input::Change { expected, target });
                    (group, done.map_err(|refusal| refusal.to_string()))
                })
                .collect()),
            MemberCommand::Handover { .. } => {
                let ids: Vec<GroupId> = self.groups.keys().copied().collect();
                for id in ids {
                    let Some(group) = self.groups.get(&id) else { continue };
                    let other = group.raft.configuration().voters.iter().find(|to| **to != self.identity.id);
                    if let Some(to) = other.copied() {
                        self.step_or_skip(id, Input::Transfer { to });
                    }
                }
                Ok(Vec::new())
            }
        }
    }

    fn join(&mut self, cluster: u128, groups: u16) {
        self.identity.cluster = Some(cluster);
        self.identity.groups = groups;
        self.batch.identity = Some(self.identity.clone());
    }
}

fn configuration(voters: &[(MemberId, String)], learners: &[(MemberId, String)]) -> Configuration {
    Configuration {
        voters: voters.iter().map(|(id, _)| *id).collect(),
        learners: learners.iter().map(|(id, _)| *id).collect(),
        addresses: voters.iter().chain(learners).cloned().collect(),
        ..Configuration::default()
    }
}

impl Member for CoreMember {
    fn handle(&mut self, now: Duration, event: Event) {
        self.now = now;
        match event {
            Event::Tick => self.tick(),
            Event::Message { from, message } => self.receive(from, message),
            Event::Joined { cluster, groups } => {
                if self.identity.cluster.is_none() {
                    self.join(cluster, groups);
                    // Nothing is restored into a group that is new: it cannot be corrupt.
                    let _ = self.add_missing();
                }
            }
            Event::Synced { batch, .. } => self.synced(batch),
            Event::Request { id, request, .. } => self.request(id, request),
            Event::Command { id, command } => {
                let result = self.command(command);
                self.output.command_results.push((id, result));
            }
            Event::Gone { peer } => {
                let ids: Vec<GroupId> = self.groups.keys().copied().collect();
                for id in ids {
                    self.step_or_skip(id, Input::Gone(peer));
                }
            }
            Event::Disconnected { .. } | Event::Cancel { .. } => {}
        }
    }

    fn take_output(&mut self, now: Duration) -> Output {
        self.now = now;
        let mut output = std::mem::take(&mut self.output);
        let held = std::mem::take(&mut self.held);
        if self.batch.is_empty() {
            // What everything before is durable for may leave with the last batch that is not.
            match self.waiting.back_mut() {
                Some((_, last)) => {
                    last.send.extend(held.send);
                    last.persisted.extend(held.persisted);
                    last.compact.extend(held.compact);
                }
                None => output.send.extend(held.send),
            }
        } else {
            let number = self.batch.number;
            let next = Batch { number: number + 1, ..Batch::default() };
            output.batch = Some(std::mem::replace(&mut self.batch, next));
            self.waiting.push_back((number, held));
        }
        output
    }

    fn report(&self) -> Report {
        let groups = self.groups.iter().map(|(id, group)| {
            let standing = group.raft.standing();
            GroupReport {
                group: *id,
                role: standing.role,
                term: standing.term,
                leader: standing.leader,
                last: group.raft.last(),
                committed: group.raft.committed(),
                applied: group.applied,
                time: group.raft.last_time(),
                configuration: group.raft.configuration().clone(),
                configuration_index: group.raft.configuration_index(),
                configuration_committed: group.raft.configuration_committed(),
                progress: group.raft.progress().into_iter().collect(),
            }
        });
        Report {
            id: self.identity.id,
            cluster: self.identity.cluster,
            damage: None,
            trouble: None,
            short_of_space: false,
            groups: groups.collect(),
        }
    }

    fn state(&self, group: GroupId) -> Option<u64> {
        self.groups.get(&group).map(|group| xxh3_64(&group.machine.snapshot()))
    }
}
