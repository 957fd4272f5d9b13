//! Typed client of the instance managers' authenticated port.

use crate::{
    admin::{AdminError, MemberClient},
    galera::{Bootstrap, Drain, MemberReport},
};

/// One manager; asked and told as any member is.
#[derive(Clone)]
pub struct ManagerClient(MemberClient);

impl ManagerClient {
    pub fn new(member: MemberClient) -> Self {
        Self(member)
    }

    pub async fn report(&self) -> Result<MemberReport, AdminError> {
        self.0.ask("/v1/member").await
    }

    pub async fn bootstrap(&self, command: &Bootstrap) -> Result<(), AdminError> {
        self.0.tell("/v1/bootstrap", command).await
    }

    pub async fn drain(&self, command: &Drain) -> Result<(), AdminError> {
        self.0.tell("/v1/drain", command).await
    }
}
