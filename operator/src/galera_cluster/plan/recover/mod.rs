//! A Primary component comes to be only by leave of the operator, which is recorded before it is given.
//!
//! The record names the member's incarnation, the one run of its manager and the one position that it may begin from;
//! the manager refuses whatever does not fit. Another leave is given only when the run of the one before is over, or it
//! could no longer be acted upon.
//!
//! By a human's word a member begins a new history, whose UUID is the recorded operation's id: whoever holds something of
//! it proves that it has begun.

pub(crate) mod decision;
#[cfg(test)]
mod tests;

use std::time::Duration;

use quartet_client::galera::{Bootstrap, MemberReport, Position};
use quartet_crds::{
    conditions::Reason,
    galera_cluster::{Grant, Operation, OperationKind},
};
use serde_json::json;
use uuid::Uuid;

use super::{Step, World, subject};
use crate::{
    galera_cluster::{Call, Command},
    members::volumes,
    plan::{Record, close, list},
};
use decision::{Decision, decide};

/// While managers find out what their volumes hold.
const SOON: Duration = Duration::from_millis(500);
/// While a human is waited for.
const REFUSED: Duration = Duration::from_secs(2);

pub(super) fn step(world: &World<'_>) -> Option<Step> {
    if world.cluster.is_none()
        && world.status.operation.is_none()
        && let Some(step) = volumes::leaving(&world.valid.parent, &world.seen.members)
    {
        return Some(step);
    }
    let decision = decide(&world.evidence());
    if let Some((id, operation)) = world.operation().filter(|(_, operation)| is_grant(operation))
        && let Some(step) = go_on(world, id, operation, &decision)
    {
        return Some(step);
    }
    match decision {
        Decision::Primary => None,
        Decision::Adopt(cluster) => {
            // One that nobody mounts may hold the newest of it.
            let unseen = if world.is_quorate() { None } else { volumes_of_earlier(world) };
            if unseen.is_some() {
                return unseen;
            }
            let message = format!("The volumes hold the history {cluster}: it is this cluster's.");
            let status = json!({"cluster": cluster.to_string(), "operation": null});
            let record = Record { status, operation: None };
            Some(Step::wait(Reason::StartingMembers, message).recording(Some(record)))
        }
        Decision::Grant { .. } | Decision::Begin { .. } => Some(act(world, &decision)),
        waits => Some(super::restart::replace_failed(world).unwrap_or_else(|| wait(waits))),
    }
}

fn wait(decision: Decision) -> Step {
    match decision {
        Decision::Wait { reason, message } => Step::wait(reason, message).after(SOON),
        Decision::Refuse { reason, message } => Step::wait(reason, message).after(REFUSED),
        Decision::Primary | Decision::Adopt(_) | Decision::Grant { .. } | Decision::Begin { .. } => {
            Step::wait(Reason::Recovering, "A Primary component is being formed.").after(SOON)
        }
    }
}

fn is_grant(operation: &Operation) -> bool {
    matches!(operation.kind, OperationKind::Found | OperationKind::Bootstrap | OperationKind::NewHistory)
}

/// Who may form a Primary component, and from what; none founds the cluster.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Leave {
    ordinal: u16,
    position: Option<Position>,
    /// By a human's word: under a UUID of its own.
    new_history: bool,
}

fn leave(decision: &Decision) -> Option<Leave> {
    match *decision {
        Decision::Grant { ordinal, position } => Some(Leave { ordinal, position, new_history: false }),
        Decision::Begin { ordinal, position, .. } => {
            Some(Leave { ordinal, position: Some(position), new_history: true })
        }
        Decision::Primary | Decision::Adopt(_) | Decision::Wait { .. } | Decision::Refuse { .. } => None,
    }
}

/// A leave that was given, as it was recorded.
struct Given {
    leave: Leave,
    incarnation: Uuid,
    run: Uuid,
}

fn recorded(operation: &Operation) -> Option<Given> {
    let member = operation.members.first()?;
    let position = match &operation.own.position {
        Some(position) => Some(position.parse().ok()?),
        None => None,
    };
    let new_history = operation.kind == OperationKind::NewHistory;
    Some(Given {
        leave: Leave { ordinal: u16::try_from(member.ordinal).ok()?, position, new_history },
        incarnation: member.incarnation.as_deref()?.parse().ok()?,
        run: operation.own.run.as_deref()?.parse().ok()?,
    })
}

/// What a leave that is out asks for; None where it stands in the way of nothing.
fn go_on(world: &World<'_>, id: Uuid, operation: &Operation, decision: &Decision) -> Option<Step> {
    let given = recorded(operation)?;
    let Leave { ordinal, position, new_history } = given.leave;
    let name = world.name(ordinal);
    let holds = |report: &MemberReport| report.position.is_some_and(|held| held.cluster == id);
    if new_history && world.seen.reports().any(holds) {
        return Some(done(world, given.leave, id));
    }
    let Some(report) = world.seen.report(ordinal) else { return unanswered(given.leave, decision, &name) };
    if report.incarnation != given.incarnation || report.run != given.run {
        return over(&given, report, decision, &name);
    }
    if World::in_primary(report) {
        return match report.position {
            Some(_) if new_history => {
                let message =
                    format!("{name} is part of a Primary component already: no new history is begun.");
                Some(Step::wait(Reason::Bootstrapping, message).recording(Some(close())))
            }
            Some(at) => Some(done(world, given.leave, at.cluster)),
            // Which history it is part of is known a moment later.
            None => new_history.then(|| forming(world, ordinal)),
        };
    }
    if report.granted == Some(id) {
        return Some(forming(world, ordinal));
    }
    match leave(decision) {
        Some(wanted) if wanted == given.leave => Some(act(world, decision)),
        // Its manager would refuse it: it can be replaced.
        _ if report.position != position => None,
        // The manager acts upon one of the two.
        Some(wanted) if wanted.new_history && wanted.ordinal == ordinal => None,
        Some(wanted) => {
            let message = format!(
                "{name} was given leave to form a Primary component, and {} would be the better one by now: delete the pod \
                 {name} to take that leave back.",
                world.name(wanted.ordinal)
            );
            Some(Step::wait(Reason::WaitingForMembers, message).after(REFUSED))
        }
        None => None,
    }
}

fn forming(world: &World<'_>, ordinal: u16) -> Step {
    let message = format!("{} forms a Primary component.{}", world.name(ordinal), world.said(&[ordinal]));
    Step::wait(Reason::Bootstrapping, message).after(SOON)
}

/// The member that was given leave is silent.
fn unanswered(given: Leave, decision: &Decision, name: &str) -> Option<Step> {
    match decision {
        // A new history may have begun beside what is seen.
        Decision::Primary | Decision::Adopt(_) if !given.new_history => None,
        // A human's word for another member, since whoever else is silent is waited for.
        Decision::Primary | Decision::Adopt(_) | Decision::Grant { .. } | Decision::Begin { .. } => {
            let message = format!(
                "{name} was given leave to form a Primary component, and does not answer: it may have formed one. No \
                 other member is given leave before its pod is gone and it answers again."
            );
            Some(Step::wait(Reason::WaitingForMembers, message).after(REFUSED))
        }
        Decision::Wait { .. } | Decision::Refuse { .. } => Some(wait(decision.clone())),
    }
}

/// The run that was given leave has ended: whatever it did is on the volumes.
fn over(given: &Given, report: &MemberReport, decision: &Decision, name: &str) -> Option<Step> {
    let founder_lost = given.leave.position.is_none()
        && report.incarnation != given.incarnation
        && matches!(decision, Decision::Grant { position: None, .. });
    founder_lost.then(|| {
        let message = format!(
            "{name} lost its volume while it founded the cluster, and may have served before: bring the volume back, or \
             delete the resource and create it anew."
        );
        Step::wait(Reason::DataLost, message).after(REFUSED)
    })
}

/// From now on the position that was begun from is what counts, also where a human chose a lower one.
fn done(world: &World<'_>, given: Leave, cluster: Uuid) -> Step {
    let name = world.name(given.ordinal);
    let begun = given.position.map(|position| i64::try_from(position.seqno).unwrap_or(i64::MAX));
    let (from, without, message) = if let Some(position) = given.position.filter(|_| given.new_history) {
        // Nobody has joined it yet who does not answer: managers wait until their settings name it.
        (
            Some(position.to_string()),
            world.stepped_over_by(given.ordinal),
            format!("{name} has begun the history {cluster} with {position}."),
        )
    } else {
        // What the history was begun from belongs to it, and without whom.
        let status = Some(&world.status).filter(|_| world.cluster == Some(cluster));
        (
            status.and_then(|status| status.begun_from.clone()),
            status.map(|status| status.stepped_over.clone()).unwrap_or_default(),
            format!("{name} has formed a Primary component."),
        )
    };
    let status = json!({
        "cluster": cluster.to_string(), "highestSeqno": begun, "begunFrom": from, "steppedOver": without,
        "operation": null
    });
    Step::wait(Reason::Bootstrapping, message).recording(Some(Record { status, operation: None }))
}

/// Does what was decided: by a human's word, once no server runs that could form a Primary component by itself.
fn act(world: &World<'_>, decision: &Decision) -> Step {
    if let Decision::Begin { ordinal, running, .. } = decision
        && !running.is_empty()
    {
        return super::restart::end(world, running, *ordinal);
    }
    leave(decision).map_or_else(|| wait(decision.clone()), |leave| grant(world, leave))
}

fn grant(world: &World<'_>, leave: Leave) -> Step {
    let Leave { ordinal, position, new_history } = leave;
    let Some(report) = world.seen.report(ordinal) else {
        return wait(Decision::Primary);
    };
    if position.is_none()
        && let Some(step) = volumes_of_earlier(world)
    {
        return step;
    }
    let kind = match position {
        None => OperationKind::Found,
        Some(_) if new_history => OperationKind::NewHistory,
        Some(_) => OperationKind::Bootstrap,
    };
    let own =
        Grant { run: Some(report.run.to_string()), position: position.map(|position| position.to_string()) };
    let (operation, record) =
        world.open(Operation { own, ..Operation::new(kind, vec![subject(world, ordinal, None)]) });
    let (incarnation, run) = (report.incarnation, report.run);
    let bootstrap = Bootstrap { operation, incarnation, run, position, new_history };
    let (name, said) = (world.name(ordinal), world.said(&[ordinal]));
    let (reason, message) = match position {
        Some(position) if new_history => (
            Reason::Bootstrapping,
            format!(
                "By a human's word, {name} begins a new history with {position}: what only others hold is lost.{said}"
            ),
        ),
        Some(position) => {
            (Reason::Bootstrapping, format!("{name} forms a Primary component from {position}.{said}"))
        }
        None => (Reason::Founding, format!("All members are empty: {name} founds the cluster.{said}")),
    };
    Step::wait(reason, message)
        .recording(record)
        .calling(vec![Call { ordinal, command: Command::Bootstrap(bootstrap) }])
        .after(SOON)
}

/// Nothing is begun beside volumes that may hold what would be lost sight of.
fn volumes_of_earlier(world: &World<'_>) -> Option<Step> {
    let older = volumes::older(&world.seen.members, world.valid.replicas, world.born.as_ref());
    let highest = older.last()?;
    let message = format!(
        "The claims of members {} are older than this resource, and what they hold would be lost sight of: set \
         spec.replicas to {} to find it again, or delete the claims to begin without it.",
        list(&older),
        highest + 1 + highest % 2
    );
    Some(Step::wait(Reason::ForeignMember, message).after(REFUSED))
}
