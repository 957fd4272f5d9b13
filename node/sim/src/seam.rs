//! What a run is made of, and the eye that watches state machines apply.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use quartet_raft::{Index, LogTime};
use quartet_replica::engine::{Event, Output, Report};
use quartet_replica::store::{Batch, Opened, Written};
use quartet_replica::{At, CorruptSnapshot, GroupId, Settled, StateMachine};
use xxhash_rust::xxh3::xxh3_64;

use crate::rng::Rng;

/// A member without IO: quartet-replica's engine, or the core alone.
pub(crate) trait Member {
    fn handle(&mut self, now: Duration, event: Event);
    fn take_output(&mut self, now: Duration) -> Output;
    fn report(&self) -> Report;
    /// Of all replicated state of a group.
    fn state(&self, group: GroupId) -> Option<u64>;
}

/// What survives a crash of a member.
pub(crate) trait Volume {
    fn open(&mut self) -> Result<Opened, String>;
    fn write(&mut self, batch: &Batch) -> Result<Written, String>;
    fn sync(&mut self) -> Result<(), String>;
    /// The power is gone: unsynced writes are lost, kept or torn.
    fn crash(&mut self, rng: &mut Rng);
    /// The process is gone, the power is not: what was written is still to be read.
    fn close(&mut self) {}
    /// The next sync fails. False if this volume has no such trouble.
    fn fail_sync(&mut self) -> bool {
        false
    }
    /// After so many more changes nothing works until the power is gone and back.
    fn stop_after(&mut self, _changes: u64) -> bool {
        false
    }
    /// Leaves so many bytes free, or (None) plenty.
    fn set_room(&mut self, _free: Option<u64>) -> bool {
        false
    }
    /// Looks again how much room there is.
    fn look_for_room(&mut self) -> Option<bool> {
        None
    }
    /// Flips a bit of what is stored. Says where, if there is anything.
    fn rot(&mut self, _rng: &mut Rng) -> Option<String> {
        None
    }
    /// Removes everything, as a reset does.
    fn wipe(&mut self) -> Result<(), String> {
        Err("this volume is never wiped".to_owned())
    }
}

/// Something that a state machine was seen to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Applied {
    pub(crate) group: GroupId,
    pub(crate) index: Index,
    pub(crate) time: LogTime,
    pub(crate) command: u64,
    /// Of the state afterwards, now and then.
    pub(crate) state: Option<u64>,
}

/// Shared with the state machines of one life of a member.
#[derive(Clone, Default)]
pub(crate) struct Eye(Arc<Mutex<Vec<Applied>>>);

impl Eye {
    fn saw(&self, applied: Applied) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(applied);
    }

    pub(crate) fn take(&self) -> Vec<Applied> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A state machine that is watched.
pub(crate) struct Watched<S> {
    inner: S,
    group: GroupId,
    eye: Eye,
}

/// How often a digest of the whole state is taken, in indexes.
const DIGEST_EVERY: u64 = 16;

impl<S: StateMachine> Watched<S> {
    pub(crate) fn new(inner: S, group: GroupId, eye: Eye) -> Self {
        Self { inner, group, eye }
    }
}

impl<S: StateMachine> StateMachine for Watched<S> {
    fn may_grow(&self, command: &[u8]) -> bool {
        self.inner.may_grow(command)
    }

    fn advance(&mut self, at: At, settled: &mut Settled) {
        self.inner.advance(at, settled);
    }

    fn apply(&mut self, at: At, command: &[u8], settled: &mut Settled) {
        self.inner.apply(at, command, settled);
        let state = at.index.0.is_multiple_of(DIGEST_EVERY).then(|| xxh3_64(&self.inner.snapshot()));
        let command = xxh3_64(command);
        self.eye.saw(Applied { group: self.group, index: at.index, time: at.time, command, state });
    }

    fn query(&self, query: &[u8]) -> Bytes {
        self.inner.query(query)
    }

    fn deadline(&self) -> Option<LogTime> {
        self.inner.deadline()
    }

    fn snapshot(&self) -> Vec<u8> {
        self.inner.snapshot()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), CorruptSnapshot> {
        self.inner.restore(snapshot)
    }
}
