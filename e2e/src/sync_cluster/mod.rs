//! The SyncCluster that a scenario is about: made, changed, waited for, and what is there of it. What its members say
//! of themselves is in [`ask`].

mod ask;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use quartet_client::SyncClient;
use quartet_client::lock::{Acquire, Mode};
use quartet_crds::sync_cluster::{MemberRole, SyncCluster, SyncClusterStatus};

use crate::subject::{Kind, Status, Subject};
use crate::wait::until;

/// From applied to Ready, the images being there.
pub const READY_DEADLINE: Duration = Duration::from_mins(1);
const CLIENT_PORT: u16 = 8100;
/// Of a spec that asks for none.
const PARTITIONS: u16 = 8;
/// Hosts learn of the ready pods of a Service a moment after the operator does.
const ROUTED: Duration = Duration::from_secs(20);
/// Of one question to a member that may be dead.
const ASK_DEADLINE: Duration = Duration::from_secs(1);

pub type Cluster = Subject<SyncCluster>;

impl Kind for SyncCluster {
    const READY_DEADLINE: Duration = READY_DEADLINE;
}

impl Status for SyncClusterStatus {
    fn observed_generation(&self) -> Option<i64> {
        self.observed_generation
    }

    fn conditions(&self) -> &[Condition] {
        &self.conditions
    }
}

impl Subject<SyncCluster> {
    /// They never change.
    pub fn partitions(&self) -> u16 {
        let asked = self.spec["partitions"].as_u64().and_then(|asked| u16::try_from(asked).ok());
        asked.unwrap_or(PARTITIONS)
    }

    /// Incarnations and roles of the members, as the status has them.
    pub async fn incarnations(&self) -> Result<BTreeMap<u16, (Option<String>, MemberRole)>> {
        let members = self.status().await?.members;
        members
            .into_iter()
            .map(|member| Ok((u16::try_from(member.ordinal)?, (member.incarnation, member.role))))
            .collect()
    }

    /// Of the Service.
    pub async fn url(&self) -> Result<String> {
        self.stage.service_url(&self.name, CLIENT_PORT).await
    }

    /// Through the Service: any member. Waits until it leads to one.
    pub async fn client(&self) -> Result<SyncClient> {
        let url = self.url().await?;
        until(&format!("Service {} to answer", self.name), ROUTED, async || {
            self.stage.answers(&format!("{url}/readyz"), ASK_DEADLINE).await
        })
        .await?;
        Ok(SyncClient::new(&url)?)
    }
}

/// Identities of the members' volumes, in order.
pub fn volumes(status: &SyncClusterStatus) -> Vec<Option<String>> {
    status.members.iter().map(|member| member.incarnation.clone()).collect()
}

/// A lock's name that belongs to the partition.
pub fn name_in(partition: u16, partitions: u16, prefix: &str) -> String {
    let mut numbers = (0_u32..).map(|number| format!("{prefix}-{number}"));
    let found = numbers.find(|name| quartet_client::partition_of(name, partitions) == partition);
    found.unwrap_or_default()
}

/// An exclusive lock for that long, without waiting for it.
pub fn exclusive(resource: &str, owner: &str, ttl: Duration) -> Acquire {
    Acquire {
        resource: resource.to_owned(),
        owner: owner.to_owned(),
        mode: Mode::Exclusive,
        ttl_ms: u64::try_from(ttl.as_millis()).ok(),
        wait_ms: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_has_a_name() {
        for partition in 0..64 {
            let name = name_in(partition, 64, "probe");
            assert_eq!(quartet_client::partition_of(&name, 64), partition);
        }
    }
}
