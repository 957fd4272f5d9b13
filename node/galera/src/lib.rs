//! quartet-galera: what runs beside MariaDB and HAProxy in a GaleraCluster's pods.
//!
//! A member's manager is the first process of its pod. It finds out how far the volume's data has come, starts the
//! server to join a Primary component that it sees, forms one when the operator grants it that, gets rid of dead peers,
//! moves clients off before it stops, applies databases and users, and tells all of it. It holds no Kubernetes client.
//!
//! | module | |
//! |---|---|
//! | [`decide`] | what comes next; pure |
//! | [`examine`] | what a volume's data is worth |
//! | [`volume`] | data, identity, markers of what is under way |
//! | [`server`] | MariaDB's process, configuration and status |
//! | [`peers`] | the other members, and proofs that they are dead |
//! | [`schema`] | databases and users |
//! | [`manager`] | the task that owns the state |
//! | [`service`], [`admin`] | HTTP for probes, proxies and peers; for the operator |
//! | [`proxy`] | HAProxy's manager |

pub mod admin;
pub mod decide;
mod error;
pub mod examine;
pub mod inputs;
pub mod manager;
mod metrics;
mod options;
pub mod peers;
pub mod proxy;
mod run;
pub mod schema;
pub mod server;
pub mod service;
pub mod volume;

pub use options::Options;
pub use run::{RunError, run};
