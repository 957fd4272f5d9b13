//! SyncCluster: what is known about keeping one.
//!
//! `seen`, `command`, `validate`, `plan`, `build` and `status` are pure: data in, data out. `observe` and `call` do
//! the IO. What never lives here: other kinds, and Raft itself (members do that among themselves).

pub mod call;
pub mod command;
pub mod observe;
pub mod seen;

pub use command::{Call, Command};
pub use seen::{Probe, Seen};

/// Value of `app.kubernetes.io/name` on every child.
pub const LABEL: &str = "synccluster";
/// Clients' HTTP.
pub const CLIENT_PORT: u16 = 8100;
/// Traffic between members.
pub const PEER_PORT: u16 = 8101;
