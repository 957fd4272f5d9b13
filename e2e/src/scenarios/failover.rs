//! The member that leads is lost in each of the ways that there are, while clients take and renew locks through the
//! Service: others lead in its place within seconds, and nothing is granted twice or lost.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use serde_json::json;

use super::witness::Witness;
use crate::faults::target::Target;
use crate::faults::{Fault, hosts, network, process};
use crate::load::{LockLoad, Options, Prober};
use crate::stage::Stage;
use crate::sync_cluster::{Cluster, READY_DEADLINE};
use crate::wait::{throughout, until};

/// A new leader serves within this time.
const SERVES_WITHIN: Duration = Duration::from_secs(5);
const PACE: Duration = Duration::from_millis(50);
const SOON: Duration = Duration::from_mins(1);
/// Of a member after minutes of load: what is kept of a request has to be small, and its log ends in a snapshot.
const MEMORY_MAX: u64 = 192 << 20;
/// Until Kubernetes has the member back after its host was lost, and the operator has seen it.
const HEALED: Duration = Duration::from_mins(3);
const PAUSE: Duration = Duration::from_secs(20);

pub(super) async fn killed_and_deleted(stage: Stage) -> Result<()> {
    let stand = Stand::make(&stage).await?;

    let lost =
        stand.lose_leader("kill -9", async |target| process::kill(target).await.map(|()| None)).await?;
    let back = stage.wait_pod(&lost.target.pod, Some(&lost.target), SOON).await?;
    ensure!(back.uid == lost.target.uid, "the container restarts in place");
    stand.well_again(READY_DEADLINE).await?;

    let deleted = stand.lose_leader("pod deleted", async |target| {
        stage.api::<Pod>().delete(&target.pod, &DeleteParams::default()).await?;
        Ok(None)
    });
    let lost = deleted.await?;
    let back = until("the pod made anew", SOON, async || {
        let back = stage.wait_pod(&lost.target.pod, Some(&lost.target), SOON).await?;
        ensure!(back.uid != lost.target.uid, "it is still the old one");
        Ok(back)
    });
    back.await?;
    stand.well_again(READY_DEADLINE).await?;
    stand.end().await
}

pub(super) async fn hosts_lost(stage: Stage) -> Result<()> {
    let stand = Stand::make(&stage).await?;
    let apart = stage.hosts_of(&format!("app.kubernetes.io/instance={}", stand.cluster.name)).await?;
    ensure!(apart.len() == 3, "members share hosts, so that one lost host is a lost quorum: {apart:?}");

    let cut = async |target: &Target| {
        let host = hosts::named(&target.host).await?;
        network::cut_off_host(&host).await.map(Some)
    };
    let lost = stand.lose_leader("host cut off", cut).await?;
    let url = format!("http://{}:8100/healthz", lost.target.address);
    ensure!(stage.answers(&url, Duration::from_secs(1)).await.is_err(), "the member that is cut off answers");
    lost.heal().await?;
    stand.well_again(HEALED).await?;

    // Not shut down: its members would hand their leaderships over first.
    let stop = async |target: &Target| {
        let host = hosts::named(&target.host).await?;
        hosts::power_off(&host).await.map(Some)
    };
    let lost = stand.lose_leader("host stopped", stop).await?;
    let (host, start) = (hosts::named(&lost.target.host).await?, Timestamp::now());
    ensure!(!host.running, "the host runs");
    let before = lost.target.clone();
    lost.heal().await?;
    hosts::wait_alive(&stage.client, &host, start, HEALED).await?;
    stage.wait_pod(&before.pod, Some(&before), HEALED).await?;
    stand.well_again(HEALED).await?;
    stand.end().await
}

pub(super) async fn paused(stage: Stage) -> Result<()> {
    let stand = Stand::make(&stage).await?;
    let began = Instant::now();
    let lost = stand.lose_leader("paused", async |target| process::pause(target).await.map(Some)).await?;
    let url = format!("http://{}:8100/healthz", lost.target.address);
    ensure!(stage.answers(&url, Duration::from_secs(1)).await.is_err(), "the paused member answers");
    // It sleeps for longer than the leases that are renewed meanwhile last.
    let others = stand.cluster.member(lost.survivors[0]).await?;
    throughout("the others serve", PAUSE.saturating_sub(began.elapsed()), async || {
        others.lock("anything").await.map(drop).context("ask a survivor")
    })
    .await?;
    let before = lost.target.clone();
    lost.heal().await?;
    stand.well_again(READY_DEADLINE).await?;
    let after = stage.target(&before.pod).await?;
    ensure!(after == before, "the paused member was restarted: it did not come back as it was");
    stand.end().await
}

/// A cluster under load, and a lock that nobody renews and that outlives everything.
struct Stand {
    cluster: Cluster,
    load: LockLoad,
    witness: Witness,
}

/// What was lost, and who was not.
struct Lost {
    target: Target,
    survivors: Vec<u16>,
    fault: Option<Fault>,
}

impl Lost {
    async fn heal(self) -> Result<()> {
        match self.fault {
            Some(fault) => fault.heal().await,
            None => Ok(()),
        }
    }
}

impl Stand {
    async fn make(stage: &Stage) -> Result<Self> {
        let (cluster, took) = Cluster::make(stage, "locks", json!({"replicas": 3})).await?;
        println!("    apply → Ready: {:.1} s", took.as_secs_f64());
        let witness = Witness::take(&cluster, Duration::from_mins(15)).await?;
        let load = LockLoad::start(&cluster.url().await?, Options::default())?;
        load.flows(SOON).await?;
        Ok(Self { cluster, load, witness })
    }

    /// Does that to the member that leads most; the others must have answered for every partition within the time.
    async fn lose_leader(
        &self,
        what: &str,
        fault: impl AsyncFnOnce(&Target) -> Result<Option<Fault>>,
    ) -> Result<Lost> {
        let (leader, led) = self.cluster.leader().await?;
        let target = self.cluster.target(leader).await?;
        let mut urls = self.cluster.member_urls().await?;
        urls.remove(&leader);
        let survivors: Vec<_> = urls.keys().copied().collect();
        let prober = Prober::start(&urls.into_values().collect::<Vec<_>>(), self.cluster.partitions(), PACE)?;
        prober.all_answer(SOON).await?;
        let terms = self.cluster.terms(survivors[0], &led).await?;
        let (since, since_us) = (Instant::now(), self.load.now_us());
        let fault = fault(&target).await.with_context(|| what.to_owned())?;
        let lost = Lost { target, survivors, fault };
        self.cluster.led_anew(&lost.survivors, &terms, SOON).await?;
        prober.all_answer(SOON).await?;
        let silences = prober.silences(since);
        let worst = led.iter().filter_map(|partition| silences.get(partition)).max();
        let worst = *worst.context("the leader led nothing")?;
        self.load.flows(SOON).await.with_context(|| format!("after {what}"))?;
        println!(
            "    {what}: member {leader} led {} partitions; silent for {:.2} s at most; first grant to each client \
             after {:.1} s",
            led.len(),
            worst.as_secs_f64(),
            Duration::from_micros(self.load.now_us() - since_us).as_secs_f64(),
        );
        let all = silences.values().max().copied().unwrap_or_default();
        ensure!(all <= SERVES_WITHIN, "after {what} a partition was silent for {all:?}: {silences:?}");
        Ok(lost)
    }

    async fn well_again(&self, deadline: Duration) -> Result<()> {
        self.cluster.ready(deadline).await?;
        self.load.flows(SOON).await?;
        self.witness.holds(&self.cluster).await
    }

    async fn end(self) -> Result<()> {
        let report = self.load.stop().await?;
        println!(
            "    {} operations answered, {} given up; refusals on the way: {:?}",
            report.answered(),
            report.unanswered(),
            report.refused()
        );
        report.check()?;
        report.refused_only_with(&["503", "504", "unreachable", "no answer"])?;
        ensure!(report.unanswered() == 0, "{} operations never got an answer", report.unanswered());
        for (ordinal, bytes) in self.cluster.resident_bytes().await? {
            println!("    member {ordinal} has {} MiB", bytes >> 20);
            ensure!(bytes <= MEMORY_MAX, "member {ordinal} has grown to {} MiB", bytes >> 20);
        }
        self.witness.holds(&self.cluster).await
    }
}
