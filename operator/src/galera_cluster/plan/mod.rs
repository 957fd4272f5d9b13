//! What one reconciliation of a GaleraCluster does: the next single step towards what the spec asks for.
//!
//! Children are applied in every plan. Beyond them a plan takes the first step that is due, in the order of `STEPS`:
//! what keeps data safe comes before what the user would like. Members join a Primary component by themselves; what
//! they need the operator for is leave to form one.

mod drain;
pub(crate) mod recover;
mod restart;
mod scale;
mod settle;
mod world;

use std::time::Duration;

use quartet_crds::galera_cluster::GaleraCluster;

pub use settle::schema_reports;
pub use world::World;

use super::{Call, Seen, build, validate::Valid};
use crate::{
    children::{claim, secrets::admin},
    members::{hibernate, rollout},
    names,
    plan::{Child, Deletion, IDLE, ObjectKind, Plan, optional},
    reconcile::Given,
};

/// Nothing in Kubernetes tells of a member that has found out what its volume holds: who waits for it looks often.
const WATCHFUL: Duration = Duration::from_secs(1);

type Step = crate::plan::Step<Call>;

/// In order: the first that is due is taken.
const STEPS: [fn(&World<'_>) -> Option<Step>; 7] = [
    restart::replace_dead,
    |world| world.valid.spec.common.hibernated.then(|| hibernate::step(&world.seen.members)),
    recover::step,
    scale::step,
    restart::roll,
    |world| rollout::unseen(&world.seen.members),
    settle::step,
];

pub fn next(obj: &GaleraCluster, valid: &Valid, seen: &Seen, given: &Given) -> Plan<Call> {
    let world = World::new(obj, valid, seen, given);
    let step = STEPS.iter().find_map(|step| step(&world)).unwrap_or_else(Step::settled);
    let longest = if world.is_quorate() || valid.spec.common.hibernated { IDLE } else { WATCHFUL };
    let pace = step.pace(&world.status.conditions, given.now, longest);
    let (apply, obsolete) = children(&world);
    step.plan(apply, obsolete, pace)
}

/// All children, and those that the spec no longer asks for.
fn children(world: &World<'_>) -> (Vec<Child>, Vec<Deletion>) {
    let (valid, seen, given) = (world.valid, world.seen, world.given);
    let fresh = given.secret.as_str();
    let members = world.pods_wanted();
    let addressed = valid.replicas.max(world.may_hold_data());
    let told = world.word();
    let passwords = build::secrets::passwords(valid, seen, fresh);
    let marks = build::marks(
        valid,
        seen,
        &build::settings::text(valid, addressed, &told),
        &serde_json::to_string(&passwords.data).unwrap_or_default(),
    );
    let mut apply = vec![
        Child::new(build::settings::settings(valid, addressed, &told)),
        Child::new(passwords),
        Child::new(admin(&valid.parent, seen.members.secret.as_ref(), fresh)),
        Child::new(build::services::members(valid)),
        Child::new(build::services::clients(valid)),
        Child::new(build::services::writer(valid)),
        Child::new(build::services::stats(valid)),
        Child::new(build::network_policy::members(valid, &given.settings.namespace)),
        Child::new(build::network_policy::proxies(valid)),
    ];
    apply.extend(build::secrets::of_users(valid, seen, fresh).into_iter().map(Child::new));
    let made = seen.made.get(&names::proxy_stats(&valid.parent.name));
    let (stats, no_stats) = optional(ObjectKind::Secret, build::secrets::stats(valid, seen, fresh), made);
    apply.extend(stats);
    let leaving = claim::left_over(&valid.parent, &seen.members);
    if seen.members.stateful_set.is_some() || leaving.is_empty() {
        apply.push(Child::new(build::member::stateful_set(valid, members, seen)));
    }
    apply.push(Child::new(build::proxy::deployment(valid)));
    let counted = if world.cluster.is_some() { members.max(valid.replicas) } else { 0 };
    let budget = build::disruption_budget::members(valid, counted, world.spares_one(members));
    let kind = ObjectKind::PodDisruptionBudget;
    let (budget, no_budget) = optional(kind, budget, seen.budget.as_ref());
    let proxies = build::disruption_budget::proxies(valid);
    let (proxies, no_proxies) = optional(kind, proxies, seen.proxy_budget.as_ref());
    apply.extend(budget.into_iter().chain(proxies));
    let (storage, policy) = (&valid.spec.storage, valid.spec.common.deletion_policy);
    apply.extend(claim::claims(&valid.parent, storage, policy, &seen.members));
    for pod in marks {
        let uid = world.uid_of_pod(pod.metadata.name.as_deref().unwrap_or_default());
        apply.extend(uid.map(|uid| Child::existing(pod, uid)));
    }
    (apply, [no_stats, no_budget, no_proxies].into_iter().flatten().collect())
}

/// An operation is about one member: its ordinal and incarnation.
fn subject(world: &World<'_>, ordinal: u16, uid: Option<String>) -> quartet_crds::common::OperationMember {
    quartet_crds::common::OperationMember {
        ordinal: i32::from(ordinal),
        incarnation: world.seen.report(ordinal).map(|report| report.incarnation.to_string()),
        uid,
    }
}
