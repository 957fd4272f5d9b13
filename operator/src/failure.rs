//! What went wrong, and which of the four classes it is: the class chooses when to try again.

use std::error::Error as StdError;

/// How the world has to change before another attempt can succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// The user must change something.
    Invalid,
    /// Somebody else was faster: soon again.
    Conflict,
    /// Backoff.
    Transient,
    /// A human must act; the message says how.
    Blocked,
}

impl Class {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "Invalid",
            Self::Conflict => "Conflict",
            Self::Transient => "Transient",
            Self::Blocked => "Blocked",
        }
    }
}

/// An operation that failed, its object named.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Failure {
    pub class: Class,
    pub what: String,
    #[source]
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Failure {
    pub fn new(class: Class, what: impl Into<String>) -> Self {
        Self { class, what: what.into(), source: None }
    }

    pub fn caused(
        class: Class,
        what: impl Into<String>,
        source: impl StdError + Send + Sync + 'static,
    ) -> Self {
        Self { class, what: what.into(), source: Some(Box::new(source)) }
    }

    /// The whole chain of causes in one line, for logs, events and conditions.
    pub fn chain(&self) -> String {
        let mut text = self.what.clone();
        let mut cause = self.source();
        while let Some(error) = cause {
            let next = error.to_string();
            // Some libraries repeat their source in their own text.
            if !text.ends_with(&next) {
                text.push_str(": ");
                text.push_str(&next);
            }
            cause = error.source();
        }
        text
    }
}
