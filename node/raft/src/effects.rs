//! What goes into the core and what comes out of it.

use bytes::Bytes;

#[cfg(feature = "broken-rules")]
use crate::broken::BrokenRule;
use crate::message::Message;
use crate::types::{
    Configuration, Entry, HardState, Index, LogTime, MemberId, Position, Role, SnapshotMeta, Term,
};

#[derive(Clone, Debug)]
pub enum Input {
    Tick,
    /// This member is not able to lead: it gives up its leadership, or its election. While that lasts it is to get
    /// no ticks, so that it begins no other.
    Resign,
    /// Somebody found this member's process gone: a hint, which may be wrong. Whoever followed it stands soon.
    Gone(MemberId),
    Receive {
        from: MemberId,
        message: Message,
    },
    /// Appends commands, in order, if this is the leader. They are the entries of `Effects::append`.
    Propose(Vec<Proposal>),
    /// Asks for an index that a linearizable read has to wait for. Answered in `Effects::reads`.
    Read(ReadId),
    /// Changes the members by joint consensus (or at once when only learners change), if the configuration in
    /// force is the committed one set at `expected`.
    Change {
        expected: Index,
        target: Configuration,
    },
    /// Hands the leadership to a voter, as soon as its log is complete; gives up after an election timeout.
    Transfer {
        to: MemberId,
    },
    /// All effects up to those that carried this position are on disk.
    Persisted(Position),
    /// A snapshot taken here, of the applied state at `meta.last`, is on disk: the log before it may go, but for
    /// `keep` entries for followers that lag a little.
    Compact {
        meta: SnapshotMeta,
        keep: u64,
    },
    /// A snapshot received from the leader of `term` is on disk and stands for everything up to `meta.last`. The
    /// log after it stays if the entry at `meta.last` is the same, and is gone otherwise (`last` tells).
    Restore {
        from: MemberId,
        term: Term,
        meta: SnapshotMeta,
    },
    /// The snapshot asked for by `Effects::snapshots` has been installed by `to` up to `index`, or (None) failed.
    SnapshotSent {
        to: MemberId,
        index: Option<Index>,
    },
}

#[derive(Clone, Debug)]
pub struct Proposal {
    /// Raised to the time of the entry before, if it is earlier.
    pub time: LogTime,
    pub data: Bytes,
}

/// Chosen by the caller, unique among those it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadId(pub u64);

/// To be carried out in the order of the fields, and the effects of one step before those of the next.
#[derive(Clone, Debug, Default)]
pub struct Effects {
    pub hard_state: Option<HardState>,
    /// To the log; replaces whatever was there from the first one's index on.
    pub append: Vec<Entry>,
    /// May leave before any of the above is on disk.
    pub send: Vec<(MemberId, Message)>,
    /// Only once the hard states and entries of this and all earlier steps are on disk.
    pub send_durable: Vec<(MemberId, Message)>,
    /// Members that are further behind than the log reaches back.
    pub snapshots: Vec<MemberId>,
    /// Committed and on this member's own disk, in order, each once in the life of a `Raft`.
    pub apply: Vec<Entry>,
    /// May be served once everything up to the index is applied.
    pub reads: Vec<(ReadId, Index)>,
    /// This member stopped leading before they could be confirmed.
    pub lost_reads: Vec<ReadId>,
    /// Role, term or known leader changed.
    pub standing: Option<Standing>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    pub role: Role,
    pub term: Term,
    pub leader: Option<MemberId>,
}

/// Why an input was refused; nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("not the leader")]
    NotLeader { leader: Option<MemberId> },
    #[error("the leadership is being handed to {to}")]
    Transferring { to: MemberId },
    #[error("too many entries wait for a quorum")]
    Full,
    #[error("no entry of this leader's own term is committed yet")]
    NotEstablished,
    #[error("the configuration in force was set at {}, not at {}", .actual.0, .expected.0)]
    Unexpected { expected: Index, actual: Index },
    #[error("a change of members is under way")]
    ChangeUnderWay,
    #[error("a configuration needs a voter, and no member twice")]
    Malformed,
    #[error("{to} is not a voter")]
    NotVoter { to: MemberId },
    #[error("the snapshot ends at {}, and everything up to {} is committed here", .snapshot.0, .committed.0)]
    Stale { snapshot: Index, committed: Index },
}

/// How a group is run. Times are in ticks.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A follower that hears nothing for this long, up to twice as long by chance, stands for election.
    pub election_ticks: u32,
    pub heartbeat_ticks: u32,
    /// Seeds the random part of election timeouts.
    pub seed: u64,
    /// Bytes of entries in one Append.
    pub append_bytes_max: usize,
    /// Appends under way to one follower.
    pub appends_in_flight_max: usize,
    /// Bytes of entries proposed and not yet committed.
    pub uncommitted_bytes_max: usize,
    #[cfg(feature = "broken-rules")]
    pub broken: Option<BrokenRule>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            election_ticks: 20,
            heartbeat_ticks: 2,
            seed: 0,
            append_bytes_max: 1 << 20,
            appends_in_flight_max: 4,
            uncommitted_bytes_max: 64 << 20,
            #[cfg(feature = "broken-rules")]
            broken: None,
        }
    }
}

/// What a member's disk held when it started.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    pub hard_state: HardState,
    /// The default (all zero, nobody a member) when there is none.
    pub snapshot: SnapshotMeta,
    /// Contiguous from `snapshot.last.index + 1`.
    pub entries: Vec<Entry>,
}

/// What a leader knows of another member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub matched: Index,
    /// Heard from within an election timeout.
    pub active: bool,
    pub in_snapshot: bool,
}
