//! What is changed on purpose, under load: no transaction fails beyond one broken connection of a pooled client.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{EvictParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::stand::{HEALED, MEMBERS, NAME, SOON, Stand, load};
use crate::cluster::{CONTEXT, client_without_retries};
use crate::faults::hosts::cordon;
use crate::galera_cluster::{Cluster, USER};
use crate::load::bank::{Account, Books, TABLES};
use crate::objects::MANAGER;
use crate::stage::Stage;
use crate::wait::until;

const ROLLED: Duration = Duration::from_mins(6);
/// The kubelet puts a changed Secret into pods within so long.
const APPLIED: Duration = Duration::from_mins(2);
const NEW_PASSWORD: &str = "another 'one' \\ with \"quotes\"";

pub(super) async fn rolled_and_scaled(stage: Stage) -> Result<()> {
    let stand = Stand::make(&stage).await?;
    let next = stage.images.as_ref().context("images of our own")?.databases.mariadb_next.to_string();
    step(&stand, "restarted one by one", json!({"server": {"gcacheSize": "160Mi"}}), MEMBERS).await?;
    step(&stand, "another image", json!({"image": next}), MEMBERS).await?;
    step(&stand, "five members", json!({"replicas": 5}), 5).await?;
    step(&stand, "three members", json!({"replicas": MEMBERS}), MEMBERS).await?;
    let report = stand.end().await?;
    report.one_reconnect_at_most()
}

async fn step(stand: &Stand, what: &str, change: serde_json::Value, replicas: u16) -> Result<()> {
    let started = Instant::now();
    stand.cluster.change(change).await?;
    stand.cluster.ready(ROLLED).await.with_context(|| what.to_owned())?;
    stand.cluster.synced(replicas, HEALED).await?;
    stand.load.flows(SOON).await?;
    let waited = stand.load.look(|report| report.longest_wait(started, Instant::now()));
    println!(
        "    {what}: {:.1} s; a client waited for {:.2} s at most",
        started.elapsed().as_secs_f64(),
        waited.as_secs_f64()
    );
    Ok(())
}

/// One host after the other is drained as `kubectl drain` does it: its pods are asked to go, and go when their budget
/// lets them. Meanwhile no second member goes.
pub(super) async fn drained(stage: Stage) -> Result<()> {
    let stand = Stand::make(&stage).await?;
    let client = client_without_retries(Some(CONTEXT)).await?;
    let pods: Api<Pod> = Api::namespaced(client, &stage.namespace);
    for member in 0..MEMBERS {
        let name = stand.cluster.member(member);
        let target = stand.cluster.target(member).await?;
        let started = Instant::now();
        let cordoned = cordon(&stage.client, &target.host).await?;
        let on_it = [stand.cluster.member_pods().await?, stand.cluster.proxy_pods().await?].concat();
        for pod in on_it.iter().filter(|pod| host_of(pod) == Some(&target.host)) {
            leaves(&pods, pod).await?;
        }
        let another = stand.cluster.member((member + 1) % MEMBERS);
        let went = evict(&pods, &another).await?;
        ensure!(!went, "{another} may go while {name} is away");
        stand.load.flows(SOON).await?;
        cordoned.heal().await?;
        stand.well_again().await.with_context(|| format!("after the host of {name} was drained"))?;
        let waited = stand.load.look(|report| report.longest_wait(started, Instant::now()));
        println!("    the host of {name} drained: a client waited for {:.2} s at most", waited.as_secs_f64());
    }
    stand.end().await?.one_reconnect_at_most()
}

fn host_of(pod: &Pod) -> Option<&String> {
    pod.spec.as_ref()?.node_name.as_ref()
}

/// False when its budget does not let it go now.
async fn evict(pods: &Api<Pod>, pod: &str) -> Result<bool> {
    match pods.evict(pod, &EvictParams::default()).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 429 => Ok(false),
        Err(error) => Err(error).with_context(|| format!("evict {pod}")),
    }
}

/// Asked again while it must not go.
async fn leaves(pods: &Api<Pod>, pod: &Pod) -> Result<()> {
    let name = pod.name_any();
    until(&format!("{name} evicted"), HEALED, async || {
        ensure!(evict(pods, &name).await?, "its budget does not let it go");
        Ok(())
    })
    .await?;
    until(&format!("{name} gone"), HEALED, async || {
        let there = pods.get_opt(&name).await?.is_some_and(|live| live.uid() == pod.uid());
        ensure!(!there, "it is still there");
        Ok(())
    })
    .await
}

/// Nobody is restarted, connections that there are stay, and only the new password opens new ones.
pub(super) async fn password(stage: Stage) -> Result<()> {
    let secrets: Api<Secret> = stage.api();
    let given = |password: &str| {
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "given"}, "stringData": {"password": password},
        })
    };
    stage.apply(&given("the first one").to_string()).await?;
    let mut spec = Cluster::spec(MEMBERS);
    spec["users"][0]["passwordSecretRef"] = json!({"name": "given", "key": "password"});
    let (cluster, _) = Cluster::make(&stage, NAME, spec).await?;
    let first = cluster.account_with(USER, "the first one").await?;
    let load = load(&cluster, &first).await.context("with the first password")?;
    let lives = cluster.member_lives().await?;

    let parameters = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let started = Instant::now();
    secrets
        .patch("given", &parameters, &Patch::Merge(json!({"stringData": {"password": NEW_PASSWORD}})))
        .await?;
    let second = Account { password: NEW_PASSWORD.to_owned(), ..first.clone() };
    until("the new password to open connections", APPLIED, async || {
        Ok(second.connect().await?.disconnect().await?)
    })
    .await?;
    println!("    applied after {:.1} s", started.elapsed().as_secs_f64());
    until("the old password to open none", SOON, async || {
        ensure!(first.connect().await.is_err(), "it still does");
        Ok(())
    })
    .await?;
    load.flows(SOON).await.context("on the connections of before")?;
    ensure!(cluster.member_lives().await? == lives, "a pod was restarted");
    let report = load.stop().await?;
    println!("    {}", report.summary());
    report.all_acknowledged()?;
    let lost: u32 = report.operations.iter().map(|done| done.lost + done.refused).sum();
    ensure!(lost == 0, "{lost} connections broke, or statements were refused: {:?}", report.errors);
    cluster.equal_everywhere(MEMBERS, &TABLES, SOON).await?;
    Books::check(&second, &report).await
}
