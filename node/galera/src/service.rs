//! Port 8200, for everybody in the cluster's network: probes, proxies, the other members, metrics. Nothing here changes
//! anything or tells a secret.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use quartet_client::galera::{MemberReport, PeerReport};
use quartet_serve::{Refusal, metrics, routes};
use serde::Deserialize;
use tokio::sync::watch;

use crate::manager::{Face, Route};
use crate::metrics::registry;

type Shared = State<watch::Receiver<Arc<Face>>>;

/// An older face is that of a manager that hangs, or whose host is overwhelmed.
const FRESH: Duration = Duration::from_secs(2);
/// After that it is restarted.
const ALIVE: Duration = Duration::from_secs(30);

pub fn router(face: watch::Receiver<Arc<Face>>) -> Router {
    let routes = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/proxy", get(proxy))
        .route("/peer", get(peer))
        .route("/status", get(status))
        .route("/metrics", get(metrics_text))
        .with_state(face);
    routes::only(routes)
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

/// For humans. What the schema's statements say is the operator's alone.
async fn status(State(face): Shared) -> Json<MemberReport> {
    Json(MemberReport { schema: None, ..now(&face).member.clone() })
}

async fn metrics_text(State(face): Shared) -> Result<Response, Refusal> {
    metrics::answer(&[&registry(&now(&face))])
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use quartet_client::galera::{SchemaFault, SchemaReport};
    use tower::ServiceExt;

    use super::*;

    /// What a member of that face answers.
    async fn ask(face: &Face, path: &str) -> (u16, String) {
        let (_tell, seen) = watch::channel(Arc::new(face.clone()));
        let request = Request::get(path).body(Body::empty()).unwrap();
        let answer = router(seen).oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    fn routed(route: Route) -> Face {
        Face { route, ..Face::example() }
    }

    /// As a manager that hung so long ago has left it.
    fn aged(face: Face, by: Duration) -> Face {
        Face { at: face.at.checked_sub(by).unwrap(), ..face }
    }

    #[tokio::test]
    async fn proxies_and_probes_are_told_where_clients_are_welcome() {
        for (route, proxy, ready) in
            [(Route::Serve, 200, 200), (Route::Drain, 404, 503), (Route::No, 503, 503)]
        {
            let face = routed(route);
            assert_eq!(ask(&face, "/proxy").await.0, proxy, "{route:?}");
            assert_eq!(ask(&face, "/readyz").await.0, ready, "{route:?}");
            assert_eq!(ask(&face, "/healthz").await.0, 200, "never by the state: {route:?}");
        }
    }

    #[tokio::test]
    async fn a_proxy_that_takes_it_for_another_member_is_sent_away() {
        let face = routed(Route::Serve);
        assert_eq!(ask(&face, "/proxy?cluster=shop-1&member=shop-2").await.0, 200);
        assert_eq!(ask(&face, "/proxy?cluster=shop-9&member=shop-2").await.0, 503);
        assert_eq!(ask(&face, "/proxy?cluster=shop-1&member=shop-0").await.0, 503);
    }

    #[tokio::test]
    async fn what_a_hung_manager_said_counts_no_more() {
        let stale = aged(routed(Route::Serve), FRESH + Duration::from_secs(1));
        for path in ["/proxy", "/readyz", "/peer"] {
            assert_eq!(ask(&stale, path).await.0, 503, "{path}");
        }
        assert_eq!(ask(&stale, "/healthz").await.0, 200, "it may come back");
        let hung = aged(routed(Route::Serve), ALIVE + Duration::from_secs(1));
        assert_eq!(ask(&hung, "/healthz").await.0, 503);
        let server = Face { hung: Some("the server has not answered for 70 s".into()), ..Face::example() };
        assert_eq!(ask(&server, "/healthz").await.0, 503);
    }

    #[tokio::test]
    async fn peers_get_their_report_and_nobody_gets_statements() {
        let mut face = routed(Route::Serve);
        let fault = SchemaFault { field: "f".into(), statement: "INSERT private".into(), error: "e".into() };
        face.member.schema = Some(SchemaReport { settings: "h".into(), faults: vec![fault] });
        let peer: PeerReport = serde_json::from_str(&ask(&face, "/peer").await.1).unwrap();
        assert_eq!((peer.cluster_name.as_str(), peer.ordinal), ("shop-1", 2));
        assert!(!ask(&face, "/status").await.1.contains("private"));
    }

    #[tokio::test]
    async fn metrics_tell_of_the_member_and_of_its_server() {
        let mut face = routed(Route::Serve);
        let rows = [("wsrep_cluster_size", "3"), ("wsrep_replicated_bytes", "42")];
        face.status = Some(crate::server::status::Status::new(
            rows.map(|(name, value)| (name.to_owned(), value.to_owned())),
        ));
        let text = ask(&face, "/metrics").await.1;
        for line in [
            "galera_member_routable 1\n",
            "galera_member_state{state=\"Examining\"} 1\n",
            "galera_cluster_size 3.0\n",
            "galera_replicated_bytes_total 42\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
