//! Whole members on a network in memory: messages travel at once, disks are synced when asked to.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use quartet_raft::{Index, LogTime, MemberId, Role};

use super::*;
use crate::state_machine::{At, Settled};
use crate::store::{OpenedGroup, Record};
use crate::wire::Key;

mod life;
mod members;
mod snapshots;

const CLUSTER: u128 = 77;
const G0: GroupId = GroupId(0);
const TIMEOUT: Duration = Duration::from_secs(10);

/// Appends commands to a list. `wait:N` is settled when replicated time has come to N; `grow` is refused when the
/// disk is short.
#[derive(Default)]
struct Journal {
    lines: Vec<String>,
    waiting: Vec<(Index, u64)>,
}

impl StateMachine for Journal {
    fn advance(&mut self, at: At, settled: &mut Settled) {
        for (ticket, until) in std::mem::take(&mut self.waiting) {
            if until <= at.time.0 {
                settled.settle(ticket, format!("woken at {until}"));
            } else {
                self.waiting.push((ticket, until));
            }
        }
    }

    fn apply(&mut self, at: At, command: &[u8], settled: &mut Settled) {
        let text = String::from_utf8(command.to_vec()).unwrap();
        if let Some(wait) = text.strip_prefix("wait:") {
            self.waiting.push((at.index, at.time.0 + wait.parse::<u64>().unwrap()));
            return;
        }
        self.lines.push(text);
        settled.settle(at.index, self.lines.len().to_string());
    }

    fn may_grow(&self, command: &[u8]) -> bool {
        command == b"grow"
    }

    fn query(&self, _query: &[u8]) -> Bytes {
        self.lines.join(",").into()
    }

    fn deadline(&self) -> Option<LogTime> {
        self.waiting.iter().map(|(_, until)| LogTime(*until)).min()
    }

    fn snapshot(&self) -> Vec<u8> {
        let waiting: Vec<_> =
            self.waiting.iter().map(|(ticket, until)| format!("{}:{until}", ticket.0)).collect();
        format!("{}|{}", self.lines.join(","), waiting.join(",")).into_bytes()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), CorruptSnapshot> {
        let text = String::from_utf8(snapshot.to_vec()).unwrap();
        let (lines, waiting) = text.split_once('|').unwrap();
        let parts = |text: &str| {
            text.split(',').filter(|part| !part.is_empty()).map(str::to_owned).collect::<Vec<_>>()
        };
        self.lines = parts(lines);
        self.waiting = parts(waiting)
            .iter()
            .map(|pair| pair.split_once(':').unwrap())
            .map(|(ticket, until)| (Index(ticket.parse().unwrap()), until.parse().unwrap()))
            .collect();
        Ok(())
    }
}

/// What a member's disk holds: written, and synced so far.
#[derive(Clone, Default)]
struct Disk {
    identity: Option<Identity>,
    groups: BTreeMap<GroupId, OpenedGroup>,
}

impl Disk {
    fn write(&mut self, batch: &Batch) {
        for record in &batch.records {
            match record {
                Record::HardState { group, state } => self.group(*group).recovered.hard_state = *state,
                Record::Entries { group, entries } => {
                    let log = &mut self.group(*group).recovered.entries;
                    log.retain(|entry| entry.index < entries[0].index);
                    log.extend(entries.iter().cloned());
                }
                Record::Snapshot { group, meta, data } => {
                    let group = self.group(*group);
                    let keeps = group.recovered.entries.iter().any(|entry| entry.position() == meta.last);
                    group.recovered.entries.retain(|entry| keeps && entry.index > meta.last.index);
                    group.recovered.snapshot = meta.clone();
                    group.snapshot = data.clone();
                }
            }
        }
        if batch.identity.is_some() {
            self.identity.clone_from(&batch.identity);
        }
    }

    fn group(&mut self, id: GroupId) -> &mut OpenedGroup {
        self.groups.entry(id).or_default()
    }
}

struct Node {
    engine: Engine<Journal>,
    disk: Disk,
    batches: VecDeque<Batch>,
}

struct Net {
    settings: EngineSettings,
    nodes: BTreeMap<MemberId, Node>,
    down: BTreeMap<MemberId, Disk>,
    cut: BTreeSet<MemberId>,
    now: Duration,
    next_request: u64,
    answers: BTreeMap<RequestId, Result<Bytes, Failure>>,
    results: BTreeMap<RequestId, CommandResult>,
    /// Disks of these are not synced.
    stuck: BTreeSet<MemberId>,
    short_of_space: bool,
    chunks: usize,
    /// Where the snapshots end that pieces were of.
    snapshots_sent: BTreeSet<(MemberId, Index)>,
    /// The next so many pieces of snapshots are lost.
    lose_chunks: usize,
    /// What pieces of snapshots hold arrives changed.
    garble_chunks: bool,
    /// Acknowledgements of pieces that are on their way together arrive in the opposite order.
    reverse_acks: bool,
}

fn member(ordinal: u16) -> MemberId {
    MemberId { ordinal, incarnation: u128::from(ordinal) + 1000 }
}

fn address(id: MemberId) -> (MemberId, String) {
    (id, format!("member-{}:8101", id.ordinal))
}

impl Net {
    fn empty(ordinals: &[u16]) -> Self {
        let settings = EngineSettings { groups: 2, ..EngineSettings::default() };
        let mut net = Self {
            settings,
            nodes: BTreeMap::new(),
            down: BTreeMap::new(),
            cut: BTreeSet::new(),
            now: Duration::ZERO,
            next_request: 1,
            answers: BTreeMap::new(),
            results: BTreeMap::new(),
            stuck: BTreeSet::new(),
            short_of_space: false,
            chunks: 0,
            snapshots_sent: BTreeSet::new(),
            lose_chunks: 0,
            garble_chunks: false,
            reverse_acks: false,
        };
        for ordinal in ordinals {
            net.start(member(*ordinal), Disk::default());
        }
        net
    }

    fn founded(ordinals: &[u16]) -> Self {
        let mut net = Self::empty(ordinals);
        let members: Vec<_> = ordinals.iter().map(|ordinal| address(member(*ordinal))).collect();
        for ordinal in ordinals {
            let found = MemberCommand::Found { cluster: CLUSTER, members: members.clone() };
            assert_eq!(net.command(member(*ordinal), found), Ok(vec![]));
        }
        net.until("every group is led", |net| net.leader(G0).is_some() && net.leader(GroupId(1)).is_some());
        net
    }

    fn start(&mut self, id: MemberId, disk: Disk) {
        let fresh = Identity { id, cluster: None, groups: 0, boots: 0 };
        let identity = disk.identity.clone().unwrap_or(fresh);
        let opened = Opened { identity: disk.identity.clone(), groups: disk.groups.clone(), damage: None };
        let mut settings = self.settings.clone();
        settings.raft.seed = id.ordinal.into();
        let engine = Engine::new(settings, identity, opened, |_| Journal::default(), self.now).unwrap();
        self.nodes.insert(id, Node { engine, disk, batches: VecDeque::new() });
        self.run();
    }

    fn crash(&mut self, id: MemberId) {
        let node = self.nodes.remove(&id).unwrap();
        self.down.insert(id, node.disk);
        for other in self.nodes.values_mut() {
            other.engine.handle(self.now, Event::Disconnected { peer: id });
        }
    }

    fn restart(&mut self, id: MemberId) {
        let disk = self.down.remove(&id).unwrap();
        self.start(id, disk);
    }

    /// Carries out everything that can be carried out without time going by.
    fn run(&mut self) {
        while self.step() {}
    }

    fn step(&mut self) -> bool {
        let mut busy = false;
        let mut sent = Vec::new();
        for (id, node) in &mut self.nodes {
            let output = node.engine.take_output(self.now);
            assert_eq!(output.fatal, None);
            sent.extend(output.send.into_iter().map(|(to, message)| (*id, to, message)));
            self.answers.extend(output.answers);
            self.results.extend(output.command_results);
            node.batches.extend(output.batch);
            if self.stuck.contains(id) {
                continue;
            }
            while let Some(batch) = node.batches.pop_front() {
                node.disk.write(&batch);
                busy = true;
                let written = Written { pinning: vec![], short_of_space: self.short_of_space };
                node.engine.handle(self.now, Event::Synced { batch: batch.number, written });
            }
        }
        if self.reverse_acks {
            let is_ack = |message: &PeerMessage| matches!(message, PeerMessage::SnapshotAck { .. });
            let (acks, others): (Vec<_>, Vec<_>) =
                sent.into_iter().partition(|(_, _, message)| is_ack(message));
            sent = others.into_iter().chain(acks.into_iter().rev()).collect();
        }
        for (from, to, mut message) in sent {
            busy = true;
            if let PeerMessage::SnapshotChunk { group: G0, meta, data, .. } = &mut message {
                self.chunks += 1;
                self.snapshots_sent.insert((to, meta.last.index));
                if self.garble_chunks {
                    *data = vec![0xff; data.len()].into();
                }
                if self.lose_chunks > 0 {
                    self.lose_chunks -= 1;
                    continue;
                }
            }
            if self.cut.contains(&from) || self.cut.contains(&to) {
                continue;
            }
            if let Some(node) = self.nodes.get_mut(&to) {
                if node.engine.identity().cluster.is_none() {
                    node.engine.handle(self.now, Event::Joined { cluster: CLUSTER, groups: 2 });
                } else {
                    node.engine.handle(self.now, Event::Message { from, message });
                }
            }
        }
        busy
    }

    fn tick(&mut self) {
        self.now += self.settings.tick;
        for node in self.nodes.values_mut() {
            node.engine.handle(self.now, Event::Tick);
        }
        self.run();
    }

    fn until(&mut self, what: &str, mut reached: impl FnMut(&mut Self) -> bool) {
        for _ in 0..2000 {
            if reached(self) {
                return;
            }
            self.tick();
        }
        panic!("never: {what}");
    }

    fn leader(&self, group: GroupId) -> Option<MemberId> {
        let leads = |node: &Node| {
            node.engine.raft(group).is_some_and(|raft| {
                raft.standing().role == Role::Leader && raft.committed() >= raft.configuration_index()
            })
        };
        let reachable = self.nodes.iter().filter(|(id, _)| !self.cut.contains(id));
        reachable.filter(|(_, node)| leads(node)).map(|(id, _)| *id).next()
    }

    fn follower(&self, group: GroupId) -> MemberId {
        let leader = self.leader(group).unwrap();
        *self.nodes.keys().find(|id| **id != leader).unwrap()
    }

    fn request(&mut self, at: MemberId, request: Request) -> RequestId {
        let id = RequestId(self.next_request);
        self.next_request += 1;
        let event = Event::Request { id, timeout: TIMEOUT, request };
        self.nodes.get_mut(&at).unwrap().engine.handle(self.now, event);
        self.run();
        id
    }

    fn begin(&mut self, at: MemberId, command: &str) -> RequestId {
        self.begin_keyed(at, command, None)
    }

    fn begin_keyed(&mut self, at: MemberId, command: &str, key: Option<Key>) -> RequestId {
        self.request(at, Request::Execute { group: G0, key, command: Bytes::from(command.to_owned()) })
    }

    fn answer(&mut self, id: RequestId) -> Result<String, Failure> {
        self.until("an answer", |net| net.answers.contains_key(&id));
        self.answers[&id].clone().map(|body| String::from_utf8(body.to_vec()).unwrap())
    }

    fn execute(&mut self, at: MemberId, command: &str) -> Result<String, Failure> {
        let id = self.begin(at, command);
        self.answer(id)
    }

    fn query(&mut self, at: MemberId) -> Result<String, Failure> {
        let id = self.request(at, Request::Query { group: G0, query: Bytes::new() });
        self.answer(id)
    }

    fn command(&mut self, at: MemberId, command: MemberCommand) -> CommandResult {
        let id = RequestId(self.next_request);
        self.next_request += 1;
        self.nodes.get_mut(&at).unwrap().engine.handle(self.now, Event::Command { id, command });
        self.until("a result", |net| net.results.contains_key(&id));
        self.results[&id].clone()
    }

    fn lines(&self, at: MemberId) -> Vec<String> {
        self.nodes[&at].engine.machine(G0).unwrap().lines.clone()
    }

    /// All members that run have the same state.
    fn agree(&mut self) {
        self.until("all members agree", |net| {
            let states: BTreeSet<_> = net.nodes.values().map(|node| node.engine.encode_state(G0)).collect();
            states.len() == 1
        });
    }
}
