//! What the resource's status says: rebuilt from observation each time, so that it is never older than the look.
//!
//! Nothing here moves while the cluster is idle: no indexes, no terms, no times but of transitions.

mod members;
#[cfg(test)]
mod tests;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use quartet_client::admin::MemberState;
use quartet_crds::{
    conditions::{self, Observation, Reason, Status, Type},
    sync_cluster::{CONDITIONS, SyncCluster, SyncClusterStatus},
};

use super::{LABEL, Seen, SyncClusters, plan::World};
use crate::{
    children::Parent,
    members::pods::explain,
    plan::list,
    reconcile::{Given, Outcome, Verdict},
    status::{self as common, Told},
};

pub fn status(
    obj: &SyncCluster,
    seen: &Seen,
    verdict: &Verdict<'_, SyncClusters>,
    outcome: &Outcome,
    given: &Given,
) -> SyncClusterStatus {
    let before = obj.status.clone().unwrap_or_default();
    let observed = match verdict.valid {
        Some(valid) => {
            let world = World::new(obj, valid, seen, given);
            Look { world: &world, told: Told::new(verdict, outcome) }.observations()
        }
        None => common::never_accepted(verdict.faults, &CONDITIONS),
    };
    let generation = obj.metadata.generation;
    let mut after = SyncClusterStatus {
        observed_generation: generation,
        conditions: conditions::update(&before.conditions, &observed, generation, &Time(given.now)),
        replicas: i32::try_from(seen.members.pods.len()).unwrap_or(i32::MAX),
        selector: Some(Parent::of(obj, LABEL).query(None)),
        cluster_id: before.cluster_id.clone(),
        operation: before.operation.clone(),
        ..SyncClusterStatus::default()
    };
    if let Some(valid) = verdict.valid {
        members::fill(&mut after, &before, &World::new(obj, valid, seen, given), obj.spec.replicas);
    }
    after
}

/// One look at everything, from which each condition takes its part.
struct Look<'a> {
    world: &'a World<'a>,
    told: Told<'a>,
}

impl Look<'_> {
    fn observations(&self) -> Vec<Observation> {
        let (accepted, degraded) = (self.told.accepted(), self.degraded());
        let members = self.world.valid.replicas;
        let settled = format!("All {members} members are ready, vote and have caught up.");
        let ready = self.told.ready(&accepted, &degraded, settled);
        vec![
            accepted,
            self.told.progressing(),
            self.available(),
            degraded,
            ready,
            self.leader_elected(),
            self.membership_stable(),
        ]
    }

    fn absent(&self) -> Option<(Reason, &'static str)> {
        let world = self.world;
        common::absent(world.valid.spec.common.hibernated && !world.all_led(), world.cluster.is_some())
    }

    fn leader_elected(&self) -> Observation {
        if let Some((reason, message)) = self.absent() {
            return Observation::new(Type::LeaderElected, false, reason, message);
        }
        let leaderless = self.world.leaderless();
        if leaderless.is_empty() {
            let message = "Every partition has a leader that a quorum follows.";
            return Observation::new(Type::LeaderElected, true, Reason::AllLeadersElected, message);
        }
        let message = format!(
            "Partitions {} have no leader that a quorum follows: look at the members that do not answer.",
            list(&leaderless)
        );
        Observation::new(Type::LeaderElected, false, Reason::LeaderMissing, message)
    }

    fn membership_stable(&self) -> Observation {
        if let Some((reason, message)) = self.absent() {
            return Observation::new(Type::MembershipStable, false, reason, message);
        }
        let settled = self.world.is_settled(self.world.valid.replicas);
        let (reason, message) = if settled {
            (Reason::AllMembersVote, "The configurations are what the spec asks for.")
        } else {
            (
                Reason::MembershipChanging,
                "The configurations are not yet, or not known to be, what the spec asks for.",
            )
        };
        Observation::new(Type::MembershipStable, settled, reason, message)
    }

    fn available(&self) -> Observation {
        if self.is_lost() {
            return Observation::new(Type::Available, false, self.told.reason, self.told.message());
        }
        let led = self.leader_elected();
        let anybody = self.world.seen.members.pods.keys().any(|ordinal| self.world.is_ready(*ordinal));
        if led.status == Status::True && anybody {
            return Observation::new(Type::Available, true, Reason::Serving, "Every partition serves.");
        }
        if led.status == Status::True {
            let message = "No pod is ready: look at its events and log.";
            return Observation::new(Type::Available, false, Reason::MembersUnready, message);
        }
        Observation { r#type: Type::Available, ..led }
    }

    fn is_lost(&self) -> bool {
        matches!(self.told.reason, Reason::DataLost | Reason::QuorumLost | Reason::ForeignMember)
    }

    fn degraded(&self) -> Observation {
        let refused = self.is_lost() || self.told.reason == Reason::MemberBlocked;
        self.told.degraded(refused, || self.members_degraded())
    }

    fn members_degraded(&self) -> Option<Observation> {
        let world = self.world;
        if self.absent().is_some() || world.valid.spec.common.hibernated {
            return None;
        }
        let is = |reason, message| Some(Observation::new(Type::Degraded, true, reason, message));
        let members = || 0..world.valid.replicas;
        let state = |ordinal: &u16| world.seen.report(*ordinal).map(|report| report.state);
        let blocked: Vec<u16> =
            members().filter(|ordinal| state(ordinal) == Some(MemberState::Blocked)).collect();
        if !blocked.is_empty() {
            return is(Reason::MemberBlocked, format!("The data of members {} is damaged.", list(&blocked)));
        }
        let foreign: Vec<u16> = members()
            .filter(|ordinal| {
                let cluster = world.seen.report(*ordinal).and_then(|report| report.cluster);
                cluster.is_some() && cluster != world.cluster
            })
            .collect();
        if !foreign.is_empty() {
            let message = format!(
                "The volumes of members {} belong to another cluster: bring the right ones back, or delete their \
                 claims and pods, and they are taken in anew.",
                list(&foreign)
            );
            return is(Reason::ForeignMember, message);
        }
        let empty: Vec<u16> = members().filter(|ordinal| world.seen.is_empty(*ordinal)).collect();
        if !empty.is_empty() {
            let message = format!("Members {} have empty volumes, and wait to be taken in.", list(&empty));
            return is(Reason::MemberEmpty, message);
        }
        let unready: Vec<u16> = members().filter(|ordinal| !world.is_healthy(*ordinal)).collect();
        if !unready.is_empty() {
            let message = format!(
                "Members {} do not answer, are not ready or lag behind: look at their pods.{}",
                list(&unready),
                explain(&world.seen.members.pods, &unready)
            );
            return is(Reason::MembersUnready, message);
        }
        None
    }
}
