//! Locks: the state of one partition and its rules, a pure function of (state, replicated time, command).
//!
//! - A resource is held by one owner exclusively or by any number of owners in shared mode, each under a lease that
//!   runs out by replicated time unless it is renewed.
//! - Waiting is first come, first served: a shared request waits behind an exclusive one that came before it, so
//!   that readers never starve a writer.
//! - Every grant has a fencing token, larger than that of every grant of the partition before it.
//! - An owner is one holder however often it asks. What it holds covers what it asks for: the same mode, or shared
//!   while it holds exclusively, answers the grant it has, its lease renewed. An exclusive request of a shared
//!   holder (an upgrade) waits at the head of the queue until the owner is the only holder; a second upgrade could
//!   never be granted and is refused as a deadlock.
//! - An owner has at most one place in a resource's queue; what it asks for while it waits joins that place, which
//!   waits for the strongest mode asked for.
//!
//! What never lives here: HTTP, JSON, clocks, other kinds of state.

mod early;
mod ledger;
mod message;
#[cfg(test)]
mod model;
mod resource;
mod snapshot;
mod table;
#[cfg(test)]
mod tests;

pub use message::{
    Acquire, Answer, CancelWait, Cancelled, Claim, Command, Deadlock, Done, Full, Granted, Held, Invalid,
    Lost, Mode, NotHeld, OwnerReleased, Query, Release, ReleaseOwner, Released, Renew, Status, Waiter,
    answer, command,
};
pub use snapshot::Snapshot;
pub use table::{Answers, Limits, Table};
