//! What each owner certainly held, and when.

use std::collections::BTreeMap;

use super::{LockAnswer, LockOperation, LockRequest, Mode};
use crate::Outcome;

/// A time during which an owner may rely on a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hold {
    pub(crate) owner: String,
    pub(crate) token: u64,
    pub(crate) mode: Mode,
    pub(crate) from_us: u64,
    pub(crate) until_us: u64,
}

/// One fencing token: who was told of it, and the bounds of when it was granted.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub(crate) owner: String,
    pub(crate) token: u64,
    pub(crate) mode: Mode,
    /// Not granted before the owner's first request that may have asked for it.
    pub(crate) not_before_us: u64,
    /// Granted by the time that it was first answered.
    pub(crate) not_after_us: u64,
}

/// Operations on one resource, in the order in which they were sent; releases of whole owners among them.
pub(crate) fn by_resource(history: &[LockOperation]) -> BTreeMap<&str, Vec<&LockOperation>> {
    let mut resources: BTreeMap<&str, Vec<&LockOperation>> = BTreeMap::new();
    for operation in history {
        if let Some(resource) = operation.request.resource() {
            resources.entry(resource).or_default();
        }
    }
    for operation in history {
        match operation.request.resource() {
            Some(resource) => {
                if let Some(operations) = resources.get_mut(resource) {
                    operations.push(operation);
                }
            }
            None => {
                for operations in resources.values_mut() {
                    operations.push(operation);
                }
            }
        }
    }
    for operations in resources.values_mut() {
        operations.sort_by_key(|operation| operation.start_us);
    }
    resources
}

/// Grants that were answered, in the order of their first answer. The same token told to two owners, or in two
/// modes, gives two grants.
pub(crate) fn grants(operations: &[&LockOperation]) -> Vec<Grant> {
    let mut grants: Vec<Grant> = Vec::new();
    for operation in operations {
        let LockRequest::Acquire { owner, .. } = &operation.request else {
            continue;
        };
        let Some(LockAnswer::Granted { token, mode }) = operation.answer() else {
            continue;
        };
        let end_us = operation.end_us.unwrap_or(u64::MAX);
        let known = grants.iter_mut().find(|g| g.token == *token && g.owner == *owner && g.mode == *mode);
        if let Some(grant) = known {
            grant.not_after_us = grant.not_after_us.min(end_us);
        } else {
            let not_before_us = first_asked_us(operations, owner, *token).unwrap_or(operation.start_us);
            let (owner, mode) = (owner.clone(), *mode);
            grants.push(Grant { owner, token: *token, mode, not_before_us, not_after_us: end_us });
        }
    }
    grants.sort_by_key(|grant| grant.not_after_us);
    grants
}

fn first_asked_us(operations: &[&LockOperation], of: &str, as_token: u64) -> Option<u64> {
    operations
        .iter()
        .filter(|operation| {
            let asks = matches!(&operation.request, LockRequest::Acquire { owner, .. } if owner == of);
            let may = match &operation.outcome {
                Outcome::Answered(LockAnswer::Granted { token, .. }) => *token == as_token,
                Outcome::Answered(_) | Outcome::Failed => false,
                Outcome::Unknown => true,
            };
            asks && may
        })
        .map(|operation| operation.start_us)
        .min()
}

/// Every stretch of time that some answer entitles its owner to, clocks running fast by `drift_ppm` at most.
pub(crate) fn holds(operations: &[&LockOperation], grants: &[Grant], drift_ppm: u64) -> Vec<Hold> {
    let mut owners: BTreeMap<&str, Vec<&LockOperation>> = BTreeMap::new();
    for operation in operations.iter().filter(|operation| has_effect(operation)) {
        if let Some(owner) = operation.request.owner() {
            owners.entry(owner).or_default().push(operation);
        }
    }
    let answers = owners
        .values()
        .flat_map(|own| own.iter().filter_map(|operation| hold(own, operation, grants, drift_ppm)));
    joined(answers.collect())
}

/// One hold where renewals left no gap.
fn joined(mut holds: Vec<Hold>) -> Vec<Hold> {
    holds.sort_by(|a, b| (&a.owner, a.token, a.from_us).cmp(&(&b.owner, b.token, b.from_us)));
    let mut joined: Vec<Hold> = Vec::new();
    for hold in holds {
        match joined.last_mut() {
            Some(last)
                if last.owner == hold.owner
                    && last.token == hold.token
                    && last.mode == hold.mode
                    && last.until_us >= hold.from_us =>
            {
                last.until_us = last.until_us.max(hold.until_us);
            }
            _ => joined.push(hold),
        }
    }
    joined
}

/// The hold that the answer to `by` gives, among all operations of its owner's that may have an effect.
fn hold(own: &[&LockOperation], by: &LockOperation, grants: &[Grant], drift_ppm: u64) -> Option<Hold> {
    let from_us = by.end_us?;
    let (owner, token, mode) = match (&by.request, by.answer()?) {
        (LockRequest::Acquire { owner, .. }, LockAnswer::Granted { token, mode }) => (owner, *token, *mode),
        (LockRequest::Renew { owner, token, .. }, LockAnswer::Renewed) => {
            let grant = grants.iter().find(|grant| grant.token == *token && grant.owner == *owner)?;
            (owner, *token, grant.mode)
        }
        _ => return None,
    };
    let ttl_us = |ttl_ms: u64| ttl_ms * 1000 - ttl_ms * drift_ppm / 1000;
    let mut until_us = u64::MAX;
    for operation in own {
        let is_over = operation.settled_us().is_some_and(|settled| settled <= by.start_us);
        if is_over {
            continue;
        }
        if let Some(ttl_ms) = renews_ms(&operation.request, token, mode) {
            // Whenever it takes effect, the TTL counts from then: never from before both were sent.
            until_us = until_us.min(operation.start_us.max(by.start_us) + ttl_us(ttl_ms));
        }
        if may_end(&operation.request, token, mode) {
            until_us = until_us.min(operation.start_us.max(from_us));
        }
    }
    (until_us > from_us).then(|| Hold { owner: owner.clone(), token, mode, from_us, until_us })
}

fn has_effect(operation: &LockOperation) -> bool {
    match &operation.outcome {
        Outcome::Failed => false,
        Outcome::Answered(answer) => !matches!(answer, LockAnswer::Lost | LockAnswer::NotHeld),
        Outcome::Unknown => true,
    }
}

/// The TTL that the request sets, if it renews this hold.
fn renews_ms(request: &LockRequest, of: u64, in_mode: Mode) -> Option<u64> {
    match request {
        LockRequest::Renew { token, ttl_ms, .. } if *token == of => Some(*ttl_ms),
        LockRequest::Acquire { mode, ttl_ms, .. } if *mode == in_mode => Some(*ttl_ms),
        _ => None,
    }
}

/// Whether the request may give up this hold of its owner's.
fn may_end(request: &LockRequest, of: u64, in_mode: Mode) -> bool {
    match request {
        LockRequest::Release { token, .. } => *token == of,
        LockRequest::ReleaseOwner { .. } => true,
        // Asking in another mode may trade the lock for another.
        LockRequest::Acquire { mode, .. } => *mode != in_mode,
        LockRequest::Renew { .. } | LockRequest::Read { .. } => false,
    }
}
