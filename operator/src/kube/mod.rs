//! The only code that holds a Kubernetes client.

use std::{sync::Arc, time::Duration};

use kube::Client;
use quartet_client::admin::AdminClient;

use crate::{
    failure::{Class, Failure},
    metrics::Metrics,
    reconcile::Settings,
};

pub mod accepted;
pub mod apply;
pub mod backoff;
pub mod differ;
pub mod events;
pub mod leader;
mod owners;
pub mod status;
pub mod store;
pub mod watch;

/// The one field manager of all that the operator writes.
pub const FIELD_MANAGER: &str = "quartet-operator";

/// No single request to the API server may take longer.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// What IO needs.
#[derive(Clone)]
pub struct Context {
    pub client: Client,
    pub settings: Settings,
    pub metrics: Arc<Metrics>,
    pub events: Arc<events::Events>,
    /// Asks members, and tells them.
    pub members: AdminClient,
}

/// Carries out a request under its deadline and gives a failure its class.
pub(crate) async fn request<T>(
    what: impl Into<String>,
    call: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(REQUEST_TIMEOUT, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => {
            let class = class(&error);
            match error {
                // Its own text has the whole answer in it, twice.
                kube::Error::Api(status) => Err(Failure::caused(class, what, Refusal::from(*status))),
                error => Err(Failure::caused(class, what, error)),
            }
        }
        Err(elapsed) => Err(Failure::caused(Class::Transient, what, elapsed)),
    }
}

/// What the API server answered, for humans.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Refusal {
    message: String,
    /// Every field that it found fault with, and why.
    pub(crate) fields: Vec<(String, String)>,
}

impl Refusal {
    /// None for a failure that is no answer of the API server's.
    pub(crate) fn of(failure: &Failure) -> Option<&Self> {
        std::error::Error::source(failure)?.downcast_ref()
    }
}

impl From<kube::core::Status> for Refusal {
    fn from(status: kube::core::Status) -> Self {
        let causes = status.details.map(|details| details.causes).unwrap_or_default();
        let fields = causes.into_iter().map(|cause| (cause.field, cause.message)).collect();
        Self { message: status.message, fields }
    }
}

/// A request whose object may be missing.
pub(crate) async fn request_optional<T>(
    what: impl Into<String>,
    call: impl Future<Output = Result<T, kube::Error>>,
) -> Result<Option<T>, Failure> {
    request(what, async {
        match call.await {
            Ok(answer) => Ok(Some(answer)),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(error),
        }
    })
    .await
}

fn class(error: &kube::Error) -> Class {
    let kube::Error::Api(status) = error else { return Class::Transient };
    match status.code {
        409 => Class::Conflict,
        400 | 413 | 422 => Class::Invalid,
        // A quota or a missing right: nothing that waiting cures.
        401 | 403 => Class::Blocked,
        _ => Class::Transient,
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn answered(code: u16) -> Class {
        class(&kube::Error::Api(Box::new(Status { code, ..Status::default() })))
    }

    #[test]
    fn the_answer_of_the_api_server_decides_the_class() {
        assert_eq!(answered(409), Class::Conflict);
        assert_eq!(answered(422), Class::Invalid);
        assert_eq!(answered(403), Class::Blocked);
        assert_eq!(answered(429), Class::Transient);
        assert_eq!(answered(500), Class::Transient);
        assert_eq!(answered(404), Class::Transient);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_hangs_is_given_up() {
        let failure =
            request("get nothing", std::future::pending::<Result<(), kube::Error>>()).await.unwrap_err();
        assert_eq!(failure.class, Class::Transient);
    }
}
