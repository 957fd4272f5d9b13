//! A rolling change of the image under load: one member at a time, and each time the one that leads least of those
//! that are still to go.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures::{StreamExt, TryStreamExt};
use kube::ResourceExt;
use kube::runtime::{WatchStreamExt, watcher};
use quartet_crds::sync_cluster::{OperationKind, SyncCluster};
use serde_json::json;
use tokio::time::MissedTickBehavior;

use super::witness::Witness;
use crate::cluster::ready::pod_is_ready;
use crate::load::{LockLoad, Options};
use crate::stage::Stage;
use crate::sync_cluster::Cluster;
use crate::wait::until;

const MEMBERS: u16 = 3;
const STEP: Duration = Duration::from_mins(3);
const SOON: Duration = Duration::from_mins(1);
const TTL: Duration = Duration::from_mins(15);
/// Between two looks at who leads.
const LOOK: Duration = Duration::from_millis(50);
/// The operator has looked at its members at most this long before its decision is seen.
const DECIDES_WITHIN: Duration = Duration::from_secs(2);

pub(super) async fn rolled(stage: Stage) -> Result<()> {
    let (cluster, _) = Cluster::make(&stage, "locks", json!({"replicas": MEMBERS})).await?;
    let witness = Witness::take(&cluster, TTL).await?;
    let load = LockLoad::start(&cluster.url().await?, Options::default())?;
    load.flows(SOON).await?;
    let before: BTreeSet<_> = cluster.pods().await?.iter().filter_map(ResourceExt::uid).collect();
    let image = stage.images.as_ref().context("images of our own")?.node_next.to_string();

    let (started, mut order) = (Instant::now(), Order::default());
    let change = async {
        cluster.change(json!({"image": image})).await?;
        all_rolled(&cluster, &before).await
    };
    tokio::select! {
        changed = change => changed?,
        ended = order.watch(&cluster) => ended.and_then(|()| bail!("the watch ended")).context("watch the order")?,
    }
    println!("    rolled in {:.1} s: {}", started.elapsed().as_secs_f64(), order.told());
    ensure!(order.decided.len() == usize::from(MEMBERS), "not every restart was seen: {}", order.told());
    for pod in cluster.pods().await? {
        let spec = pod.spec.context("a pod's spec")?;
        let same = spec.containers.iter().all(|container| container.image.as_ref() == Some(&image));
        ensure!(same, "another image: {:?}", spec.containers);
    }
    load.flows(SOON).await?;
    witness.holds(&cluster).await?;
    load.stop().await?.all_answered(&["503"])
}

/// Waits until no pod of before is left and the cluster is Ready; never are two of them away at once.
async fn all_rolled(cluster: &Cluster, before: &BTreeSet<String>) -> Result<()> {
    let mut most_away = 0;
    until("all members on the new image", STEP, async || {
        let pods = cluster.pods().await?;
        let ready: Vec<_> = pods.iter().filter(|pod| pod_is_ready(pod)).collect();
        most_away = most_away.max(usize::from(MEMBERS).saturating_sub(ready.len()));
        let old = pods.iter().filter_map(ResourceExt::uid).filter(|uid| before.contains(uid)).count();
        ensure!(old == 0 && ready.len() == usize::from(MEMBERS), "{old} old pods, {} ready", ready.len());
        cluster.ready(Duration::ZERO).await.map(drop)
    })
    .await?;
    ensure!(most_away <= 1, "{most_away} members were away at once");
    Ok(())
}

/// How many partitions each member leads.
type Led = BTreeMap<u16, usize>;

/// Which members were restarted, in order, and who led how much when it was decided.
#[derive(Default)]
struct Order {
    recent: VecDeque<(Instant, Led)>,
    decided: Vec<(u16, Led)>,
}

impl Order {
    /// Looks at who leads all the while, and judges each restart as the operator records it. Never ends by itself.
    async fn watch(&mut self, cluster: &Cluster) -> Result<()> {
        let config = watcher::Config::default().fields(&format!("metadata.name={}", cluster.name));
        let changes = watcher(cluster.api(), config).default_backoff().applied_objects();
        let mut changes = std::pin::pin!(changes.fuse());
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                change = changes.try_next() => match change.context("watch the SyncCluster")? {
                    Some(live) => self.note(&live)?,
                    None => return Ok(()),
                },
                _ = looks.tick() => {
                    // Without a leader of every partition nothing is decided.
                    if let Ok(leaders) = cluster.leaders().await {
                        self.recent.push_back((Instant::now(), count(&leaders)));
                    }
                    self.recent.retain(|(when, _)| when.elapsed() <= DECIDES_WITHIN);
                }
            }
        }
    }

    fn note(&mut self, live: &SyncCluster) -> Result<()> {
        let operation = live.status.as_ref().and_then(|status| status.operation.as_ref());
        let restart = operation.filter(|operation| operation.kind == OperationKind::Restart);
        let Some(member) = restart.and_then(|restart| restart.members.first()) else { return Ok(()) };
        let chosen = u16::try_from(member.ordinal)?;
        if self.decided.iter().any(|(earlier, _)| *earlier == chosen) {
            return Ok(());
        }
        let others: Vec<_> =
            (0..MEMBERS).filter(|other| *other != chosen && !self.is_decided(*other)).collect();
        let (_, last) = self.recent.back().context("nobody was seen to lead before the restart")?;
        let right = self.recent.iter().find(|(_, led)| leads_least(chosen, &others, led));
        let Some((_, led)) = right else {
            bail!("member {chosen} is restarted before {others:?}, though it leads more: {last:?}")
        };
        self.decided.push((chosen, led.clone()));
        Ok(())
    }

    fn is_decided(&self, member: u16) -> bool {
        self.decided.iter().any(|(earlier, _)| *earlier == member)
    }

    fn told(&self) -> String {
        let each = self.decided.iter().map(|(member, led)| format!("{member} while {led:?} were led"));
        each.collect::<Vec<_>>().join(", then ")
    }
}

/// By partition who leads it, turned around; who leads nothing is there, too.
fn count(leaders: &BTreeMap<u16, u16>) -> Led {
    let mut led: Led = (0..MEMBERS).map(|member| (member, 0)).collect();
    for leader in leaders.values() {
        *led.entry(*leader).or_default() += 1;
    }
    led
}

fn leads_least(chosen: u16, others: &[u16], led: &Led) -> bool {
    others.iter().all(|other| led.get(&chosen) <= led.get(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_leads_more_than_one_that_is_still_to_go_is_not_the_next() {
        let led = count(&BTreeMap::from([(0, 0), (1, 0), (2, 0), (3, 1), (4, 1)]));
        assert_eq!(led, BTreeMap::from([(0, 3), (1, 2), (2, 0)]));
        assert!(leads_least(2, &[0, 1], &led) && leads_least(1, &[0], &led) && leads_least(0, &[], &led));
        assert!(!leads_least(0, &[1], &led) && !leads_least(1, &[0, 2], &led));
    }
}
