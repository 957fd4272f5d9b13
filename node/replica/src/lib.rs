//! quartet-replica: what makes a pure state machine fault-tolerant.
//!
//! Many Raft groups per member over one checksummed log with one fsync stream and one connection per peer. The
//! [`engine`] is a whole member without IO: events in, output out. The [`store`] is what it keeps on disk. Both
//! run over seams ([`disk`], the `now` that events carry, the frames that output carries), so that the simulator
//! runs this code, not a model of it. The [`runtime`] is the real thing around them: threads, sockets, clock.
//! What never lives here: what the commands mean, HTTP, Kubernetes.

pub mod disk;
pub mod engine;
pub mod runtime;
mod state_machine;
pub mod store;
pub mod wire;

pub use state_machine::{Answer, At, CorruptSnapshot, Settled, StateMachine};

/// A Raft group of a member: SyncCluster's partition. Groups are numbered from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u16);
