//! What HAProxy says of its servers, and what the rest of the proxy's manager shows of it.

use std::time::Instant;

use serde::Serialize;

/// A member as one of HAProxy's backends sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Server {
    pub(super) backend: String,
    pub(super) name: String,
    pub(super) routing: Routing,
    /// A check has come to a result since HAProxy began.
    pub(super) checked: bool,
    pub(super) sessions: u64,
}

impl Server {
    /// As commands name it.
    pub(super) fn title(&self) -> String {
        format!("{}/{}", self.backend, self.name)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Routing {
    Up,
    /// It keeps its connections and gets no new ones.
    Draining,
    Down,
}

/// One look at a HAProxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Statistics {
    pub(super) servers: Vec<Server>,
    /// Clients' connections of the frontends of MariaDB: now, and ever.
    pub(super) sessions: u64,
    pub(super) sessions_total: u64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct State {
    /// HAProxy takes clients' connections.
    pub(super) listens: bool,
    pub(super) stopping: bool,
    pub(super) seen: Option<(Instant, Statistics)>,
    /// Settings that were not taken up, and why.
    pub(super) refused: Option<String>,
    pub(super) reloads: u64,
    /// Workers of before a reload that still serve connections.
    pub(super) old_workers: usize,
}
