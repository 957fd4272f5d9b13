//! What clients reach over HTTP: any member takes any request.
//!
//! A request is checked, turned into a command, given to the replica, which passes it on to where its partition is
//! led, and its answer is turned into JSON. Nothing is decided or kept here but counters and whether this member leaves
//! its Service.

mod draining;
mod error;
mod locks;
mod metrics;
mod process;
mod readiness;
mod replicated;
mod request;
mod status;
#[cfg(test)]
mod tests;
mod traffic;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::middleware;
use axum::response::Response;
use axum::routing::{delete, get, post};
use quartet_serve::{Refusal, routes};

use draining::Draining;
use metrics::Metrics;
use readiness::Readiness;
use replicated::Replicated;
pub(crate) use status::role;
use traffic::Traffic;

use crate::member::Member;
use crate::partition::Gauges;

#[derive(Clone, Debug)]
pub struct Settings {
    /// The cluster's name.
    pub cluster: String,
    pub ordinal: u16,
    pub version: String,
    /// The lease of a lock that names none.
    pub lock_default_ttl_ms: u64,
}

/// One member's face to its clients.
#[derive(Debug)]
pub struct Service<M> {
    settings: Settings,
    replicated: Replicated<M>,
    /// Of each partition.
    gauges: Vec<Arc<Gauges>>,
    metrics: Metrics,
    readiness: Readiness,
    traffic: Traffic,
    draining: Draining,
}

impl<M: Member> Service<M> {
    /// `gauges` are those of the partitions' state machines, in order.
    pub fn new(settings: Settings, member: M, gauges: Vec<Arc<Gauges>>) -> Arc<Self> {
        let replicated = Replicated { member };
        Arc::new(Self {
            settings,
            replicated,
            gauges,
            metrics: Metrics::new(),
            readiness: Readiness::default(),
            traffic: Traffic::default(),
            draining: Draining::default(),
        })
    }

    pub fn router(self: &Arc<Self>) -> Router {
        let routes = Router::new()
            .route("/lock/acquire", post(locks::acquire::<M>))
            .route("/lock/renew", post(locks::renew::<M>))
            .route("/lock/release", post(locks::release::<M>))
            .route("/lock/owner/{owner}", delete(locks::release_owner::<M>))
            .route("/lock", get(locks::status::<M>))
            .route("/status", get(status::status::<M>))
            .route("/raft/status", get(status::raft_status::<M>))
            .route("/metrics", get(metrics_text::<M>))
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(ready::<M>));
        routes::only(routes)
            .layer(middleware::from_fn_with_state(self.clone(), traffic::measure::<M>))
            .with_state(self.clone())
    }

    /// From now on it is not ready, asks its clients to go elsewhere and lets nobody wait for a lock; it serves all
    /// the same.
    pub fn drain(&self) {
        self.draining.for_good();
        // However long it was quiet before: those who do not know yet that it stops are still to come.
        self.traffic.touch();
    }

    /// The same for so long; then it is back.
    pub fn drain_for(&self, duration: Duration) {
        if !self.is_draining() {
            self.traffic.touch();
        }
        self.draining.for_now(duration);
    }

    pub fn is_draining(&self) -> bool {
        self.draining.is_on()
    }

    pub(crate) fn member(&self) -> &M {
        &self.replicated.member
    }

    /// No request is under way and none has come for so long.
    pub fn is_quiet(&self, for_at_least: Duration) -> bool {
        self.traffic.is_quiet(for_at_least)
    }
}

async fn ready<M: Member>(State(service): State<Arc<Service<M>>>) -> Result<&'static str, Refusal> {
    if service.is_draining() {
        return Err(Refusal::unavailable("draining", "the member leaves its Service"));
    }
    match service.readiness.check(&service.replicated).await {
        Ok(()) => Ok("ready\n"),
        Err(why) => Err(Refusal::unavailable("not_ready", why)),
    }
}

async fn metrics_text<M: Member>(State(service): State<Arc<Service<M>>>) -> Result<Response, Refusal> {
    let member = &service.replicated.member;
    service.metrics.answer(&member.report().await, &service.gauges, &member.counted())
}
