//! The routes of locks.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use futures::future::join_all;
use quartet_client::lock::{
    Acquire, Grant, Holder, LockStatus, Mode, OwnerReleased, Release, Released, Renew, Waiter,
};
use quartet_serve::Refusal;
use quartet_serve::body::{self, Body};
use serde::Deserialize;

use super::error::unreadable;
use super::metrics::Outcome;
use super::replicated::{NotExecuted, TIMEOUT};
use super::waiting::Waiting;
use super::{Service, request};
use crate::lock::{self, answer, command};
use crate::member::Member;

pub(super) async fn acquire<M: Member>(
    State(service): State<Arc<Service<M>>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Grant>, Refusal> {
    let body = body::received(body)?;
    let Acquire { resource, owner, mode, ttl_ms, wait_ms } = body::parse(&body)?;
    request::name("resource", &resource)?;
    request::name("owner", &owner)?;
    let ttl_ms = request::ttl_ms(ttl_ms, service.settings.lock_default_ttl_ms)?;
    let wait_ms = request::wait_ms(wait_ms)?;
    let key = request::key(&headers, "/lock/acquire", &body)?;

    let group = service.replicated.group_of(&resource)?;
    let id = uuid::Uuid::new_v4().into_bytes().to_vec();
    let asked = command::Kind::Acquire(lock::Acquire {
        resource: resource.clone(),
        owner: owner.clone(),
        mode: wire_mode(mode).into(),
        ttl_ms,
        wait_ms,
        request: id.clone(),
    });
    let keyed = key.is_some();
    let timeout = TIMEOUT + Duration::from_millis(wait_ms);
    let asking = service.replicated.execute(group, asked, key, timeout);
    let answer = if wait_ms == 0 {
        asking.await
    } else {
        let waiting = Waiting::new(&service, group, resource.clone(), id, timeout);
        waiting.watch(asking, keyed).await
    };
    service.metrics.acquired(Outcome::of(&answer));
    grant(resource, owner, answer?)
}

pub(super) async fn renew<M: Member>(
    State(service): State<Arc<Service<M>>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Grant>, Refusal> {
    let body = body::received(body)?;
    let Renew { resource, owner, fencing_token, ttl_ms } = body::parse(&body)?;
    request::name("resource", &resource)?;
    request::name("owner", &owner)?;
    let ttl_ms = request::ttl_ms(ttl_ms, service.settings.lock_default_ttl_ms)?;
    let key = request::key(&headers, "/lock/renew", &body)?;

    let group = service.replicated.group_of(&resource)?;
    let renew =
        lock::Renew { resource: resource.clone(), owner: owner.clone(), token: fencing_token, ttl_ms };
    let answer = service.replicated.execute(group, command::Kind::Renew(renew), key, TIMEOUT).await?;
    grant(resource, owner, answer)
}

pub(super) async fn release<M: Member>(
    State(service): State<Arc<Service<M>>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Released>, Refusal> {
    let body = body::received(body)?;
    let Release { resource, owner, fencing_token } = body::parse(&body)?;
    request::name("resource", &resource)?;
    request::name("owner", &owner)?;
    let key = request::key(&headers, "/lock/release", &body)?;

    let group = service.replicated.group_of(&resource)?;
    let release = lock::Release { resource, owner, token: fencing_token };
    match service.replicated.execute(group, command::Kind::Release(release), key, TIMEOUT).await? {
        answer::Kind::Released(lock::Released {}) => {
            service.metrics.released(1);
            Ok(Json(Released { released: true }))
        }
        other => Err(refusal(other)),
    }
}

/// Partition by partition: when one of them does not answer, the others are freed all the same, and asking again is
/// safe.
pub(super) async fn release_owner<M: Member>(
    State(service): State<Arc<Service<M>>>,
    owner: Result<Path<String>, PathRejection>,
) -> Result<Json<OwnerReleased>, Refusal> {
    let Path(owner) = owner.map_err(|rejection| Refusal::bad_request(rejection.body_text()))?;
    request::name("owner", &owner)?;
    let each = service.replicated.groups()?.map(|group| {
        let release = command::Kind::ReleaseOwner(lock::ReleaseOwner { owner: owner.clone() });
        service.replicated.execute(group, release, None, TIMEOUT)
    });
    let mut sum = OwnerReleased::default();
    let mut failed: Option<NotExecuted> = None;
    for answer in join_all(each).await {
        match answer {
            Ok(answer::Kind::OwnerReleased(lock::OwnerReleased { released, cancelled })) => {
                sum.released += released;
                sum.cancelled += cancelled;
            }
            Ok(other) => return Err(refusal(other)),
            // What is unknown of one is unknown of all.
            Err(why) if failed.as_ref().is_none_or(|before| !before.is_unknown()) => failed = Some(why),
            Err(_) => {}
        }
    }
    service.metrics.released(sum.released);
    match failed {
        None => Ok(Json(sum)),
        // Some partitions have done it: not "certainly not applied".
        Some(NotExecuted::Failed(_)) if sum != OwnerReleased::default() => {
            Err(NotExecuted::Failed(quartet_replica::wire::Failure::Unknown).into())
        }
        Some(why) => Err(why.into()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    resource: String,
}

pub(super) async fn status<M: Member>(
    State(service): State<Arc<Service<M>>>,
    which: Result<Query<Which>, QueryRejection>,
) -> Result<Json<LockStatus>, Refusal> {
    let Query(Which { resource }) = which.map_err(|rejection| Refusal::bad_request(rejection.body_text()))?;
    request::name("resource", &resource)?;
    let group = service.replicated.group_of(&resource)?;
    match service.replicated.query(group, lock::Query { resource: resource.clone() }).await? {
        answer::Kind::Status(status) => Ok(Json(lock_status(resource, status))),
        other => Err(refusal(other)),
    }
}

fn grant(resource: String, owner: String, answer: answer::Kind) -> Result<Json<Grant>, Refusal> {
    match answer {
        answer::Kind::Granted(granted) => Ok(Json(Grant {
            acquired: true,
            resource,
            owner,
            mode: client_mode(granted.mode),
            fencing_token: granted.token,
            expires_in_ms: granted.expires_in_ms,
        })),
        other => Err(refusal(other)),
    }
}

fn refusal(answer: answer::Kind) -> Refusal {
    match answer {
        answer::Kind::Held(held) => Refusal::conflict("held", "another owner holds the lock", true)
            .with(|body| body.holders = Some(held.holders.into_iter().map(holder).collect())),
        answer::Kind::Deadlock(deadlock) => {
            let message = "each of these owners waits for the next, and the last for the first: \
                one of them has to release what it holds";
            Refusal::conflict("deadlock", message, false).with(|body| body.cycle = Some(deadlock.cycle))
        }
        answer::Kind::Lost(lock::Lost {}) => {
            Refusal::conflict("lost", "the owner no longer holds the lock under this fencing token", false)
        }
        answer::Kind::NotHeld(lock::NotHeld {}) => Refusal::conflict(
            "not_held",
            "the owner does not hold the lock (under this fencing token)",
            false,
        ),
        answer::Kind::Cancelled(lock::Cancelled { by_owner: true }) => {
            Refusal::conflict("cancelled", "the owner was released while it waited", false)
        }
        answer::Kind::Cancelled(lock::Cancelled { by_owner: false }) => Refusal::unavailable(
            "wait_ended",
            "the wait was ended because the member drains or the first to ask has gone: certainly not applied",
        ),
        answer::Kind::Full(full) => Refusal::full("full", full.message),
        answer::Kind::Invalid(invalid) => Refusal::bad_request(invalid.message),
        answer::Kind::Granted(_)
        | answer::Kind::Released(_)
        | answer::Kind::OwnerReleased(_)
        | answer::Kind::Done(_)
        | answer::Kind::Status(_) => unreadable("the answer is to another question"),
    }
}

fn lock_status(resource: String, status: lock::Status) -> LockStatus {
    let holders: Vec<_> = status.holders.into_iter().map(holder).collect();
    let waiter = |waiter: lock::Waiter| Waiter { owner: waiter.owner, mode: client_mode(waiter.mode) };
    LockStatus {
        resource,
        mode: holders.first().map(|holder| holder.mode),
        holders,
        waiters: status.waiters.into_iter().map(waiter).collect(),
    }
}

fn holder(claim: lock::Claim) -> Holder {
    Holder {
        owner: claim.owner,
        mode: client_mode(claim.mode),
        fencing_token: claim.token,
        expires_in_ms: claim.expires_in_ms,
    }
}

fn wire_mode(mode: Mode) -> lock::Mode {
    match mode {
        Mode::Exclusive => lock::Mode::Exclusive,
        Mode::Shared => lock::Mode::Shared,
    }
}

/// A mode that this version does not know is shown as the one that promises least.
fn client_mode(mode: i32) -> Mode {
    if mode == i32::from(lock::Mode::Exclusive) { Mode::Exclusive } else { Mode::Shared }
}
