//! quartet-sync: SyncCluster's member, without its arguments.
//!
//! [`Partition`] is the replicated state machine of one Raft group: pure, over replicated time. [`lock`] is its
//! first kind of state; queues and the cache directory will stand beside it. [`service`] is what clients reach over
//! HTTP, [`admin`] what the operator reaches on a port of its own; both talk to the replica through one seam,
//! [`Member`]. [`run`] puts them together. What never lives here: consensus, disks, Kubernetes, the process (arguments, signals).

pub mod admin;
pub mod lock;
mod member;
pub mod partition;
pub mod run;
pub mod service;
#[cfg(test)]
mod single;

pub use member::Member;
pub use partition::{Gauges, Partition};
pub use run::{AdminSettings, RunError, Settings, SyncMember, start};
