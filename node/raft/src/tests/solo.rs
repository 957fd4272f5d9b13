//! One member, told exactly what to hear.

use super::cluster::{m, voters};
use crate::*;

pub(super) struct Solo {
    pub(super) raft: Raft,
}

pub(super) fn position(term: u64, index: u64) -> Position {
    Position { term: Term(term), index: Index(index) }
}

pub(super) fn empty_entry(term: u64, index: u64) -> Entry {
    Entry { term: Term(term), index: Index(index), time: LogTime(0), payload: Payload::Empty }
}

impl Solo {
    /// Member 0 of a group of three.
    pub(super) fn new() -> Self {
        Self::of(&[0, 1, 2])
    }

    pub(super) fn of(ordinals: &[u16]) -> Self {
        Self { raft: Raft::new(m(0), Settings::default(), founding(voters(ordinals))) }
    }

    /// Entries after the founding one, by their terms.
    pub(super) fn with_log(terms: &[u64]) -> Self {
        let mut recovered = founding(voters(&[0, 1, 2]));
        for (index, term) in (2..).zip(terms) {
            recovered.entries.push(empty_entry(*term, index));
            recovered.hard_state.term = Term(*term);
        }
        Self { raft: Raft::new(m(0), Settings::default(), recovered) }
    }

    pub(super) fn hear(&mut self, from: u16, term: u64, body: Body) -> Effects {
        let message = Message { term: Term(term), body };
        self.raft.step(Input::Receive { from: m(from), message }).unwrap()
    }

    pub(super) fn append(
        &mut self,
        term: u64,
        previous: Position,
        entries: Vec<Entry>,
        commit: u64,
    ) -> Effects {
        let body = Body::Append { previous, entries, commit: Index(commit), read_round: 0 };
        self.hear(1, term, body)
    }

    pub(super) fn heartbeat(&mut self, term: u64) -> Effects {
        self.append(term, Position::default(), Vec::new(), 0)
    }

    pub(super) fn tick(&mut self, times: u32) -> Effects {
        let mut last = Effects::default();
        for _ in 0..times {
            last = self.raft.step(Input::Tick).unwrap();
        }
        last
    }

    /// Until the next election begins.
    pub(super) fn time_out(&mut self) -> Effects {
        for _ in 0..2 * Settings::default().election_ticks {
            let effects = self.tick(1);
            if !effects.send.is_empty() {
                return effects;
            }
        }
        panic!("no election begins");
    }

    /// Wins an election with the vote of member 1; what it says on winning.
    pub(super) fn win(&mut self) -> Effects {
        self.time_out();
        let term = self.raft.standing().term.0 + 1;
        self.hear(1, term, Body::PreVoteReply { granted: true });
        self.hear(1, term, Body::VoteReply { granted: true })
    }

    pub(super) fn role(&self) -> Role {
        self.raft.standing().role
    }

    pub(super) fn term(&self) -> u64 {
        self.raft.standing().term.0
    }
}

/// What a step answers to an Append, wherever it waits.
pub(super) fn outcome(effects: &Effects) -> Option<AppendOutcome> {
    effects.send.iter().chain(&effects.send_durable).find_map(|(_, message)| match message.body {
        Body::AppendReply { outcome, .. } => Some(outcome),
        _ => None,
    })
}

pub(super) fn votes(effects: &Effects) -> Vec<bool> {
    let letters = effects.send.iter().chain(&effects.send_durable);
    letters
        .filter_map(|(_, message)| match message.body {
            Body::VoteReply { granted } | Body::PreVoteReply { granted } => Some(granted),
            _ => None,
        })
        .collect()
}
