//! One sentence per rule, on a few members in memory. Days of random faults are quartet-sim's.

#[cfg(feature = "broken-rules")]
mod broken;
mod cluster;
mod disk;
mod elections;
mod handover;
mod invariants;
mod members;
mod random;
mod reads;
mod replication;
mod snapshots;
mod solo;
