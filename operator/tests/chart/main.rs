//! The chart as helm renders it, held against the operator's code.

// cfg(test) says to clippy that helpers here are tests too.
#[cfg(test)]
mod galera_network;
#[cfg(test)]
mod helm;
#[cfg(test)]
mod network_policy;
#[cfg(test)]
mod reachability;
#[cfg(test)]
mod rendering;
