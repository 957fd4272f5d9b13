//! The words of the consensus core: ids, positions, entries, configurations.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;

/// One life of one member: its place in the cluster and a random number drawn when its volume was empty.
/// A wiped volume is another member; an id never comes back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId {
    pub ordinal: u16,
    pub incarnation: u128,
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:08x}", self.ordinal, self.incarnation >> 96)
    }
}

impl fmt::Debug for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An election's number. Starts at 0 and only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(pub u64);

/// A place in the log. The first entry is at 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Index(pub u64);

impl Index {
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Replicated time in milliseconds: stamped by the leader from its monotonic clock, never earlier than the
/// entry before. The core carries it and keeps it from going back; what it means is the caller's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogTime(pub u64);

/// Where a log ends. Ordered as Raft §5.4.1 compares logs: term first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    pub term: Term,
    pub index: Index,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub term: Term,
    pub index: Index,
    pub time: LogTime,
    pub payload: Payload,
}

impl Entry {
    pub fn position(&self) -> Position {
        Position { term: self.term, index: self.index }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// A leader's first entry: what commits the entries of earlier terms (Raft §8).
    Empty,
    Configuration(Configuration),
    Command(Bytes),
}

/// Who takes part. In force from the moment it is in the log, committed or not (Raft §6).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    pub voters: BTreeSet<MemberId>,
    /// The voters before, while a joint configuration is in force: then every decision needs both majorities.
    pub outgoing: BTreeSet<MemberId>,
    /// Receive the log, count for nothing.
    pub learners: BTreeSet<MemberId>,
    /// Where each member above is reached; opaque to the core.
    pub addresses: BTreeMap<MemberId, String>,
}

impl Configuration {
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    pub fn is_voter(&self, id: MemberId) -> bool {
        self.voters.contains(&id) || self.outgoing.contains(&id)
    }

    pub fn contains(&self, id: MemberId) -> bool {
        self.is_voter(id) || self.learners.contains(&id)
    }

    /// Everyone, each once, in order.
    pub fn members(&self) -> BTreeSet<MemberId> {
        self.voters.iter().chain(&self.outgoing).chain(&self.learners).copied().collect()
    }

    /// Whether `agreed` holds a majority of the voters, and of the outgoing ones while joint.
    pub fn is_quorum(&self, agreed: impl Fn(MemberId) -> bool) -> bool {
        let majority =
            |set: &BTreeSet<MemberId>| set.iter().filter(|id| agreed(**id)).count() * 2 > set.len();
        majority(&self.voters) && (self.outgoing.is_empty() || majority(&self.outgoing))
    }
}

/// What must be on disk before a promise made in its name leaves the member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    pub term: Term,
    pub vote: Option<MemberId>,
}

/// What a snapshot stands for: the whole log up to and including `last`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotMeta {
    pub last: Position,
    pub time: LogTime,
    pub configuration: Configuration,
    /// Index of the entry that set `configuration`.
    pub configuration_index: Index,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    Follower,
    /// Asking whether an election could be won, or holding one.
    Candidate,
    Leader,
    /// Not a voter of the configuration in force.
    Learner,
}
