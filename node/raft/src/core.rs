//! [`Raft`]: one member's state, and the one way to change it.

use std::collections::{BTreeMap, VecDeque};

use crate::broken::BrokenRule;
use crate::effects::{Effects, Input, Progress, Proposal, Recovered, Refusal, Settings, Standing};
use crate::election::Candidacy;
use crate::log::{self, Log};
use crate::message::{Body, Message};
use crate::progress::Leadership;
use crate::types::{
    Configuration, Entry, HardState, Index, LogTime, MemberId, Payload, Position, Role, SnapshotMeta, Term,
};

/// A core that the same schedule of inputs can drive.
pub trait Consensus {
    fn step(&mut self, input: Input) -> Result<Effects, Refusal>;
}

impl Consensus for Raft {
    fn step(&mut self, input: Input) -> Result<Effects, Refusal> {
        Raft::step(self, input)
    }
}

/// One member of one group.
pub struct Raft {
    pub(crate) id: MemberId,
    pub(crate) settings: Settings,
    pub(crate) log: Log,
    pub(crate) hard: HardState,
    /// As last given out in `Effects::hard_state`.
    hard_given: HardState,
    pub(crate) state: State,
    /// Who leads `hard.term`, if known.
    pub(crate) leader: Option<MemberId>,
    pub(crate) commit: Index,
    /// Given out in `Effects::apply`.
    pub(crate) applied: Index,
    /// The log as it is now is on disk up to here.
    pub(crate) persisted: Index,
    /// Given to the disk and not yet known to be there, oldest first. Bounded by what leaders keep in flight.
    unsynced: VecDeque<Write>,
    /// Since the leader was heard, a vote was given, or an election began.
    pub(crate) elapsed_ticks: u32,
    pub(crate) timeout_ticks: u32,
    /// Elections this member stood for; makes the next timeout another one.
    pub(crate) attempt: u64,
    /// For so long timeouts are short, for the leader's process was found gone.
    pub(crate) hurry_ticks: u32,
    /// Of the step under way.
    pub(crate) effects: Effects,
    announced: Standing,
}

pub(crate) enum State {
    Follower,
    Candidate(Candidacy),
    Leader(Box<Leadership>),
}

/// Entries of one step on their way to the disk.
struct Write {
    first: Index,
    last: Position,
}

/// What every founder of a group starts from, the same for all: entry 1 of term 1 names them.
pub fn founding(configuration: Configuration) -> Recovered {
    let term = Term(1);
    Recovered {
        hard_state: HardState { term, vote: None },
        snapshot: SnapshotMeta::default(),
        entries: vec![Entry {
            term,
            index: Index(1),
            time: LogTime::default(),
            payload: Payload::Configuration(configuration),
        }],
    }
}

impl Raft {
    /// A member as its disk left it. Entries after a gap are not taken.
    pub fn new(id: MemberId, settings: Settings, recovered: Recovered) -> Self {
        let Recovered { hard_state, snapshot, entries } = recovered;
        let mut log = Log::new(snapshot);
        let applied = log.last().index;
        for entry in entries {
            if entry.index != log.last().index.next() {
                break;
            }
            log.append(entry);
        }
        let announced = Standing { role: Role::Learner, term: hard_state.term, leader: None };
        let mut raft = Self {
            id,
            settings,
            hard: hard_state,
            hard_given: hard_state,
            state: State::Follower,
            leader: None,
            commit: applied,
            applied,
            persisted: log.last().index,
            unsynced: VecDeque::new(),
            elapsed_ticks: 0,
            timeout_ticks: 0,
            attempt: 0,
            hurry_ticks: 0,
            effects: Effects::default(),
            announced,
            log,
        };
        raft.announced = raft.standing();
        raft.draw_timeout();
        raft
    }

    /// The only way to change it. A refusal has changed nothing.
    pub fn step(&mut self, input: Input) -> Result<Effects, Refusal> {
        match input {
            Input::Tick => self.tick(),
            Input::Resign => self.resign(),
            Input::Gone(id) => self.lose_leader(id),
            Input::Receive { from, message } => self.receive(from, message),
            Input::Propose(proposals) => self.propose(proposals)?,
            Input::Read(id) => self.read(id)?,
            Input::Change { expected, target } => self.change(expected, target)?,
            Input::Transfer { to } => self.transfer(to)?,
            Input::Persisted(position) => self.persist(position),
            Input::Compact { meta, keep } => self.compact(meta, keep)?,
            Input::Restore { from, term, meta } => self.restore(from, term, meta)?,
            Input::SnapshotSent { to, index } => self.snapshot_sent(to, index),
        }
        Ok(self.finish())
    }

    pub fn id(&self) -> MemberId {
        self.id
    }

    pub fn standing(&self) -> Standing {
        let role = match self.state {
            State::Leader(_) => Role::Leader,
            State::Candidate(_) => Role::Candidate,
            State::Follower if self.log.configuration().is_voter(self.id) => Role::Follower,
            State::Follower => Role::Learner,
        };
        Standing { role, term: self.hard.term, leader: self.leader }
    }

    /// The one in force: the last in the log, committed or not.
    pub fn configuration(&self) -> &Configuration {
        self.log.configuration()
    }

    pub fn configuration_index(&self) -> Index {
        self.log.configuration_index()
    }

    pub fn configuration_committed(&self) -> bool {
        self.log.configuration_index() <= self.commit
    }

    pub fn committed(&self) -> Index {
        self.commit
    }

    pub fn last(&self) -> Position {
        self.log.last()
    }

    pub fn last_time(&self) -> LogTime {
        self.log.last_time()
    }

    /// The first entry still in the log.
    pub fn first_index(&self) -> Index {
        self.log.first_index()
    }

    pub fn snapshot(&self) -> &SnapshotMeta {
        self.log.snapshot()
    }

    /// What a snapshot of the state as of `index` stands for; None before the last snapshot or past the log.
    pub fn meta_at(&self, index: Index) -> Option<SnapshotMeta> {
        self.log.meta_at(index)
    }

    /// Of all other members, while this one leads; else empty.
    pub fn progress(&self) -> BTreeMap<MemberId, Progress> {
        let State::Leader(lead) = &self.state else {
            return BTreeMap::new();
        };
        let election_ticks = self.settings.election_ticks;
        lead.peers.iter().map(|(id, peer)| (*id, peer.progress(election_ticks))).collect()
    }

    /// Whom the leadership is being handed to.
    pub fn transferring(&self) -> Option<MemberId> {
        let State::Leader(lead) = &self.state else {
            return None;
        };
        lead.handover.as_ref().map(|handover| handover.to)
    }

    fn receive(&mut self, from: MemberId, message: Message) {
        if from == self.id || !self.settle_term(from, &message) {
            return;
        }
        match message.body {
            Body::PreVote { last } => self.receive_pre_vote(from, message.term, last),
            Body::PreVoteReply { granted } => self.receive_ballot(from, true, granted),
            Body::Vote { last, .. } => self.receive_vote(from, last),
            Body::VoteReply { granted } => self.receive_ballot(from, false, granted),
            Body::Append { previous, entries, commit, read_round } => {
                self.receive_append(from, previous, entries, commit, read_round);
            }
            Body::AppendReply { outcome, read_round } => self.receive_append_reply(from, outcome, read_round),
            Body::TimeoutNow => self.receive_timeout_now(from),
        }
    }

    fn propose(&mut self, proposals: Vec<Proposal>) -> Result<(), Refusal> {
        let lead = self.leading()?;
        if lead.uncommitted_bytes >= self.settings.uncommitted_bytes_max {
            return Err(Refusal::Full);
        }
        for Proposal { time, data } in proposals {
            self.append_own(time, Payload::Command(data));
        }
        self.replicate();
        Ok(())
    }

    /// This member's leadership, if it is one that takes new entries.
    pub(crate) fn leading(&self) -> Result<&Leadership, Refusal> {
        let State::Leader(lead) = &self.state else {
            return Err(Refusal::NotLeader { leader: self.leader });
        };
        match &lead.handover {
            Some(handover) => Err(Refusal::Transferring { to: handover.to }),
            None => Ok(lead),
        }
    }

    /// Appends an entry of this leader's own.
    pub(crate) fn append_own(&mut self, time: LogTime, payload: Payload) {
        let entry = Entry {
            term: self.hard.term,
            index: self.log.last().index.next(),
            time: time.max(self.log.last_time()),
            payload,
        };
        if let State::Leader(lead) = &mut self.state {
            lead.uncommitted_bytes += log::size_bytes(&entry);
        }
        self.effects.append.push(entry.clone());
        self.log.append(entry);
    }

    /// The disk holds all writes up to the first unsynced one that ended at `position`. What later writes have
    /// replaced does not count: the log as it is now is on disk only up to where they begin. (That is more
    /// than a comparison of terms can tell: an entry may be replaced and come back.)
    fn persist(&mut self, position: Position) {
        let Some(done) = self.unsynced.iter().position(|write| write.last == position) else {
            return;
        };
        self.unsynced.drain(..=done);
        let replaced = self.unsynced.iter().map(|write| write.first.0 - 1).min();
        let holds = replaced.map_or(position.index, |before| position.index.min(Index(before)));
        self.persisted = self.persisted.max(holds);
        if let State::Leader(lead) = &mut self.state {
            lead.term_durable |= self.persisted >= lead.first;
            self.advance_commit();
        }
    }

    /// The log from `from` on is about to be replaced.
    pub(crate) fn unpersist(&mut self, from: Index) {
        self.persisted = self.persisted.min(Index(from.0 - 1));
    }

    /// The log was replaced by a snapshot: nothing of it is on its way to the disk any more.
    pub(crate) fn forget_unsynced(&mut self) {
        self.unsynced.clear();
    }

    fn compact(&mut self, meta: SnapshotMeta, keep: u64) -> Result<(), Refusal> {
        let floor = self.log.snapshot().last.index;
        if meta.last.index <= floor || meta.last.index > self.applied || !self.log.holds(meta.last) {
            return Err(Refusal::Stale { snapshot: meta.last.index, committed: self.commit });
        }
        self.log.compact(meta, keep);
        Ok(())
    }

    pub(crate) fn send(&mut self, to: MemberId, body: Body) {
        let message = Message { term: self.hard.term, body };
        self.effects.send.push((to, message));
    }

    pub(crate) fn send_durable(&mut self, to: MemberId, body: Body) {
        let message = Message { term: self.hard.term, body };
        self.effects.send_durable.push((to, message));
    }

    fn finish(&mut self) -> Effects {
        if self.hard != self.hard_given {
            self.hard_given = self.hard;
            self.effects.hard_state = Some(self.hard);
        }
        if let (Some(first), Some(last)) = (self.effects.append.first(), self.effects.append.last()) {
            self.unsynced.push_back(Write { first: first.index, last: last.position() });
        }
        let ready = self.commit.min(self.persisted);
        if ready > self.applied {
            self.effects.apply.extend(self.log.between(self.applied, ready).cloned());
            self.applied = ready;
        }
        let standing = self.standing();
        if standing != self.announced {
            self.announced = standing;
            self.effects.standing = Some(standing);
        }
        if self.settings.breaks(BrokenRule::PromiseBeforeSync) {
            let promises = std::mem::take(&mut self.effects.send_durable);
            self.effects.send.extend(promises);
        }
        std::mem::take(&mut self.effects)
    }
}
