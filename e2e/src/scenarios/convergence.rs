//! The operator killed at random moments of everything that it does to clusters.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures::future::try_join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::DeleteParams;
use quartet_client::lock::{Acquire, Mode};
use serde_json::json;
use uuid::Uuid;

use crate::cluster::OPERATOR_NAMESPACE;
use crate::faults::{operator, process};
use crate::stage::Stage;
use crate::subject::{Subject, is};
use crate::wait::until;

const READY: Duration = Duration::from_mins(3);
const TAKEOVER: Duration = Duration::from_secs(20);
const KILLS: usize = 4;
/// A leader lives for this at most: shorter than any of the changes takes.
const LIFE_MS: u64 = 5_000;

/// A founding, a growth, a shrinking, a rollout and a hibernation, all under way at once.
pub(super) async fn killed_at_random(stage: Stage) -> Result<()> {
    let of = |replicas: i32| json!({"replicas": replicas, "partitions": 2, "storage": {"size": "64Mi"}});
    let (one, three) = (of(1), of(3));
    let made = try_join_all([
        Subject::ready(&stage, "grows", &one, READY),
        Subject::ready(&stage, "shrinks", &three, READY),
        Subject::ready(&stage, "rolls", &three, READY),
        Subject::ready(&stage, "sleeps", &one, READY),
    ]);
    let made = made.await?;
    let [grows, shrinks, rolls, sleeps] = made.as_slice() else { anyhow::bail!("four clusters") };
    let tokens = try_join_all(made.iter().map(lock)).await?;
    let before = try_join_all(made.iter().map(|subject| subject.wait_ready(READY))).await?;

    grows.change(json!({"replicas": 3})).await?;
    shrinks.change(json!({"replicas": 1})).await?;
    rolls
        .change(json!({"podTemplate": {"metadata": {"annotations": {"example.com/rolled": "yes"}}}}))
        .await?;
    sleeps.change(json!({"hibernated": true})).await?;
    let founded = Subject::create(&stage, "founded", &three).await?;
    for _ in 0..KILLS {
        kill_leader(&stage).await?;
    }

    sleeps.condition("Ready", "False", "Hibernated", READY).await?;
    sleeps.change(json!({"hibernated": false})).await?;
    founded.wait_ready(READY).await?;
    for (subject, (token, before)) in made.iter().zip(tokens.into_iter().zip(before)) {
        let after = subject.wait_ready(READY).await?;
        ensure!(after.operation.is_none(), "{} is left with {:?}", subject.name, after.operation);
        ensure!(after.cluster_id == before.cluster_id, "{} is another cluster", subject.name);
        let common = before.members.iter().zip(&after.members);
        for (was, is) in common {
            ensure!(was.incarnation == is.incarnation, "{} lost its volume", was.name);
        }
        let held = subject.client().await?.lock("report").await?;
        let still = held.holders.iter().any(|holder| holder.fencing_token == token);
        ensure!(still, "{} lost its lock: {held:?}", subject.name);
    }
    let claims = shrinks.claims().await?;
    ensure!(claims.len() == 1, "the removed members of {} left {claims:?}", shrinks.name);
    let rolled = rolls.pods().await?.iter().all(|pod| {
        pod.metadata.annotations.as_ref().is_some_and(|all| all.contains_key("example.com/rolled"))
    });
    ensure!(rolled, "not all members of {} were rolled", rolls.name);
    let status = grows.status("three voters", READY, |status| {
        is(status, "MembershipStable", "True", "AllMembersVote").map(drop)
    });
    ensure!(status.await?.ready_replicas == 3, "{} did not grow", grows.name);
    Ok(())
}

/// After a random time of leading: kill -9, and its pod removed, so that the next replica is a fresh one and no
/// restart is put off by the kubelet.
async fn kill_leader(stage: &Stage) -> Result<()> {
    let client = &stage.client;
    let since = Timestamp::now();
    let leader =
        until("an operator that leads", TAKEOVER, async || operator::leader_since(client, since).await)
            .await?;
    let life = Duration::from_millis(Uuid::new_v4().as_u64_pair().1 % LIFE_MS);
    println!("    {} leads, and dies after {:.1} s", leader.pod, life.as_secs_f64());
    tokio::time::sleep(life).await;
    process::kill(&leader).await?;
    let pods = Api::<Pod>::namespaced(client.clone(), OPERATOR_NAMESPACE);
    pods.delete(&leader.pod, &DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() })
        .await?;
    Ok(())
}

async fn lock(subject: &Subject) -> Result<u64> {
    let lock = Acquire {
        resource: "report".to_owned(),
        owner: "alice".to_owned(),
        mode: Mode::Exclusive,
        ttl_ms: Some(3_600_000),
        wait_ms: None,
    };
    Ok(subject.client().await?.acquire(&lock).await?.fencing_token)
}
