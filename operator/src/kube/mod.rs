//! The only code that holds a Kubernetes client.

use kube::Client;

use crate::reconcile::Settings;

/// What IO needs.
#[derive(Clone)]
pub struct Context {
    pub client: Client,
    pub settings: Settings,
}
