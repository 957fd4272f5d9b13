//! The resource that a scenario is about, of whichever kind: made, changed, waited for, and what is there of it. What
//! only one kind has is in the module of its name.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use futures::future::try_join_all;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::core::object::HasStatus;
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::faults::target::Target;
use crate::objects::MANAGER;
use crate::stage::Stage;
use crate::wait::until;

/// One of ours.
pub trait Kind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + HasStatus<Status: Status>
    + Clone
    + Debug
    + DeserializeOwned
{
    /// From applied to Ready, the images being there.
    const READY_DEADLINE: Duration;

    fn title() -> String {
        Self::kind(&()).into_owned()
    }
}

/// What the statuses of all kinds have.
pub trait Status: Clone {
    fn observed_generation(&self) -> Option<i64>;
    fn conditions(&self) -> &[Condition];
}

#[derive(Clone)]
pub struct Subject<K> {
    pub stage: Stage,
    pub name: String,
    /// As it was applied.
    pub(crate) spec: Value,
    kind: PhantomData<K>,
}

impl<K: Kind> Subject<K> {
    /// Puts a spec in force: all of it, as a user's file would be. What it leaves out takes its default.
    pub async fn apply(stage: &Stage, name: &str, spec: Value) -> Result<Self> {
        let object = json!({
            "apiVersion": K::api_version(&()), "kind": K::kind(&()), "metadata": {"name": name}, "spec": spec,
        });
        stage.apply(&object.to_string()).await?;
        Ok(Self { stage: stage.clone(), name: name.to_owned(), spec, kind: PhantomData })
    }

    /// Applies it and waits until it is Ready, as soon as is promised; returns how long that took, too.
    pub async fn make(stage: &Stage, name: &str, spec: Value) -> Result<(Self, Duration)> {
        let started = Instant::now();
        let subject = Self::make_within(stage, name, spec, K::READY_DEADLINE).await?;
        Ok((subject, started.elapsed()))
    }

    /// The same where others come up beside it, or much else is going on.
    pub async fn make_within(stage: &Stage, name: &str, spec: Value, deadline: Duration) -> Result<Self> {
        let subject = Self::apply(stage, name, spec).await?;
        subject.ready(deadline).await?;
        Ok(subject)
    }

    pub fn api(&self) -> Api<K> {
        self.stage.api()
    }

    /// Merges a patch into the spec.
    pub async fn change(&self, spec: Value) -> Result<()> {
        let parameters = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let patch = Patch::Merge(json!({"spec": spec}));
        let changed = self.api().patch(&self.name, &parameters, &patch).await;
        changed.map(drop).with_context(|| format!("change {}", self.title()))
    }

    /// Deletes the resource and waits until it is gone; its children go after it.
    pub async fn delete(&self, deadline: Duration) -> Result<()> {
        self.api().delete(&self.name, &DeleteParams::background()).await?;
        until(&format!("{} gone", self.title()), deadline, async || {
            ensure!(self.api().get_opt(&self.name).await?.is_none(), "still there");
            Ok(())
        })
        .await
    }

    pub async fn status(&self) -> Result<K::Status> {
        self.api().get(&self.name).await?.status().cloned().context("no status yet")
    }

    /// Waits until the status speaks of the present generation and is as wanted.
    pub async fn wait_status(
        &self,
        what: &str,
        deadline: Duration,
        mut wanted: impl FnMut(&K::Status) -> Result<()>,
    ) -> Result<K::Status> {
        until(&format!("{what} of {}", self.title()), deadline, async || {
            let live = self.api().get(&self.name).await?;
            let status = live.status().context("no status yet")?;
            ensure!(
                status.observed_generation() == live.meta().generation,
                "the status speaks of generation {:?}, not {:?}",
                status.observed_generation(),
                live.meta().generation
            );
            wanted(status).map_err(|error| anyhow!("{error:#}; {}", said(status)))?;
            Ok(status.clone())
        })
        .await
    }

    pub async fn ready(&self, deadline: Duration) -> Result<K::Status> {
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

    fn title(&self) -> String {
        format!("{} {}", K::title(), self.name)
    }

    /// Labels of all its children.
    pub fn labels(&self) -> String {
        let kind = K::title().to_lowercase();
        format!("app.kubernetes.io/name={kind},app.kubernetes.io/instance={}", self.name)
    }

    pub async fn pods(&self) -> Result<Vec<Pod>> {
        self.stage.pods(&self.labels()).await
    }

    /// Name of a member's pod.
    pub fn pod(&self, ordinal: u16) -> String {
        format!("{}-{ordinal}", self.name)
    }

    pub async fn target(&self, ordinal: u16) -> Result<Target> {
        self.stage.target(&self.pod(ordinal)).await
    }

    pub async fn targets(&self, replicas: u16) -> Result<Vec<Target>> {
        try_join_all((0..replicas).map(|ordinal| self.target(ordinal))).await
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
}

/// The condition, when it is so; else the error tells how it is.
pub fn is<'a>(status: &'a impl Status, kind: &str, wanted: &str, reason: &str) -> Result<&'a Condition> {
    let condition = named(status, kind).with_context(|| format!("no condition {kind}"))?;
    ensure!(
        condition.observed_generation == status.observed_generation(),
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

fn named<'a>(status: &'a impl Status, kind: &str) -> Option<&'a Condition> {
    status.conditions().iter().find(|condition| condition.type_ == kind)
}

fn said(status: &impl Status) -> String {
    let ready = named(status, "Ready");
    let text = ready.map(|ready| format!("Ready={} {}: {}", ready.status, ready.reason, ready.message));
    text.unwrap_or_else(|| "no condition Ready yet".to_owned())
}

#[cfg(test)]
mod tests {
    use quartet_crds::sync_cluster::SyncClusterStatus;

    use super::*;

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
