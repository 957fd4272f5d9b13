//! What members say to each other. Every message carries its sender's term.

use crate::types::{Entry, Index, Position, Term};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub term: Term,
    pub body: Body,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// "Would you vote for me in `term`?" Changes nobody's term (Raft dissertation §9.6).
    PreVote {
        last: Position,
    },
    PreVoteReply {
        granted: bool,
    },
    /// `transfer`: the leader asked for this election, so a recent leader is no reason to refuse.
    Vote {
        last: Position,
        transfer: bool,
    },
    VoteReply {
        granted: bool,
    },
    /// Entries, or none: then a heartbeat. `read_round` is echoed, which confirms the leader for reads (§6.4).
    Append {
        previous: Position,
        entries: Vec<Entry>,
        commit: Index,
        read_round: u64,
    },
    AppendReply {
        outcome: AppendOutcome,
        read_round: u64,
    },
    /// Start an election now: the leader hands over (§3.10).
    TimeoutNow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendOutcome {
    /// The log agrees with the leader's, durably, up to here.
    Matched(Index),
    /// It does not at `previous`; the last place where it might, by the follower's terms.
    Rejected { previous: Index, hint: Position },
}
