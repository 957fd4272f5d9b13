//! Probes of the kubelet, metrics, and a look for humans.

use std::fmt::Write;
use std::time::{Duration, Instant};

use axum::Json;
use axum::Router;
use axum::extract::State as Extract;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
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
    Router::new()
        .route("/healthz", get(async move |Extract(state): Shared| alive(&state.borrow(), began)))
        .route("/readyz", get(async |Extract(state): Shared| ready(&state.borrow())))
        .route("/metrics", get(async |Extract(state): Shared| metrics(&state.borrow())))
        .route("/status", get(async |Extract(state): Shared| status(&state.borrow())))
        .with_state(state)
}

type Shared = Extract<watch::Receiver<State>>;

fn seen_within(state: &State, within: Duration) -> bool {
    state.seen.as_ref().is_some_and(|(at, _)| at.elapsed() <= within)
}

fn alive(state: &State, began: Instant) -> Response {
    if seen_within(state, ALIVE_WITHIN) || began.elapsed() <= ALIVE_WITHIN {
        return "ok\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, "HAProxy does not answer\n").into_response()
}

fn ready(state: &State) -> Response {
    let why = if state.stopping {
        "stopping"
    } else if !state.listens {
        "the members have not been checked yet"
    } else if !seen_within(state, READY_WITHIN) {
        "HAProxy does not answer"
    } else if !judge::serves(servers(state)) {
        "no member takes connections"
    } else {
        return "ready\n".into_response();
    };
    (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response()
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
fn metrics(state: &State) -> Response {
    let mut text = String::new();
    let mut series = |name: &str, kind: &str, help: &str, values: &[(String, u64)]| {
        // A String takes everything.
        let _ = writeln!(text, "# TYPE {name} {kind}\n# HELP {name} {help}");
        let suffix = if kind == "counter" { "_total" } else { "" };
        for (labels, value) in values {
            let _ = writeln!(text, "{name}{suffix}{labels} {value}");
        }
    };
    let plain = |value: u64| [(String::new(), value)];
    let labels = |server: &Server| format!("{{backend=\"{}\",member=\"{}\"}}", server.backend, server.name);
    let of_servers = |value: fn(&Server) -> u64| -> Vec<_> {
        servers(state).iter().map(|server| (labels(server), value(server))).collect()
    };
    let sessions = state.seen.as_ref().map_or(0, |(_, statistics)| statistics.sessions_total);
    series(
        "galera_proxy_member_up",
        "gauge",
        "1: connections go to the member",
        &of_servers(|server| u64::from(server.routing == Routing::Up)),
    );
    series(
        "galera_proxy_member_connections",
        "gauge",
        "Connections to the member",
        &of_servers(|server| server.sessions),
    );
    series(
        "galera_proxy_connections",
        "counter",
        "Connections of clients since HAProxy's last reload",
        &plain(sessions),
    );
    series("galera_proxy_reloads", "counter", "Reloads of HAProxy", &plain(state.reloads));
    let refused = u64::from(state.refused.is_some());
    series(
        "galera_proxy_settings_refused",
        "gauge",
        "1: the settings could not be put into force",
        &plain(refused),
    );
    text.push_str("# EOF\n");
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], text).into_response()
}
