//! MariaDB's server: its configuration, its process, what it says of itself.

mod children;
pub mod config;
mod install;
mod logs;
mod process;
mod recovery;
pub mod sql;
pub mod status;

pub use children::Children;
pub use install::{InstallError, install};
pub use process::{Ended, Server, SpawnError};
pub use recovery::{Recovery, RecoveryError};

pub const PROGRAM: &str = "/usr/sbin/mariadbd";
/// Where its scripts look for what they need, whatever the manager was started with.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
