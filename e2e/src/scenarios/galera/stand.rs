//! What every scenario of a GaleraCluster stands on: the cluster under the load, and the books at the end.

use std::time::{Duration, Instant};

use anyhow::Result;
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::Value;

use crate::faults::process;
use crate::faults::target::Target;
use crate::faults::volume::Place;
use crate::galera_cluster::Cluster;
use crate::load::bank::{Account, BankLoad, Books, Options, Report, TABLES};
use crate::stage::Stage;

pub(super) const NAME: &str = "shop";
pub(super) const MEMBERS: u16 = 3;
/// The server's process, beside its manager.
pub(super) const SERVER: &str = "mariadbd";
pub(super) const SOON: Duration = Duration::from_mins(1);
pub(super) const HEALED: Duration = Duration::from_mins(3);

pub(super) struct Stand {
    pub(super) cluster: Cluster,
    pub(super) load: BankLoad,
}

impl Stand {
    pub(super) async fn make(stage: &Stage) -> Result<Self> {
        Self::with(stage, Cluster::spec(MEMBERS)).await
    }

    pub(super) async fn with(stage: &Stage, spec: Value) -> Result<Self> {
        let (cluster, took) = Cluster::make(stage, NAME, spec).await?;
        println!("    apply → Ready: {:.1} s", took.as_secs_f64());
        let load = load(&cluster, &cluster.account().await?).await?;
        Ok(Self { cluster, load })
    }

    /// All are members again and every client is served.
    pub(super) async fn well_again(&self) -> Result<()> {
        self.cluster.synced(MEMBERS, HEALED).await?;
        self.cluster.ready(HEALED).await?;
        self.load.flows(SOON).await
    }

    /// kill -9 of these members' servers, under managers that live; the moment when all of them are dead.
    pub(super) async fn kill_servers(&self, members: impl IntoIterator<Item = u16>) -> Result<Instant> {
        let targets = members.into_iter().map(|member| self.cluster.target(member));
        let targets = try_join_all(targets).await?;
        try_join_all(targets.iter().map(|target| process::kill_named(target, SERVER))).await?;
        Ok(Instant::now())
    }

    pub(super) async fn kill_all_pods(&self) -> Result<Instant> {
        self.kill_pods(0..MEMBERS).await
    }

    /// kill -9 of everything in these members' pods; the moment when pods in their place have begun. Containers that die
    /// again and again are made to wait by the kubelet, new pods are not.
    pub(super) async fn kill_pods(&self, members: impl IntoIterator<Item = u16>) -> Result<Instant> {
        let targets = members.into_iter().map(|member| self.cluster.target(member));
        let targets = try_join_all(targets).await?;
        try_join_all(targets.iter().map(process::kill)).await?;
        try_join_all(targets.iter().map(|target| self.replace(target))).await?;
        Ok(Instant::now())
    }

    pub(super) async fn replace(&self, target: &Target) -> Result<()> {
        let pods: Api<Pod> = self.cluster.stage.api();
        pods.delete(&target.pod, &DeleteParams::default().grace_period(0)).await?;
        self.cluster.stage.wait_begun(&target.pod, &target.uid, SOON).await
    }

    pub(super) async fn place(&self, member: u16) -> Result<Place> {
        let stage = &self.cluster.stage;
        Place::find(&stage.client, &stage.namespace, &self.cluster.claim(member)).await
    }

    /// Nothing that was acknowledged is missing, and all members hold the same.
    pub(super) async fn end(self) -> Result<Report> {
        let report = self.load.stop().await?;
        println!("    {}", report.summary());
        report.all_acknowledged()?;
        self.cluster.equal_everywhere(MEMBERS, &TABLES, SOON).await?;
        Books::check(&self.cluster.account().await?, &report).await?;
        Ok(report)
    }
}

/// The load, every client of it served.
pub(super) async fn load(cluster: &Cluster, account: &Account) -> Result<BankLoad> {
    Books::open(account).await?;
    // Acknowledged by one member, tables and rows are on the others a moment later: who comes by another one then
    // meets no table.
    cluster.equal_everywhere(MEMBERS, &TABLES, SOON).await?;
    let load = BankLoad::start(account, Options::default()).await?;
    load.flows(SOON).await?;
    Ok(load)
}
