//! quartet-sync: SyncCluster's member, without its arguments.
//!
//! [`Partition`] is the replicated state machine of one Raft group: pure, over replicated time. [`lock`] is its
//! first kind of state; queues and the cache directory will stand beside it. What never lives here: consensus,
//! disks, Kubernetes, the process (arguments, signals).

pub mod lock;
pub mod partition;

pub use partition::{Gauges, Partition};
