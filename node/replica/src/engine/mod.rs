//! A whole member without IO: all its groups, their state machines, its clients' requests. Events in, output out;
//! deterministic.

mod api;
mod broken;
mod clock;
mod disk;
mod envelope;
mod group;
mod members;
mod once;
mod outbox;
mod requests;
#[cfg(test)]
mod tests;
mod transfer;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use quartet_raft::{Index, Input, MemberId, Position, Recovered, Standing};

pub use api::{
    CommandResult, EngineSettings, Event, GroupChange, GroupReport, MemberCommand, Output, Report, Request,
    RequestId,
};

#[cfg(feature = "broken-rules")]
pub use broken::BrokenRule;

use crate::GroupId;
use crate::state_machine::{CorruptSnapshot, StateMachine};
use crate::store::{Batch, Identity, Opened, Written};
use crate::wire::{Failure, Forwarded, PeerMessage};
#[cfg(not(feature = "broken-rules"))]
use broken::BrokenRule;
use disk::DiskWatch;
use envelope::Envelope;
use group::{Asker, Group, Snapshot, Waiting};
use members::Birth;
use outbox::{Install, Outbox};
use requests::{Leader, Requests, Step};
use transfer::Chunk;

/// One member.
pub struct Engine<S> {
    settings: EngineSettings,
    identity: Identity,
    identity_changed: bool,
    make: Box<dyn Fn(GroupId) -> S + Send>,
    groups: BTreeMap<GroupId, Group<S>>,
    requests: Requests,
    birth: Option<Birth>,
    outbox: Outbox,
    next_batch: u64,
    synced: u64,
    /// What waits for batches to be durable, oldest first.
    unsynced: VecDeque<Unsynced>,
    disk: DiskWatch,
    short_of_space: bool,
    answers: Vec<(RequestId, Result<Bytes, Failure>)>,
    command_results: Vec<(RequestId, CommandResult)>,
    stood: Vec<(GroupId, Standing)>,
    /// As last given out.
    address_indexes: Vec<Index>,
}

struct Unsynced {
    batch: u64,
    positions: Vec<(GroupId, Position)>,
    snapshots: Vec<(GroupId, Snapshot)>,
    installs: Vec<Install>,
    send: Vec<(MemberId, PeerMessage)>,
}

impl<S: StateMachine> Engine<S> {
    /// A member as its disk left it, in another of its lives.
    pub fn new(
        settings: EngineSettings,
        mut identity: Identity,
        opened: Opened,
        make: impl Fn(GroupId) -> S + Send + 'static,
        now: Duration,
    ) -> Result<Self, CorruptSnapshot> {
        identity.boots += 1;
        let mut engine = Self {
            requests: Requests::new(
                identity.id,
                identity.boots,
                if settings.breaks(BrokenRule::NumberLivesAlike) { 0 } else { identity.boots },
            ),
            groups: BTreeMap::new(),
            settings,
            identity,
            identity_changed: true,
            make: Box::new(make),
            birth: None,
            outbox: Outbox::default(),
            next_batch: 1,
            synced: 0,
            unsynced: VecDeque::new(),
            disk: DiskWatch::default(),
            short_of_space: false,
            answers: Vec::new(),
            command_results: Vec::new(),
            stood: Vec::new(),
            address_indexes: Vec::new(),
        };
        if engine.identity.cluster.is_some() {
            let mut groups = opened.groups;
            for id in (0..engine.identity.groups).map(GroupId) {
                let found = groups.remove(&id).unwrap_or_default();
                let machine = (engine.make)(id);
                let member = engine.identity.id;
                let group = Group::open(id, member, &engine.settings, found, machine, now)?;
                engine.groups.insert(id, group);
            }
        }
        Ok(engine)
    }

    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The state machine of a group, for those who check it.
    pub fn machine(&self, group: GroupId) -> Option<&S> {
        self.groups.get(&group).map(|group| &group.machine)
    }

    /// All replicated state of a group, encoded: the same bytes on every member that has applied as much.
    pub fn encode_state(&self, group: GroupId) -> Option<Vec<u8>> {
        self.groups.get(&group).map(Group::encode_state)
    }

    /// The consensus core of a group, for those who check it.
    pub fn raft(&self, group: GroupId) -> Option<&quartet_raft::Raft> {
        self.groups.get(&group).map(|group| &group.raft)
    }

    pub fn handle(&mut self, now: Duration, event: Event) {
        if self.disk_hangs() && !self.is_handled_without_disk(&event) {
            return;
        }
        match event {
            Event::Tick => self.tick(now),
            Event::Message { from, message } => self.receive(now, from, message),
            Event::Disconnected { peer } => self.requests.disconnected(now, peer),
            Event::Gone { peer } => self.lose_leader(now, peer),
            Event::Joined { cluster, groups } => self.join(cluster, groups),
            Event::Synced { batch, written } => self.sync(now, batch, &written),
            Event::Request { id, timeout, request } => self.request(now, id, timeout, request),
            Event::Cancel { id } => self.requests.cancel(id),
            Event::Command { id, command } => self.command(now, id, command),
        }
    }

    /// What all events since the last call have led to.
    pub fn take_output(&mut self, now: Duration) -> Output {
        for group in self.groups.values_mut() {
            group.flush(now, &self.settings, &mut self.outbox);
        }
        self.settle(now);
        let outbox = std::mem::take(&mut self.outbox);
        let identity = std::mem::take(&mut self.identity_changed).then(|| self.identity.clone());
        let mut send = outbox.send;
        let mut output = Output { fatal: outbox.fatal, ..Output::default() };
        let batch = Batch { number: self.next_batch, identity, records: outbox.records };
        let durable_after = if batch.is_empty() { self.next_batch - 1 } else { self.next_batch };
        if !batch.is_empty() {
            self.next_batch += 1;
            output.batch = Some(batch);
        }
        let mut send_durable = outbox.send_durable;
        if durable_after <= self.synced || self.settings.breaks(BrokenRule::PromiseBeforeSync) {
            send.append(&mut send_durable);
        }
        if output.batch.is_some() || !send_durable.is_empty() {
            self.unsynced.push_back(Unsynced {
                batch: durable_after,
                positions: outbox.positions,
                snapshots: outbox.snapshots,
                installs: outbox.installs,
                send: send_durable,
            });
        }
        output.send = send;
        output.answers = std::mem::take(&mut self.answers);
        output.command_results = std::mem::take(&mut self.command_results);
        output.addresses = self.changed_addresses();
        output.stood = std::mem::take(&mut self.stood);
        output
    }

    pub fn report(&self) -> Report {
        let groups = self.groups.values().map(|group| {
            let (raft, standing) = (&group.raft, group.raft.standing());
            GroupReport {
                group: group.id,
                role: standing.role,
                term: standing.term,
                leader: standing.leader,
                last: raft.last(),
                committed: raft.committed(),
                applied: group.applied,
                time: group.applied_time,
                configuration: raft.configuration().clone(),
                configuration_index: raft.configuration_index(),
                configuration_committed: raft.configuration_committed(),
                progress: raft.progress().into_iter().collect(),
            }
        });
        Report {
            id: self.identity.id,
            cluster: self.identity.cluster.filter(|_| self.birth.is_none()),
            damage: None,
            trouble: self.trouble(),
            short_of_space: self.short_of_space,
            groups: groups.collect(),
        }
    }

    fn add_group(&mut self, now: Duration, id: GroupId, recovered: Recovered) -> Result<(), CorruptSnapshot> {
        let machine = (self.make)(id);
        let group = Group::founded(id, self.identity.id, &self.settings, recovered, machine, now)?;
        self.groups.insert(id, group);
        Ok(())
    }

    fn tick(&mut self, now: Duration) {
        self.disk.tick(self.settings.tick, self.next_batch - 1 > self.synced);
        let disk_hangs = self.disk_hangs();
        let patience = self.settings.tick * self.settings.raft.election_ticks * LEADERLESS_ELECTIONS;
        for group in self.groups.values_mut() {
            if disk_hangs {
                group.resign(now, &self.settings, &mut self.outbox);
            } else {
                group.tick(now, &self.settings, &mut self.outbox);
                group.tick_transfers(now, &self.settings, &mut self.outbox);
            }
            if group.leaderless_since.is_some_and(|since| now.saturating_sub(since) >= patience) {
                let failed = self.requests.fail_group(group.id).into_iter();
                self.answers.extend(failed.map(|(id, failure)| (id, Err(failure))));
            }
        }
        let (failed, again) = self.requests.due(now);
        self.answers.extend(failed.into_iter().map(|(id, failure)| (id, Err(failure))));
        for sequence in again {
            self.route(now, sequence);
        }
    }

    fn lose_leader(&mut self, now: Duration, peer: MemberId) {
        for group in self.groups.values_mut() {
            // A hint is never refused.
            let _ = group.step(now, &self.settings, Input::Gone(peer), &mut self.outbox);
        }
    }

    fn receive(&mut self, now: Duration, from: MemberId, message: PeerMessage) {
        match message {
            PeerMessage::Raft { group, message } => {
                if let Some(group) = self.groups.get_mut(&group) {
                    group.receive(now, &self.settings, from, message, &mut self.outbox);
                }
            }
            PeerMessage::Forward { id, group, request, .. } => self.forwarded(from, id, group, request),
            PeerMessage::ForwardReply { id, result } => {
                self.answers.extend(self.requests.answered(now, id, result));
            }
            PeerMessage::SnapshotChunk { group: id, term, meta, total_bytes, offset, data } => {
                if let Some(group) = self.groups.get_mut(&id) {
                    let chunk = Chunk { term, meta, total: total_bytes, offset, data };
                    let make = &self.make;
                    group.receive_chunk(from, chunk, || make(id), &mut self.outbox);
                }
            }
            PeerMessage::SnapshotAck { group, index, received_bytes, installed, .. } => {
                if let Some(group) = self.groups.get_mut(&group) {
                    let received = (!installed).then_some(received_bytes);
                    group.acknowledge(now, &self.settings, from, index, received, &mut self.outbox);
                }
            }
        }
    }

    fn forwarded(&mut self, from: MemberId, id: u64, group: GroupId, request: Forwarded) {
        let refuse = |failure| (from, PeerMessage::ForwardReply { id, result: Err(failure) });
        let Some(group) = self.groups.get_mut(&group).filter(|group| group.leads()) else {
            self.outbox.send.push(refuse(Failure::Unavailable));
            return;
        };
        if group.commands.len() + group.questions.len() >= self.settings.requests_max {
            self.outbox.send.push(refuse(Failure::Full));
            return;
        }
        // Only a member of the group has a session in it, and one that was removed must not seem to serve.
        if !group.raft.configuration().contains(from) {
            self.outbox.send.push(refuse(Failure::NotMember));
            return;
        }
        let asker = Asker::Peer { member: from, id };
        match request {
            Forwarded::Query { query } => group.questions.push((asker, query)),
            Forwarded::Execute { entry } => match Envelope::decode(entry.clone()) {
                Some(envelope) if envelope.session.member == from => {
                    if self.short_of_space && group.machine.may_grow(&envelope.command) {
                        self.outbox.send.push(refuse(Failure::NoSpace));
                    } else {
                        group.commands.push(Waiting { asker, session: envelope.session, entry });
                    }
                }
                _ => self.outbox.send.push(refuse(Failure::Unavailable)),
            },
        }
    }

    fn request(&mut self, now: Duration, id: RequestId, timeout: Duration, request: Request) {
        // Those that may wait for long leave room for those that free what they wait for.
        let limit = match &request {
            Request::Execute { group, command, .. } if self.may_grow(*group, command) => {
                self.settings.requests_max / 4 * 3
            }
            _ => self.settings.requests_max,
        };
        match self.requests.begin(now, id, timeout, request, limit) {
            None => self.answers.push((id, Err(Failure::Full))),
            Some(sequence) => self.route(now, sequence),
        }
    }

    fn may_grow(&self, group: GroupId, command: &[u8]) -> bool {
        self.groups.get(&group).is_none_or(|group| group.machine.may_grow(command))
    }

    fn route(&mut self, now: Duration, sequence: u64) {
        // The number of this life, which orders its sessions, has to be on disk first.
        if self.synced == 0 {
            return;
        }
        let Some(group) = self.requests.group(sequence).and_then(|group| self.groups.get_mut(&group)) else {
            return;
        };
        let leader = match group.leader() {
            Some(leader) if leader == self.identity.id => Leader::Here(group.raft.standing().term),
            Some(leader) => Leader::There(leader),
            None => Leader::Unknown,
        };
        let members = group.raft.configuration();
        let is_removed = !members.voters.is_empty() && !members.contains(self.identity.id);
        // Nobody will tell it of a leader any more: what lies in no log certainly comes to nothing.
        if matches!(leader, Leader::Unknown) && is_removed && !self.requests.is_in_doubt(sequence) {
            self.answers.extend(self.requests.refused(now, sequence, Failure::NotMember));
            return;
        }
        match self.requests.route(now, sequence, leader) {
            Step::Wait => {}
            Step::Propose { command, .. } if self.short_of_space && group.machine.may_grow(&command) => {
                self.answers.extend(self.requests.refused(now, sequence, Failure::NoSpace));
            }
            Step::Propose { session, entry, .. } => {
                group.commands.push(Waiting { asker: Asker::Here { sequence }, session, entry });
            }
            Step::Ask { sequence, query } => group.questions.push((Asker::Here { sequence }, query)),
            Step::Forward { to, message } => self.outbox.send.push((to, message)),
        }
    }

    /// Batches up to this one are on disk: what waited for them goes on.
    fn sync(&mut self, now: Duration, batch: u64, written: &Written) {
        let first = self.synced == 0;
        if batch > self.synced {
            self.disk.got_on();
        }
        self.synced = self.synced.max(batch);
        self.short_of_space = written.short_of_space;
        if let Err(error) = self.be_born(now, batch) {
            self.outbox.fatal = Some(error.to_string());
        }
        if first {
            self.outbox.stood.extend(self.groups.keys());
        }
        while let Some(done) = self.unsynced.pop_front_if(|first| first.batch <= batch) {
            // Before the core learns of it: what it says next may say more.
            self.outbox.send.extend(done.send);
            for (id, position) in done.positions {
                if let Some(group) = self.groups.get_mut(&id) {
                    let input = Input::Persisted(position);
                    let _ = group.step(now, &self.settings, input, &mut self.outbox);
                }
            }
            for (id, snapshot) in done.snapshots {
                if let Some(group) = self.groups.get_mut(&id) {
                    group.compact(now, &self.settings, snapshot, &mut self.outbox);
                }
            }
            for install in done.installs {
                if let Some(group) = self.groups.get_mut(&install.group) {
                    group.restore(now, &self.settings, install, &mut self.outbox);
                }
            }
        }
        for id in &written.pinning {
            if let Some(group) = self.groups.get_mut(id) {
                group.take_snapshot_if_due(&self.settings, true, &mut self.outbox);
            }
        }
    }

    /// Tells whoever asked; requests of groups with another leader are routed to it.
    fn settle(&mut self, now: Duration) {
        loop {
            for session in std::mem::take(&mut self.outbox.proposed) {
                if self.requests.is_own(session) {
                    self.requests.proposed(session);
                }
            }
            for (group, session, outcome) in std::mem::take(&mut self.outbox.settled) {
                if self.requests.is_own(session) {
                    self.answers.extend(self.requests.finish(session.sequence, outcome));
                } else if self.groups.get(&group).is_some_and(Group::leads) {
                    let reply = PeerMessage::ForwardReply { id: session.sequence, result: outcome };
                    self.outbox.send.push((session.member, reply));
                }
            }
            for (asker, outcome) in std::mem::take(&mut self.outbox.replies) {
                match asker {
                    Asker::Here { sequence } => self.answers.extend(match outcome {
                        Ok(body) => self.requests.finish(sequence, Ok(body)),
                        Err(failure) => self.requests.refused(now, sequence, failure),
                    }),
                    Asker::Peer { member, id } => {
                        self.outbox.send.push((member, PeerMessage::ForwardReply { id, result: outcome }));
                    }
                }
            }
            let stood = std::mem::take(&mut self.outbox.stood);
            if stood.is_empty() {
                return;
            }
            for id in stood {
                self.stood.extend(self.groups.get(&id).map(|group| (id, group.raft.standing())));
                for sequence in self.requests.of_group(id) {
                    self.route(now, sequence);
                }
                if let Some(group) = self.groups.get_mut(&id) {
                    group.flush(now, &self.settings, &mut self.outbox);
                }
            }
        }
    }

    /// Where all members of all groups are reached, if any group's configuration changed since the last call.
    fn changed_addresses(&mut self) -> Option<Vec<(MemberId, String)>> {
        let indexes: Vec<_> = self.groups.values().map(|group| group.raft.configuration_index()).collect();
        if indexes == self.address_indexes {
            return None;
        }
        self.address_indexes = indexes;
        let mut addresses = BTreeMap::new();
        for group in self.groups.values() {
            addresses.extend(group.raft.configuration().addresses.clone());
        }
        Some(addresses.into_iter().collect())
    }
}

/// A group that nobody has led for this many election timeouts answers its requests with a failure.
const LEADERLESS_ELECTIONS: u32 = 4;
