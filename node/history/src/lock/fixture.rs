//! Short words for histories in tests: resource `r`, times in milliseconds, TTL 1 s.

use super::{LockAnswer, LockOperation, LockRequest, Mode};
use crate::{Operation, Outcome};

pub(crate) struct Started(LockOperation);

fn started(at_ms: u64, request: LockRequest) -> Started {
    Started(Operation { client: 0, start_us: at_ms * 1000, end_us: None, request, outcome: Outcome::Unknown })
}

pub(crate) fn acquire(owner: &str, at_ms: u64) -> Started {
    let (resource, owner) = ("r".to_owned(), owner.to_owned());
    let request = LockRequest::Acquire { resource, owner, mode: Mode::Exclusive, ttl_ms: 1000, wait_ms: 0 };
    started(at_ms, request)
}

pub(crate) fn renew(owner: &str, token: u64, at_ms: u64) -> Started {
    let (resource, owner) = ("r".to_owned(), owner.to_owned());
    started(at_ms, LockRequest::Renew { resource, owner, token, ttl_ms: 1000 })
}

pub(crate) fn release(owner: &str, token: u64, at_ms: u64) -> Started {
    let (resource, owner) = ("r".to_owned(), owner.to_owned());
    started(at_ms, LockRequest::Release { resource, owner, token })
}

pub(crate) fn release_owner(owner: &str, at_ms: u64) -> Started {
    started(at_ms, LockRequest::ReleaseOwner { owner: owner.to_owned() })
}

pub(crate) fn read(at_ms: u64) -> Started {
    started(at_ms, LockRequest::Read { resource: "r".to_owned() })
}

impl Started {
    pub(crate) fn shared(mut self) -> Self {
        if let LockRequest::Acquire { mode, .. } = &mut self.0.request {
            *mode = Mode::Shared;
        }
        self
    }

    pub(crate) fn answered(mut self, answer: LockAnswer, at_ms: u64) -> LockOperation {
        self.0.end_us = Some(at_ms * 1000);
        self.0.outcome = Outcome::Answered(answer);
        self.0
    }

    /// In the mode that was asked for.
    pub(crate) fn granted(self, token: u64, at_ms: u64) -> LockOperation {
        let mode = match &self.0.request {
            LockRequest::Acquire { mode, .. } => *mode,
            _ => Mode::Exclusive,
        };
        self.answered(LockAnswer::Granted { token, mode }, at_ms)
    }

    pub(crate) fn unknown(self) -> LockOperation {
        self.0
    }

    pub(crate) fn failed(mut self, at_ms: u64) -> LockOperation {
        self.0.end_us = Some(at_ms * 1000);
        self.0.outcome = Outcome::Failed;
        self.0
    }
}
