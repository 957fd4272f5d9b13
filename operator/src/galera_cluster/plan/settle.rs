//! The end of every operation: nothing else is due, so it is closed once everything is well.

use quartet_client::galera::{MemberState, SchemaReport};
use quartet_crds::conditions::Reason;

use super::{Step, World};
use crate::{
    galera_cluster::build::settings,
    members::{pods::explain, rollout, volumes},
    names,
    plan::{IDLE, WAITING, close, list},
};

pub(super) fn step(world: &World<'_>) -> Option<Step> {
    members(world)
        .or_else(|| {
            world.status.operation.as_ref()?;
            Some(Step::wait(Reason::Settled, "The last operation is done.").recording(Some(close())))
        })
        .or_else(|| volumes::resizing(&world.seen.members, world.valid.replicas))
        .or_else(|| proxies(world))
        .or_else(|| schema(world))
}

fn members(world: &World<'_>) -> Option<Step> {
    let members = world.pods_wanted();
    let unsynced = world.unsynced(members);
    if unsynced.is_empty() {
        return None;
    }
    // A volume of another history is not overwritten: that is no catching up.
    let catches_up = |ordinal: &u16| {
        world.seen.report(*ordinal).is_some_and(|report| {
            let joins = matches!(
                report.state,
                MemberState::Joining
                    | MemberState::Donor
                    | MemberState::Examining
                    | MemberState::Waiting
                    | MemberState::Empty
                    | MemberState::Unusable
            );
            joins && !world.is_foreign(report)
        })
    };
    let said = world.said(&unsynced);
    if unsynced.iter().all(catches_up) {
        let message = format!("Members {} fetch the data that they lack.{said}", list(&unsynced));
        return Some(Step::wait(Reason::Joining, message));
    }
    let message = format!(
        "Members {} are not Synced, or not ready.{}{said}",
        list(&unsynced),
        explain(&world.seen.members.pods, &unsynced)
    );
    Some(Step::wait(Reason::MembersUnready, message).after(WAITING))
}

/// Old ones serve too, but what the spec asks for is new ones.
fn proxies(world: &World<'_>) -> Option<Step> {
    let (ready, wanted) = (world.seen.ready_proxies(), world.valid.proxies);
    let name = names::proxy(&world.valid.parent.name);
    if ready < wanted {
        let message = format!("{ready} of {wanted} proxies are ready: look at the pods {name}-….");
        return Some(Step::wait(Reason::ProxyUnready, message).after(WAITING));
    }
    let left = rollout::unfinished(world.seen.proxy.as_ref()?)?;
    let message = format!("The proxies are being replaced, {left}; if it lasts, look at the pods {name}-….");
    Some(Step::wait(Reason::RollingOut, message).after(WAITING))
}

/// What members tell of the databases and users that the present spec asks for.
pub fn schema_reports<'a>(world: &'a World<'_>) -> impl Iterator<Item = &'a SchemaReport> {
    let wanted = settings::schema(world.valid);
    let reports = world.seen.reports().filter_map(|report| report.schema.as_ref());
    reports.filter(move |schema| schema.settings == wanted)
}

fn schema(world: &World<'_>) -> Option<Step> {
    let mut reports = schema_reports(world).peekable();
    if reports.peek().is_none() {
        let message = "No member has said yet that databases and users are as the spec asks.";
        return Some(Step::wait(Reason::SchemaPending, message));
    }
    let refused = reports.flat_map(|schema| &schema.faults).next();
    refused.map(|fault| {
        let message = format!("{}: MariaDB refused \"{}\": {}", fault.field, fault.statement, fault.error);
        Step::wait(Reason::SchemaRefused, message).after(IDLE)
    })
}
