//! quartet-history: what clients asked and were told, and whether a correct system could have told them that.
//!
//! A history is what clients recorded: requests, answers and when. The checkers know nothing of how the system
//! works; where a client cannot know (a lost answer), they assume whatever excuses the system. The simulator and the
//! e2e tests share them. What never lives here: clients, clocks, anything that runs a system.

pub mod linear;
pub mod lines;
pub mod lock;
mod operation;

pub use operation::{Operation, Outcome};
