//! The GaleraCluster that a scenario is about: made, changed, waited for, and what is there of it. What its members say
//! of themselves is in [`ask`].

mod ask;

pub use ask::{Checksums, Server};

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Pod, Secret, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use quartet_crds::galera_cluster::{GaleraCluster, GaleraClusterStatus};
use serde_json::{Value, json};

use crate::cluster::ready::pod_is_ready;
use crate::faults::target::Target;
use crate::load::bank::Account;
use crate::objects::MANAGER;
use crate::stage::Stage;
use crate::wait::until;

pub const KIND: &str = "GaleraCluster";
/// From applied to Ready, the images being there: the first database is made, and copied member by member.
pub const READY_DEADLINE: Duration = Duration::from_mins(3);
pub const DATABASE: &str = "beauty";
pub const USER: &str = "app";
const MYSQL_PORT: u16 = 3306;

#[derive(Clone)]
pub struct Cluster {
    pub stage: Stage,
    pub name: String,
}

impl Cluster {
    /// Puts a spec in force: all of it, as a user's file would be. What it leaves out takes its default.
    pub async fn apply(stage: &Stage, name: &str, spec: Value) -> Result<Self> {
        let object = json!({
            "apiVersion": "quartet.dev/v1alpha1", "kind": KIND, "metadata": {"name": name}, "spec": spec,
        });
        stage.apply(&object.to_string()).await?;
        Ok(Self { stage: stage.clone(), name: name.to_owned() })
    }

    /// Applies it and waits until it is Ready, as soon as is promised; returns how long that took, too.
    pub async fn make(stage: &Stage, name: &str, spec: Value) -> Result<(Self, Duration)> {
        let started = Instant::now();
        let cluster = Self::apply(stage, name, spec).await?;
        cluster.ready(READY_DEADLINE).await?;
        Ok((cluster, started.elapsed()))
    }

    /// With a database and a user for the load, and otherwise small.
    pub fn spec(replicas: u16) -> Value {
        json!({
            "replicas": replicas,
            "storage": {"size": "1Gi"},
            "databases": [{"name": DATABASE}],
            "users": [{"name": USER, "database": DATABASE}],
        })
    }

    pub fn api(&self) -> Api<GaleraCluster> {
        self.stage.api()
    }

    /// Merges a patch into the spec.
    pub async fn change(&self, spec: Value) -> Result<()> {
        let parameters = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let patch = Patch::Merge(json!({"spec": spec}));
        let changed = self.api().patch(&self.name, &parameters, &patch).await;
        changed.map(drop).with_context(|| format!("change {KIND} {}", self.name))
    }

    pub async fn status(&self) -> Result<GaleraClusterStatus> {
        self.api().get(&self.name).await?.status.context("no status yet")
    }

    /// Waits until the status speaks of the present generation and is as wanted.
    pub async fn wait_status(
        &self,
        what: &str,
        deadline: Duration,
        mut wanted: impl FnMut(&GaleraClusterStatus) -> Result<()>,
    ) -> Result<GaleraClusterStatus> {
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

    pub async fn ready(&self, deadline: Duration) -> Result<GaleraClusterStatus> {
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

    pub fn member(&self, ordinal: u16) -> String {
        format!("{}-{ordinal}", self.name)
    }

    fn labels(&self, component: &str) -> String {
        format!(
            "app.kubernetes.io/name=galeracluster,app.kubernetes.io/instance={},app.kubernetes.io/component={component}",
            self.name
        )
    }

    pub async fn member_pods(&self) -> Result<Vec<Pod>> {
        self.stage.pods(&self.labels("member")).await
    }

    pub async fn proxy_pods(&self) -> Result<Vec<Pod>> {
        self.stage.pods(&self.labels("proxy")).await
    }

    /// UIDs and restarts of the members' pods, by name.
    pub async fn member_lives(&self) -> Result<BTreeMap<String, (Option<String>, i32)>> {
        let life = |pod: &Pod| {
            let containers = pod.status.as_ref().and_then(|status| status.container_statuses.as_deref());
            let restarts =
                containers.unwrap_or_default().iter().map(|container| container.restart_count).sum();
            (pod.name_any(), (pod.uid(), restarts))
        };
        Ok(self.member_pods().await?.iter().map(life).collect())
    }

    pub async fn target(&self, ordinal: u16) -> Result<Target> {
        self.stage.target(&self.member(ordinal)).await
    }

    pub async fn targets(&self, replicas: u16) -> Result<Vec<Target>> {
        futures::future::try_join_all((0..replicas).map(|ordinal| self.target(ordinal))).await
    }

    pub async fn all_pods_ready(&self) -> Result<()> {
        let pods = self.member_pods().await?;
        let unready: Vec<_> =
            pods.iter().filter(|pod| !pod_is_ready(pod)).map(ResourceExt::name_any).collect();
        ensure!(unready.is_empty(), "not ready: {unready:?}");
        Ok(())
    }

    pub fn claim(&self, ordinal: u16) -> String {
        format!("data-{}-{ordinal}", self.name)
    }

    /// The load's account, through the proxies: each connection to another member.
    pub async fn account(&self) -> Result<Account> {
        self.account_at(&self.name).await
    }

    /// The same by the single writer's Service.
    pub async fn writer_account(&self) -> Result<Account> {
        self.account_at(&format!("{}-writer", self.name)).await
    }

    /// By the same Service, with a password of one's own.
    pub async fn account_with(&self, user: &str, password: &str) -> Result<Account> {
        let (user, password, database) = (user.to_owned(), password.to_owned(), DATABASE.to_owned());
        Ok(Account { host: self.address_of(&self.name).await?, port: MYSQL_PORT, user, password, database })
    }

    async fn account_at(&self, service: &str) -> Result<Account> {
        let password = self.secret_value(&format!("{}-user-{USER}", self.name), "password").await?;
        Ok(Account { host: self.address_of(service).await?, ..self.account_with(USER, &password).await? })
    }

    async fn address_of(&self, service: &str) -> Result<String> {
        let found = self.stage.api::<Service>().get(service).await?;
        let address = found.spec.and_then(|spec| spec.cluster_ip).filter(|address| address != "None");
        address.with_context(|| format!("service {service} has no address"))
    }

    pub async fn secret_value(&self, secret: &str, key: &str) -> Result<String> {
        let data = self.stage.api::<Secret>().get(secret).await?.data.unwrap_or_default();
        let ByteString(value) = data.get(key).with_context(|| format!("Secret {secret} has no key {key}"))?;
        Ok(String::from_utf8(value.clone())?)
    }
}

/// The condition, when it is so; else the error tells how it is.
pub fn is<'a>(
    status: &'a GaleraClusterStatus,
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

fn said(status: &GaleraClusterStatus) -> String {
    let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
    let text = ready.map(|ready| format!("Ready={} {}: {}", ready.status, ready.reason, ready.message));
    text.unwrap_or_else(|| "no condition Ready yet".to_owned())
}
