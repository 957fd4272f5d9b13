//! Live reads of a SyncCluster's children and a question to every member that has an address.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    net::{IpAddr, SocketAddr},
};

use futures::{StreamExt, future, stream};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::StatefulSet,
        core::v1::{PersistentVolumeClaim, Pod, Secret},
        policy::v1::PodDisruptionBudget,
        storage::v1::StorageClass,
    },
};
use kube::{Resource, ResourceExt};
use quartet_client::admin::{self, MemberClient};
use quartet_crds::sync_cluster::SyncCluster;
use serde::de::DeserializeOwned;

use super::{LABEL, Probe, Seen, seen::is_ready};
use crate::{
    failure::Failure,
    kube::{Context, apply, store},
    names,
};

/// Key of the token in the Secret.
const TOKEN: &str = "token";
/// More members than a cluster can have, so that all are asked at once.
const PROBES: usize = 16;

pub async fn observe(ctx: &Context, obj: &SyncCluster) -> Result<Seen, Failure> {
    let (namespace, name) = (obj.namespace().unwrap_or_default(), obj.name_any());
    let uid = obj.uid().unwrap_or_default();
    let labels = names::selector(LABEL, &name);
    let selector = labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",");
    let admin = names::admin(&name);
    // Boxed: five requests at once are a large future.
    let children = future::try_join5(
        owned::<StatefulSet>(ctx, &namespace, &name, &uid),
        owned::<Secret>(ctx, &namespace, &admin, &uid),
        owned::<PodDisruptionBudget>(ctx, &namespace, &name, &uid),
        store::list::<Pod>(ctx, &namespace, &selector),
        store::list::<PersistentVolumeClaim>(ctx, &namespace, &selector),
    );
    let (stateful_set, secret, disruption_budget, pods, claims) = Box::pin(children).await?;
    let storage_classes = store::list_global::<StorageClass>(ctx).await?;
    let set_uid = stateful_set.as_ref().and_then(|set| set.metadata.uid.as_deref());
    let asked_for = stateful_set.as_ref().and_then(|set| set.spec.as_ref()?.replicas).unwrap_or(0);
    let mut pods = members(pods, &name, set_uid);
    for ordinal in (0..asked_for).filter_map(|ordinal| u16::try_from(ordinal).ok()) {
        if !pods.contains_key(&ordinal) {
            let found = store::get::<Pod>(ctx, &namespace, &names::member(&name, ordinal)).await?;
            pods.extend(
                found.filter(|pod| is_unlabelled(pod, &name, ordinal, set_uid)).map(|pod| (ordinal, pod)),
            );
        }
    }
    let claims =
        complete(ctx, &namespace, &name, &pods, by_ordinal(claims, &format!("{}-{name}", names::VOLUME)))
            .await?;
    let probes = probe(ctx, &pods, secret.as_ref()).await;
    Ok(Seen { stateful_set, secret, disruption_budget, pods, claims, storage_classes, probes })
}

/// The child, if it is there and ours.
async fn owned<K>(ctx: &Context, namespace: &str, name: &str, uid: &str) -> Result<Option<K>, Failure>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let found = store::get::<K>(ctx, namespace, name).await?;
    Ok(found.filter(|child| apply::is_owned(child.meta(), uid)))
}

/// Pods of the StatefulSet, and those without any controller that it will adopt: they serve meanwhile.
fn members(pods: Vec<Pod>, name: &str, stateful_set: Option<&str>) -> BTreeMap<u16, Pod> {
    let ours = pods.into_iter().filter(|pod| {
        let mut references = pod.metadata.owner_references.iter().flatten();
        match (references.find(|reference| reference.controller == Some(true)), stateful_set) {
            (Some(controller), Some(uid)) => controller.uid == uid,
            (Some(controller), None) => controller.kind == "StatefulSet" && controller.name == name,
            (None, _) => true,
        }
    });
    by_ordinal(ours, name)
}

/// A member whose labels somebody took away: its StatefulSet let go of it, and it still holds the member's volume and
/// is of our template.
fn is_unlabelled(pod: &Pod, name: &str, ordinal: u16, stateful_set: Option<&str>) -> bool {
    let mut references = pod.metadata.owner_references.iter().flatten();
    let controller = references.find(|reference| reference.controller == Some(true));
    let made_of_our_template =
        pod.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(names::SETTINGS_HASH));
    let claim = names::claim(name, ordinal);
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let holds_the_volume = volumes
        .filter_map(|volume| volume.persistent_volume_claim.as_ref())
        .any(|source| source.claim_name == claim);
    controller.is_none_or(|controller| Some(controller.uid.as_str()) == stateful_set)
        && made_of_our_template
        && holds_the_volume
}

fn by_ordinal<K: ResourceExt>(objects: impl IntoIterator<Item = K>, prefix: &str) -> BTreeMap<u16, K> {
    objects
        .into_iter()
        .filter_map(|object| Some((names::ordinal(prefix, object.meta().name.as_deref()?)?, object)))
        .collect()
}

/// A claim whose labels somebody took away is still its pod's.
async fn complete(
    ctx: &Context,
    namespace: &str,
    name: &str,
    pods: &BTreeMap<u16, Pod>,
    mut claims: BTreeMap<u16, PersistentVolumeClaim>,
) -> Result<BTreeMap<u16, PersistentVolumeClaim>, Failure> {
    for ordinal in pods.keys().filter(|ordinal| !claims.contains_key(ordinal)).copied().collect::<Vec<_>>() {
        let found = store::get::<PersistentVolumeClaim>(ctx, namespace, &names::claim(name, ordinal)).await?;
        claims.extend(found.map(|claim| (ordinal, claim)));
    }
    Ok(claims)
}

/// Asks all members at once; each answers within the client's timeout or counts as silent. One whose pod is ready is
/// asked a second time first: a single lost answer is no news.
async fn probe(ctx: &Context, pods: &BTreeMap<u16, Pod>, secret: Option<&Secret>) -> BTreeMap<u16, Probe> {
    let Some(token) = secret.and_then(token) else { return BTreeMap::new() };
    let asked: Vec<_> =
        pods.iter().filter_map(|(ordinal, pod)| Some((*ordinal, address(pod)?, is_ready(pod)))).collect();
    stream::iter(asked)
        .map(|(ordinal, address, again)| {
            let member = ctx.members.member(address, token.clone());
            async move { (ordinal, ask(&member, again).await) }
        })
        .buffer_unordered(PROBES)
        .collect()
        .await
}

async fn ask(member: &MemberClient, again: bool) -> Probe {
    let answer = match member.report().await {
        Err(_) if again => member.report().await,
        answer => answer,
    };
    match answer {
        Ok(report) => Probe::Answered(Box::new(report)),
        Err(error) => Probe::Failed(error.to_string()),
    }
}

/// Where a pod's member takes commands; none before it has an address or after its processes have ended.
pub fn address(pod: &Pod) -> Option<SocketAddr> {
    let status = pod.status.as_ref()?;
    if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
        return None;
    }
    let ip: IpAddr = status.pod_ip.as_deref()?.parse().ok()?;
    Some(SocketAddr::new(ip, admin::PORT))
}

pub fn token(secret: &Secret) -> Option<String> {
    String::from_utf8(secret.data.as_ref()?.get(TOKEN)?.0.clone()).ok()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{
        ByteString,
        api::core::v1::PodStatus,
        apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
    };

    use super::*;

    fn pod(name: &str, controller: Option<&str>) -> Pod {
        let reference = controller.map(|uid| {
            vec![OwnerReference {
                kind: "StatefulSet".into(),
                name: "demo".into(),
                uid: uid.into(),
                controller: Some(true),
                ..OwnerReference::default()
            }]
        });
        Pod {
            metadata: ObjectMeta {
                name: Some(name.into()),
                owner_references: reference,
                ..ObjectMeta::default()
            },
            ..Pod::default()
        }
    }

    #[test]
    fn members_are_the_pods_of_our_stateful_set_and_those_it_will_adopt() {
        let pods = vec![
            pod("demo-0", Some("set")),
            pod("demo-1", Some("another set")),
            pod("demo-2", None),
            pod("demo-x", Some("set")),
        ];
        let found = members(pods.clone(), "demo", Some("set"));
        assert_eq!(found.keys().copied().collect::<Vec<_>>(), [0, 2]);
        // While the StatefulSet is being put back, its pods are still members.
        assert_eq!(members(pods, "demo", None).keys().copied().collect::<Vec<_>>(), [0, 1, 2]);
    }

    #[test]
    fn a_member_without_its_labels_is_told_from_a_strangers_pod() {
        let mut lost = pod("demo-1", None);
        assert!(!is_unlabelled(&lost, "demo", 1, Some("set")), "a stranger's");
        let volumes = serde_json::json!({"containers": [], "volumes": [
            {"name": "data", "persistentVolumeClaim": {"claimName": "data-demo-1"}}]});
        lost.spec = Some(serde_json::from_value(volumes).unwrap());
        assert!(!is_unlabelled(&lost, "demo", 1, Some("set")), "a stranger's with our volume");
        lost.metadata.annotations = Some([(names::SETTINGS_HASH.to_owned(), "1".to_owned())].into());
        assert!(is_unlabelled(&lost, "demo", 1, Some("set")));
        assert!(!is_unlabelled(&lost, "demo", 2, Some("set")), "another member's volume");
        lost.metadata.owner_references = pod("demo-1", Some("another set")).metadata.owner_references;
        assert!(!is_unlabelled(&lost, "demo", 1, Some("set")));
    }

    #[test]
    fn only_a_pod_with_an_address_and_a_running_process_is_asked() {
        let with = |phase: &str, ip: Option<&str>| Pod {
            status: Some(PodStatus {
                phase: Some(phase.into()),
                pod_ip: ip.map(str::to_owned),
                ..PodStatus::default()
            }),
            ..Pod::default()
        };
        assert_eq!(address(&with("Running", Some("10.0.0.1"))), Some(([10, 0, 0, 1], 8199).into()));
        assert_eq!(
            address(&with("Running", Some("fd00::1"))).map(|at| at.to_string()),
            Some("[fd00::1]:8199".into())
        );
        assert_eq!(address(&with("Pending", None)), None);
        assert_eq!(address(&with("Failed", Some("10.0.0.1"))), None);
    }

    /// Whoever asks gets no answer to so many requests, and then a report.
    async fn asked(lost: usize, again: bool) -> Probe {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            for number in 0.. {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read(&mut [0; 4096]).await.unwrap();
                if number >= lost {
                    let report = crate::sync_cluster::fixture::cluster().three_members().seen();
                    let body = serde_json::to_string(report.report(0).unwrap()).unwrap();
                    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            }
        });
        let client = admin::AdminClient::new(std::time::Duration::from_secs(10)).unwrap();
        let probe = ask(&client.member(address, "token"), again).await;
        server.abort();
        probe
    }

    #[tokio::test]
    async fn a_single_lost_answer_of_a_ready_member_is_no_silence_and_a_second_one_is() {
        assert!(matches!(asked(1, true).await, Probe::Answered(_)));
        assert!(matches!(asked(2, true).await, Probe::Failed(_)));
        assert!(matches!(asked(1, false).await, Probe::Failed(_)));
    }

    #[test]
    fn the_token_is_read_from_the_secret() {
        let data = [(TOKEN.to_owned(), ByteString(b"abc".to_vec()))].into();
        assert_eq!(token(&Secret { data: Some(data), ..Secret::default() }), Some("abc".into()));
        assert_eq!(token(&Secret::default()), None);
    }
}
