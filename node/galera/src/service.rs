//! Port 8200, for everybody in the cluster's network: probes, proxies, the other members, metrics. Nothing here changes
//! anything or tells a secret.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use quartet_client::galera::{MemberReport, PeerReport};
use serde::Deserialize;
use tokio::sync::watch;

use crate::http::Refusal;
use crate::manager::{Face, Route};
use crate::metrics;

type Shared = State<watch::Receiver<Arc<Face>>>;

/// An older face is that of a manager that hangs, or whose host is overwhelmed.
const FRESH: Duration = Duration::from_secs(2);
/// After that it is restarted.
const ALIVE: Duration = Duration::from_secs(30);

pub fn router(face: watch::Receiver<Arc<Face>>) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/proxy", get(proxy))
        .route("/peer", get(peer))
        .route("/status", get(status))
        .route("/metrics", get(metrics_text))
        .with_state(face)
}

fn now(face: &watch::Receiver<Arc<Face>>) -> Arc<Face> {
    Arc::clone(&face.borrow())
}

/// The manager works, and its server does not hang. Never whether it is part of a cluster: a restart cures none of
/// that.
async fn healthz(State(face): Shared) -> Result<&'static str, Refusal> {
    let face = now(&face);
    let since = face.at.elapsed();
    if since > ALIVE {
        return Err(Refusal::unavailable("hung", format!("the manager hangs for {} s", since.as_secs())));
    }
    match &face.hung {
        Some(why) => Err(Refusal::unavailable("hung", why.clone())),
        None => Ok("ok\n"),
    }
}

fn route(face: &Face) -> Route {
    if face.at.elapsed() > FRESH { Route::No } else { face.route }
}

async fn readyz(State(face): Shared) -> Result<&'static str, Refusal> {
    let face = now(&face);
    match route(&face) {
        Route::Serve => Ok("ready\n"),
        Route::Drain => Err(Refusal::unavailable("draining", "clients are moved to other members")),
        Route::No => Err(Refusal::unavailable("not_ready", format!("the member is {:?}", face.member.state))),
    }
}

/// Whom a proxy takes this for: an address may have been another's.
#[derive(Debug, Deserialize)]
struct Expected {
    cluster: Option<String>,
    member: Option<String>,
}

/// 200: clients are welcome. 404: no new ones. 503: none.
async fn proxy(State(face): Shared, Query(expected): Query<Expected>) -> Response {
    let face = now(&face);
    let other = |expected: Option<String>, own: &str| expected.is_some_and(|expected| expected != own);
    if other(expected.cluster, &face.peer.cluster_name) || other(expected.member, &face.member_name) {
        return (StatusCode::SERVICE_UNAVAILABLE, "another member\n").into_response();
    }
    match route(&face) {
        Route::Serve => "serve\n".into_response(),
        Route::Drain => (StatusCode::NOT_FOUND, "drain\n").into_response(),
        Route::No => (StatusCode::SERVICE_UNAVAILABLE, "no\n").into_response(),
    }
}

async fn peer(State(face): Shared) -> Result<Json<PeerReport>, Refusal> {
    let face = now(&face);
    if face.at.elapsed() > FRESH {
        return Err(Refusal::unavailable("stale", "the manager does not keep up"));
    }
    Ok(Json(face.peer.clone()))
}

async fn status(State(face): Shared) -> Json<MemberReport> {
    Json(now(&face).member.clone())
}

async fn metrics_text(State(face): Shared) -> Result<Response, Refusal> {
    let text = metrics::text(&now(&face))
        .map_err(|_| Refusal::unavailable("metrics", "the metrics cannot be written"))?;
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}
