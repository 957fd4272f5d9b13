//! What one reconciliation of a SyncCluster does: the next single step towards what the spec asks for.
//!
//! Children are applied in every plan. Beyond them a plan takes the first step that is due, in the order of `STEPS`:
//! what keeps data safe comes before what the user would like. Steps are derived from the configurations that the
//! leaders report and from the operation that the status holds, so it does not matter where the last operator was
//! killed.

mod drain;
mod found;
mod lost;
mod members;
mod restart;
mod settle;
mod shrink;
mod step;
mod take_in;
mod world;

#[cfg(test)]
mod tests;

use quartet_crds::sync_cluster::SyncCluster;

pub use world::{Group, World};

use super::{Call, Seen, build, validate::Valid};
use crate::{
    children::{claim, secrets},
    members::{hibernate, rollout},
    plan::{Child, Deletion, IDLE, ObjectKind, Plan, optional},
    reconcile::Given,
};

type Step = crate::plan::Step<Call>;

/// In order: the first that is due is taken.
const STEPS: [fn(&World<'_>) -> Option<Step>; 11] = [
    restart::replace_dead,
    |world| world.valid.spec.common.hibernated.then(|| hibernate::step(&world.seen.members)),
    found::step,
    lost::step,
    members::reset,
    take_in::replace,
    shrink::step,
    take_in::grow,
    restart::roll,
    |world| rollout::unseen(&world.seen.members),
    settle::step,
];

pub fn next(obj: &SyncCluster, valid: &Valid, seen: &Seen, given: &Given) -> Plan<Call> {
    let world = World::new(obj, valid, seen, given);
    let step = STEPS.iter().find_map(|step| step(&world)).unwrap_or_else(Step::settled);
    let pace = step.pace(&world.status.conditions, given.now, IDLE);
    let (apply, obsolete) = children(&world);
    step.plan(apply, obsolete.into_iter().collect(), pace)
}

/// All children, and one that the spec no longer asks for.
fn children(world: &World<'_>) -> (Vec<Child>, Option<Deletion>) {
    let (valid, seen, settings) = (world.valid, world.seen, &world.given.settings);
    let mut apply = vec![
        Child::new(build::settings::settings(valid)),
        Child::new(secrets::admin(&valid.parent, seen.members.secret.as_ref(), &world.given.secret)),
        Child::new(build::services::members(valid)),
        Child::new(build::services::clients(valid)),
        Child::new(build::network_policy::network_policy(valid, &settings.namespace)),
    ];
    let leaving = claim::left_over(&valid.parent, &seen.members);
    if seen.members.stateful_set.is_some() || leaving.is_empty() {
        let set =
            build::stateful_set::stateful_set(valid, world.pods_wanted(), seen.members.stateful_set.as_ref());
        apply.push(Child::new(set));
    }
    let budget = build::disruption_budget::disruption_budget(valid, world.pods_wanted().max(valid.replicas));
    let (budget, obsolete) =
        optional(ObjectKind::PodDisruptionBudget, budget, seen.disruption_budget.as_ref());
    apply.extend(budget);
    let (storage, policy) = (&valid.spec.storage, valid.spec.common.deletion_policy);
    apply.extend(claim::claims(&valid.parent, storage, policy, &seen.members));
    for pod in seen.members.pods.values() {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        apply.extend(build::pod::labels(valid, pod).map(|pod| Child::existing(pod, uid)));
    }
    (apply, obsolete)
}
