//! quartet-raft: the consensus core, pure.
//!
//! One [`Raft`] is one member of one group. It is a function from an [`Input`] to [`Effects`]: no IO, clock,
//! randomness, async or thread lives here, so the same inputs give the same effects, bit by bit. Time comes as
//! `Tick`s, randomness as a seed. What never lives here: encoding, disks, sockets, state machines.
//!
//! Sources: Ongaro, "Consensus: Bridging Theory and Practice" (2014), cited as §.

mod broken;
mod core;
mod effects;
mod election;
mod following;
mod log;
mod membership;
mod message;
mod progress;
mod reads;
mod replication;
mod types;

pub use crate::core::{Consensus, Raft, founding};
#[cfg(feature = "broken-rules")]
pub use broken::BrokenRule;
pub use effects::{Effects, Input, Progress, Proposal, ReadId, Recovered, Refusal, Settings, Standing};
pub use message::{AppendOutcome, Body, Message};
pub use types::{
    Configuration, Entry, HardState, Index, LogTime, MemberId, Payload, Position, Role, SnapshotMeta, Term,
};

#[cfg(test)]
mod tests;
