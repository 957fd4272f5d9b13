//! Probes of the kubelet, metrics, and a look for humans.

use std::time::{Duration, Instant};

use axum::Json;
use axum::Router;
use axum::extract::State as Extract;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;
use quartet_serve::{Refusal, metrics, routes};
use serde::Serialize;
use tokio::sync::watch;

use super::judge;
use super::state::{Routing, Server, State};

/// A HAProxy that was not heard of for so long is not known to serve.
const READY_WITHIN: Duration = Duration::from_secs(3);
/// After that it hangs, and is restarted.
const ALIVE_WITHIN: Duration = Duration::from_secs(30);

pub(super) fn router(state: watch::Receiver<State>) -> Router {
    let began = Instant::now();
    let routes = Router::new()
        .route("/healthz", get(async move |Extract(state): Shared| alive(&state.borrow(), began)))
        .route("/readyz", get(async |Extract(state): Shared| ready(&state.borrow())))
        .route("/metrics", get(async |Extract(state): Shared| metrics::answer(&[&registry(&state.borrow())])))
        .route("/status", get(async |Extract(state): Shared| status(&state.borrow())))
        .with_state(state);
    routes::only(routes)
}

type Shared = Extract<watch::Receiver<State>>;

fn seen_within(state: &State, within: Duration) -> bool {
    state.seen.as_ref().is_some_and(|(at, _)| at.elapsed() <= within)
}

fn alive(state: &State, began: Instant) -> Result<&'static str, Refusal> {
    if seen_within(state, ALIVE_WITHIN) || began.elapsed() <= ALIVE_WITHIN {
        return Ok("ok\n");
    }
    Err(Refusal::unavailable("hung", "HAProxy does not answer"))
}

fn ready(state: &State) -> Result<&'static str, Refusal> {
    let why = if state.stopping {
        "it stops"
    } else if !state.listens {
        "the members have not been checked yet"
    } else if !seen_within(state, READY_WITHIN) {
        "HAProxy does not answer"
    } else if !judge::serves(servers(state)) {
        "no member takes connections"
    } else {
        return Ok("ready\n");
    };
    Err(Refusal::unavailable("not_ready", why))
}

fn servers(state: &State) -> &[Server] {
    state.seen.as_ref().map_or(&[], |(_, statistics)| &statistics.servers)
}

fn status(state: &State) -> Response {
    Json(Status::of(state)).into_response()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status<'a> {
    listens: bool,
    stopping: bool,
    writer: Option<&'a str>,
    servers: &'a [Server],
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<&'a str>,
    reloads: u64,
    old_workers: usize,
}

impl<'a> Status<'a> {
    fn of(state: &'a State) -> Self {
        let servers = servers(state);
        Self {
            listens: state.listens,
            stopping: state.stopping,
            writer: judge::writer(servers).map(|server| server.name.as_str()),
            servers,
            refused: state.refused.as_deref(),
            reloads: state.reloads,
            old_workers: state.old_workers,
        }
    }
}

/// What HAProxy's own exporter, on the port of the statistics, does not know.
fn registry(state: &State) -> Registry {
    let mut registry = Registry::default();
    let of_servers = |value: fn(&Server) -> u64| {
        let gauges = Family::<[(&'static str, String); 2], Gauge>::default();
        for server in servers(state) {
            let labels = [("backend", server.backend.clone()), ("member", server.name.clone())];
            gauges.get_or_create(&labels).set(i64::try_from(value(server)).unwrap_or(i64::MAX));
        }
        gauges
    };
    registry.register(
        "galera_proxy_member_up",
        "1: connections go to the member",
        of_servers(|server| u64::from(server.routing == Routing::Up)),
    );
    registry.register(
        "galera_proxy_member_connections",
        "Connections to the member",
        of_servers(|server| server.sessions),
    );
    let sessions = state.seen.as_ref().map_or(0, |(_, statistics)| statistics.sessions_total);
    registry.register(
        "galera_proxy_connections",
        "Connections of clients since HAProxy's last reload",
        ConstCounter::new(sessions),
    );
    registry.register("galera_proxy_reloads", "Reloads of HAProxy", ConstCounter::new(state.reloads));
    registry.register(
        "galera_proxy_settings_refused",
        "1: the settings could not be put into force",
        ConstGauge::new(i64::from(state.refused.is_some())),
    );
    registry
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use serde_json::{Value, json};
    use tower::ServiceExt;

    use super::super::config::POOL;
    use super::super::state::Statistics;
    use super::*;

    fn server(name: &str, routing: Routing) -> Server {
        let (backend, name) = (POOL.to_owned(), name.to_owned());
        Server { backend, name, routing, checked: true, sessions: 7 }
    }

    /// Serves; one of its members is gone.
    fn serving() -> State {
        let servers = vec![server("shop-0", Routing::Up), server("shop-1", Routing::Down)];
        let seen = Some((Instant::now(), Statistics { servers, sessions: 7, sessions_total: 9 }));
        State { listens: true, seen, reloads: 2, ..State::default() }
    }

    async fn ask(state: &State, path: &str) -> (u16, String) {
        let (_tell, seen) = watch::channel(state.clone());
        let answer = router(seen).oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
        let status = answer.status().as_u16();
        let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn it_is_ready_when_clients_reach_a_member_and_says_why_it_is_not() {
        assert_eq!(ask(&serving(), "/readyz").await, (200, "ready\n".to_owned()));
        let nobody = State { seen: Some((Instant::now(), Statistics::default())), ..serving() };
        for (state, why) in [
            (State { stopping: true, ..serving() }, "it stops"),
            (State { listens: false, ..serving() }, "the members have not been checked yet"),
            (State { seen: None, ..serving() }, "HAProxy does not answer"),
            (nobody, "no member takes connections"),
        ] {
            let (status, answer) = ask(&state, "/readyz").await;
            let answer: Value = serde_json::from_str(&answer).unwrap();
            let error = json!({"code": "not_ready", "message": why, "retryable": true});
            assert_eq!((status, &answer["error"]), (503, &error));
            assert_eq!(ask(&state, "/healthz").await.0, 200, "it has only just begun");
        }
    }

    #[tokio::test]
    async fn metrics_tell_of_members_and_of_haproxy() {
        let text = ask(&serving(), "/metrics").await.1;
        for line in [
            "galera_proxy_member_up{backend=\"members\",member=\"shop-0\"} 1",
            "galera_proxy_member_up{backend=\"members\",member=\"shop-1\"} 0",
            "galera_proxy_member_connections{backend=\"members\",member=\"shop-1\"} 7",
            "galera_proxy_connections_total 9",
            "galera_proxy_reloads_total 2",
            "galera_proxy_settings_refused 0",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
