//! Who leads: elections with pre-vote (§9.6), a leader that checks its quorum (§6.2), and handing over (§3.10).

use std::collections::BTreeMap;

use crate::broken::BrokenRule;
use crate::core::{Raft, State};
use crate::effects::Refusal;
use crate::message::{Body, Message};
use crate::progress::{Handover, Leadership, Peer};
use crate::reads::Reads;
use crate::types::{Index, MemberId, Payload, Position, Term};

/// An election, or the question whether one could be won.
pub(crate) struct Candidacy {
    pre: bool,
    ballots: BTreeMap<MemberId, bool>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Campaign {
    /// Asks first, without touching anybody's term.
    Pre,
    Real,
    /// At the leader's wish: its followers need not have lost it.
    Transfer,
}

impl Raft {
    pub(crate) fn tick(&mut self) {
        if matches!(self.state, State::Leader(_)) {
            return self.tick_leader();
        }
        self.elapsed_ticks = self.elapsed_ticks.saturating_add(1);
        self.hurry_ticks = self.hurry_ticks.saturating_sub(1);
        if !self.may_stand() {
            // Nobody tells a learner that it was removed, or that its leader is gone.
            if self.elapsed_ticks >= self.timeout_ticks {
                self.leader = None;
            }
            return;
        }
        let alone = self.is_alone();
        if self.elapsed_ticks >= self.timeout_ticks || (alone && self.leader.is_none()) {
            self.campaign(if alone { Campaign::Real } else { Campaign::Pre });
        }
    }

    fn tick_leader(&mut self) {
        let election_ticks = self.settings.election_ticks;
        let State::Leader(lead) = &mut self.state else {
            return;
        };
        for peer in lead.peers.values_mut() {
            peer.silent_ticks = peer.silent_ticks.saturating_add(1);
        }
        let heard = |id| {
            id == self.id || lead.peers.get(&id).is_some_and(|peer: &Peer| peer.is_active(election_ticks))
        };
        if !self.log.configuration().is_quorum(heard) {
            return self.follow(self.hard.term, None);
        }
        if let Some(handover) = &mut lead.handover {
            handover.ticks += 1;
            if handover.ticks >= election_ticks {
                lead.handover = None;
            }
        }
        lead.heartbeat_ticks += 1;
        if lead.heartbeat_ticks >= self.settings.heartbeat_ticks {
            self.heartbeat();
        }
        self.advance_configuration();
    }

    /// Leads no more and stands no more, for now: whatever keeps it from doing so, the others need not know.
    pub(crate) fn resign(&mut self) {
        if !matches!(self.state, State::Follower) {
            self.follow(self.hard.term, None);
        }
    }

    /// The leader's process is gone, as far as could be seen: an election begins soon, and this member takes part in
    /// others'. Should it live after all, then those who still hear it refuse, and its next message ends the matter.
    pub(crate) fn lose_leader(&mut self, id: MemberId) {
        if self.leader == Some(id) && matches!(self.state, State::Follower) {
            self.leader = None;
            self.elapsed_ticks = 0;
            self.hurry_ticks = self.hurry();
            self.draw_timeout();
        }
    }

    /// For as long as it takes the others to miss the leader by themselves: they may not have noticed, or stand at the
    /// same moment, and this may be the only one whose log is complete.
    fn hurry(&self) -> u32 {
        self.settings.election_ticks.saturating_mul(2)
    }

    /// A voter may, and so may one that the configuration in force leaves out, until it knows that to be committed:
    /// its log may be the only one complete enough (§4.2.2). It does not count its own vote then.
    fn may_stand(&self) -> bool {
        let committed = self.log.configuration_index() <= self.commit;
        self.log.configuration().is_voter(self.id)
            || (!committed
                && self.log.previous_configuration().is_some_and(|before| before.is_voter(self.id)))
    }

    /// Whether this member is a quorum by itself.
    fn is_alone(&self) -> bool {
        self.log.configuration().is_quorum(|id| id == self.id)
    }

    /// While it does, it takes no part in elections that the leader did not ask for: a member that comes back
    /// from a partition, or was removed, does not disturb (§4.2.3).
    fn hears_leader(&self) -> bool {
        match self.state {
            State::Leader(_) => true,
            _ => self.leader.is_some() && self.elapsed_ticks < self.settings.election_ticks,
        }
    }

    /// The next timeout: within [election_ticks, 2 * election_ticks), another for each member, term and attempt. The
    /// short ones are at once, within two heartbeats, and then long enough for an election to be decided.
    pub(crate) fn draw_timeout(&mut self) {
        let incarnation = self.id.incarnation;
        #[allow(clippy::cast_possible_truncation)] // Folding is meant.
        let parts = [
            u64::from(self.id.ordinal),
            incarnation as u64,
            (incarnation >> 64) as u64,
            self.hard.term.0,
            self.attempt,
        ];
        let drawn = parts.iter().fold(self.settings.seed, |state, part| mix(state ^ part));
        let short = self.settings.heartbeat_ticks.saturating_mul(2);
        let (least, range) = match self.hurry_ticks {
            0 => (self.settings.election_ticks, self.settings.election_ticks),
            ticks if ticks == self.hurry() => (1, short),
            _ => (short, short),
        };
        let extra = drawn % u64::from(range.max(1));
        self.timeout_ticks = least.max(1).saturating_add(u32::try_from(extra).unwrap_or(0));
    }

    /// Brings the terms in line. False if the message has no more to say.
    pub(crate) fn settle_term(&mut self, from: MemberId, message: &Message) -> bool {
        if message.term < self.hard.term {
            self.answer_earlier_term(from, &message.body);
            return false;
        }
        if message.term == self.hard.term {
            // A vote promised for the term that this member has entered since.
            return !matches!(message.body, Body::PreVoteReply { granted: true });
        }
        match message.body {
            // The term is one that the candidate would stand in, nobody is there yet.
            Body::PreVote { .. } => !self.hears_leader(),
            Body::PreVoteReply { granted: true } => message.term == Term(self.hard.term.0 + 1),
            Body::Vote { transfer, .. } => {
                let takes_part = transfer || !self.hears_leader();
                if takes_part {
                    self.follow(message.term, None);
                }
                takes_part
            }
            Body::Append { .. } => {
                self.follow(message.term, Some(from));
                true
            }
            Body::PreVoteReply { .. }
            | Body::VoteReply { .. }
            | Body::AppendReply { .. }
            | Body::TimeoutNow => {
                self.follow(message.term, None);
                true
            }
        }
    }

    /// Tells the sender that its term is over. A leader must hear it too: otherwise a member whose term is ahead
    /// of a living leader's, and which pre-vote keeps from being elected, could never follow again.
    fn answer_earlier_term(&mut self, from: MemberId, body: &Body) {
        match *body {
            Body::PreVote { .. } => self.send(from, Body::PreVoteReply { granted: false }),
            Body::Vote { .. } => self.send(from, Body::VoteReply { granted: false }),
            Body::Append { previous, read_round, .. } => self.reject(from, previous, read_round),
            _ => {}
        }
    }

    /// Follows `leader`, or waits to hear of one, in `term`.
    pub(crate) fn follow(&mut self, term: Term, leader: Option<MemberId>) {
        if term > self.hard.term {
            self.hard.term = term;
            self.hard.vote = None;
        }
        match std::mem::replace(&mut self.state, State::Follower) {
            State::Follower => {}
            State::Candidate(_) => self.elapsed_ticks = 0,
            State::Leader(lead) => {
                self.elapsed_ticks = 0;
                self.effects.lost_reads.extend(lead.reads.into_lost());
            }
        }
        self.leader = leader;
        if leader.is_some() {
            self.hurry_ticks = 0;
        }
        self.draw_timeout();
    }

    fn campaign(&mut self, campaign: Campaign) {
        let pre = campaign == Campaign::Pre;
        self.attempt += 1;
        self.elapsed_ticks = 0;
        self.leader = None;
        if !pre {
            self.hard.term.0 += 1;
            self.hard.vote = Some(self.id);
        }
        self.draw_timeout();
        self.state = State::Candidate(Candidacy { pre, ballots: BTreeMap::from([(self.id, true)]) });
        if self.is_alone() {
            return self.lead(false);
        }
        let last = self.log.last();
        let configuration = self.log.configuration();
        let voters = configuration.voters.union(&configuration.outgoing);
        let others: Vec<_> = voters.copied().filter(|voter| *voter != self.id).collect();
        for voter in others {
            if pre {
                let term = Term(self.hard.term.0 + 1);
                self.effects.send.push((voter, Message { term, body: Body::PreVote { last } }));
            } else {
                // Durably, so that any answer proves that this member's own vote is on disk.
                let transfer = campaign == Campaign::Transfer;
                self.send_durable(voter, Body::Vote { last, transfer });
            }
        }
    }

    /// Whoever asks counts this member as a voter by a log that may be ahead of this one: it votes even if it
    /// does not know yet that it is one (§4.2.1). It is the candidate that counts voters only.
    fn is_complete(&self, candidate: Position) -> bool {
        candidate >= self.log.last() || self.settings.breaks(BrokenRule::VoteForStaleLog)
    }

    pub(crate) fn receive_pre_vote(&mut self, from: MemberId, term: Term, last: Position) {
        let granted = term > self.hard.term && self.is_complete(last);
        let term = if granted { term } else { self.hard.term };
        self.effects.send.push((from, Message { term, body: Body::PreVoteReply { granted } }));
    }

    pub(crate) fn receive_vote(&mut self, from: MemberId, last: Position) {
        let free = match self.hard.vote {
            Some(vote) => vote == from,
            None => self.leader.is_none(),
        };
        let granted = (free || self.settings.breaks(BrokenRule::VoteTwice)) && self.is_complete(last);
        if granted {
            self.hard.vote = Some(from);
            self.elapsed_ticks = 0;
        }
        self.send_durable(from, Body::VoteReply { granted });
    }

    pub(crate) fn receive_ballot(&mut self, from: MemberId, pre: bool, granted: bool) {
        let State::Candidate(candidacy) = &mut self.state else {
            return;
        };
        if candidacy.pre != pre {
            return;
        }
        candidacy.ballots.insert(from, granted);
        let ballots = &candidacy.ballots;
        let configuration = self.log.configuration();
        if configuration.is_quorum(|id| ballots.get(&id) == Some(&true)) {
            if pre {
                self.campaign(Campaign::Real);
            } else {
                self.lead(true);
            }
        } else if !configuration.is_quorum(|id| ballots.get(&id) != Some(&false)) {
            self.follow(self.hard.term, None);
        }
    }

    /// `term_durable`: others have voted, hence had been asked, hence this member's own vote is on disk.
    fn lead(&mut self, term_durable: bool) {
        let next = self.log.last().index.next();
        let uncommitted = self.log.between(self.commit, self.log.last().index);
        self.state = State::Leader(Box::new(Leadership {
            first: next,
            term_durable,
            peers: BTreeMap::new(),
            heartbeat_ticks: 0,
            uncommitted_bytes: uncommitted.map(crate::log::size_bytes).sum(),
            reads: Reads::default(),
            handover: None,
        }));
        self.leader = Some(self.id);
        self.sync_peers(next);
        self.append_own(self.log.last_time(), Payload::Empty);
        self.replicate();
    }

    /// Peers are the members of the configuration in force; new ones are asked from `next` on.
    pub(crate) fn sync_peers(&mut self, next: Index) {
        let State::Leader(lead) = &mut self.state else {
            return;
        };
        let configuration = self.log.configuration();
        lead.peers.retain(|id, _| configuration.contains(*id));
        for id in configuration.members().into_iter().filter(|id| *id != self.id) {
            lead.peers.entry(id).or_insert_with(|| Peer::new(next));
        }
    }

    pub(crate) fn transfer(&mut self, to: MemberId) -> Result<(), Refusal> {
        match self.leading() {
            Err(Refusal::Transferring { to: under_way }) if under_way == to => return Ok(()),
            other => other.map(|_| ())?,
        }
        if !self.log.configuration().is_voter(to) {
            return Err(Refusal::NotVoter { to });
        }
        if to != self.id {
            if let State::Leader(lead) = &mut self.state {
                lead.handover = Some(Handover { to, ticks: 0 });
            }
            self.advance_handover();
        }
        Ok(())
    }

    /// Tells the one that takes over to begin, once nothing is missing from its log. Told again with each answer
    /// until it does: the message may be lost, and a second one is of a term that it has left.
    pub(crate) fn advance_handover(&mut self) {
        let State::Leader(lead) = &self.state else { return };
        let Some(handover) = &lead.handover else { return };
        let to = handover.to;
        if lead.peers.get(&to).is_some_and(|peer| peer.matched == self.log.last().index) {
            self.send(to, Body::TimeoutNow);
        }
    }

    pub(crate) fn receive_timeout_now(&mut self, from: MemberId) {
        let led = self.leader == Some(from) && matches!(self.state, State::Follower);
        if led && self.log.configuration().is_voter(self.id) {
            self.campaign(Campaign::Transfer);
        }
    }
}

/// SplitMix64's step (Steele, Lea, Flood 2014).
fn mix(state: u64) -> u64 {
    let z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
