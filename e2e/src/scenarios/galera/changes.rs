//! What is changed on purpose, under load: no transaction fails beyond one broken connection of a pooled client.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{Patch, PatchParams};
use mysql_async::prelude::Queryable;
use serde_json::json;

use super::stand::{HEALED, MEMBERS, NAME, SOON, Stand};
use crate::galera_cluster::{Cluster, USER};
use crate::load::bank::Account;
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
    let mut kept = first.connect().await.context("with the first password")?;
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
    kept.query_drop("SELECT 1").await.context("on a connection of before")?;
    ensure!(cluster.member_lives().await? == lives, "a pod was restarted");
    Ok(())
}
