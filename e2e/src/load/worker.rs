//! One client of the load: it competes for one resource, again and again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use quartet_client::lock::{Acquire, Mode as WireMode, Release, Renew};
use quartet_client::{ClientError, SyncClient};
use quartet_history::Outcome;
use quartet_history::lock::{LockAnswer, LockOperation, LockRequest, Mode};
use uuid::Uuid;

use super::record::{Record, Refused};

/// Of one attempt: a dead member must not hold up the next.
const ATTEMPT_DEADLINE: Duration = Duration::from_secs(3);
/// A client's own pace, between renewals and before it asks again.
const PAUSE: Duration = Duration::from_millis(50);
const WAIT_MS: u64 = 500;
const RENEWALS: u32 = 3;

pub(super) struct Worker {
    number: u32,
    owner: String,
    resource: String,
    client: SyncClient,
    patience: Duration,
    /// Some leases outlive any failover, some run out in it.
    ttl_ms: u64,
    record: Arc<Record>,
}

impl Worker {
    pub(super) fn new(
        number: u32,
        resource: String,
        client: SyncClient,
        patience: Duration,
        record: Arc<Record>,
    ) -> Self {
        let ttl_ms = if number.is_multiple_of(4) { 1_500 } else { 15_000 };
        let client = client.timeout(ATTEMPT_DEADLINE);
        Self { number, owner: format!("worker-{number}"), resource, client, patience, ttl_ms, record }
    }

    pub(super) async fn work(self, stop: Arc<AtomicBool>) -> Result<()> {
        let mut round = 0_u32;
        while !stop.load(Ordering::Relaxed) {
            round = round.wrapping_add(1);
            // Mostly exclusive, so that a lock granted twice is seen.
            let mode = if round.is_multiple_of(5) { Mode::Shared } else { Mode::Exclusive };
            let Some(token) = self.acquire(mode).await? else { continue };
            if self.hold(token).await? {
                self.release(token).await?;
            }
        }
        Ok(())
    }

    async fn acquire(&self, mode: Mode) -> Result<Option<u64>> {
        let request = LockRequest::Acquire {
            resource: self.resource.clone(),
            owner: self.owner.clone(),
            mode,
            ttl_ms: self.ttl_ms,
            wait_ms: WAIT_MS,
        };
        Ok(match self.perform(request).await? {
            Outcome::Answered(LockAnswer::Granted { token, .. }) => Some(token),
            _ => None,
        })
    }

    /// Renews and reads; whether it still holds in the end, as far as it knows.
    async fn hold(&self, token: u64) -> Result<bool> {
        for _ in 0..RENEWALS {
            self.perform(LockRequest::Read { resource: self.resource.clone() }).await?;
            let request = LockRequest::Renew {
                resource: self.resource.clone(),
                owner: self.owner.clone(),
                token,
                ttl_ms: self.ttl_ms,
            };
            if self.perform(request).await? == Outcome::Answered(LockAnswer::Lost) {
                return Ok(false);
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(true)
    }

    async fn release(&self, token: u64) -> Result<()> {
        let request =
            LockRequest::Release { resource: self.resource.clone(), owner: self.owner.clone(), token };
        self.perform(request).await.map(drop)
    }

    /// One operation, repeated under one idempotency key until its outcome is told or patience ends.
    async fn perform(&self, request: LockRequest) -> Result<Outcome<LockAnswer>> {
        let (began, start_us) = (Instant::now(), self.record.now_us());
        let client = self.client.keyed(Uuid::new_v4().to_string());
        let mut may_be_applied = false;
        let outcome = loop {
            let (asked, at_us) = (Instant::now(), self.record.now_us());
            let answered = ask(&client, &request).await;
            let took = asked.elapsed();
            match answered {
                Ok(answer) => {
                    self.record.answered(took);
                    break Outcome::Answered(answer);
                }
                Err(error) => {
                    self.record.refused(Refused { how: name(&error), at_us, took, request: request.clone() });
                    may_be_applied |= !error.is_certainly_not_applied();
                    if !error.is_retryable() || began.elapsed() > self.patience {
                        break if may_be_applied { Outcome::Unknown } else { Outcome::Failed };
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        };
        let end_us = (outcome != Outcome::Unknown).then(|| self.record.now_us());
        let operation =
            LockOperation { client: self.number, start_us, end_us, request, outcome: outcome.clone() };
        self.record.keep(operation)?;
        Ok(outcome)
    }
}

/// Sends it once; refusals that decide are answers.
async fn ask(client: &SyncClient, request: &LockRequest) -> Result<LockAnswer, ClientError> {
    match request.clone() {
        LockRequest::Acquire { resource, owner, mode, ttl_ms, wait_ms } => {
            let acquire = Acquire {
                resource,
                owner,
                mode: to_wire(mode),
                ttl_ms: Some(ttl_ms),
                wait_ms: Some(wait_ms),
            };
            let answered = client.acquire(&acquire).await;
            let granted = answered
                .map(|grant| LockAnswer::Granted { token: grant.fencing_token, mode: of_wire(grant.mode) });
            decided(granted, &["held", "deadlock"], LockAnswer::NotGranted)
        }
        LockRequest::Renew { resource, owner, token, ttl_ms } => {
            let renew = Renew { resource, owner, fencing_token: token, ttl_ms: Some(ttl_ms) };
            decided(client.renew(&renew).await.map(|_| LockAnswer::Renewed), &["lost"], LockAnswer::Lost)
        }
        LockRequest::Release { resource, owner, token } => {
            let release = Release { resource, owner, fencing_token: Some(token) };
            let released = client.release(&release).await.map(|_| LockAnswer::Released);
            decided(released, &["not_held"], LockAnswer::NotHeld)
        }
        LockRequest::ReleaseOwner { owner } => {
            client.release_owner(&owner).await.map(|_| LockAnswer::Released)
        }
        LockRequest::Read { resource } => {
            let status = client.lock(&resource).await?;
            let tokens = status.holders.iter().map(|holder| holder.fencing_token).collect();
            Ok(LockAnswer::Holders { tokens })
        }
    }
}

fn decided(
    answered: Result<LockAnswer, ClientError>,
    codes: &[&str],
    refusal: LockAnswer,
) -> Result<LockAnswer, ClientError> {
    match answered {
        Err(error) if error.code().is_some_and(|code| codes.contains(&code)) => Ok(refusal),
        other => other,
    }
}

fn name(error: &ClientError) -> String {
    match error {
        ClientError::Refused { status, body } => format!("{status} {}", body.error.code),
        ClientError::Unreachable { .. } => "unreachable".to_owned(),
        ClientError::NoAnswer { source, .. } if source.is_timeout() => "no answer in time".to_owned(),
        ClientError::NoAnswer { .. } => "no answer, connection lost".to_owned(),
        ClientError::Unreadable { status, .. } => format!("{status} unreadable"),
        ClientError::Address { .. } | ClientError::Client(_) => "not sent".to_owned(),
    }
}

fn to_wire(mode: Mode) -> WireMode {
    match mode {
        Mode::Exclusive => WireMode::Exclusive,
        Mode::Shared => WireMode::Shared,
    }
}

fn of_wire(mode: WireMode) -> Mode {
    match mode {
        WireMode::Exclusive => Mode::Exclusive,
        WireMode::Shared => Mode::Shared,
    }
}
