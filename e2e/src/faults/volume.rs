//! Volumes: a small one that can be filled, and any that can be wiped.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client};
use serde_json::json;

use super::hosts::workers;
use super::{Fault, process, target::Target};
use crate::cluster::hosts::{Host, shell};
use crate::objects;
use crate::wait::until;

/// `$1` name, `$2` MiB. A file system of its own, so that full means full; open to any user, since pods run as one.
const OFFER: &str = "truncate -s $2M /var/quartet-$1.img
mkfs.ext4 -q -F -m 0 /var/quartet-$1.img
mkdir -p /mnt/quartet-$1
mount -o loop /var/quartet-$1.img /mnt/quartet-$1
rmdir /mnt/quartet-$1/lost+found
chmod 0777 /mnt/quartet-$1";
const TAKE_BACK: &str =
    "umount -l /mnt/quartet-$1 2>/dev/null || true; rm -rf /var/quartet-$1.img /mnt/quartet-$1";
/// All but `$2` KiB of the space; all that there is when that is 0.
const FILL: &str = "free=$(df --output=avail -k \"$1\" | tail -1)
dd if=/dev/zero of=\"$1/.ballast\" bs=1k count=$((free - $2)) 2>/dev/null || [ \"$2\" = 0 ]
[ \"$2\" != 0 ] || dd if=/dev/zero of=\"$1/.ballast2\" bs=1k 2>/dev/null || true
sync -f \"$1\"";
const FREE: &str = "rm -f \"$1/.ballast\" \"$1/.ballast2\"";
const WIPE: &str = "find \"$1\" -mindepth 1 -delete";

/// Small volumes on every worker, offered through a StorageClass of their own; taken back when dropped.
#[derive(Debug)]
pub struct SmallVolumes {
    pub class: String,
    volumes: Vec<String>,
    fault: Fault,
}

impl SmallVolumes {
    /// `per_host` volumes of `mebibytes` on each worker; `class` names both the class and the volumes.
    pub async fn offer(client: &Client, class: &str, mebibytes: u32, per_host: usize) -> Result<Self> {
        let mut offered = Self {
            class: class.to_owned(),
            volumes: Vec::new(),
            fault: Fault::new(format!("volumes {class}")),
        };
        let object = json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": class},
            "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer",
        });
        objects::apply(client, "", &object.to_string()).await?;
        for name in volumes_of(client, class).await? {
            // Of a run that failed: bound to a claim that is gone, it would never be bound again.
            forget(client, &name).await?;
        }
        for host in workers().await? {
            for number in 0..per_host {
                let name = format!("{class}-{}-{number}", host.name);
                offered.fault.undo_in_host(&host.name, TAKE_BACK, &[&name]);
                shell(&host.name, OFFER, &[&name, &mebibytes.to_string()]).await?;
                let object = volume(&name, class, &host, mebibytes);
                objects::apply(client, "", &object.to_string()).await?;
                offered.volumes.push(name);
            }
        }
        Ok(offered)
    }

    /// After the claims on them are gone.
    pub async fn take_back(self, client: &Client) -> Result<()> {
        for name in &self.volumes {
            forget(client, name).await?;
        }
        Api::<StorageClass>::all(client.clone()).delete(&self.class, &DeleteParams::default()).await?;
        self.fault.heal().await
    }
}

async fn volumes_of(client: &Client, class: &str) -> Result<Vec<String>> {
    let listed = Api::<PersistentVolume>::all(client.clone()).list(&ListParams::default()).await?;
    let of_class = |volume: &PersistentVolume| {
        volume.spec.as_ref().is_some_and(|spec| spec.storage_class_name.as_deref() == Some(class))
    };
    Ok(listed.items.into_iter().filter(of_class).filter_map(|volume| volume.metadata.name).collect())
}

async fn forget(client: &Client, name: &str) -> Result<()> {
    let volumes = Api::<PersistentVolume>::all(client.clone());
    volumes.delete(name, &DeleteParams::default()).await?;
    until(&format!("volume {name} gone"), Duration::from_mins(1), async || {
        ensure!(volumes.get_opt(name).await?.is_none(), "still there");
        Ok(())
    })
    .await
}

fn volume(name: &str, class: &str, host: &Host, mebibytes: u32) -> serde_json::Value {
    let on_host = json!({"key": "kubernetes.io/hostname", "operator": "In", "values": [host.name]});
    json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": format!("{mebibytes}Mi")}, "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain", "storageClassName": class,
            "local": {"path": format!("/mnt/quartet-{name}")},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [on_host]}]}},
        },
    })
}

/// Where the data of a claim lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub host: String,
    pub path: String,
}

impl Place {
    pub async fn find(client: &Client, namespace: &str, claim: &str) -> Result<Self> {
        let claims = Api::<PersistentVolumeClaim>::namespaced(client.clone(), namespace);
        let bound = claims.get(claim).await?.spec.and_then(|spec| spec.volume_name);
        let name = bound.with_context(|| format!("claim {claim} is not bound"))?;
        let volume = Api::<PersistentVolume>::all(client.clone()).get(&name).await?;
        Self::of(&volume).with_context(|| format!("volume {name}"))
    }

    fn of(volume: &PersistentVolume) -> Result<Self> {
        let spec = volume.spec.as_ref().context("has no spec")?;
        let path = match (&spec.host_path, &spec.local) {
            (Some(source), _) => &source.path,
            (None, Some(source)) => &source.path,
            _ => bail!("is not on a host"),
        };
        let terms = spec.node_affinity.as_ref().and_then(|affinity| affinity.required.as_ref());
        let term =
            terms.and_then(|required| required.node_selector_terms.first()).context("has no affinity")?;
        let expressions = term.match_expressions.as_deref().unwrap_or_default();
        let hosts = expressions.iter().find(|expression| expression.key == "kubernetes.io/hostname");
        let host =
            hosts.and_then(|expression| expression.values.as_ref()?.first()).context("names no host")?;
        Ok(Self { host: host.clone(), path: path.clone() })
    }

    /// Fills it but for `spare_kib`; freed when healed. Only for [`SmallVolumes`]: others share the machine's disk.
    pub async fn fill(&self, spare_kib: u64) -> Result<Fault> {
        if !self.path.starts_with("/mnt/quartet-") {
            bail!("{} is not a small volume: filling it would fill this machine", self.path);
        }
        let mut fault = Fault::new(format!("volume {} full", self.path));
        fault.undo_in_host(&self.host, FREE, &[&self.path]);
        shell(&self.host, FILL, &[&self.path, &spare_kib.to_string()]).await?;
        Ok(fault)
    }

    /// Deletes all that is in it. With `user`, its process is stopped before and killed after, so that it never sees
    /// half of it and writes nothing in between.
    pub async fn wipe(&self, user: Option<&Target>) -> Result<()> {
        let paused = match user {
            Some(pod) => Some(process::pause(pod).await?),
            None => None,
        };
        shell(&self.host, WIPE, &[&self.path]).await?;
        if let Some(pod) = user {
            process::kill(pod).await?;
        }
        match paused {
            Some(paused) => paused.heal().await,
            None => Ok(()),
        }
    }

    /// Names of the files in it, directories left out.
    pub async fn files(&self) -> Result<Vec<String>> {
        let listed = shell(&self.host, "find \"$1\" -type f -printf '%P\\n'", &[&self.path]).await?;
        Ok(listed.lines().map(str::to_owned).collect())
    }
}

/// Claims of a namespace, by name.
pub async fn claims(client: &Client, namespace: &str) -> Result<Vec<String>> {
    let claims = Api::<PersistentVolumeClaim>::namespaced(client.clone(), namespace);
    let listed = claims.list(&ListParams::default()).await?;
    Ok(listed.items.into_iter().filter_map(|claim| claim.metadata.name).collect())
}
