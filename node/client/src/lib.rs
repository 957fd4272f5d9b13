//! quartet-client: what travels over HTTP, as types, and typed clients for it.
//!
//! For the operator, the CLI, the console and the e2e tests; roles of the node use the same types on the other
//! side. What never lives here: servers, state machines, Kubernetes.

pub mod admin;
mod error;
pub mod galera;
pub mod lock;
pub mod manager;
mod placement;
pub mod status;
mod sync;

pub use error::{ClientError, ErrorBody, ErrorDetail};
pub use placement::partition_of;
pub use sync::SyncClient;
