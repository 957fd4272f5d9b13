//! What the member is at, as the manager knows it.

use std::time::Instant;

use quartet_client::galera::Position;

use super::life::Life;
use crate::decide::Phase;

pub(super) enum State {
    Unexamined,
    /// Time and again, by its own errors.
    Unreadable,
    Examining,
    Empty,
    Stopped {
        position: Position,
        doubt: Option<String>,
    },
    Unusable(String),
    /// The volume is prepared, and the server is about to be started.
    Starting {
        founding: bool,
    },
    Running(Box<Life>),
}

impl State {
    pub(super) fn phase(&self, now: Instant) -> Phase {
        match self {
            Self::Unexamined => Phase::Unexamined,
            Self::Unreadable => Phase::Unreadable,
            Self::Examining | Self::Starting { .. } => Phase::Busy,
            Self::Empty => Phase::Empty,
            Self::Stopped { position, .. } => Phase::Stopped(*position),
            Self::Unusable(_) => Phase::Unusable,
            Self::Running(life) => Phase::Running(life.link(now)),
        }
    }

    pub(super) fn life(&self) -> Option<&Life> {
        match self {
            Self::Running(life) => Some(life),
            _ => None,
        }
    }

    pub(super) fn life_mut(&mut self) -> Option<&mut Life> {
        match self {
            Self::Running(life) => Some(life),
            _ => None,
        }
    }

    pub(super) fn position(&self) -> Option<Position> {
        match self {
            Self::Stopped { position, .. } => Some(*position),
            Self::Running(life) => life.position(),
            _ => None,
        }
    }
}
