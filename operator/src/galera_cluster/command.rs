//! Commands to members, as a plan holds them.

use std::fmt;

use quartet_client::galera::{Bootstrap, Drain};

/// One command to one member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub ordinal: u16,
    pub command: Command,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Bootstrap(Bootstrap),
    Drain(Drain),
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "member {}: ", self.ordinal)?;
        match &self.command {
            Command::Bootstrap(Bootstrap {
                position: Some(position),
                new_history: true,
                operation,
                run,
                ..
            }) => {
                write!(f, "begin the history {operation} with {position} in run {run}")
            }
            Command::Bootstrap(Bootstrap { position: Some(position), run, .. }) => {
                write!(f, "form a Primary component from {position} in run {run}")
            }
            Command::Bootstrap(Bootstrap { position: None, incarnation, .. }) => {
                write!(f, "found the cluster on the empty volume {incarnation}")
            }
            Command::Drain(_) => write!(f, "move clients away"),
        }
    }
}
