//! Live reads of a GaleraCluster's children and a question to every member that has an address.

use std::collections::{BTreeMap, BTreeSet};

use futures::future;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Pod, Secret},
    policy::v1::PodDisruptionBudget,
};
use quartet_client::manager::ManagerClient;
use quartet_crds::galera_cluster::{GaleraCluster, GaleraClusterSpec};

use super::{LABEL, MEMBER, PROXY, Seen};
use crate::{
    children::Parent,
    failure::Failure,
    kube::{Context, store},
    members::observe::{self, owned},
    names,
};

pub async fn observe(ctx: &Context, obj: &GaleraCluster) -> Result<Seen, Failure> {
    let parent = Parent::of(obj, LABEL);
    let (namespace, name) = (parent.namespace.as_str(), parent.name.as_str());
    let members = Box::pin(observe::observe(ctx, &parent, Some(MEMBER))).await?;
    let (proxy_name, proxy_labels) = (names::proxy(name), parent.query(Some(PROXY)));
    let proxies = future::try_join4(
        owned::<Deployment>(ctx, &parent, &proxy_name),
        owned::<PodDisruptionBudget>(ctx, &parent, name),
        owned::<PodDisruptionBudget>(ctx, &parent, &proxy_name),
        store::list::<Pod>(ctx, namespace, &proxy_labels),
    );
    let secrets = future::try_join(
        secrets(ctx, namespace, made(&obj.spec, name), Some(&parent)),
        secrets(ctx, namespace, named(&obj.spec), None),
    );
    let probes = observe::probe(ctx, &members, |member| {
        let manager = ManagerClient::new(member);
        async move { manager.report().await }
    });
    let (proxies, secrets, probes) = Box::pin(future::join3(proxies, secrets, probes)).await;
    let (proxy, budget, proxy_budget, proxy_pods) = proxies?;
    let (made, named) = secrets?;
    Ok(Seen { members, probes, proxy, proxy_pods, budget, proxy_budget, made, named })
}

/// Those that we make, as far as the spec asks for them.
fn made(spec: &GaleraClusterSpec, name: &str) -> BTreeSet<String> {
    let users = spec.users.iter().filter(|user| user.password_secret_ref.is_none());
    let users = users.map(|user| names::user(name, &user.name));
    users.chain([names::passwords(name), names::proxy_stats(name)]).collect()
}

fn named(spec: &GaleraClusterSpec) -> BTreeSet<String> {
    let passwords =
        spec.users.iter().filter_map(|user| Some(user.password_secret_ref.as_ref()?.name.clone()));
    let stats = spec.proxy.stats.credentials_secret_ref.iter().map(|stats| stats.name.clone());
    passwords.chain(stats).collect()
}

/// Those of them that are there, and ours where an owner is given.
async fn secrets(
    ctx: &Context,
    namespace: &str,
    wanted: BTreeSet<String>,
    owner: Option<&Parent>,
) -> Result<BTreeMap<String, Secret>, Failure> {
    let reads = wanted.into_iter().map(|name| async move {
        let secret = match owner {
            Some(owner) => owned::<Secret>(ctx, owner, &name).await?,
            None => store::get::<Secret>(ctx, namespace, &name).await?,
        };
        Ok::<_, Failure>(secret.map(|secret| (name, secret)))
    });
    Ok(future::try_join_all(reads).await?.into_iter().flatten().collect())
}
