//! What the resource's status says: rebuilt from observation each time, so that it is never older than the look.
//!
//! Nothing here moves while the cluster is idle; what moves while it works (positions, times) is written every ten
//! seconds at most.

mod members;
#[cfg(test)]
mod tests;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use quartet_client::galera::{MemberReport, MemberState};
use quartet_crds::{
    conditions::{self, Observation, Reason, Status, Type},
    galera_cluster::{CONDITIONS, GaleraCluster, GaleraClusterStatus},
};

use super::{
    GaleraClusters, LABEL, MEMBER, Seen,
    plan::{World, schema_reports},
};
use crate::{
    children::Parent,
    members::pods::explain,
    plan::list,
    reconcile::{Given, Outcome, Verdict},
    status::{self as common, Told},
};

/// What has to be left of a member's volume.
const LEAST_FREE_PERCENT: u64 = 5;
const LEAST_FREE_BYTES: u64 = 64 << 20;

pub fn status(
    obj: &GaleraCluster,
    seen: &Seen,
    verdict: &Verdict<'_, GaleraClusters>,
    outcome: &Outcome,
    given: &Given,
) -> GaleraClusterStatus {
    let before = obj.status.clone().unwrap_or_default();
    let world = verdict.valid.map(|valid| World::new(obj, valid, seen, given));
    let observed = match &world {
        Some(world) => Look { world, told: Told::new(verdict, outcome) }.observations(),
        None => common::never_accepted(verdict.faults, &CONDITIONS),
    };
    let generation = obj.metadata.generation;
    let mut after = GaleraClusterStatus {
        observed_generation: generation,
        conditions: conditions::update(&before.conditions, &observed, generation, &Time(given.now)),
        replicas: i32::try_from(seen.members.pods.len()).unwrap_or(i32::MAX),
        ready_proxies: i32::from(seen.ready_proxies()),
        selector: Some(Parent::of(obj, LABEL).query(Some(MEMBER))),
        cluster: before.cluster.clone(),
        begun_from: before.begun_from.clone(),
        stepped_over: before.stepped_over.clone(),
        operation: before.operation.clone(),
        ..GaleraClusterStatus::default()
    };
    if let Some(world) = &world {
        members::fill(&mut after, &before, world, obj.spec.replicas);
    }
    members::at_most_every_ten_seconds(after, &before, given.now)
}

/// Less than one of the two is left of its volume; of what it was asked to be where it shares a larger disk. One whose
/// room is not known is not.
fn is_nearly_full(report: &MemberReport, asked_for: u64) -> bool {
    let size = report.disk_total_bytes.min(asked_for);
    let least = (size / 100 * LEAST_FREE_PERCENT).max(LEAST_FREE_BYTES);
    report.disk_total_bytes > 0 && report.disk_free_bytes < least
}

/// One look at everything, from which each condition takes its part.
struct Look<'a> {
    world: &'a World<'a>,
    told: Told<'a>,
}

impl Look<'_> {
    fn observations(&self) -> Vec<Observation> {
        let (accepted, degraded) = (self.told.accepted(), self.degraded());
        let (quorate, proxy) = (self.quorate(), self.proxy_available());
        let available = self.available(&quorate);
        let (recovering, schema) = (self.recovering(&quorate), self.schema_applied());
        let (members, proxies) = (self.world.valid.replicas, self.world.valid.proxies);
        let settled = format!("All {members} members are Synced, and {proxies} proxies lead to them.");
        let ready = self.told.ready(&accepted, &degraded, settled);
        let progressing = self.told.progressing();
        vec![accepted, progressing, available, degraded, ready, quorate, proxy, recovering, schema]
    }

    fn absent(&self) -> Option<(Reason, &'static str)> {
        let world = self.world;
        common::absent(world.valid.spec.common.hibernated && !world.is_quorate(), world.cluster.is_some())
    }

    fn quorate(&self) -> Observation {
        if self.world.is_quorate() {
            let message = "There is a Primary component.";
            return Observation::new(Type::Quorate, true, Reason::PrimaryComponent, message);
        }
        if let Some((reason, message)) = self.absent() {
            return Observation::new(Type::Quorate, false, reason, message);
        }
        let message = "No member that answers is part of a Primary component.";
        Observation::new(Type::Quorate, false, Reason::PrimaryMissing, message)
    }

    /// Of a cluster that was founded, and has no Primary component.
    fn recovering(&self, quorate: &Observation) -> Observation {
        let not = |reason, message: &str| Observation::new(Type::Recovering, false, reason, message);
        if quorate.status == Status::True {
            return not(Reason::PrimaryComponent, "There is a Primary component.");
        }
        if let Some((reason, message)) = self.absent() {
            return not(reason, message);
        }
        let about_it = matches!(
            self.told.reason,
            Reason::Recovering
                | Reason::Bootstrapping
                | Reason::WaitingForMembers
                | Reason::DataLost
                | Reason::ForeignMember
                | Reason::MemberBlocked
        );
        let reason = if about_it { self.told.reason } else { Reason::Recovering };
        Observation::new(Type::Recovering, true, reason, self.told.message())
    }

    fn proxy_available(&self) -> Observation {
        let (ready, wanted) = (self.world.seen.ready_proxies(), self.world.valid.proxies);
        let message = format!("{ready} of {wanted} proxies are ready.");
        if ready >= wanted {
            return Observation::new(Type::ProxyAvailable, true, Reason::ProxyServing, message);
        }
        match self.absent() {
            Some((reason, message)) => Observation::new(Type::ProxyAvailable, false, reason, message),
            None => Observation::new(Type::ProxyAvailable, false, Reason::ProxyUnready, message),
        }
    }

    fn available(&self, quorate: &Observation) -> Observation {
        if quorate.status != Status::True {
            let reason = if self.is_refused() { self.told.reason } else { quorate.reason };
            let message = if self.is_refused() { self.told.message() } else { quorate.message.clone() };
            return Observation::new(Type::Available, false, reason, message);
        }
        if self.world.writer().is_none() {
            let message = "No member is Synced and ready: look at the pods' events and logs.";
            return Observation::new(Type::Available, false, Reason::MembersUnready, message);
        }
        if self.world.seen.ready_proxies() == 0 {
            let message = "No proxy is ready: look at the pods' events and logs.";
            return Observation::new(Type::Available, false, Reason::ProxyUnready, message);
        }
        Observation::new(
            Type::Available,
            true,
            Reason::Serving,
            "The proxies lead to members that are Synced.",
        )
    }

    /// Only a human can go on from here.
    fn is_refused(&self) -> bool {
        matches!(
            self.told.reason,
            Reason::DataLost | Reason::ForeignMember | Reason::MemberBlocked | Reason::WaitingForMembers
        )
    }

    fn schema_applied(&self) -> Observation {
        let is = |status: bool, reason, message: String| {
            Observation::new(Type::SchemaApplied, status, reason, message)
        };
        let mut reports = schema_reports(self.world).peekable();
        if reports.peek().is_none() {
            // What was in force stays in force while nobody can tell.
            let before = conditions::find(&self.world.status.conditions, Type::SchemaApplied);
            if before.is_some_and(|before| before.status == "True") && !self.world.is_quorate() {
                return is(
                    true,
                    Reason::SchemaInForce,
                    "Databases and users are as the spec asks.".to_owned(),
                );
            }
            let message = "No member has said yet that databases and users are as the spec asks.";
            return is(false, Reason::SchemaPending, message.to_owned());
        }
        let faults: Vec<String> = reports
            .flat_map(|schema| &schema.faults)
            .map(|fault| format!("{}: MariaDB refused \"{}\": {}", fault.field, fault.statement, fault.error))
            .collect();
        if faults.is_empty() {
            return is(true, Reason::SchemaInForce, "Databases and users are as the spec asks.".to_owned());
        }
        is(false, Reason::SchemaRefused, faults.join("; "))
    }

    fn degraded(&self) -> Observation {
        self.told.degraded(self.is_refused(), || self.members_degraded())
    }

    fn members_degraded(&self) -> Option<Observation> {
        let world = self.world;
        if self.absent().is_some() || world.valid.spec.common.hibernated {
            return None;
        }
        let is = |reason, message| Some(Observation::new(Type::Degraded, true, reason, message));
        let members = world.pods_wanted();
        let those = |is: &dyn Fn(&MemberReport) -> bool| {
            (0..members).filter(|ordinal| world.seen.report(*ordinal).is_some_and(is)).collect::<Vec<u16>>()
        };
        // First: it may be the cause of all the rest.
        let asked_for = world.valid.spec.storage.size.bytes().and_then(|bytes| u64::try_from(bytes).ok());
        let full = those(&|report| is_nearly_full(report, asked_for.unwrap_or(u64::MAX)));
        if !full.is_empty() {
            let message = format!(
                "The volumes of members {} are nearly full, and where one is full, nobody can write: raise \
                 spec.storage.size if the StorageClass allows it, or delete data.",
                list(&full)
            );
            return is(Reason::VolumeNearlyFull, message);
        }
        let failed = those(&|report| report.state == MemberState::Failed);
        if !failed.is_empty() {
            let message = format!(
                "The servers of members {} end again and again: look at their logs.{}",
                list(&failed),
                world.said(&failed)
            );
            return is(Reason::MemberBlocked, message);
        }
        let foreign = those(&|report| world.is_foreign(report));
        if !foreign.is_empty() {
            let message = format!(
                "The volumes of members {} hold what the cluster's history lacks: bring the right ones back, or, if nothing \
                 on them is needed, delete their claims and pods, and they are filled anew.",
                list(&foreign)
            );
            return is(Reason::ForeignMember, message);
        }
        let unsynced = world.unsynced(members);
        if !unsynced.is_empty() {
            let message = format!(
                "Members {} are not Synced, or not ready.{}",
                list(&unsynced),
                explain(&world.seen.members.pods, &unsynced)
            );
            return is(Reason::MembersUnready, message);
        }
        if self.told.reason == Reason::SchemaRefused {
            return is(Reason::SchemaRefused, self.told.message());
        }
        None
    }
}
