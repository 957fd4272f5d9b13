//! Which of the replicas acts: a Lease, held by one at a time.
//!
//! As in client-go, clocks of different hosts are never compared: a lease has run out when it did not change for
//! its whole duration on our own monotonic clock. A lease is no fence. What must not be done twice is recorded in
//! the status first and carries preconditions; the lease only keeps two replicas from wasting each other's work.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{Api, Client, api::PostParams};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use super::FIELD_MANAGER;
use crate::failure::{Class, Failure};

pub const NAME: &str = "quartet-operator";
const DURATION: Duration = Duration::from_secs(15);
/// The holder gives up when it could not renew for so long: well before another may take over.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_secs(2);
/// One request. Shorter than the retry would be too strict for a busy API server.
const TIMEOUT: Duration = Duration::from_secs(4);

/// What we saw of the lease, and when it last changed by our own clock.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    version: Option<String>,
    changed_at: Option<Instant>,
}

impl Observation {
    fn note(&mut self, version: Option<&str>, now: Instant) {
        if self.version.as_deref() != version || self.changed_at.is_none() {
            self.version = version.map(str::to_owned);
            self.changed_at = Some(now);
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// There is no lease.
    Create,
    /// It is ours.
    Renew,
    /// Nobody's, or its holder has not renewed it for its whole duration.
    Take,
    Wait,
}

/// What to do about the lease as it was just read.
pub fn next(spec: Option<&LeaseSpec>, me: &str, observed: &Observation, now: Instant) -> Move {
    let Some(spec) = spec else { return Move::Create };
    match spec.holder_identity.as_deref() {
        None | Some("") => Move::Take,
        Some(holder) if holder == me => Move::Renew,
        Some(_) => {
            let seconds = spec.lease_duration_seconds.and_then(|s| u64::try_from(s).ok()).unwrap_or(0);
            // A foreign hand may have written any number; nobody waits for an hour.
            let duration = Duration::from_secs(seconds).clamp(Duration::from_secs(1), DURATION * 4);
            let unchanged =
                observed.changed_at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
            if unchanged >= duration { Move::Take } else { Move::Wait }
        }
    }
}

/// The next content of a lease that we create, take or renew.
pub fn held(before: Option<&LeaseSpec>, me: &str, now: Timestamp) -> LeaseSpec {
    let ours = before.is_some_and(|spec| spec.holder_identity.as_deref() == Some(me));
    let transitions = before.and_then(|spec| spec.lease_transitions).unwrap_or(0);
    LeaseSpec {
        holder_identity: Some(me.to_owned()),
        lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
        acquire_time: before
            .filter(|_| ours)
            .and_then(|spec| spec.acquire_time.clone())
            .or(Some(MicroTime(now))),
        renew_time: Some(MicroTime(now)),
        lease_transitions: Some(if ours || before.is_none() {
            transitions
        } else {
            transitions.saturating_add(1)
        }),
        ..LeaseSpec::default()
    }
}

/// Nobody's: the next replica need not wait.
pub fn released(before: &LeaseSpec, now: Timestamp) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(String::new()),
        lease_duration_seconds: Some(1),
        renew_time: Some(MicroTime(now)),
        ..before.clone()
    }
}

pub struct Election {
    api: Api<Lease>,
    me: String,
    held: Option<Lease>,
    observed: Observation,
    /// Every turn is told, whether the API server answers or not: a replica that stands still is restarted.
    turned: watch::Sender<Instant>,
    /// The API server has answered at least once.
    reached: Arc<AtomicBool>,
}

impl Election {
    pub fn new(
        client: Client,
        namespace: &str,
        me: impl Into<String>,
        turned: watch::Sender<Instant>,
        reached: Arc<AtomicBool>,
    ) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            me: me.into(),
            held: None,
            observed: Observation::default(),
            turned,
            reached,
        }
    }

    /// Waits until this replica leads. False: stopped before.
    pub async fn acquire(&mut self, stop: &CancellationToken) -> bool {
        loop {
            match self.attempt().await {
                Ok(true) => return true,
                Ok(false) => {}
                Err(failure) => tracing::warn!(error = failure.chain(), "could not look at the lease"),
            }
            tokio::select! {
                () = stop.cancelled() => return false,
                () = tokio::time::sleep(RETRY) => {}
            }
        }
    }

    /// Renews until stopped (true) or until the lease is lost (false).
    pub async fn keep(&mut self, stop: &CancellationToken) -> bool {
        let mut last = Instant::now();
        loop {
            tokio::select! {
                () = stop.cancelled() => return true,
                () = tokio::time::sleep(RETRY) => {}
            }
            match tokio::time::timeout_at(last + RENEW_DEADLINE, self.attempt()).await {
                Ok(Ok(true)) => last = Instant::now(),
                Ok(Err(failure)) => tracing::warn!(error = failure.chain(), "could not renew the lease"),
                Ok(Ok(false)) | Err(_) => return false,
            }
            if last.elapsed() >= RENEW_DEADLINE {
                return false;
            }
        }
    }

    /// One look and, if it is ours to write, one write. True: this replica leads.
    async fn attempt(&mut self) -> Result<bool, Failure> {
        self.turned.send_replace(Instant::now());
        let lease = timed("read the lease", self.api.get_opt(NAME)).await?;
        self.reached.store(true, Ordering::Relaxed);
        let now = Instant::now();
        self.observed.note(lease.as_ref().and_then(|lease| lease.metadata.resource_version.as_deref()), now);
        let before = lease.as_ref().map(|lease| lease.spec.clone().unwrap_or_default());
        let mv = next(before.as_ref(), &self.me, &self.observed, now);
        if mv == Move::Wait {
            self.held = None;
            return Ok(false);
        }
        let spec = held(before.as_ref(), &self.me, Timestamp::now());
        self.write(lease, spec).await
    }

    async fn write(&mut self, lease: Option<Lease>, spec: LeaseSpec) -> Result<bool, Failure> {
        let params = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
        // Of two replicas one gets a conflict; its next look tells who holds the lease.
        let written = if let Some(mut lease) = lease {
            // The resourceVersion that was read goes along.
            lease.spec = Some(spec);
            timed("write the lease", self.api.replace(NAME, &params, &lease)).await?
        } else {
            let metadata = ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() };
            timed("create the lease", self.api.create(&params, &Lease { metadata, spec: Some(spec) })).await?
        };
        self.held = Some(written);
        Ok(true)
    }

    /// Gives the lease back, so that another replica may lead at once.
    pub async fn release(&mut self) {
        let Some(mut lease) = self.held.take() else { return };
        lease.spec = Some(released(&lease.spec.clone().unwrap_or_default(), Timestamp::now()));
        let params = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
        match timed("release the lease", self.api.replace(NAME, &params, &lease)).await {
            Ok(_) => tracing::info!("lease released"),
            Err(failure) => tracing::warn!(error = failure.chain(), "lease not released"),
        }
    }
}

/// Shorter deadlines than other requests have: a lease can't wait.
async fn timed<T>(what: &str, call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Failure> {
    match tokio::time::timeout(TIMEOUT, super::request(what, call)).await {
        Ok(result) => result,
        Err(elapsed) => Err(Failure::caused(Class::Transient, what, elapsed)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease_of(holder: &str) -> LeaseSpec {
        held(None, holder, Timestamp::UNIX_EPOCH)
    }

    fn seen(version: &str, at: Instant) -> Observation {
        let mut observed = Observation::default();
        observed.note(Some(version), at);
        observed
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_taken_only_when_it_did_not_change_for_its_whole_duration() {
        let start = Instant::now();
        let rival = lease_of("rival");
        let mut observed = seen("1", start);
        assert_eq!(next(Some(&rival), "me", &observed, start), Move::Wait);
        assert_eq!(next(Some(&rival), "me", &observed, start + Duration::from_secs(14)), Move::Wait);
        assert_eq!(next(Some(&rival), "me", &observed, start + DURATION), Move::Take);

        // A renewal starts the wait anew, whatever the times in it say.
        observed.note(Some("2"), start + Duration::from_secs(14));
        assert_eq!(next(Some(&rival), "me", &observed, start + DURATION), Move::Wait);
        // The same version seen again doesn't.
        observed.note(Some("2"), start + Duration::from_secs(20));
        assert_eq!(next(Some(&rival), "me", &observed, start + Duration::from_secs(29)), Move::Take);
    }

    #[tokio::test(start_paused = true)]
    async fn a_takeover_after_a_kill_takes_less_than_twenty_seconds() {
        assert!(DURATION + RETRY + Duration::from_secs(1) < Duration::from_secs(20));
        // And the old holder has stopped by then: it gives up before its lease can be taken.
        assert!(RENEW_DEADLINE + Duration::from_secs(2) < DURATION);
    }

    #[tokio::test(start_paused = true)]
    async fn a_released_or_missing_lease_is_taken_at_once_and_our_own_renewed() {
        let now = Instant::now();
        let observed = seen("1", now);
        assert_eq!(next(None, "me", &observed, now), Move::Create);
        assert_eq!(next(Some(&lease_of("me")), "me", &observed, now), Move::Renew);
        let free = released(&lease_of("rival"), Timestamp::UNIX_EPOCH);
        assert_eq!(next(Some(&free), "me", &observed, now), Move::Take);
        assert_eq!(next(Some(&LeaseSpec::default()), "me", &observed, now), Move::Take);
    }

    #[tokio::test(start_paused = true)]
    async fn an_absurd_duration_in_the_lease_blocks_nobody_for_long() {
        let now = Instant::now();
        let mut rival = lease_of("rival");
        rival.lease_duration_seconds = Some(86_400);
        assert_eq!(next(Some(&rival), "me", &seen("1", now), now + DURATION * 4), Move::Take);
        rival.lease_duration_seconds = Some(-1);
        assert_eq!(next(Some(&rival), "me", &seen("1", now), now), Move::Wait);
        assert_eq!(next(Some(&rival), "me", &seen("1", now), now + Duration::from_secs(1)), Move::Take);
    }

    #[test]
    fn transitions_count_changes_of_the_holder_only() {
        let (then, now) = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(2));
        let first = held(None, "me", then);
        assert_eq!(first.lease_transitions, Some(0));
        let renewed = held(Some(&first), "me", now);
        assert_eq!(renewed.lease_transitions, Some(0));
        assert_eq!(renewed.acquire_time, Some(MicroTime(then)));
        assert_eq!(renewed.renew_time, Some(MicroTime(now)));
        let taken = held(Some(&renewed), "rival", now);
        assert_eq!(taken.lease_transitions, Some(1));
        assert_eq!(taken.acquire_time, Some(MicroTime(now)));
    }
}
