//! The leader's side of replication (§3.5, §10.2): feeding followers, counting copies, committing.

use std::collections::BTreeMap;

use crate::broken::BrokenRule;
use crate::core::{Raft, State};
use crate::effects::{Effects, Settings};
use crate::log::{self, Log};
use crate::message::{AppendOutcome, Body, Message};
use crate::progress::{Pace, Peer};
use crate::types::{Entry, Index, MemberId, Position, Term};

/// What sending needs of the leader, apart from the peer that it sends to.
struct Outbox<'a> {
    term: Term,
    term_durable: bool,
    commit: Index,
    read_round: u64,
    log: &'a Log,
    settings: &'a Settings,
    effects: &'a mut Effects,
}

impl Outbox<'_> {
    /// As many Appends as the peer's pace allows.
    fn entries(&mut self, to: MemberId, peer: &mut Peer) {
        // Bounded: each turn ends a probe or takes one of the places in flight.
        loop {
            match peer.pace {
                Pace::Snapshot | Pace::Probe { asked: true } => return,
                Pace::Probe { asked: false } => {}
                Pace::Replicate => {
                    let full = peer.in_flight.len() >= self.settings.appends_in_flight_max.max(1);
                    if full || peer.next > self.log.last().index {
                        return;
                    }
                }
            }
            let Some(previous) = self.previous(to, peer) else {
                return;
            };
            let entries = self.log.slice(peer.next, self.settings.append_bytes_max);
            let last = entries.last().map_or(previous.index, |entry| entry.index);
            self.append(to, previous, entries, self.commit.min(last));
            if peer.pace == Pace::Replicate {
                peer.in_flight.push_back(last);
                peer.next = last.next();
            } else {
                peer.pace = Pace::Probe { asked: true };
            }
        }
    }

    /// Says that this leader lives, asks whether what was sent has arrived, and carries the round of reads.
    fn heartbeat(&mut self, to: MemberId, peer: &mut Peer) {
        let previous = match peer.pace {
            Pace::Snapshot => None,
            Pace::Probe { .. } | Pace::Replicate => self.previous(to, peer),
        };
        // The start of all logs, on which everyone agrees, while a snapshot is under way.
        let previous = previous.unwrap_or_default();
        // A commit beyond what is known to match could be of other entries there.
        self.append(to, previous, Vec::new(), self.commit.min(peer.matched));
    }

    /// The position before `peer.next`; asks for a snapshot if the log does not reach back to it.
    fn previous(&mut self, to: MemberId, peer: &mut Peer) -> Option<Position> {
        let previous = self.log.position(Index(peer.next.0 - 1));
        if previous.is_none() && peer.is_active(self.settings.election_ticks) {
            peer.pace = Pace::Snapshot;
            peer.in_flight.clear();
            self.effects.snapshots.push(to);
        }
        previous
    }

    fn append(&mut self, to: MemberId, previous: Position, entries: Vec<Entry>, commit: Index) {
        let body = Body::Append { previous, entries, commit, read_round: self.read_round };
        let message = (to, Message { term: self.term, body });
        if self.term_durable {
            self.effects.send.push(message);
        } else {
            self.effects.send_durable.push(message);
        }
    }
}

impl Raft {
    /// Sends what there is to every peer that can take it.
    pub(crate) fn replicate(&mut self) {
        let Some((mut outbox, peers)) = self.outbox() else {
            return;
        };
        for (id, peer) in peers {
            outbox.entries(*id, peer);
        }
    }

    fn replicate_to(&mut self, to: MemberId) {
        let Some((mut outbox, peers)) = self.outbox() else {
            return;
        };
        if let Some(peer) = peers.get_mut(&to) {
            outbox.entries(to, peer);
        }
    }

    pub(crate) fn heartbeat(&mut self) {
        if let State::Leader(lead) = &mut self.state {
            lead.heartbeat_ticks = 0;
        }
        let Some((mut outbox, peers)) = self.outbox() else {
            return;
        };
        for (id, peer) in peers {
            outbox.heartbeat(*id, peer);
        }
    }

    fn outbox(&mut self) -> Option<(Outbox<'_>, &mut BTreeMap<MemberId, Peer>)> {
        let State::Leader(lead) = &mut self.state else {
            return None;
        };
        let outbox = Outbox {
            term: self.hard.term,
            term_durable: lead.term_durable,
            commit: self.commit,
            read_round: lead.reads.round,
            log: &self.log,
            settings: &self.settings,
            effects: &mut self.effects,
        };
        Some((outbox, &mut lead.peers))
    }

    pub(crate) fn receive_append_reply(&mut self, from: MemberId, outcome: AppendOutcome, read_round: u64) {
        let State::Leader(lead) = &mut self.state else {
            return;
        };
        let Some(peer) = lead.peers.get_mut(&from) else {
            return;
        };
        peer.silent_ticks = 0;
        peer.read_round = peer.read_round.max(read_round.min(lead.reads.round));
        match outcome {
            AppendOutcome::Matched(index) if index <= self.log.last().index => {
                peer.agree(index, Index(self.log.first_index().0 - 1));
                self.advance_commit();
                if self.transferring() == Some(from) {
                    self.advance_handover();
                }
            }
            AppendOutcome::Matched(_) => return,
            AppendOutcome::Rejected { previous, hint } => {
                // Answers to what is settled by now, or was asked before the last step back, say nothing.
                let current = match peer.pace {
                    Pace::Probe { .. } => previous.next() == peer.next,
                    Pace::Replicate => previous > peer.matched && previous < peer.next,
                    Pace::Snapshot => false,
                };
                if current && previous > peer.matched {
                    let agrees = self.log.floor(hint).min(Index(previous.0.saturating_sub(1)));
                    peer.probe(agrees.next(), false);
                }
            }
        }
        self.replicate_to(from);
        self.advance_reads();
    }

    pub(crate) fn snapshot_sent(&mut self, to: MemberId, index: Option<Index>) {
        let State::Leader(lead) = &mut self.state else {
            return;
        };
        let Some(peer) = lead.peers.get_mut(&to).filter(|peer| peer.pace == Pace::Snapshot) else {
            return;
        };
        match index {
            Some(index) => {
                let next = peer.next.max(index.min(self.log.last().index).next());
                peer.probe(next, false);
            }
            // The next heartbeat asks for it again.
            None => peer.probe(peer.next, true),
        }
        self.replicate_to(to);
    }

    /// Commits what a quorum holds on disk, if it is of this leader's own term: copies of earlier terms' entries
    /// may still be overwritten (§3.6.2). The leader itself counts by its own disk, like anybody.
    pub(crate) fn advance_commit(&mut self) {
        let State::Leader(lead) = &mut self.state else {
            return;
        };
        let holds = |id: MemberId| {
            if id == self.id {
                self.persisted
            } else {
                lead.peers.get(&id).map_or(Index(0), |peer| peer.matched)
            }
        };
        let configuration = self.log.configuration();
        let minority = self.settings.breaks(BrokenRule::CommitWithoutQuorum);
        let agreed = configuration
            .voters
            .iter()
            .chain(&configuration.outgoing)
            .map(|id| holds(*id))
            .filter(|index| minority || configuration.is_quorum(|id| holds(id) >= *index))
            .max();
        let Some(agreed) = agreed.filter(|agreed| *agreed > self.commit) else {
            return;
        };
        let own = self.log.position(agreed).is_some_and(|position| position.term == self.hard.term);
        if !own && !self.settings.breaks(BrokenRule::CommitEarlierTerm) {
            return;
        }
        let bytes: usize = self.log.between(self.commit, agreed).map(log::size_bytes).sum();
        lead.uncommitted_bytes = lead.uncommitted_bytes.saturating_sub(bytes);
        self.commit = agreed;
        self.advance_configuration();
    }
}
