//! A few members on one wire, with disks that lose what was not synced. Nothing happens by itself: tests tick,
//! deliver, cut, crash.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use crate::*;

pub(super) fn m(ordinal: u16) -> MemberId {
    MemberId { ordinal, incarnation: u128::from(ordinal) << 96 }
}

pub(super) fn ids(ordinals: &[u16]) -> BTreeSet<MemberId> {
    ordinals.iter().map(|ordinal| m(*ordinal)).collect()
}

pub(super) fn voters(ordinals: &[u16]) -> Configuration {
    let voters = ids(ordinals);
    let addresses = voters.iter().map(|id| (*id, format!("member-{}", id.ordinal))).collect();
    Configuration { voters, addresses, ..Configuration::default() }
}

pub(super) fn learners(voting: &[u16], learning: &[u16]) -> Configuration {
    Configuration { learners: ids(learning), ..voters(voting) }
}

pub(super) fn proposal(data: &str) -> Proposal {
    Proposal { time: LogTime(0), data: Bytes::copy_from_slice(data.as_bytes()) }
}

pub(super) fn text(entry: &Entry) -> Option<&str> {
    match &entry.payload {
        Payload::Command(data) => std::str::from_utf8(data).ok(),
        _ => None,
    }
}

#[derive(Clone, Debug)]
pub(super) struct Letter {
    pub(super) from: MemberId,
    pub(super) to: MemberId,
    pub(super) message: Message,
}

/// What one step wants of the disk, and what may leave only then.
struct Sync {
    hard_state: Option<HardState>,
    append: Vec<Entry>,
    letters: Vec<Letter>,
}

pub(super) struct Node {
    pub(super) raft: Option<Raft>,
    pub(super) disk: Recovered,
    unsynced: VecDeque<Sync>,
    /// Whether writes reach the disk at once.
    pub(super) syncs: bool,
    pub(super) applied: Vec<Entry>,
    pub(super) reads: Vec<(ReadId, Index)>,
    pub(super) lost_reads: Vec<ReadId>,
    /// Members that this one wants to send a snapshot to.
    pub(super) snapshots: Vec<MemberId>,
}

pub(super) struct Cluster {
    pub(super) nodes: BTreeMap<MemberId, Node>,
    pub(super) wire: VecDeque<Letter>,
    cut: BTreeSet<(MemberId, MemberId)>,
    pub(super) settings: Settings,
}

impl Cluster {
    pub(super) fn of(count: u16) -> Self {
        let ordinals: Vec<u16> = (0..count).collect();
        Self::founded_by(&voters(&ordinals), Settings::default())
    }

    pub(super) fn founded_by(configuration: &Configuration, settings: Settings) -> Self {
        let mut cluster =
            Self { nodes: BTreeMap::new(), wire: VecDeque::new(), cut: BTreeSet::new(), settings };
        for id in configuration.members() {
            cluster.add(id, founding(configuration.clone()));
        }
        cluster
    }

    /// `ordinal` leads, and everyone has heard that all is committed.
    pub(super) fn led_by(mut self, ordinal: u16) -> Self {
        self.elect(ordinal);
        self.settle();
        self
    }

    /// Empty members that wait to be told who leads.
    pub(super) fn and_empty(mut self, ordinals: &[u16]) -> Self {
        for ordinal in ordinals {
            self.add(m(*ordinal), Recovered::default());
        }
        self
    }

    fn add(&mut self, id: MemberId, disk: Recovered) {
        let raft = Some(Raft::new(id, self.settings.clone(), disk.clone()));
        let node = Node {
            raft,
            disk,
            unsynced: VecDeque::new(),
            syncs: true,
            applied: Vec::new(),
            reads: Vec::new(),
            lost_reads: Vec::new(),
            snapshots: Vec::new(),
        };
        self.nodes.insert(id, node);
    }

    pub(super) fn node(&mut self, ordinal: u16) -> &mut Node {
        self.nodes.get_mut(&m(ordinal)).unwrap()
    }

    pub(super) fn disk(&self, ordinal: u16) -> &Recovered {
        &self.nodes[&m(ordinal)].disk
    }

    pub(super) fn raft(&self, ordinal: u16) -> &Raft {
        self.nodes[&m(ordinal)].raft.as_ref().unwrap()
    }

    pub(super) fn role(&self, ordinal: u16) -> Role {
        self.raft(ordinal).standing().role
    }

    pub(super) fn term(&self, ordinal: u16) -> Term {
        self.raft(ordinal).standing().term
    }

    pub(super) fn leaders(&self) -> Vec<u16> {
        let leads = |node: &Node| node.raft.as_ref().is_some_and(|r| r.standing().role == Role::Leader);
        self.nodes.iter().filter(|(_, node)| leads(node)).map(|(id, _)| id.ordinal).collect()
    }

    /// The commands that a member has applied, in order.
    pub(super) fn commands(&self, ordinal: u16) -> Vec<&str> {
        self.nodes[&m(ordinal)].applied.iter().filter_map(text).collect()
    }

    pub(super) fn input(&mut self, ordinal: u16, input: Input) -> Result<(), Refusal> {
        let id = m(ordinal);
        let Some(node) = self.nodes.get_mut(&id) else { return Ok(()) };
        let Some(raft) = &mut node.raft else { return Ok(()) };
        let effects = raft.step(input)?;
        let letter = |(to, message)| Letter { from: id, to, message };
        self.wire.extend(effects.send.into_iter().map(letter));
        node.unsynced.push_back(Sync {
            hard_state: effects.hard_state,
            append: effects.append,
            letters: effects.send_durable.into_iter().map(letter).collect(),
        });
        node.applied.extend(effects.apply);
        node.reads.extend(effects.reads);
        node.lost_reads.extend(effects.lost_reads);
        node.snapshots.extend(effects.snapshots);
        if node.syncs {
            self.sync(ordinal);
        }
        Ok(())
    }

    /// All writes so far reach the disk, and what waited for them leaves.
    pub(super) fn sync(&mut self, ordinal: u16) {
        let Some(node) = self.nodes.get_mut(&m(ordinal)) else { return };
        let mut last = None;
        while let Some(sync) = node.unsynced.pop_front() {
            node.disk.hard_state = sync.hard_state.unwrap_or(node.disk.hard_state);
            if let Some(first) = sync.append.first() {
                node.disk.entries.retain(|entry| entry.index < first.index);
            }
            last = sync.append.last().map(Entry::position).or(last);
            node.disk.entries.extend(sync.append);
            self.wire.extend(sync.letters);
        }
        if let Some(position) = last {
            self.input(ordinal, Input::Persisted(position)).unwrap();
        }
    }

    /// Writes wait for `sync`, or reach the disk at once.
    pub(super) fn syncing(&mut self, ordinal: u16, syncs: bool) {
        self.node(ordinal).syncs = syncs;
    }

    pub(super) fn crash(&mut self, ordinal: u16) {
        let node = self.node(ordinal);
        node.raft = None;
        node.unsynced.clear();
    }

    pub(super) fn restart(&mut self, ordinal: u16) {
        let settings = self.settings.clone();
        let node = self.node(ordinal);
        let kept = node.disk.snapshot.last.index;
        node.applied.retain(|entry| entry.index <= kept);
        node.raft = Some(Raft::new(m(ordinal), settings, node.disk.clone()));
    }

    pub(super) fn cut(&mut self, one: u16, other: u16) {
        self.cut.extend([(m(one), m(other)), (m(other), m(one))]);
    }

    pub(super) fn isolate(&mut self, ordinal: u16) {
        let others: Vec<u16> = self.nodes.keys().map(|id| id.ordinal).filter(|o| *o != ordinal).collect();
        for other in others {
            self.cut(ordinal, other);
        }
    }

    pub(super) fn heal(&mut self) {
        self.cut.clear();
    }

    fn pass(&mut self, letter: Letter) {
        let Letter { from, to, message } = letter;
        if !self.cut.contains(&(from, to)) {
            self.input(to.ordinal, Input::Receive { from, message }).unwrap();
        }
    }

    /// Until the wire is empty.
    pub(super) fn deliver(&mut self) {
        for _ in 0..100_000 {
            let Some(letter) = self.wire.pop_front() else { return };
            self.pass(letter);
        }
        panic!("the members never stop talking");
    }

    /// The letter at a place on the wire; those before it stay.
    pub(super) fn deliver_at(&mut self, place: usize) {
        if let Some(letter) = self.wire.remove(place) {
            self.pass(letter);
        }
    }

    pub(super) fn tick_one(&mut self, ordinal: u16, times: u32) {
        for _ in 0..times {
            self.input(ordinal, Input::Tick).unwrap();
            self.deliver();
        }
    }

    pub(super) fn tick(&mut self, times: u32) {
        let all: Vec<u16> = self.nodes.keys().map(|id| id.ordinal).collect();
        for _ in 0..times {
            for ordinal in &all {
                self.input(*ordinal, Input::Tick).unwrap();
            }
            self.deliver();
        }
    }

    /// Two rounds of heartbeats: what was lost is noticed, what is committed is known.
    pub(super) fn settle(&mut self) {
        self.tick(2 * self.settings.heartbeat_ticks);
    }

    /// Until there is exactly one leader, among `ordinals` if any are given.
    pub(super) fn await_leader(&mut self, ordinals: &[u16]) -> u16 {
        for _ in 0..20 * self.settings.election_ticks {
            self.tick(1);
            let leaders = self.leaders();
            if let Some(leader) = leaders.iter().find(|o| ordinals.is_empty() || ordinals.contains(o)) {
                return *leader;
            }
        }
        panic!("nobody is elected");
    }

    /// The others have lost their leader, and this one is the first to notice.
    pub(super) fn elect(&mut self, ordinal: u16) {
        for _ in 0..4 * self.settings.election_ticks {
            self.tick_one(ordinal, 1);
            if self.role(ordinal) == Role::Leader {
                return;
            }
        }
        panic!("{ordinal} is not elected");
    }

    pub(super) fn propose(&mut self, ordinal: u16, data: &str) -> Result<(), Refusal> {
        self.input(ordinal, Input::Propose(vec![proposal(data)]))
    }

    /// Proposes, delivers, and lets everyone know that it is committed.
    pub(super) fn commit(&mut self, ordinal: u16, data: &str) {
        self.propose(ordinal, data).unwrap();
        self.deliver();
        self.settle();
    }

    pub(super) fn change(&mut self, ordinal: u16, target: Configuration) -> Result<(), Refusal> {
        let expected = self.raft(ordinal).configuration_index();
        self.input(ordinal, Input::Change { expected, target })
    }

    /// Takes a snapshot of what is applied.
    pub(super) fn compact(&mut self, ordinal: u16, keep: u64) {
        let last = self.nodes[&m(ordinal)].applied.last().unwrap().index;
        let meta = self.raft(ordinal).meta_at(last).unwrap();
        let node = self.node(ordinal);
        node.disk.snapshot = meta.clone();
        node.disk.entries.retain(|entry| entry.index > meta.last.index);
        self.input(ordinal, Input::Compact { meta, keep }).unwrap();
    }

    /// Carries the newest snapshot over and tells both sides.
    pub(super) fn carry_snapshot(&mut self, from: u16, to: u16) -> Result<(), Refusal> {
        let meta = self.nodes[&m(from)].disk.snapshot.clone();
        let index = meta.last.index;
        let state: Vec<Entry> =
            self.nodes[&m(from)].applied.iter().filter(|entry| entry.index <= index).cloned().collect();
        self.node(from).snapshots.retain(|wants| *wants != m(to));
        self.sync(to);
        let restore = Input::Restore { from: m(from), term: self.term(from), meta: meta.clone() };
        let kept_from = self.raft(to).committed();
        self.input(to, restore)?;
        assert!(kept_from < index);
        let last = self.raft(to).last();
        let node = self.node(to);
        // What was applied meanwhile from the log after the snapshot comes back with the log.
        let after: Vec<Entry> = node.applied.drain(..).filter(|entry| entry.index > index).collect();
        node.applied = state.into_iter().chain(after).collect();
        node.disk.entries.retain(|entry| entry.index > index && entry.index <= last.index);
        node.disk.snapshot = meta;
        self.input(from, Input::SnapshotSent { to: m(to), index: Some(index) })
    }
}
