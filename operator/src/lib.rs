//! quartet-operator: turns the custom resources of `quartet.dev` into StatefulSets and Services and keeps them.
//!
//! `reconcile` is the one driver, `plan` the data it carries out, `kube/` the only code that holds a Kubernetes
//! client, a folder per kind what is known about that kind; `children`, `members` and `spec` are what all kinds share. What never lives here: the data plane. It keeps
//! itself alive without the operator.

pub mod admin;
pub mod args;
pub mod children;
pub mod controller;
pub mod failure;
#[cfg(test)]
pub(crate) mod fixture;
pub mod galera_cluster;
pub mod generate;
pub mod kube;
pub mod members;
pub mod metrics;
pub mod names;
pub mod plan;
pub mod reconcile;
pub mod run;
pub mod spec;
pub mod status;
pub mod sync_cluster;
pub mod telemetry;
