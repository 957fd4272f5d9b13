//! What a member is started with.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Options {
    pub ordinal: u16,
    /// Where the other members reach this one.
    pub address: IpAddr,
    /// The volume.
    pub data: PathBuf,
    /// `settings.json`, as the operator writes it.
    pub settings: PathBuf,
    /// Folder with a file for each user's password.
    pub passwords: PathBuf,
    /// For the server's socket and configuration: gone with the pod.
    pub run_dir: PathBuf,
    /// Probes, proxies, other members.
    pub http: SocketAddr,
    /// The operator.
    pub admin: SocketAddr,
    pub admin_token_file: PathBuf,
    /// How long clients are served on at most once the member is told to stop.
    pub drain_timeout: Duration,
    pub gcache_bytes: u64,
    pub buffer_pool_bytes: u64,
    pub snapshot_isolation: bool,
    /// Further settings of the server: name and value.
    pub server_options: Vec<(String, String)>,
}
