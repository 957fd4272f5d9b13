//! Connections between members: each dials every other, one connection for messages and one for bulk. Over a
//! connection that was dialled to it a member answers only while it has none of its own. What cannot be sent at
//! once is dropped.

mod connection;
mod dial;
mod listen;
mod peers;

pub(super) use connection::{Incoming, Trouble, put};
pub(super) use dial::ask;
pub(super) use listen::{Listener, found};
pub(super) use peers::Peers;
