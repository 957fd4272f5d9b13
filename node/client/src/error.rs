//! How a request is refused: `{"error": {"code", "message", "retryable"}}`, and what a client makes of it.

use serde::{Deserialize, Serialize};

use crate::lock::Holder;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    pub error: ErrorDetail,
    /// With code `held`: by whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holders: Option<Vec<Holder>>,
    /// With code `deadlock`: each waits for the next, the last for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cycle: Option<Vec<String>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDetail {
    pub code: String,
    pub message: String,
    /// Whether the same request may succeed later. Says nothing about whether it was applied: 503 was certainly not,
    /// 504 may have been.
    pub retryable: bool,
}

impl ErrorBody {
    pub fn new(code: &str, message: impl Into<String>, retryable: bool) -> Self {
        let error = ErrorDetail { code: code.into(), message: message.into(), retryable };
        Self { error, holders: None, cycle: None }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("{url} is not an address of a member")]
    Address { url: String },
    #[error("cannot make an HTTP client")]
    Client(#[source] reqwest::Error),
    /// No connection: certainly not applied.
    #[error("cannot reach {url}")]
    Unreachable {
        url: String,
        #[source]
        source: reqwest::Error,
    },
    /// The request may have been applied.
    #[error("no answer from {url}")]
    NoAnswer {
        url: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("{status} {}: {}", body.error.code, body.error.message)]
    Refused { status: u16, body: Box<ErrorBody> },
    #[error("{url} answered {status} with something that is not an answer")]
    Unreadable {
        url: String,
        status: u16,
        #[source]
        source: serde_json::Error,
    },
}

impl ClientError {
    /// The code of a refusal, such as `held`.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { body, .. } => Some(&body.error.code),
            _ => None,
        }
    }

    /// The HTTP status of an answer.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } | Self::Unreadable { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether the same request may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Refused { body, .. } => body.error.retryable,
            Self::Unreachable { .. } | Self::NoAnswer { .. } => true,
            Self::Unreadable { status, .. } => *status >= 500,
            Self::Address { .. } | Self::Client(_) => false,
        }
    }

    /// Whether the request is known to have changed nothing.
    pub fn is_certainly_not_applied(&self) -> bool {
        match self {
            Self::Refused { status, .. } => *status != 504,
            Self::Address { .. } | Self::Client(_) | Self::Unreachable { .. } => true,
            Self::NoAnswer { .. } | Self::Unreadable { .. } => false,
        }
    }
}
