//! Clients of locks: what they ask next, and how it is said to quartet-sync's partitions.

use prost::Message;
use quartet_history::lock::{LockAnswer, LockRequest, Mode};
use quartet_replica::GroupId;
use quartet_replica::engine::Request;
use quartet_replica::wire::Key;
use quartet_sync::{lock, partition};

use crate::rng::Rng;

/// What one client believes to hold.
pub(crate) struct Locker {
    owner: String,
    held: Vec<(GroupId, String, u64)>,
}

const RESOURCES: u64 = 2;

impl Locker {
    pub(crate) fn new(client: u32) -> Self {
        Self { owner: format!("owner-{client}"), held: Vec::new() }
    }

    pub(crate) fn next(&self, groups: u16, rng: &mut Rng) -> (GroupId, LockRequest) {
        let owner = self.owner.clone();
        let ttl_ms = rng.between(300, 4000);
        if let Some((group, resource, token)) = rng.pick(&self.held).cloned() {
            match rng.below(10) {
                0..=3 => return (group, LockRequest::Renew { resource, owner, token, ttl_ms }),
                4..=6 => return (group, LockRequest::Release { resource, owner, token }),
                7 => return (group, LockRequest::ReleaseOwner { owner }),
                _ => {}
            }
        }
        let group = u16::try_from(rng.below(u64::from(groups))).unwrap_or(0);
        let resource = format!("{group}/{}", rng.below(RESOURCES));
        if rng.chance(250) {
            return (GroupId(group), LockRequest::Read { resource });
        }
        let mode = if rng.chance(400) { Mode::Shared } else { Mode::Exclusive };
        let wait_ms = if rng.chance(500) { rng.between(50, 3000) } else { 0 };
        (GroupId(group), LockRequest::Acquire { resource, owner, mode, ttl_ms, wait_ms })
    }

    pub(crate) fn learn(&mut self, group: GroupId, request: &LockRequest, answer: Option<&LockAnswer>) {
        match (request, answer) {
            (LockRequest::Acquire { resource, .. }, Some(LockAnswer::Granted { token, .. })) => {
                self.held.retain(|(_, held, _)| held != resource);
                self.held.push((group, resource.clone(), *token));
            }
            (LockRequest::Release { resource, .. }, _)
            | (LockRequest::Renew { resource, .. }, Some(LockAnswer::Lost)) => {
                self.held.retain(|(_, held, _)| held != resource);
            }
            // Only in the group that was told.
            (LockRequest::ReleaseOwner { .. }, _) => self.held.retain(|(held, _, _)| *held != group),
            _ => {}
        }
    }
}

pub(crate) fn request(request: &LockRequest, group: GroupId, key: Option<Key>) -> Request {
    let kind = match request.clone() {
        LockRequest::Acquire { resource, owner, mode, ttl_ms, wait_ms } => {
            let mode = i32::from(match mode {
                Mode::Exclusive => lock::Mode::Exclusive,
                Mode::Shared => lock::Mode::Shared,
            });
            let request = key.as_ref().map(|key| key.name.clone().into_bytes()).unwrap_or_default();
            lock::command::Kind::Acquire(lock::Acquire { resource, owner, mode, ttl_ms, wait_ms, request })
        }
        LockRequest::Renew { resource, owner, token, ttl_ms } => {
            lock::command::Kind::Renew(lock::Renew { resource, owner, token, ttl_ms })
        }
        LockRequest::Release { resource, owner, token } => {
            lock::command::Kind::Release(lock::Release { resource, owner, token: Some(token) })
        }
        LockRequest::ReleaseOwner { owner } => {
            lock::command::Kind::ReleaseOwner(lock::ReleaseOwner { owner })
        }
        LockRequest::Read { resource } => {
            let kind = Some(partition::query::Kind::Lock(lock::Query { resource }));
            return Request::Query { group, query: partition::Query { kind }.encode_to_vec().into() };
        }
    };
    let kind = Some(partition::command::Kind::Lock(kind.into()));
    Request::Execute { group, key, command: partition::Command { kind }.encode_to_vec().into() }
}

/// None for answers that decide nothing: they had no effect.
pub(crate) fn answer(request: &LockRequest, answer: &[u8]) -> Option<LockAnswer> {
    let Some(partition::answer::Kind::Lock(answer)) = partition::Answer::decode(answer).ok()?.kind else {
        return None;
    };
    Some(match answer.kind? {
        lock::answer::Kind::Granted(_) if matches!(request, LockRequest::Renew { .. }) => LockAnswer::Renewed,
        lock::answer::Kind::Granted(lock::Granted { mode, token, .. }) => {
            let mode = match lock::Mode::try_from(mode).ok()? {
                lock::Mode::Exclusive => Mode::Exclusive,
                lock::Mode::Shared => Mode::Shared,
            };
            LockAnswer::Granted { token, mode }
        }
        lock::answer::Kind::Held(_) | lock::answer::Kind::Deadlock(_) | lock::answer::Kind::Cancelled(_) => {
            LockAnswer::NotGranted
        }
        lock::answer::Kind::Lost(_) => LockAnswer::Lost,
        lock::answer::Kind::Released(_) | lock::answer::Kind::OwnerReleased(_) => LockAnswer::Released,
        lock::answer::Kind::NotHeld(_) => LockAnswer::NotHeld,
        lock::answer::Kind::Status(status) => {
            LockAnswer::Holders { tokens: status.holders.iter().map(|claim| claim.token).collect() }
        }
        lock::answer::Kind::Full(_) | lock::answer::Kind::Invalid(_) | lock::answer::Kind::Done(_) => {
            return None;
        }
    })
}
