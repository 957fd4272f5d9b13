//! What must hold in every run, by name.

use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// At most one leader per group and term.
    ElectionSafety,
    /// Entries with the same index and term are the same, and so is all before them.
    LogMatching,
    /// A committed entry is in the log of every later leader, and nobody replaces it.
    LeaderCompleteness,
    /// The same command is applied at the same index everywhere, with the same state after it.
    StateMachineSafety,
    /// What a member promises is on its disk, and what was synced is there after a crash.
    Durability,
    /// Replicated time never goes back, never runs ahead of real time, and never leaps after a leader's sleep.
    LogTime,
    /// Clients' registers are linearizable.
    Linearizability,
    /// Clients' locks keep what quartet-history checks.
    Locks,
    /// Once all is healed, every group serves again, and everyone ends with the same state.
    Liveness,
    /// A member takes a crash of its own for damage, or cannot start after one.
    Recovery,
    /// A member leads although its disk has finished nothing for longer than it has patience.
    HungDisk,
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub invariant: Invariant,
    pub detail: String,
}

impl Violation {
    pub(crate) fn new(invariant: Invariant, detail: String) -> Self {
        Self { invariant, detail }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.detail)
    }
}
