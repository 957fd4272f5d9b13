//! Members asked one by one: by their addresses, not through the Service, and on the operator's port.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Pod, Secret};
use quartet_client::SyncClient;
use quartet_client::admin::{self, AdminClient, MemberReport};

use super::{ASK_DEADLINE, CLIENT_PORT, Cluster, READY_DEADLINE};
use crate::wait::until;

impl Cluster {
    /// The addresses at which members serve clients, by ordinal; those of pods that have one.
    pub async fn member_urls(&self) -> Result<BTreeMap<u16, String>> {
        let pods = self.pods().await?;
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
                    if led.len() == usize::from(self.partitions()) {
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

    /// Terms of these partitions, as a member knows them.
    pub async fn terms(&self, member: u16, partitions: &[u16]) -> Result<BTreeMap<u16, u64>> {
        let all = self.member(member).await?.status().await?.partitions;
        let wanted = all.iter().filter(|partition| partitions.contains(&partition.id));
        Ok(wanted.map(|partition| (partition.id, partition.term)).collect())
    }

    /// Waits until all of these members know a leader of a later term for each of these partitions. Who that is does
    /// not matter: one that was killed may be back, and elected, before anybody else stands.
    pub async fn led_anew(
        &self,
        members: &[u16],
        before: &BTreeMap<u16, u64>,
        deadline: Duration,
    ) -> Result<()> {
        until("leaders of later terms", deadline, async || {
            for member in members {
                let status = self.member(*member).await?.status().await?;
                let anew = |partition: &u16, term: &u64| {
                    let mut all = status.partitions.iter();
                    all.any(|now| now.id == *partition && now.term > *term && now.leader.is_some())
                };
                let still: Vec<_> =
                    before.iter().filter(|(partition, term)| !anew(partition, term)).collect();
                ensure!(still.is_empty(), "member {member} knows of none for {still:?}");
            }
            Ok(())
        })
        .await
    }

    /// What opens the operator's port of each member, as its Secret has it now.
    pub async fn token(&self) -> Result<String> {
        let secret = self.stage.api::<Secret>().get(&format!("{}-admin", self.name)).await?;
        let token = secret.data.and_then(|mut data| data.remove("token")).context("no token")?;
        Ok(String::from_utf8(token.0)?.trim().to_owned())
    }

    /// What a member says to the operator.
    pub async fn report(&self, ordinal: u16) -> Result<MemberReport> {
        self.report_with(ordinal, &self.token().await?).await
    }

    /// The same under any token.
    pub async fn report_with(&self, ordinal: u16, token: &str) -> Result<MemberReport> {
        let pod = self.stage.api::<Pod>().get(&self.pod(ordinal)).await?;
        let address = pod.status.and_then(|status| status.pod_ip).context("the pod has no address")?;
        let address: IpAddr = address.parse()?;
        let member = AdminClient::new(ASK_DEADLINE)?.member((address, admin::PORT).into(), token);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_the_metrics() {
        let text = "# TYPE process_resident_memory_bytes gauge\nprocess_resident_memory_bytes 4096\n# EOF\n";
        assert_eq!(resident(text).unwrap(), 4096);
        assert!(resident("# EOF\n").is_err());
    }
}
