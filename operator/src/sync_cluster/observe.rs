//! Live reads of a SyncCluster's children and a question to every member that has an address.

use futures::future;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use quartet_crds::sync_cluster::SyncCluster;

use super::{LABEL, Seen};
use crate::{
    children::Parent,
    failure::Failure,
    kube::Context,
    members::observe::{self, owned},
};

pub async fn observe(ctx: &Context, obj: &SyncCluster) -> Result<Seen, Failure> {
    let parent = Parent::of(obj, LABEL);
    let members = observe::observe(ctx, &parent, None);
    let budget = owned::<PodDisruptionBudget>(ctx, &parent, &parent.name);
    // Boxed: several requests at once are a large future.
    let (members, disruption_budget) = Box::pin(future::try_join(members, budget)).await?;
    let probes = observe::probe(ctx, &members, |member| async move { member.report().await }).await;
    Ok(Seen { members, disruption_budget, probes })
}
