//! Children of a SyncCluster, one file per kind of object. Builders cannot fail: validation did the work.

#[cfg(test)]
mod tests;

pub mod disruption_budget;
pub mod network_policy;
pub mod pod;
pub mod services;
pub mod settings;
pub mod stateful_set;

/// Members that have to be up for any decision.
pub fn quorum(members: u16) -> u16 {
    members / 2 + 1
}
