//! What the member is at, as the manager knows it.

use std::time::Instant;

use quartet_client::galera::Position;

use super::life::Life;
use crate::decide::Phase;

pub(super) enum State {
    Unexamined,
    /// By the storage engine's own word.
    Unreadable,
    /// The server has ended while its markers were being removed: until that is done nothing else is begun, which might
    /// write markers of its own.
    Settling,
    Examining,
    Empty,
    Stopped {
        position: Position,
        doubt: Option<String>,
    },
    /// `position`: where a human's word may make it count.
    Unusable {
        why: String,
        position: Option<Position>,
    },
    /// The volume is prepared, and the server is about to be started.
    Starting {
        founding: bool,
    },
    Running(Box<Life>),
}

impl State {
    /// `known`: how far the data had come when that was known last.
    pub(super) fn phase(&self, now: Instant, known: Option<Position>) -> Phase {
        match self {
            Self::Unexamined => Phase::Unexamined,
            Self::Unreadable => Phase::Unreadable(known),
            Self::Settling | Self::Examining | Self::Starting { .. } => Phase::Busy,
            Self::Empty => Phase::Empty,
            Self::Stopped { position, .. } => Phase::Stopped(*position),
            Self::Unusable { position, .. } => Phase::Unusable(*position),
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

    pub(super) fn position(&self, now: Instant) -> Option<Position> {
        match self {
            Self::Stopped { position, .. } => Some(*position),
            Self::Unusable { position, .. } => *position,
            Self::Running(life) => life.position(now),
            _ => None,
        }
    }
}
