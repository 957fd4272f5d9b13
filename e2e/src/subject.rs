//! The SyncCluster that a scenario is about: made, changed, waited for, and what is there of it.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use quartet_client::SyncClient;
use quartet_crds::sync_cluster::{SyncCluster, SyncClusterStatus};
use serde_json::{Value, json};

use crate::objects::MANAGER;
use crate::stage::Stage;
use crate::wait::until;

const CLIENT_PORT: u16 = 8100;
const ROUTED: Duration = Duration::from_secs(20);
const ANSWER: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub struct Subject {
    pub stage: Stage,
    pub name: String,
}

impl Subject {
    /// Creates the resource; what the spec leaves out takes its default.
    pub async fn create(stage: &Stage, name: &str, spec: &Value) -> Result<Self> {
        let object = serde_json::from_value(json!({
            "apiVersion": "quartet.dev/v1alpha1", "kind": "SyncCluster", "metadata": {"name": name}, "spec": spec,
        }))?;
        stage
            .resources("SyncCluster")
            .create(&PostParams::default(), &object)
            .await
            .with_context(|| format!("create SyncCluster {name}"))?;
        Ok(Self { stage: stage.clone(), name: name.to_owned() })
    }

    /// Creates it and waits until it is Ready.
    pub async fn ready(stage: &Stage, name: &str, spec: &Value, deadline: Duration) -> Result<Self> {
        let subject = Self::create(stage, name, spec).await?;
        subject.wait_ready(deadline).await?;
        Ok(subject)
    }

    pub fn api(&self) -> Api<SyncCluster> {
        self.stage.api()
    }

    pub async fn get(&self) -> Result<SyncCluster> {
        Ok(self.api().get(&self.name).await?)
    }

    /// Merges a patch into the spec.
    pub async fn change(&self, spec: Value) -> Result<()> {
        let parameters = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let patch = Patch::Merge(json!({"spec": spec}));
        self.api()
            .patch(&self.name, &parameters, &patch)
            .await
            .with_context(|| format!("change SyncCluster {}", self.name))?;
        Ok(())
    }

    /// Deletes the resource and waits until it is gone; its children go after it.
    pub async fn delete(&self, deadline: Duration) -> Result<()> {
        self.api().delete(&self.name, &DeleteParams::background()).await?;
        until(&format!("SyncCluster {} gone", self.name), deadline, async || {
            ensure!(self.api().get_opt(&self.name).await?.is_none(), "still there");
            Ok(())
        })
        .await
    }

    /// Waits until the status speaks of the present generation and is as wanted.
    pub async fn status(
        &self,
        what: &str,
        deadline: Duration,
        mut wanted: impl FnMut(&SyncClusterStatus) -> Result<()>,
    ) -> Result<SyncClusterStatus> {
        until(&format!("{what} of SyncCluster {}", self.name), deadline, async || {
            let live = self.get().await?;
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

    pub async fn wait_ready(&self, deadline: Duration) -> Result<SyncClusterStatus> {
        self.status("Ready", deadline, |status| is(status, "Ready", "True", "AllMembersReady").map(drop))
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
        let seen = self.status(&what, deadline, |seen| is(seen, kind, status, reason).map(drop)).await?;
        is(&seen, kind, status, reason).cloned()
    }

    /// Labels of all its children.
    pub fn labels(&self) -> String {
        format!("app.kubernetes.io/name=synccluster,app.kubernetes.io/instance={}", self.name)
    }

    pub fn member(&self, ordinal: u16) -> String {
        format!("{}-{ordinal}", self.name)
    }

    pub async fn pods(&self) -> Result<Vec<Pod>> {
        self.stage.pods(&self.labels()).await
    }

    /// UIDs of the claims, by name.
    pub async fn claims(&self) -> Result<BTreeMap<String, String>> {
        let claims = self.stage.api::<PersistentVolumeClaim>();
        let listed = claims.list(&ListParams::default().labels(&self.labels())).await?;
        Ok(listed
            .items
            .into_iter()
            .map(|claim| (claim.name_any(), claim.uid().unwrap_or_default()))
            .collect())
    }

    /// Through the Service: any member. Hosts learn of the ready pods of a Service a moment after the operator does.
    pub async fn client(&self) -> Result<SyncClient> {
        let url = self.url().await?;
        until(&format!("Service {} to answer", self.name), ROUTED, async || {
            self.stage.answers(&format!("{url}/readyz"), ANSWER).await
        })
        .await?;
        Ok(SyncClient::new(&url)?)
    }

    pub async fn url(&self) -> Result<String> {
        self.stage.service_url(&self.name, CLIENT_PORT).await
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
        condition.status == wanted && condition.reason == reason,
        "{kind}={} {}: {}",
        condition.status,
        condition.reason,
        condition.message
    );
    Ok(condition)
}

/// Identities of the members' volumes, in order.
pub fn incarnations(status: &SyncClusterStatus) -> Vec<Option<String>> {
    status.members.iter().map(|member| member.incarnation.clone()).collect()
}

fn said(status: &SyncClusterStatus) -> String {
    let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
    let text = ready.map(|ready| format!("Ready={} {}: {}", ready.status, ready.reason, ready.message));
    text.unwrap_or_else(|| "no condition Ready yet".to_owned())
}
