//! What a role plugs in.

use bytes::Bytes;
use quartet_raft::{Index, LogTime};

/// A deterministic state machine: the same commands at the same places give the same state and the same answers.
/// No clock, randomness or IO; state in memory.
pub trait StateMachine: Send + 'static {
    /// Replicated time has come to `at.time`: what was due by then happens. Called before every `apply`, and for
    /// entries that carry nothing but time.
    fn advance(&mut self, at: At, settled: &mut Settled);

    /// Carries out a committed command. Its ticket is `at.index`; it may be settled now, or, when the command has
    /// to wait (for a lock), by a later call.
    fn apply(&mut self, at: At, command: &[u8], settled: &mut Settled);

    /// Whether the command may make the state larger: refused while the disk is almost full.
    fn may_grow(&self, _command: &[u8]) -> bool {
        true
    }

    /// Answers from the state as it is.
    fn query(&self, query: &[u8]) -> Bytes;

    /// When `advance` has something to do next.
    fn deadline(&self) -> Option<LogTime>;

    fn snapshot(&self) -> Vec<u8>;

    /// Replaces the state by a snapshot's.
    fn restore(&mut self, snapshot: &[u8]) -> Result<(), CorruptSnapshot>;
}

/// Where in the log, and when by replicated time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    pub index: Index,
    pub time: LogTime,
}

/// Tickets (log indexes of commands) whose answers are decided, in the order of decision.
#[derive(Debug, Default)]
pub struct Settled(pub Vec<(Index, Answer)>);

impl Settled {
    pub fn settle(&mut self, ticket: Index, body: impl Into<Bytes>) {
        self.0.push((ticket, Answer { body: body.into(), decided: true }));
    }

    /// For answers that decided nothing (full, try again): a retry under the same idempotency key is a new command.
    pub fn refuse(&mut self, ticket: Index, body: impl Into<Bytes>) {
        self.0.push((ticket, Answer { body: body.into(), decided: false }));
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub body: Bytes,
    /// Whether it is remembered under the command's idempotency key.
    pub decided: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("the snapshot cannot be read: {0}")]
pub struct CorruptSnapshot(pub String);
