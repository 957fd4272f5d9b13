//! How a cluster comes to be, exactly once.
//!
//! Only members that all answer that they are empty found one, and only while no cluster is recorded. The intent is
//! recorded with the incarnations that were seen. Once it is, a founder may have founded and served, so that a
//! founder that comes back with another incarnation counts as one that has lost data: the intent is replaced only
//! while so few did that no quorum of the first attempt can ever have decided anything.

use std::time::Duration;

use quartet_client::admin::{self, MemberState, Peer};
use quartet_crds::{
    conditions::Reason,
    sync_cluster::{Founding, Operation, OperationKind},
};
use serde_json::json;
use uuid::Uuid;

use super::{
    Step, World,
    step::{member, recorded},
};
use crate::{
    members::{pods::explain, volumes},
    plan::{Record, list},
    sync_cluster::{Call, Command, build::quorum},
};

/// Longer than any command of an operator that has lost its lease can be under way.
const STRAY_COMMANDS: i64 = 30;
const LOST: Duration = Duration::from_secs(10);

pub(super) fn step(world: &World<'_>) -> Option<Step> {
    if world.cluster.is_some() {
        return None;
    }
    if let Some((id, operation)) = world.operation_of(OperationKind::Found) {
        return Some(go_on(world, id, operation));
    }
    if let Some(step) = volumes::leaving(&world.valid.parent, &world.seen.members) {
        return Some(step);
    }
    let mut clusters: Vec<Uuid> = world.seen.reports().filter_map(|report| report.cluster).collect();
    clusters.sort_unstable();
    clusters.dedup();
    Some(match clusters[..] {
        [] => begin(world),
        [cluster] => adopt(world, cluster),
        _ => Step::wait(
            Reason::ForeignMember,
            format!(
                "Volumes of {} different clusters are mounted ({}); keep those of one of them and delete the others.",
                clusters.len(),
                list(&clusters)
            ),
        )
        .after(LOST),
    })
}

fn begin(world: &World<'_>) -> Step {
    let wanted = world.valid.replicas;
    let silent: Vec<u16> = (0..wanted).filter(|k| !world.seen.is_empty(*k)).collect();
    if !silent.is_empty() {
        let message = format!(
            "Members {} have not answered yet that they are empty.{}",
            list(&silent),
            explain(&world.seen.members.pods, &silent)
        );
        return Step::wait(Reason::StartingMembers, blocked(world).unwrap_or(message));
    }
    let older = volumes::older(&world.seen.members, world.valid.replicas, world.born.as_ref());
    if let Some(highest) = older.last() {
        let message = format!(
            "The claims of members {} are older than this resource and may hold a cluster that would be lost sight of: set \
             spec.replicas to {} to find it again, or delete the claims to begin without it.",
            list(&older),
            highest + 1 + highest % 2
        );
        return Step::wait(Reason::ForeignMember, message).after(LOST);
    }
    let founders = (0..wanted).filter_map(|k| world.peer(k)).collect::<Vec<_>>();
    record(world, &founders)
}

fn blocked(world: &World<'_>) -> Option<String> {
    let report = world.seen.reports().find(|report| report.state == MemberState::Blocked)?;
    Some(format!(
        "Member {}'s volume is damaged ({}); delete its claim and pod if it holds nothing of worth.",
        report.ordinal,
        report.message.as_deref().unwrap_or("no detail")
    ))
}

fn record(world: &World<'_>, founders: &[Peer]) -> Step {
    let cluster = world.given.ids[1];
    let members = founders.iter().map(|peer| member(peer.ordinal, peer.incarnation)).collect();
    let own = Founding { cluster: Some(cluster.to_string()) };
    let (id, record) = world.open(Operation { own, ..Operation::new(OperationKind::Found, members) });
    Step::wait(Reason::Founding, format!("{} empty members become cluster {cluster}.", founders.len()))
        .recording(record)
        .calling(calls(world, id, cluster, founders, founders))
}

fn calls(world: &World<'_>, operation: Uuid, cluster: Uuid, all: &[Peer], to: &[Peer]) -> Vec<Call> {
    let members: Vec<_> = all.iter().map(|peer| world.address(*peer)).collect();
    to.iter()
        .map(|peer| Call {
            ordinal: peer.ordinal,
            command: Command::Found(admin::Found { operation, cluster, members: members.clone() }),
        })
        .collect()
}

fn go_on(world: &World<'_>, id: Uuid, operation: &Operation) -> Step {
    let Some(cluster) = operation.own.cluster.as_deref().and_then(|cluster| cluster.parse::<Uuid>().ok())
    else {
        return Step::wait(Reason::Founding, "The recorded founding names no cluster; delete the resource.")
            .after(LOST);
    };
    let founders: Vec<Peer> = operation
        .members
        .iter()
        .filter_map(recorded)
        .map(|(ordinal, incarnation)| Peer { ordinal, incarnation })
        .collect();
    let is = |peer: &&Peer, state: fn(MemberState) -> bool, of: Option<Uuid>| {
        world.seen.report(peer.ordinal).is_some_and(|report| {
            report.incarnation == peer.incarnation && state(report.state) && report.cluster == of
        })
    };
    let founded = founders.iter().filter(|peer| is(peer, |_| true, Some(cluster))).count();
    let waiting: Vec<Peer> =
        founders.iter().filter(|peer| is(peer, |state| state == MemberState::Empty, None)).copied().collect();
    let wiped: Vec<u16> = founders
        .iter()
        .filter(|peer| world.seen.incarnation(peer.ordinal).is_some_and(|now| now != peer.incarnation))
        .map(|peer| peer.ordinal)
        .collect();
    let majority = usize::from(quorum(u16::try_from(founders.len()).unwrap_or(u16::MAX)));
    if founded >= majority && founded + wiped.len() == founders.len() {
        return founding_is_done(cluster);
    }
    if wiped.len() > founders.len() - majority {
        return Step::wait(
            Reason::DataLost,
            format!(
                "Members {} lost their volumes while the cluster was founded, and may have served before: bring the \
                 volumes back, or delete the resource and create it anew.",
                list(&wiped)
            ),
        )
        .after(LOST);
    }
    if founded == 0 && !wiped.is_empty() && waiting.len() + wiped.len() == founders.len() {
        return found_anew(world, operation, founders.len());
    }
    Step::wait(
        Reason::Founding,
        format!("{founded} of {} members have joined the new cluster {cluster}.", founders.len()),
    )
    .calling(calls(world, id, cluster, &founders, &waiting))
}

fn founding_is_done(cluster: Uuid) -> Step {
    Step::wait(Reason::Founding, format!("Cluster {cluster} exists.")).recording(Some(Record {
        status: json!({"clusterId": cluster.to_string(), "operation": null}),
        operation: None,
    }))
}

/// Fewer than a quorum may have taken part in the first attempt. It is forgotten once none of its commands can still
/// be under way.
fn found_anew(world: &World<'_>, operation: &Operation, members: usize) -> Step {
    let started = operation.started_at.as_ref().map_or(0, |time| time.0.as_second());
    if world.given.now.as_second() < started + STRAY_COMMANDS {
        return Step::wait(Reason::Founding, "A founder was emptied; the founding begins anew shortly.");
    }
    let founders: Vec<Peer> =
        (0..u16::try_from(members).unwrap_or(0)).filter_map(|ordinal| world.peer(ordinal)).collect();
    record(world, &founders)
}

/// Volumes that were kept hold a cluster already: it is this one.
fn adopt(world: &World<'_>, cluster: Uuid) -> Step {
    let answered = u16::try_from(world.seen.reports().count()).unwrap_or(u16::MAX);
    if answered < quorum(world.pods_wanted()) {
        return Step::wait(
            Reason::StartingMembers,
            format!("Volumes hold cluster {cluster}; waiting for more members."),
        );
    }
    Step::wait(Reason::StartingMembers, format!("The volumes that were kept hold cluster {cluster}."))
        .recording(Some(Record {
            status: json!({"clusterId": cluster.to_string(), "operation": null}),
            operation: None,
        }))
}
