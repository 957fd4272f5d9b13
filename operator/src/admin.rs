//! The operator's own HTTP: `/metrics`, `/healthz`, `/readyz`. It serves no secret and takes no command.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::{net::TcpListener, sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// Every replica looks at the lease every two seconds, also while the API server is away.
const STALLED_AFTER: Duration = Duration::from_mins(1);

#[derive(Clone)]
pub struct Health {
    /// When the election last took a turn.
    pub turned: watch::Receiver<Instant>,
    /// The API server has answered.
    pub reached: Arc<AtomicBool>,
    pub metrics: Arc<Metrics>,
}

pub async fn serve(listener: TcpListener, health: Health, stop: CancellationToken) -> std::io::Result<()> {
    axum::serve(listener, router(health)).with_graceful_shutdown(stop.cancelled_owned()).await
}

fn router(health: Health) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(health)
}

async fn metrics(State(health): State<Health>) -> Response {
    match health.metrics.text() {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn healthz(State(health): State<Health>) -> (StatusCode, &'static str) {
    let stalled = health.turned.borrow().elapsed() > STALLED_AFTER;
    if stalled { (StatusCode::INTERNAL_SERVER_ERROR, "stalled\n") } else { (StatusCode::OK, "ok\n") }
}

/// A standby is ready too: it could take over.
async fn readyz(State(health): State<Health>) -> (StatusCode, &'static str) {
    if health.reached.load(Ordering::Relaxed) {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the API server has not answered yet\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health() -> (watch::Sender<Instant>, Health) {
        let (turned, receiver) = watch::channel(Instant::now());
        (turned, Health { turned: receiver, reached: Arc::default(), metrics: Arc::default() })
    }

    #[tokio::test(start_paused = true)]
    async fn a_replica_whose_election_stands_still_is_not_alive() {
        let (turned, health) = health();
        assert_eq!(healthz(State(health.clone())).await.0, StatusCode::OK);
        tokio::time::advance(STALLED_AFTER * 2).await;
        assert_eq!(healthz(State(health.clone())).await.0, StatusCode::INTERNAL_SERVER_ERROR);
        turned.send_replace(Instant::now());
        assert_eq!(healthz(State(health)).await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn a_replica_is_ready_once_the_api_server_has_answered() {
        let (_turned, health) = health();
        assert_eq!(readyz(State(health.clone())).await.0, StatusCode::SERVICE_UNAVAILABLE);
        health.reached.store(true, Ordering::Relaxed);
        assert_eq!(readyz(State(health)).await.0, StatusCode::OK);
    }
}
