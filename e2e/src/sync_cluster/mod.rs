//! The SyncCluster that a scenario is about: made, changed, waited for, and what is there of it. What its members say
//! of themselves is in [`ask`].

mod ask;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use quartet_client::SyncClient;
use quartet_client::lock::{Acquire, Mode};
use quartet_crds::sync_cluster::{MemberRole, SyncCluster, SyncClusterStatus};
use serde_json::{Value, json};

use crate::faults::target::Target;
use crate::objects::MANAGER;
use crate::stage::Stage;
use crate::wait::until;

pub const KIND: &str = "SyncCluster";
/// From applied to Ready, the images being there.
pub const READY_DEADLINE: Duration = Duration::from_mins(1);
const CLIENT_PORT: u16 = 8100;
/// Hosts learn of the ready pods of a Service a moment after the operator does.
const ROUTED: Duration = Duration::from_secs(20);
/// Of one question to a member that may be dead.
const ASK_DEADLINE: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub struct Cluster {
    pub stage: Stage,
    pub name: String,
    pub partitions: u16,
}

impl Cluster {
    /// Puts a spec in force: all of it, as a user's file would be. What it leaves out takes its default.
    pub async fn apply(stage: &Stage, name: &str, spec: Value) -> Result<Self> {
        let partitions = u16::try_from(spec["partitions"].as_u64().unwrap_or(8)).context("partitions")?;
        let object = json!({
            "apiVersion": "quartet.dev/v1alpha1", "kind": KIND, "metadata": {"name": name}, "spec": spec,
        });
        stage.apply(&object.to_string()).await?;
        Ok(Self { stage: stage.clone(), name: name.to_owned(), partitions })
    }

    /// Applies it and waits until it is Ready, as soon as is promised; returns how long that took, too.
    pub async fn make(stage: &Stage, name: &str, spec: Value) -> Result<(Self, Duration)> {
        let started = Instant::now();
        let cluster = Self::make_within(stage, name, spec, READY_DEADLINE).await?;
        Ok((cluster, started.elapsed()))
    }

    /// The same where others come up beside it, or much else is going on.
    pub async fn make_within(stage: &Stage, name: &str, spec: Value, deadline: Duration) -> Result<Self> {
        let cluster = Self::apply(stage, name, spec).await?;
        cluster.ready(deadline).await?;
        Ok(cluster)
    }

    pub fn api(&self) -> Api<SyncCluster> {
        self.stage.api()
    }

    /// Merges a patch into the spec.
    pub async fn change(&self, spec: Value) -> Result<()> {
        let parameters = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let patch = Patch::Merge(json!({"spec": spec}));
        self.api()
            .patch(&self.name, &parameters, &patch)
            .await
            .with_context(|| format!("change {KIND} {}", self.name))?;
        Ok(())
    }

    /// Deletes the resource and waits until it is gone; its children go after it.
    pub async fn delete(&self, deadline: Duration) -> Result<()> {
        self.api().delete(&self.name, &DeleteParams::background()).await?;
        until(&format!("{KIND} {} gone", self.name), deadline, async || {
            ensure!(self.api().get_opt(&self.name).await?.is_none(), "still there");
            Ok(())
        })
        .await
    }

    pub async fn status(&self) -> Result<SyncClusterStatus> {
        self.api().get(&self.name).await?.status.context("no status yet")
    }

    /// Waits until the status speaks of the present generation and is as wanted.
    pub async fn wait_status(
        &self,
        what: &str,
        deadline: Duration,
        mut wanted: impl FnMut(&SyncClusterStatus) -> Result<()>,
    ) -> Result<SyncClusterStatus> {
        until(&format!("{what} of {KIND} {}", self.name), deadline, async || {
            let live = self.api().get(&self.name).await?;
            let status = live.status.context("no status yet")?;
            ensure!(
                status.observed_generation == live.metadata.generation,
                "the status speaks of generation {:?}, not {:?}",
                status.observed_generation,
                live.metadata.generation
            );
            wanted(&status).map_err(|error| anyhow!("{error:#}; {}", said(&status)))?;
            Ok(status)
        })
        .await
    }

    pub async fn ready(&self, deadline: Duration) -> Result<SyncClusterStatus> {
        self.wait_status("Ready", deadline, |status| is(status, "Ready", "True", "AllMembersReady").map(drop))
            .await
    }

    /// Waits for a condition of that status and reason; returns it.
    pub async fn condition(
        &self,
        kind: &str,
        status: &str,
        reason: &str,
        deadline: Duration,
    ) -> Result<Condition> {
        let what = format!("{kind}={status} {reason}");
        let seen = self.wait_status(&what, deadline, |seen| is(seen, kind, status, reason).map(drop)).await?;
        is(&seen, kind, status, reason).cloned()
    }

    /// Incarnations and roles of the members, as the status has them.
    pub async fn incarnations(&self) -> Result<BTreeMap<u16, (Option<String>, MemberRole)>> {
        let members = self.status().await?.members;
        members
            .into_iter()
            .map(|member| Ok((u16::try_from(member.ordinal)?, (member.incarnation, member.role))))
            .collect()
    }

    /// Labels of all its children.
    pub fn labels(&self) -> String {
        format!("app.kubernetes.io/name=synccluster,app.kubernetes.io/instance={}", self.name)
    }

    pub fn pod(&self, ordinal: u16) -> String {
        format!("{}-{ordinal}", self.name)
    }

    pub async fn pods(&self) -> Result<Vec<Pod>> {
        self.stage.pods(&self.labels()).await
    }

    pub async fn target(&self, ordinal: u16) -> Result<Target> {
        self.stage.target(&self.pod(ordinal)).await
    }

    pub fn claim(&self, ordinal: u16) -> String {
        format!("data-{}-{ordinal}", self.name)
    }

    /// UIDs of the claims, by name.
    pub async fn claims(&self) -> Result<BTreeMap<String, String>> {
        let claims = self.stage.api::<PersistentVolumeClaim>();
        let listed = claims.list(&ListParams::default().labels(&self.labels())).await?;
        let uid = |claim: PersistentVolumeClaim| (claim.name_any(), claim.uid().unwrap_or_default());
        Ok(listed.items.into_iter().map(uid).collect())
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

/// The condition, when it is so; else the error tells how it is.
pub fn is<'a>(
    status: &'a SyncClusterStatus,
    kind: &str,
    wanted: &str,
    reason: &str,
) -> Result<&'a Condition> {
    let condition = status.conditions.iter().find(|condition| condition.type_ == kind);
    let condition = condition.with_context(|| format!("no condition {kind}"))?;
    ensure!(
        condition.observed_generation == status.observed_generation,
        "{kind} speaks of generation {:?}",
        condition.observed_generation
    );
    ensure!(
        condition.status == wanted && condition.reason == reason,
        "{kind}={} {}: {}",
        condition.status,
        condition.reason,
        condition.message
    );
    Ok(condition)
}

/// Identities of the members' volumes, in order.
pub fn volumes(status: &SyncClusterStatus) -> Vec<Option<String>> {
    status.members.iter().map(|member| member.incarnation.clone()).collect()
}

fn said(status: &SyncClusterStatus) -> String {
    let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
    let text = ready.map(|ready| format!("Ready={} {}: {}", ready.status, ready.reason, ready.message));
    text.unwrap_or_else(|| "no condition Ready yet".to_owned())
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

    #[test]
    fn a_condition_of_an_older_generation_says_nothing() {
        let status = |generation: i64| -> SyncClusterStatus {
            serde_json::from_value(json!({
                "observedGeneration": 2, "conditions": [{
                    "type": "Ready", "status": "True", "reason": "AllMembersReady", "message": "",
                    "observedGeneration": generation, "lastTransitionTime": "2026-01-01T00:00:00Z",
                }],
            }))
            .unwrap()
        };
        assert!(is(&status(2), "Ready", "True", "AllMembersReady").is_ok());
        assert!(is(&status(2), "Ready", "True", "Hibernated").is_err());
        assert!(is(&status(1), "Ready", "True", "AllMembersReady").is_err());
        assert!(is(&status(2), "Accepted", "True", "SpecAccepted").is_err());
    }
}
