//! Commands to members, as a plan holds them.

use std::fmt;

use quartet_client::admin::{ChangeMembership, Drain, Found, Reset};

/// One command to one member. A command for several groups is given to every member that leads some of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub ordinal: u16,
    pub command: Command,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Found(Found),
    ChangeMembership(ChangeMembership),
    Drain(Drain),
    Reset(Reset),
}

impl Call {
    /// Gives up something that serves. A drain does not: the others serve on, and it comes back by itself.
    pub fn is_disruptive(&self) -> bool {
        matches!(self.command, Command::Reset(_))
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "member {}: ", self.ordinal)?;
        match &self.command {
            Command::Found(found) => write!(f, "found cluster {} of {}", found.cluster, found.members.len()),
            Command::ChangeMembership(change) => {
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
            Command::Drain(_) => write!(f, "leave the Service and hand over all leaderships"),
            Command::Reset(reset) => write!(f, "give up the data of {}", reset.incarnation),
        }
    }
}
