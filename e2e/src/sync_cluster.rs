//! A SyncCluster of a scenario: made, waited for, asked through its Service, its members and the operator's port.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::DynamicObject;
use quartet_client::SyncClient;
use quartet_client::admin::{self, AdminClient, MemberReport};
use quartet_client::lock::{Acquire, Mode};
use quartet_crds::sync_cluster::{MemberRole, SyncClusterStatus};
use serde_json::{Value, json};

use crate::faults::target::Target;
use crate::objects;
use crate::stage::Stage;
use crate::wait::until;

pub const KIND: &str = "SyncCluster";
/// From applied to Ready, the images being there.
pub const READY_DEADLINE: Duration = Duration::from_mins(1);
const CLIENT_PORT: u16 = 8100;
/// Of one question to a member that may be dead.
const ASK_DEADLINE: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub struct Cluster {
    pub stage: Stage,
    pub name: String,
    pub partitions: u16,
}

impl Cluster {
    /// Applies it and waits until it is Ready; returns how long that took, too.
    pub async fn make(stage: &Stage, name: &str, spec: Value) -> Result<(Self, Duration)> {
        let started = Instant::now();
        let cluster = Self::apply(stage, name, spec).await?;
        cluster.ready(READY_DEADLINE).await?;
        Ok((cluster, started.elapsed()))
    }

    /// Puts a spec in force: all of it, as a user's file would be.
    pub async fn apply(stage: &Stage, name: &str, spec: Value) -> Result<Self> {
        let partitions = spec["partitions"].as_u64().unwrap_or(8);
        let object = json!({
            "apiVersion": "quartet.dev/v1alpha1", "kind": KIND, "metadata": {"name": name}, "spec": spec,
        });
        stage.apply(&object.to_string()).await?;
        let partitions = u16::try_from(partitions).context("partitions")?;
        Ok(Self { stage: stage.clone(), name: name.to_owned(), partitions })
    }

    pub async fn ready(&self, deadline: Duration) -> Result<DynamicObject> {
        self.stage.wait_ready(KIND, &self.name, deadline).await
    }

    pub async fn object(&self) -> Result<DynamicObject> {
        Ok(self.stage.resources(KIND).get(&self.name).await?)
    }

    pub async fn status(&self) -> Result<SyncClusterStatus> {
        let mut object = self.object().await?;
        serde_json::from_value(object.data["status"].take()).context("the resource's status")
    }

    /// Waits for a condition with this status and reason; returns its message.
    pub async fn condition(
        &self,
        name: &str,
        status: &str,
        reason: &str,
        deadline: Duration,
    ) -> Result<String> {
        until(&format!("{name}={status} {reason}"), deadline, async || {
            let object = self.object().await?;
            let condition = objects::condition(&object, name).context("no such condition yet")?;
            ensure!(
                condition["status"] == status && condition["reason"] == reason,
                "{}={} {}: {}",
                name,
                condition["status"],
                condition["reason"],
                condition["message"]
            );
            Ok(condition["message"].as_str().unwrap_or_default().to_owned())
        })
        .await
    }

    pub fn pod(&self, ordinal: u16) -> String {
        format!("{}-{ordinal}", self.name)
    }

    pub fn claim(&self, ordinal: u16) -> String {
        format!("data-{}-{ordinal}", self.name)
    }

    pub async fn target(&self, ordinal: u16) -> Result<Target> {
        self.stage.target(&self.pod(ordinal)).await
    }

    /// Of the Service.
    pub async fn url(&self) -> Result<String> {
        self.stage.service_url(&self.name, CLIENT_PORT).await
    }

    pub async fn client(&self) -> Result<SyncClient> {
        Ok(SyncClient::new(&self.url().await?)?)
    }

    /// The addresses at which members serve clients, by ordinal; those of pods that have one.
    pub async fn member_urls(&self) -> Result<BTreeMap<u16, String>> {
        let pods = self.stage.pods(&format!("app.kubernetes.io/instance={}", self.name)).await?;
        Ok(pods.iter().filter_map(|pod| Some((ordinal(pod)?, url(pod)?))).collect())
    }

    pub async fn member(&self, ordinal: u16) -> Result<SyncClient> {
        let url = self.stage.pod_url(&self.pod(ordinal), CLIENT_PORT).await?;
        Ok(SyncClient::new(&url)?.timeout(ASK_DEADLINE))
    }

    /// Who leads which partition, as the first member sees it that knows a leader of each.
    pub async fn leaders(&self) -> Result<BTreeMap<u16, u16>> {
        let mut seen = "no member has an address".to_owned();
        for (ordinal, url) in self.member_urls().await? {
            match SyncClient::new(&url)?.timeout(ASK_DEADLINE).status().await {
                Err(error) => seen = format!("member {ordinal}: {error}"),
                Ok(status) => {
                    let led: BTreeMap<u16, u16> = status
                        .partitions
                        .iter()
                        .filter_map(|partition| Some((partition.id, partition.leader?)))
                        .collect();
                    if led.len() == usize::from(self.partitions) {
                        return Ok(led);
                    }
                    seen = format!("member {ordinal} knows the leaders of {led:?} only");
                }
            }
        }
        anyhow::bail!("{seen}")
    }

    /// The member that leads the most partitions, and which.
    pub async fn leader(&self) -> Result<(u16, Vec<u16>)> {
        let leaders =
            until("a leader of every partition", READY_DEADLINE, async || self.leaders().await).await?;
        let mut led: BTreeMap<u16, Vec<u16>> = BTreeMap::new();
        for (partition, leader) in leaders {
            led.entry(leader).or_default().push(partition);
        }
        led.into_iter().max_by_key(|(_, partitions)| partitions.len()).context("nobody leads")
    }

    /// What a member says to the operator.
    pub async fn report(&self, ordinal: u16) -> Result<MemberReport> {
        let secret = self.stage.api::<Secret>().get(&format!("{}-admin", self.name)).await?;
        let token = secret.data.and_then(|mut data| data.remove("token")).context("no token")?;
        let target = self.stage.api::<Pod>().get(&self.pod(ordinal)).await?;
        let address: IpAddr =
            target.status.and_then(|status| status.pod_ip).context("the pod has no address")?.parse()?;
        let token = String::from_utf8(token.0)?;
        let member = AdminClient::new(ASK_DEADLINE)?.member((address, admin::PORT).into(), token.trim());
        Ok(member.report().await?)
    }

    /// Memory of each member, as it says itself.
    pub async fn resident_bytes(&self) -> Result<BTreeMap<u16, u64>> {
        let mut members = BTreeMap::new();
        for (ordinal, url) in self.member_urls().await? {
            let text = reqwest::get(format!("{url}/metrics")).await?.text().await?;
            members.insert(ordinal, resident(&text).with_context(|| format!("metrics of member {ordinal}"))?);
        }
        Ok(members)
    }

    /// Incarnations and roles of the members, as the status has them.
    pub async fn incarnations(&self) -> Result<BTreeMap<u16, (Option<String>, MemberRole)>> {
        let members = self.status().await?.members;
        members
            .into_iter()
            .map(|member| Ok((u16::try_from(member.ordinal)?, (member.incarnation, member.role))))
            .collect()
    }
}

fn resident(metrics: &str) -> Result<u64> {
    let mut lines = metrics.lines();
    let value = lines.find_map(|line| line.strip_prefix("process_resident_memory_bytes "));
    Ok(value.context("no process_resident_memory_bytes")?.trim().parse()?)
}

fn ordinal(pod: &Pod) -> Option<u16> {
    pod.metadata.name.as_deref()?.rsplit_once('-')?.1.parse().ok()
}

fn url(pod: &Pod) -> Option<String> {
    let address = pod.status.as_ref()?.pod_ip.as_ref()?;
    Some(format!("http://{address}:{CLIENT_PORT}"))
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
    fn memory_is_read_from_the_metrics() {
        let text = "# TYPE process_resident_memory_bytes gauge\nprocess_resident_memory_bytes 4096\n# EOF\n";
        assert_eq!(resident(text).unwrap(), 4096);
        assert!(resident("# EOF\n").is_err());
    }

    #[test]
    fn every_partition_has_a_name() {
        for partition in 0..64 {
            let name = name_in(partition, 64, "probe");
            assert_eq!(quartet_client::partition_of(&name, 64), partition);
        }
    }
}
