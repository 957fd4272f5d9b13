//! What one reconciliation of a SyncCluster does: the next single step towards what the spec asks for.
//!
//! Children are applied in every plan. Beyond them a plan takes the first step that is due, in the order of `STEPS`:
//! what keeps data safe comes before what the user would like. Steps are derived from the configurations that the
//! leaders report and from the operation that the status holds, so it does not matter where the last operator was
//! killed.

mod drain;
mod found;
mod hibernate;
mod lost;
mod members;
mod pods;
mod restart;
mod settle;
mod shrink;
mod step;
mod take_in;
mod world;

#[cfg(test)]
mod tests;

use std::time::Duration;

use quartet_crds::{
    conditions::{self, Reason, Type},
    sync_cluster::SyncCluster,
};

pub use pods::explain;
pub use step::{Step, list};
pub use world::{Group, World};

use super::{Call, Seen, build, validate::Valid};
use crate::{
    plan::{Child, Deletion, Grounds, ObjectKind, Plan},
    reconcile::Given,
};

/// Nothing in Kubernetes tells of a new leader, so an idle cluster is looked at again.
const IDLE: Duration = Duration::from_secs(10);

/// In order: the first that is due is taken.
const STEPS: [fn(&World<'_>) -> Option<Step>; 10] = [
    restart::replace_dead,
    hibernate::step,
    found::step,
    lost::step,
    members::reset,
    take_in::replace,
    shrink::step,
    take_in::grow,
    restart::roll,
    settle::step,
];

pub fn next(obj: &SyncCluster, valid: &Valid, seen: &Seen, given: &Given) -> Plan<Call> {
    if obj.spec.paused {
        return Plan::idle(Reason::Paused.as_str(), "paused is true: nothing is changed until it is false.");
    }
    let world = World::new(obj, valid, seen, given);
    let step = STEPS
        .iter()
        .find_map(|step| step(&world))
        .unwrap_or_else(|| Step::wait(Reason::Settled, "Everything is as the spec asks.").after(IDLE));
    let (apply, obsolete) = children(&world);
    let recheck_after = patience(&world, &step);
    let mut plan = Plan {
        record: step.record,
        apply,
        delete: step.delete,
        calls: step.calls,
        reason: step.reason.as_str(),
        message: step.message,
        recheck_after: Some(recheck_after),
    };
    plan.delete.extend(obsolete);
    plan
}

/// What only waits is looked at less often the longer it lasts: watches tell of most that could end it.
fn patience(world: &World<'_>, step: &Step) -> Duration {
    if step.record.is_some() || !step.calls.is_empty() || !step.delete.is_empty() {
        return step.recheck_after;
    }
    let ready =
        conditions::find(&world.status.conditions, Type::Ready).filter(|ready| ready.status == "False");
    let waited = ready.map_or(0, |ready| {
        world.given.now.as_second().saturating_sub(ready.last_transition_time.0.as_second())
    });
    let longer = Duration::from_secs(u64::try_from(waited / 20).unwrap_or(0)).min(IDLE);
    step.recheck_after.max(longer)
}

/// All children, and one that the spec no longer asks for.
fn children(world: &World<'_>) -> (Vec<Child>, Option<Deletion>) {
    let (valid, seen, settings) = (world.valid, world.seen, &world.given.settings);
    let mut apply = vec![
        Child::new(build::settings::settings(valid)),
        Child::new(build::admin_secret::admin_secret(valid, seen.secret.as_ref(), &world.given.secret)),
        Child::new(build::services::members(valid)),
        Child::new(build::services::clients(valid)),
        Child::new(build::network_policy::network_policy(valid, &settings.namespace)),
    ];
    // No pod is to mount a volume that goes away under it.
    if seen.stateful_set.is_some() || world.left_over().is_empty() {
        let set = build::stateful_set::stateful_set(valid, world.pods_wanted(), seen.stateful_set.as_ref());
        apply.push(Child::new(set));
    }
    let budget = build::disruption_budget::disruption_budget(valid, world.pods_wanted().max(valid.replicas));
    let obsolete = match (&budget, &seen.disruption_budget) {
        (None, Some(live)) => {
            Deletion::of(ObjectKind::PodDisruptionBudget, &live.metadata, Grounds::Obsolete)
        }
        _ => None,
    };
    apply.extend(budget.map(Child::new));
    for claim in seen.claims.values() {
        let uid = claim.metadata.uid.clone().unwrap_or_default();
        apply.extend(build::claim::claim(valid, claim).map(|claim| Child::existing(claim, uid)));
    }
    for pod in seen.pods.values() {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        apply.extend(build::pod::labels(valid, pod).map(|pod| Child::existing(pod, uid)));
    }
    (apply, obsolete)
}
