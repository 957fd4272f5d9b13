//! The members of a status, the highest position ever seen, and how often what moves is written.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use quartet_client::galera::{self, MemberReport};
use quartet_crds::galera_cluster::{GaleraClusterStatus, MemberState, MemberStatus};

use super::super::plan::World;
use crate::status::oldest;

/// By then whatever a server has told of is on its disk.
const ON_DISK_SECONDS: i64 = 5;
/// A busy cluster's positions always differ: they are written no more often.
const SECONDS: i64 = 10;

/// `asked_for`: what the present spec asks for, also where it is not accepted.
pub(super) fn fill(
    after: &mut GaleraClusterStatus,
    before: &GaleraClusterStatus,
    world: &World<'_>,
    asked_for: i32,
) {
    // Asleep, they are not gone: to wake it needs to be known how many they were.
    let asleep = world.valid.spec.common.hibernated && !before.members.is_empty();
    let members = if asleep { world.known() } else { world.pods_wanted() };
    after.members = (0..members).map(|ordinal| one(world, before, ordinal)).collect();
    let ready = (0..members).filter(|ordinal| world.is_synced(*ordinal)).count();
    after.ready_replicas = i32::try_from(ready).unwrap_or(i32::MAX);
    after.member_summary = Some(format!("{}/{asked_for}", after.ready_replicas));
    after.primary = world.writer().map(|ordinal| world.name(ordinal));
    let versions = world.seen.reports().filter_map(|report| Some(report.server.as_ref()?.version.clone()));
    after.version = oldest(versions).or_else(|| before.version.clone());
    after.highest_seqno = highest(world, before);
    after.positions_at = Some(Time(world.given.now));
    // Whoever is heard may be taken in from now on, and counts: managers are told so only once this is written.
    after.stepped_over.retain(|one| world.is_silent(one.ordinal));
}

/// What is certainly on disks of the recorded history. A server tells of transactions a moment before they are on its
/// disk: a crash in this moment must not look like a loss, so that what it told counts only when it still runs some
/// seconds later.
fn highest(world: &World<'_>, before: &GaleraClusterStatus) -> Option<i64> {
    let cluster = world.cluster?;
    let now = |report: &MemberReport| {
        let position = report.position.filter(|position| position.cluster == cluster)?;
        i64::try_from(position.seqno).ok()
    };
    // What Galera has marked as inconsistent is no part of the history.
    let counts =
        |report: &&MemberReport| report.server.is_none() && report.state != galera::MemberState::Unusable;
    let recovered = world.seen.reports().filter(counts).filter_map(now);
    let written = before.positions_at.as_ref().map_or(i64::MAX, |at| at.0.as_second());
    let is_old = world.given.now.as_second() >= written.saturating_add(ON_DISK_SECONDS);
    let lasted = before.members.iter().filter(|_| is_old).filter_map(|member| {
        let report = world.seen.report(u16::try_from(member.ordinal).ok()?)?;
        let told = member.seqno.filter(|_| member.uuid == before.cluster)?;
        (World::in_primary(report) && now(report)? >= told).then_some(told)
    });
    recovered.chain(lasted).chain(before.highest_seqno).max()
}

fn one(world: &World<'_>, before: &GaleraClusterStatus, ordinal: u16) -> MemberStatus {
    let last = before.members.iter().find(|member| member.ordinal == i32::from(ordinal));
    let host = world.pod(ordinal).and_then(|pod| pod.spec.as_ref()?.node_name.clone());
    match (world.seen.report(ordinal), last) {
        (Some(report), _) => MemberStatus { host, ..told(world, report) },
        // What it held when it was last heard is still what it may hold.
        (None, Some(last)) => MemberStatus {
            state: MemberState::Unreachable,
            wsrep_local_state_comment: None,
            wsrep_ready: false,
            cluster_size: None,
            flow_control_paused: None,
            message: None,
            host,
            ..last.clone()
        },
        (None, None) => MemberStatus {
            name: world.name(ordinal),
            ordinal: i32::from(ordinal),
            state: MemberState::Unreachable,
            incarnation: None,
            uuid: None,
            seqno: None,
            position: None,
            wsrep_local_state_comment: None,
            wsrep_ready: false,
            cluster_size: None,
            flow_control_paused: None,
            last_seen: None,
            host,
            version: None,
            message: None,
        },
    }
}

fn told(world: &World<'_>, report: &MemberReport) -> MemberStatus {
    let server = report.server.as_ref();
    MemberStatus {
        name: world.name(report.ordinal),
        ordinal: i32::from(report.ordinal),
        state: state(report.state),
        incarnation: Some(report.incarnation.to_string()),
        uuid: report.position.map(|position| position.cluster.to_string()),
        seqno: report.position.and_then(|position| i64::try_from(position.seqno).ok()),
        position: report.position.map(|position| position.to_string()),
        wsrep_local_state_comment: server.map(|server| server.local_state_comment.clone()),
        wsrep_ready: server.is_some_and(|server| server.ready),
        cluster_size: server.and_then(|server| i32::try_from(server.cluster_size).ok()),
        // Thousandths say enough.
        flow_control_paused: server.map(|server| (server.flow_control_paused * 1000.0).round() / 1000.0),
        last_seen: Some(Time(world.given.now)),
        host: None,
        version: server.map(|server| server.version.clone()),
        message: report.message.clone(),
    }
}

fn state(state: galera::MemberState) -> MemberState {
    match state {
        galera::MemberState::Empty => MemberState::Empty,
        galera::MemberState::Examining => MemberState::Examining,
        galera::MemberState::Waiting => MemberState::Waiting,
        galera::MemberState::Unusable => MemberState::Unusable,
        galera::MemberState::Initialising => MemberState::Initialising,
        galera::MemberState::Joining => MemberState::Joining,
        galera::MemberState::Synced => MemberState::Synced,
        galera::MemberState::Donor => MemberState::Donor,
        galera::MemberState::NonPrimary => MemberState::NonPrimary,
        galera::MemberState::Stopping => MemberState::Stopping,
        galera::MemberState::Failed => MemberState::Failed,
    }
}

/// What moves by itself stays as it was while nothing else changes: for ten seconds where positions move, and for ever
/// where they do not, so that an idle cluster's status is not written.
pub(super) fn at_most_every_ten_seconds(
    mut after: GaleraClusterStatus,
    before: &GaleraClusterStatus,
    now: Timestamp,
) -> GaleraClusterStatus {
    let still = |status: &GaleraClusterStatus, positions: bool| {
        let mut still = status.clone();
        still.positions_at = None;
        for member in &mut still.members {
            member.last_seen = None;
            member.flow_control_paused = None;
            if !positions {
                (member.seqno, member.position) = (None, None);
            }
        }
        if !positions {
            still.highest_seqno = None;
        }
        still
    };
    let written = before.positions_at.as_ref().map_or(0, |at| at.0.as_second());
    let lately = now.as_second() < written.saturating_add(SECONDS);
    // Without a Primary component positions decide: they are told at once.
    let decisive = after.primary.is_none();
    let same = still(&after, true) == still(before, true)
        || (lately && !decisive && still(&after, false) == still(before, false));
    if same {
        after.positions_at.clone_from(&before.positions_at);
        after.highest_seqno = before.highest_seqno;
        after.members.clone_from(&before.members);
    }
    after
}
