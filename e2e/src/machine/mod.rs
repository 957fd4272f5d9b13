//! What the machine has and what it is given: packages, tools, a Docker engine. Nothing here knows the cluster.

pub mod engine;
pub mod lock;
pub mod packages;
pub mod registry;
pub mod rust;
pub mod stamp;
pub mod tools;
