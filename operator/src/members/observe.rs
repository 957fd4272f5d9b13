//! Live reads of the members' objects, and a question to every member that has an address.

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
        storage::v1::StorageClass,
    },
};
use kube::{Resource, ResourceExt};
use quartet_client::admin::{self, AdminError, MemberClient};
use serde::de::DeserializeOwned;

use super::{Members, Probe, pods::is_ready};
use crate::{
    children::Parent,
    failure::Failure,
    kube::{Context, apply, store},
    names,
};

/// Key of the token in the Secret.
pub const TOKEN: &str = "token";
/// More members than a cluster can have, so that all are asked at once.
const PROBES: usize = 16;

/// `component`: of the members' pods and claims, where the kind has several.
pub async fn observe(ctx: &Context, parent: &Parent, component: Option<&str>) -> Result<Members, Failure> {
    let (namespace, name) = (parent.namespace.as_str(), parent.name.as_str());
    let selector = parent.query(component);
    let admin = names::admin(name);
    // Boxed: several requests at once are a large future.
    let children = future::try_join5(
        owned::<StatefulSet>(ctx, parent, name),
        owned::<Secret>(ctx, parent, &admin),
        store::list::<Pod>(ctx, namespace, &selector),
        store::list::<PersistentVolumeClaim>(ctx, namespace, &selector),
        store::list_global::<StorageClass>(ctx),
    );
    let (stateful_set, secret, pods, claims, storage_classes) = Box::pin(children).await?;
    let set_uid = stateful_set.as_ref().and_then(|set| set.metadata.uid.as_deref());
    let asked_for = stateful_set.as_ref().and_then(|set| set.spec.as_ref()?.replicas).unwrap_or(0);
    let mut pods = members(pods, name, set_uid);
    for ordinal in (0..asked_for).filter_map(|ordinal| u16::try_from(ordinal).ok()) {
        if !pods.contains_key(&ordinal) {
            let found = store::get::<Pod>(ctx, namespace, &names::member(name, ordinal)).await?;
            pods.extend(
                found.filter(|pod| is_unlabelled(pod, name, ordinal, set_uid)).map(|pod| (ordinal, pod)),
            );
        }
    }
    let claims =
        complete(ctx, namespace, name, &pods, by_ordinal(claims, &format!("{}-{name}", names::VOLUME)))
            .await?;
    Ok(Members { stateful_set, secret, pods, claims, storage_classes })
}

/// The child, if it is there and ours.
pub async fn owned<K>(ctx: &Context, parent: &Parent, name: &str) -> Result<Option<K>, Failure>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let found = store::get::<K>(ctx, &parent.namespace, name).await?;
    Ok(found.filter(|child| apply::is_owned(child.meta(), &parent.uid)))
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
pub async fn probe<R, F>(
    ctx: &Context,
    members: &Members,
    report: impl Fn(MemberClient) -> F,
) -> BTreeMap<u16, Probe<R>>
where
    F: Future<Output = Result<R, AdminError>>,
{
    let Some(token) = members.secret.as_ref().and_then(token) else { return BTreeMap::new() };
    let asked: Vec<_> = members
        .pods
        .iter()
        .filter_map(|(ordinal, pod)| Some((*ordinal, address(pod)?, is_ready(pod))))
        .collect();
    let report = &report;
    stream::iter(asked)
        .map(|(ordinal, address, again)| {
            let member = ctx.members.member(address, token.clone());
            async move { (ordinal, ask(|| report(member.clone()), again).await) }
        })
        .buffer_unordered(PROBES)
        .collect()
        .await
}

async fn ask<R, F>(report: impl Fn() -> F, again: bool) -> Probe<R>
where
    F: Future<Output = Result<R, AdminError>>,
{
    let answer = match report().await {
        Err(_) if again => report().await,
        answer => answer,
    };
    match answer {
        Ok(report) => Probe::Answered(Box::new(report)),
        Err(error) => Probe::Failed(error.to_string()),
    }
}

/// The member's authenticated port, if it can be reached at all.
pub fn reach(ctx: &Context, members: &Members, ordinal: u16) -> Result<MemberClient, &'static str> {
    let address = members.pods.get(&ordinal).and_then(address).ok_or("its pod has no address")?;
    let token = members.secret.as_ref().and_then(token).ok_or("there is no token yet")?;
    Ok(ctx.members.member(address, token))
}

/// Where a pod's member takes commands; none before it has an address or after its processes have ended.
fn address(pod: &Pod) -> Option<SocketAddr> {
    let status = pod.status.as_ref()?;
    if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
        return None;
    }
    let ip: IpAddr = status.pod_ip.as_deref()?.parse().ok()?;
    Some(SocketAddr::new(ip, admin::PORT))
}

fn token(secret: &Secret) -> Option<String> {
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

    /// So many answers are lost.
    async fn asked(lost: usize, again: bool) -> Probe<()> {
        let answers = std::cell::Cell::new(0);
        let report = || {
            answers.set(answers.get() + 1);
            let address = ([10, 0, 0, 1], admin::PORT).into();
            let lost = (answers.get() <= lost).then_some(AdminError::TooLong { path: "/v1/member", address });
            std::future::ready(lost.map_or(Ok(()), Err))
        };
        ask(report, again).await
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
