//! A rolling change of the image under load: one member at a time, and each time the one that leads least of those
//! that are still to go.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures::StreamExt;
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

    let (started, order) = (Instant::now(), Order::default());
    let change = async {
        cluster.change(json!({"image": image})).await?;
        all_rolled(&cluster, &before).await
    };
    tokio::select! {
        changed = change => changed?,
        judged = order.watch(&cluster) => judged.context("watch the order")?,
    }
    println!("    rolled in {:.1} s: {}", started.elapsed().as_secs_f64(), order.told());
    ensure!(
        order.decided.borrow().len() == usize::from(MEMBERS),
        "not every restart was seen: {}",
        order.told()
    );
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
    recent: RefCell<VecDeque<(Instant, Led)>>,
    decided: RefCell<Vec<(u16, Led)>>,
}

impl Order {
    /// Judges each restart as the operator records it, by who led shortly before. Never ends by itself.
    async fn watch(&self, cluster: &Cluster) -> Result<()> {
        let looks = async {
            self.look(cluster).await;
            Ok(())
        };
        tokio::try_join!(looks, self.judge(cluster)).map(drop)
    }

    async fn look(&self, cluster: &Cluster) {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let asked = looks.tick().await.into_std();
            // Without a leader of every partition nothing is decided.
            let leaders = cluster.leaders().await;
            let mut recent = self.recent.borrow_mut();
            recent.extend(leaders.iter().map(|leaders| (asked, count(leaders))));
            recent.retain(|(when, _)| when.elapsed() <= DECIDES_WITHIN);
        }
    }

    async fn judge(&self, cluster: &Cluster) -> Result<()> {
        let config = watcher::Config::default().fields(&format!("metadata.name={}", cluster.name));
        let changes = watcher(cluster.api(), config).default_backoff().applied_objects();
        let mut changes = std::pin::pin!(changes);
        while let Some(change) = changes.next().await {
            // A watch that broke is taken up again; what it missed is missing in the end.
            if let Ok(live) = change {
                self.note(&live)?;
            }
        }
        bail!("the watch ended")
    }

    fn note(&self, live: &SyncCluster) -> Result<()> {
        let operation = live.status.as_ref().and_then(|status| status.operation.as_ref());
        let restart = operation.filter(|operation| operation.kind == OperationKind::Restart);
        let Some(member) = restart.and_then(|restart| restart.members.first()) else { return Ok(()) };
        let chosen = u16::try_from(member.ordinal)?;
        let mut decided = self.decided.borrow_mut();
        let is_decided = |member: u16| decided.iter().any(|(earlier, _)| *earlier == member);
        if is_decided(chosen) {
            return Ok(());
        }
        let others: Vec<_> = (0..MEMBERS).filter(|other| *other != chosen && !is_decided(*other)).collect();
        let recent = self.recent.borrow();
        let (_, last) = recent.back().context("nobody was seen to lead before the restart")?;
        let Some((_, led)) = recent.iter().find(|(_, led)| leads_least(chosen, &others, led)) else {
            bail!("member {chosen} is restarted before {others:?}, though it leads more: {last:?}")
        };
        decided.push((chosen, led.clone()));
        Ok(())
    }

    fn told(&self) -> String {
        let decided = self.decided.borrow();
        let each = decided.iter().map(|(member, led)| format!("{member} while {led:?} were led"));
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
