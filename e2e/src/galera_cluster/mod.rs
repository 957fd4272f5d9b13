//! The GaleraCluster that a scenario is about: made, changed, waited for, and what is there of it. What its members say
//! of themselves is in [`ask`].

mod ask;
mod joined;

pub use ask::{Checksums, Server};
pub use joined::Joined;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Pod, Secret, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use quartet_crds::galera_cluster::{GaleraCluster, GaleraClusterStatus};
use serde_json::{Value, json};

use crate::load::bank::Account;
use crate::subject::{Kind, Status, Subject};

/// From applied to Ready, the images being there: the first database is made, and copied member by member.
pub const READY_DEADLINE: Duration = Duration::from_mins(3);
pub const DATABASE: &str = "beauty";
pub const USER: &str = "app";
const MYSQL_PORT: u16 = 3306;

pub type Cluster = Subject<GaleraCluster>;

impl Kind for GaleraCluster {
    const READY_DEADLINE: Duration = READY_DEADLINE;
}

impl Status for GaleraClusterStatus {
    fn observed_generation(&self) -> Option<i64> {
        self.observed_generation
    }

    fn conditions(&self) -> &[Condition] {
        &self.conditions
    }
}

impl Subject<GaleraCluster> {
    /// With a database and a user for the load, and otherwise small.
    pub fn spec(replicas: u16) -> Value {
        json!({
            "replicas": replicas,
            "storage": {"size": "1Gi"},
            "databases": [{"name": DATABASE}],
            "users": [{"name": USER, "database": DATABASE}],
        })
    }

    pub fn member(&self, ordinal: u16) -> String {
        self.pod(ordinal)
    }

    fn labels_of(&self, component: &str) -> String {
        format!("{},app.kubernetes.io/component={component}", self.labels())
    }

    pub async fn member_pods(&self) -> Result<Vec<Pod>> {
        self.stage.pods(&self.labels_of("member")).await
    }

    pub async fn proxy_pods(&self) -> Result<Vec<Pod>> {
        self.stage.pods(&self.labels_of("proxy")).await
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
