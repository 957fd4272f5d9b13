//! Commands to members, as a plan holds them.

use std::fmt;

use quartet_client::admin::{ChangeMembership, Drain, Found, Reset};

use crate::members;

/// A command for several groups is given to every member that leads some of them.
pub type Call = members::call::Call<Command>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Found(Found),
    ChangeMembership(ChangeMembership),
    Drain(Drain),
    Reset(Reset),
}

impl Command {
    /// Gives up something that serves. A drain does not: the others serve on, and it comes back by itself.
    pub fn is_disruptive(&self) -> bool {
        matches!(self, Self::Reset(_))
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Found(found) => write!(f, "found cluster {} of {}", found.cluster, found.members.len()),
            Self::ChangeMembership(change) => {
                write!(f, "change membership")?;
                for group in &change.groups {
                    let voters = group.voters.iter().map(|voter| voter.peer.ordinal).collect::<Vec<_>>();
                    let learners =
                        group.learners.iter().map(|learner| learner.peer.ordinal).collect::<Vec<_>>();
                    write!(
                        f,
                        ", group {} at {} to voters {voters:?} learners {learners:?}",
                        group.group, group.expected_index
                    )?;
                }
                Ok(())
            }
            Self::Drain(_) => write!(f, "leave the Service and hand over all leaderships"),
            Self::Reset(reset) => write!(f, "give up the data of {}", reset.incarnation),
        }
    }
}
