//! Locks taken before a fault and looked at after it: whoever holds them, their tokens and their time must be as before.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use quartet_client::lock::Renew;

use crate::sync_cluster::{Cluster, exclusive, name_in};
use crate::wait::until;

const OWNER: &str = "witness";
const DEADLINE: Duration = Duration::from_secs(30);
/// Log-time moves in steps, and a change of leader gives up to one of them away.
const SLACK: Duration = Duration::from_secs(30);

/// One lock of every partition, never renewed.
pub(super) struct Witness {
    ttl: Duration,
    taken: Instant,
    /// Names and tokens.
    locks: BTreeMap<String, u64>,
}

impl Witness {
    pub(super) async fn take(cluster: &Cluster, ttl: Duration) -> Result<Self> {
        let (client, taken) = (cluster.client().await?, Instant::now());
        let mut locks = BTreeMap::new();
        for partition in 0..cluster.partitions() {
            let name = name_in(partition, cluster.partitions(), "witness");
            let grant = until("a lock for the witness", DEADLINE, async || {
                client.acquire(&exclusive(&name, OWNER, ttl)).await.context("acquire")
            })
            .await?;
            locks.insert(name, grant.fencing_token);
        }
        Ok(Self { ttl, taken, locks })
    }

    /// They are held under the same tokens, for as long as is left of their time and not for much longer; nobody else
    /// gets them.
    pub(super) async fn holds(&self, cluster: &Cluster) -> Result<()> {
        let latest = self.ttl.saturating_sub(self.taken.elapsed()) + SLACK;
        for (name, left) in self.left(cluster).await? {
            ensure!(left <= latest, "{name}: {left:?} left, {latest:?} expected at most");
        }
        Ok(())
    }

    /// The same where no member ran for a while: the cluster's own time stood still meanwhile.
    pub(super) async fn holds_after_rest(&self, cluster: &Cluster) -> Result<()> {
        self.left(cluster).await.map(drop)
    }

    /// How long each is held for still, once it is seen that nothing was lost or granted to anybody else.
    async fn left(&self, cluster: &Cluster) -> Result<BTreeMap<&str, Duration>> {
        let client = cluster.client().await?;
        let mut all = BTreeMap::new();
        for (name, token) in &self.locks {
            let status = until("a look at the witness", DEADLINE, async || {
                client.lock(name).await.context("ask who holds it")
            });
            let status = status.await?;
            let [holder] = status.holders.as_slice() else {
                anyhow::bail!("{name} should have one holder: {:?}", status.holders)
            };
            ensure!(
                holder.owner == OWNER && holder.fencing_token == *token,
                "{name} was granted under {token}: {holder:?}"
            );
            let left = Duration::from_millis(holder.expires_in_ms);
            let expected = self.ttl.saturating_sub(self.taken.elapsed());
            ensure!(
                left <= self.ttl && left + Duration::from_secs(1) >= expected,
                "{name}: {left:?} left of {expected:?}"
            );
            all.insert(name.as_str(), left);
        }
        let name = self.locks.keys().next().context("no witness")?;
        let other = client.acquire(&exclusive(name, "thief", self.ttl)).await;
        let code = other.as_ref().err().and_then(|error| error.code());
        ensure!(code == Some("held"), "somebody else asks for {name}: {other:?}");
        Ok(all)
    }

    /// Each can be renewed under its token: what was acknowledged is there.
    pub(super) async fn renew(&mut self, cluster: &Cluster) -> Result<()> {
        let client = cluster.client().await?;
        let now = Instant::now();
        for (name, token) in &self.locks {
            let renew = Renew {
                resource: name.clone(),
                owner: OWNER.to_owned(),
                fencing_token: *token,
                ttl_ms: u64::try_from(self.ttl.as_millis()).ok(),
            };
            until("the witness renewed", DEADLINE, async || client.renew(&renew).await.context("renew"))
                .await?;
        }
        self.taken = now;
        Ok(())
    }
}
