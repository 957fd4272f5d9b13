//! The replicated state machine of one partition: the union of the kinds of state that share its log.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use prost::Message;
use quartet_raft::LogTime;
use quartet_replica::{At, CorruptSnapshot, Settled, StateMachine};

use crate::lock;

/// Later kinds of state (queues, the cache directory) add tags.
#[derive(Clone, PartialEq, Message)]
pub struct Command {
    #[prost(oneof = "command::Kind", tags = "1, 2")]
    pub kind: Option<command::Kind>,
}

pub mod command {
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Kind {
        #[prost(message, tag = "1")]
        Lock(crate::lock::Command),
        #[prost(message, tag = "2")]
        Reserve(super::Reserve),
    }
}

/// Does nothing: it is sent under an idempotency key to the key's own partition, which thereby remembers what the
/// key stands for, whatever partition the request itself goes to.
#[derive(Clone, PartialEq, Message)]
pub struct Reserve {
    /// For a request that is accepted also while the disk is almost full.
    #[prost(bool, tag = "1")]
    pub urgent: bool,
}

/// An empty one is answered too: it shows that the partition serves.
#[derive(Clone, PartialEq, Message)]
pub struct Query {
    #[prost(oneof = "query::Kind", tags = "1")]
    pub kind: Option<query::Kind>,
}

pub mod query {
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Kind {
        #[prost(message, tag = "1")]
        Lock(crate::lock::Query),
    }
}

#[derive(Clone, PartialEq, Message)]
pub struct Answer {
    #[prost(oneof = "answer::Kind", tags = "1, 2")]
    pub kind: Option<answer::Kind>,
}

pub mod answer {
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Kind {
        #[prost(message, tag = "1")]
        Lock(crate::lock::Answer),
        /// The partition's leader is of a version that does not know the question; says what it did not know.
        #[prost(string, tag = "2")]
        Unsupported(String),
    }
}

#[derive(Clone, PartialEq, Message)]
struct Snapshot {
    /// Of this form. A reader that does not know it refuses the snapshot.
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(message, optional, tag = "2")]
    lock: Option<lock::Snapshot>,
}

const SNAPSHOT_VERSION: u32 = 1;

/// How much this member's copy of a partition holds, for metrics: written after each step, read by nobody who
/// decides anything.
#[derive(Debug, Default)]
pub struct Gauges {
    pub locks_held: AtomicU64,
    pub locks_waiting: AtomicU64,
}

#[derive(Debug, Default)]
pub struct Partition {
    locks: lock::Table,
    gauges: Arc<Gauges>,
}

impl Partition {
    pub fn watched(gauges: Arc<Gauges>) -> Self {
        Self { locks: lock::Table::default(), gauges }
    }

    fn observe(&self) {
        self.gauges.locks_held.store(self.locks.held() as u64, Ordering::Relaxed);
        self.gauges.locks_waiting.store(self.locks.waiting() as u64, Ordering::Relaxed);
    }
}

impl StateMachine for Partition {
    fn advance(&mut self, at: At, settled: &mut Settled) {
        let mut answers = lock::Answers::default();
        self.locks.advance(at.time, &mut answers);
        settle(answers, settled);
        self.observe();
    }

    fn apply(&mut self, at: At, command: &[u8], settled: &mut Settled) {
        match Command::decode(command).map(|command| command.kind) {
            Ok(Some(command::Kind::Lock(command))) => {
                let mut answers = lock::Answers::default();
                self.locks.apply(at, command, &mut answers);
                settle(answers, settled);
            }
            Ok(Some(command::Kind::Reserve(Reserve { .. }))) => settled.settle(at.index, Bytes::new()),
            // It is in the log all the same, so every member says the same.
            Ok(None) => settled.refuse(at.index, unsupported("this version does not know the command")),
            Err(error) => {
                settled.refuse(at.index, unsupported(&format!("the command is not readable: {error}")));
            }
        }
        self.observe();
    }

    fn may_grow(&self, command: &[u8]) -> bool {
        match Command::decode(command).map(|command| command.kind) {
            Ok(Some(command::Kind::Lock(command))) => command.may_grow(),
            Ok(Some(command::Kind::Reserve(Reserve { urgent }))) => !urgent,
            Ok(None) | Err(_) => true,
        }
    }

    fn query(&self, query: &[u8]) -> Bytes {
        match Query::decode(query).map(|query| query.kind) {
            Ok(Some(query::Kind::Lock(query))) => lock_answer(self.locks.query(&query)),
            Ok(None) if query.is_empty() => Bytes::new(),
            Ok(None) => unsupported("this version does not know the query"),
            Err(error) => unsupported(&format!("the query is not readable: {error}")),
        }
    }

    fn deadline(&self) -> Option<LogTime> {
        self.locks.deadline()
    }

    fn snapshot(&self) -> Vec<u8> {
        Snapshot { version: SNAPSHOT_VERSION, lock: Some(self.locks.snapshot()) }.encode_to_vec()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), CorruptSnapshot> {
        let snapshot = Snapshot::decode(snapshot).map_err(|error| CorruptSnapshot(error.to_string()))?;
        if snapshot.version != SNAPSHOT_VERSION {
            let version = snapshot.version;
            return Err(CorruptSnapshot(format!(
                "its version is {version}, this one reads {SNAPSHOT_VERSION}"
            )));
        }
        let locks = snapshot.lock.unwrap_or_default();
        self.locks = lock::Table::restored(lock::Limits::DEFAULT, locks).map_err(CorruptSnapshot)?;
        self.observe();
        Ok(())
    }
}

fn settle(answers: lock::Answers, settled: &mut Settled) {
    for (ticket, answer) in answers.0 {
        if answer.is_decided() {
            settled.settle(ticket, lock_answer(answer));
        } else {
            settled.refuse(ticket, lock_answer(answer));
        }
    }
}

fn lock_answer(answer: lock::Answer) -> Bytes {
    Answer { kind: Some(answer::Kind::Lock(answer)) }.encode_to_vec().into()
}

fn unsupported(what: &str) -> Bytes {
    Answer { kind: Some(answer::Kind::Unsupported(what.into())) }.encode_to_vec().into()
}
