//! The faults themselves, on pods that answer HTTP: each must be seen to take effect, and to be gone when healed.
//! Without this a scenario could pass because its fault did nothing.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::audit;
use crate::faults::target::Target;
use crate::faults::volume::{Place, SmallVolumes};
use crate::faults::{hosts, network, process};
use crate::forward::Forward;
use crate::stage::Stage;
use crate::wait::until;

const SOON: Duration = Duration::from_mins(1);
const ANSWER: Duration = Duration::from_secs(1);
const HEALTH: u16 = 8080;

pub(super) async fn processes_and_volumes(stage: Stage) -> Result<()> {
    let class = "quartet-e2e-small";
    let volumes = SmallVolumes::offer(&stage.client, class, 16, 1).await?;
    start(&stage, "one", None, Some(class)).await?;
    start(&stage, "other", None, None).await?;
    let one = stage.wait_pod("one", None, SOON).await?;
    let other = stage.wait_pod("other", None, SOON).await?;
    let health = url(&one);

    process::kill(&one).await?;
    let killed = one;
    let one = stage.wait_pod("one", Some(&killed), SOON).await?;
    ensure!(one.uid == killed.uid && one.restarts == killed.restarts + 1, "the container restarts in place");
    ensure!(stage.target("other").await? == other, "the other pod is untouched");

    let paused = process::pause(&one).await?;
    ensure!(stage.answers(&health, ANSWER).await.is_err(), "a paused process answers");
    stage.answers(&url(&other), ANSWER).await.context("the other pod")?;
    paused.heal().await?;
    stage.answers(&health, ANSWER).await.context("after it goes on")?;

    let forward = Forward::open(stage.api(), "one", HEALTH).await?;
    stage.answers(&format!("{}/health", forward.url()), SOON).await.context("through a port-forward")?;

    let place = Place::find(&stage.client, &stage.namespace, "one").await?;
    ensure!(place.host == one.host, "the volume is on the pod's host");
    let write = "dd if=/dev/zero of=\"$1/kept\" bs=1k count=64 2>&1";
    let full = place.fill(0).await?;
    let refused = crate::cluster::hosts::shell(&place.host, write, &[&place.path]).await;
    let said = refused.err().context("a full volume takes writes")?;
    ensure!(format!("{said:#}").contains("No space left"), "{said:#}");
    full.heal().await?;
    crate::cluster::hosts::shell(&place.host, write, &[&place.path]).await.context("after it is freed")?;

    ensure!(place.files().await?.contains(&"kept".to_owned()), "the file is there");
    place.wipe(Some(&one)).await?;
    let wiped = stage.wait_pod("one", Some(&one), SOON).await?;
    ensure!(wiped.uid == one.uid, "the pod is the same");
    ensure!(place.files().await?.is_empty(), "files outlive the wiping");

    stage.clear().await?;
    volumes.take_back(&stage.client).await
}

pub(super) async fn network_and_hosts(stage: Stage) -> Result<()> {
    let began = Timestamp::now();
    let workers = hosts::workers().await?;
    let (first, second) = (workers.first().context("a worker")?, workers.get(1).context("two workers")?);
    start(&stage, "one", Some(&first.name), None).await?;
    start(&stage, "other", Some(&second.name), None).await?;
    let one = stage.wait_pod("one", None, SOON).await?;
    let other = stage.wait_pod("other", None, SOON).await?;

    let mine = audit::writes_since(began).await?;
    let created = mine.keys().filter(|write| write.namespace == stage.namespace && write.resource == "pods");
    ensure!(created.count() == 2, "the audit log knows of two pods: {mine:?}");

    let cut = network::cut_off(&one).await?;
    ensure!(stage.answers(&url(&one), ANSWER).await.is_err(), "a pod that is cut off answers");
    stage.answers(&url(&other), ANSWER).await.context("the other pod")?;
    cut.heal().await?;
    stage.answers(&url(&one), ANSWER).await.context("after the cut is healed")?;

    reaches(&one, &other).await.context("before the pair is cut")?;
    let cut = network::cut_between(&one, &other).await?;
    ensure!(
        reaches(&one, &other).await.is_err() && reaches(&other, &one).await.is_err(),
        "the pair is not cut"
    );
    stage.answers(&url(&one), ANSWER).await.context("others still reach it")?;
    cut.heal().await?;
    reaches(&one, &other).await.context("after the pair is healed")?;

    let cut = network::cut_off_host(first).await?;
    ensure!(stage.answers(&url(&one), ANSWER).await.is_err(), "a pod of a host that is cut off answers");
    drop(cut);
    stage.answers(&url(&one), ANSWER).await.context("after a dropped cut")?;

    let stopped = hosts::stop_host(second).await?;
    ensure!(stage.answers(&url(&other), ANSWER).await.is_err(), "a pod of a stopped host answers");
    let start = Timestamp::now();
    stopped.heal().await?;
    hosts::wait_alive(&stage.client, second, start, SOON).await?;
    let back = stage.wait_pod("other", Some(&other), SOON).await?;
    ensure!(back.uid == other.uid, "its pods restart in place");
    until("the pod of the restarted host", SOON, async || stage.answers(&url(&back), ANSWER).await).await
}

fn url(pod: &Target) -> String {
    format!("http://{}:{HEALTH}/health", pod.address)
}

/// Whether one pod's network reaches the other: asked from its host within its network namespace.
async fn reaches(from: &Target, to: &Target) -> Result<()> {
    let ask = "pid=$(grep -ls -- \"$1\" /proc/[0-9]*/cgroup | cut -d/ -f3 | head -1)
nsenter -n -t \"$pid\" curl -sf -m 1 -o /dev/null \"$2\"";
    crate::cluster::hosts::shell(&from.host, ask, &[&from.container_id, &url(to)]).await.map(drop)
}

/// CoreDNS with only its health endpoint: an image that every cluster has, that answers HTTP and needs no rights.
async fn start(stage: &Stage, name: &str, host: Option<&str>, class: Option<&str>) -> Result<()> {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [{
                "name": "health", "image": coredns(stage).await?, "imagePullPolicy": "IfNotPresent",
                "args": ["-conf", "/etc/health/Corefile"],
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                "readinessProbe": {"httpGet": {"path": "/health", "port": HEALTH}, "periodSeconds": 1},
                "volumeMounts": [{"name": "config", "mountPath": "/etc/health"}],
            }],
            "volumes": [{"name": "config", "configMap": {"name": "health"}}],
        },
    });
    if let Some(host) = host {
        pod["spec"]["nodeSelector"] = json!({"kubernetes.io/hostname": host});
    }
    if let Some(class) = class {
        let claim = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
            "spec": {
                "storageClassName": class, "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "16Mi"}},
            },
        });
        stage.apply(&claim.to_string()).await?;
        let spec = &mut pod["spec"];
        if let Some(volumes) = spec["volumes"].as_array_mut() {
            volumes.push(json!({"name": "data", "persistentVolumeClaim": {"claimName": name}}));
        }
        if let Some(mounts) = spec["containers"][0]["volumeMounts"].as_array_mut() {
            mounts.push(json!({"name": "data", "mountPath": "/data"}));
        }
    }
    let corefile = format!(".:1053 {{\n  health :{HEALTH}\n}}\n");
    let config = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "health"}, "data": {"Corefile": corefile},
    });
    stage.apply(&config.to_string()).await?;
    stage.apply(&pod.to_string()).await?;
    Ok(())
}

/// The image that the cluster's own DNS runs.
async fn coredns(stage: &Stage) -> Result<String> {
    let pods = Api::<Pod>::namespaced(stage.client.clone(), "kube-system");
    let listed = pods.list(&ListParams::default().labels("k8s-app=kube-dns")).await?;
    let pod = listed.items.into_iter().next().context("the cluster has no DNS pod")?;
    let name = pod.name_any();
    let container = pod.spec.and_then(|spec| spec.containers.into_iter().next());
    container.and_then(|container| container.image).with_context(|| format!("{name} has no image"))
}
