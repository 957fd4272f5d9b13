//! Clients: one request at a time, retried under its idempotency key, with everything written down.

use quartet_history::linear::{RegisterAnswer, RegisterOperation, RegisterRequest};
use quartet_history::{Operation, Outcome};
use quartet_replica::GroupId;
use quartet_replica::engine::{Request, RequestId};
use quartet_replica::wire::{Failure, Key};

use crate::locks::{self, Locker};
use crate::queue::Micros;
use crate::register;
use crate::rng::Rng;

pub(crate) struct Client {
    pub(crate) number: u32,
    pub(crate) locker: Locker,
    pub(crate) current: Option<Asked>,
    asked: u64,
}

/// The request that a client waits for.
pub(crate) struct Asked {
    pub(crate) what: What,
    pub(crate) request: Request,
    pub(crate) started_us: Micros,
    /// Of the attempt under way.
    pub(crate) attempt: RequestId,
    pub(crate) timeout_us: u64,
    attempts_left: u32,
    /// Some attempt may have had its effect.
    uncertain: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum What {
    Register { register: u8, request: RegisterRequest },
    Lock(quartet_history::lock::LockRequest),
}

/// What becomes of a request after an attempt.
pub(crate) enum Next {
    Again,
    Done,
}

#[derive(Default)]
pub(crate) struct Record {
    pub(crate) registers: Vec<(GroupId, u8, RegisterOperation)>,
    pub(crate) locks: Vec<quartet_history::lock::LockOperation>,
    pub(crate) acknowledged: u64,
    /// Per group: when the last answered request was sent.
    pub(crate) served_us: std::collections::BTreeMap<GroupId, Micros>,
}

impl Client {
    pub(crate) fn new(number: u32) -> Self {
        Self { number, locker: Locker::new(number), current: None, asked: 0 }
    }

    pub(crate) fn ask(&mut self, what: What, group: GroupId, keyed: bool, now: Micros, rng: &mut Rng) {
        self.asked += 1;
        let name = format!("{}-{}", self.number, self.asked);
        let digest = u128::from(xxhash_rust::xxh3::xxh3_64(format!("{what:?}").as_bytes())).to_be_bytes();
        let key = keyed.then_some(Key { name, digest });
        let request = match &what {
            What::Register { register, request: RegisterRequest::Write(value) } => {
                Request::Execute { group, key, command: register::write(*register, *value) }
            }
            What::Register { register, request: RegisterRequest::Read } => {
                Request::Query { group, query: register::read(*register) }
            }
            What::Lock(request) => locks::request(request, group, key),
        };
        let wait_us = match &what {
            What::Lock(quartet_history::lock::LockRequest::Acquire { wait_ms, .. }) => wait_ms * 1000,
            _ => 0,
        };
        self.current = Some(Asked {
            what,
            request,
            started_us: now,
            attempt: RequestId(0),
            timeout_us: wait_us + rng.between(300_000, 2_500_000),
            attempts_left: u32::try_from(rng.between(2, 8)).unwrap_or(2),
            uncertain: false,
        });
    }
}

impl Asked {
    fn is_safe_to_repeat(&self) -> bool {
        match &self.request {
            Request::Execute { key, .. } => key.is_some() || !self.uncertain,
            Request::Query { .. } => true,
        }
    }

    pub(crate) fn group(&self) -> GroupId {
        match &self.request {
            Request::Execute { group, .. } | Request::Query { group, .. } => *group,
        }
    }

    /// None: no answer in time.
    pub(crate) fn attempt_failed(&mut self, failure: Option<Failure>) -> Next {
        self.uncertain |= matches!(failure, None | Some(Failure::Unknown));
        self.attempts_left = self.attempts_left.saturating_sub(1);
        if self.attempts_left > 0 && self.is_safe_to_repeat() { Next::Again } else { Next::Done }
    }

    /// Nobody waits for the answer any more.
    pub(crate) fn abandon(mut self, client: u32, now: Micros, record: &mut Record) {
        self.uncertain = true;
        self.record(client, None, now, record);
    }

    /// Writes down what became of it. True if nobody knows.
    pub(crate) fn record(self, client: u32, answer: Option<&[u8]>, now: Micros, record: &mut Record) -> bool {
        let group = self.group();
        let start_us = self.started_us;
        let understood = match self.what {
            What::Register { register, request } => {
                let value = answer.and_then(register::value);
                let told = value.map(|value| match request {
                    RegisterRequest::Write(_) => RegisterAnswer::Replaced(value),
                    RegisterRequest::Read => RegisterAnswer::Value(value),
                });
                let (end_us, outcome) = outcome(told, self.uncertain, now);
                let operation = Operation { client, start_us, end_us, request, outcome };
                record.registers.push((group, register, operation));
                value.is_some()
            }
            What::Lock(request) => {
                let told = answer.and_then(|answer| locks::answer(&request, answer));
                let understood = told.is_some();
                let (end_us, outcome) = outcome(told, self.uncertain, now);
                record.locks.push(Operation { client, start_us, end_us, request, outcome });
                understood
            }
        };
        if understood {
            record.acknowledged += 1;
            let served = record.served_us.entry(group).or_default();
            *served = start_us.max(*served);
        }
        self.uncertain && !understood
    }
}

/// When an operation ended, and how. `told` is none for answers that decide nothing.
fn outcome<A>(told: Option<A>, uncertain: bool, now: Micros) -> (Option<Micros>, Outcome<A>) {
    match told {
        Some(answer) => (Some(now), Outcome::Answered(answer)),
        None if uncertain => (None, Outcome::Unknown),
        None => (Some(now), Outcome::Failed),
    }
}
