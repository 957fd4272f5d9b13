//! HAProxy's manager: PID 1 of a proxy's pod. It writes HAProxy's settings, tells it where the members are, reloads it,
//! and moves connections that HAProxy itself would leave where they are. Who may be routed to is not decided here: the
//! members' managers answer HAProxy's checks.

mod addresses;
mod config;
mod control;
mod haproxy;
mod inputs;
mod judge;
mod run;
mod service;
mod state;

use std::net::SocketAddr;
use std::path::PathBuf;

pub use run::{Error, run};

/// Where clients are balanced over all members.
pub const POOL_PORT: u16 = 3306;
/// Where all clients reach one member, the same for each proxy.
pub const WRITER_PORT: u16 = 3307;
pub const STATS_PORT: u16 = 8404;

#[derive(Clone, Debug)]
pub struct Options {
    /// [`quartet_client::galera::Settings`], as the operator writes them.
    pub settings: PathBuf,
    /// Folder with the files `username` and `password` of the statistics.
    pub credentials: PathBuf,
    /// Where HAProxy's settings and sockets go: private to the pod, gone with it.
    pub run_dir: PathBuf,
    /// The program.
    pub haproxy: PathBuf,
    /// Probes and metrics.
    pub http: SocketAddr,
}
