//! Commands to members, as a plan holds them.

use std::fmt;

use quartet_client::galera::{Bootstrap, Drain};

use crate::members;

pub type Call = members::call::Call<Command>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Bootstrap(Bootstrap),
    Drain(Drain),
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bootstrap(Bootstrap {
                position: Some(position),
                new_history: true,
                operation,
                run,
                ..
            }) => {
                write!(f, "begin the history {operation} with {position} in run {run}")
            }
            Self::Bootstrap(Bootstrap { position: Some(position), run, .. }) => {
                write!(f, "form a Primary component from {position} in run {run}")
            }
            Self::Bootstrap(Bootstrap { position: None, incarnation, .. }) => {
                write!(f, "found the cluster on the empty volume {incarnation}")
            }
            Self::Drain(_) => write!(f, "move clients away"),
        }
    }
}
