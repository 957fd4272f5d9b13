//! Checks of specs that every kind makes. What never lives here: IO, and what only one kind has.

pub mod faults;
pub(crate) mod grammar;
