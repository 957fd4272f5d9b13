//! quartet-sim: whole clusters in one thread, on a virtual clock, with every fault that we can think of.
//!
//! A seed decides everything: members, settings, delays, faults, what clients ask. The same seed gives the same
//! run, bit by bit. The consensus core, the engine, the store and the state machines are the real ones; disk,
//! network, clock, clients and the operator are simulated. What never lives here: the real clock, threads inside a
//! run, iteration over hashed maps.

pub mod batch;
mod client;
mod core_member;
mod coverage;
mod fault;
mod host;
mod invariant;
mod locks;
mod model;
mod network;
mod observer;
mod operator;
mod plan;
mod profile;
mod queue;
mod register;
mod replica_member;
mod rng;
mod seam;
mod world;

pub use coverage::Coverage;
pub use invariant::{Invariant, Violation};
pub use profile::{BROKEN_RULES, Broken, PROFILES, Profile};
pub use world::{Outcome, run};
