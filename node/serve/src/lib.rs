//! quartet-serve: what the HTTP of every node has in common, whatever its kind.
//!
//! | module | |
//! |---|---|
//! | [`server`] | a listening port with bounds of everything, and its graceful end |
//! | [`routes`] | the same answer in the same form to whatever is none of a port's routes |
//! | [`token`] | who may use the operator's port |
//! | [`body`] | a request's JSON, or which field is wrong |
//! | [`Refusal`] | how a request is refused |
//! | [`metrics`] | what Prometheus reads |
//!
//! What never lives here: the routes of a kind, and anything that its members know.

pub mod body;
pub mod metrics;
mod refusal;
pub mod routes;
pub mod server;
pub mod token;

pub use refusal::Refusal;
