//! What a leader keeps about each other member, and about its own time in office.

use std::collections::{BTreeMap, VecDeque};

use crate::effects::Progress;
use crate::reads::Reads;
use crate::types::{Index, MemberId};

/// How a follower is fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Where its log agrees is not known: one Append at a time, `asked` while it is under way.
    Probe { asked: bool },
    /// Agrees so far: Appends follow each other without waiting for answers.
    Replicate,
    /// The log no longer reaches back to where it is: waits for `SnapshotSent`.
    Snapshot,
}

#[derive(Debug)]
pub(crate) struct Peer {
    /// Its log agrees, durably, up to here.
    pub(crate) matched: Index,
    /// The next entry to send.
    pub(crate) next: Index,
    pub(crate) pace: Pace,
    /// The last index of each Append under way, in order.
    pub(crate) in_flight: VecDeque<Index>,
    pub(crate) silent_ticks: u32,
    /// The latest round of reads that it has confirmed.
    pub(crate) read_round: u64,
}

impl Peer {
    pub(crate) fn new(next: Index) -> Self {
        Self {
            matched: Index(0),
            next,
            pace: Pace::Probe { asked: false },
            in_flight: VecDeque::new(),
            silent_ticks: 0,
            read_round: 0,
        }
    }

    pub(crate) fn is_active(&self, election_ticks: u32) -> bool {
        self.silent_ticks < election_ticks
    }

    /// Asks again from `next`, which is never what is known to be there.
    pub(crate) fn probe(&mut self, next: Index, asked: bool) {
        self.next = next.max(self.matched.next());
        self.pace = Pace::Probe { asked };
        self.in_flight.clear();
    }

    /// Its log agrees up to `index`. `reach` is the position before the leader's first entry.
    pub(crate) fn agree(&mut self, index: Index, reach: Index) {
        self.matched = self.matched.max(index);
        while self.in_flight.front().is_some_and(|last| *last <= index) {
            self.in_flight.pop_front();
        }
        let found = match self.pace {
            Pace::Probe { .. } => index.next() >= self.next,
            Pace::Snapshot => self.matched >= reach,
            Pace::Replicate => false,
        };
        if found {
            self.pace = Pace::Replicate;
            self.in_flight.clear();
            self.next = self.matched.next();
        }
        self.next = self.next.max(self.matched.next());
    }

    pub(crate) fn progress(&self, election_ticks: u32) -> Progress {
        Progress {
            matched: self.matched,
            active: self.is_active(election_ticks),
            in_snapshot: self.pace == Pace::Snapshot,
        }
    }
}

/// A handing over of the leadership that is under way.
#[derive(Debug)]
pub(crate) struct Handover {
    pub(crate) to: MemberId,
    pub(crate) ticks: u32,
}

#[derive(Debug)]
pub(crate) struct Leadership {
    /// This leader's first entry: once committed, it knows what is committed (§6.4).
    pub(crate) first: Index,
    /// Whether this member's own vote is known to be on disk. A lone voter wins before it is, and must not be
    /// heard in a term that a crash could make it use again.
    pub(crate) term_durable: bool,
    /// Everyone in the configuration in force but the leader itself.
    pub(crate) peers: BTreeMap<MemberId, Peer>,
    pub(crate) heartbeat_ticks: u32,
    pub(crate) uncommitted_bytes: usize,
    pub(crate) reads: Reads,
    pub(crate) handover: Option<Handover>,
}
