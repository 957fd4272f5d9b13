//! What every kind's status says alike.

use quartet_crds::conditions::{Observation, Reason, Status, Type};

use crate::{
    failure::Class,
    plan::ObjectKind,
    reconcile::{Fault, Kind, Outcome, Verdict},
};

/// The word of the closed set; a plan or a fault never says another.
fn reason(word: &str) -> Reason {
    Reason::ALL.iter().copied().find(|reason| reason.as_str() == word).unwrap_or(Reason::SpecInvalid)
}

/// What was decided and done, as far as every kind's conditions tell of it. The kind adds what it sees of its members.
pub struct Told<'a> {
    /// Of the plan.
    pub reason: Reason,
    faults: &'a [Fault],
    message: &'a str,
    outcome: &'a Outcome,
}

impl<'a> Told<'a> {
    pub fn new<K: Kind>(verdict: &Verdict<'a, K>, outcome: &'a Outcome) -> Self {
        let plan = verdict.plan;
        Self { reason: reason(plan.reason), faults: verdict.faults, message: &plan.message, outcome }
    }

    /// The plan's own words.
    pub fn message(&self) -> String {
        self.message.to_owned()
    }

    pub fn accepted(&self) -> Observation {
        accepted(self.faults)
    }

    pub fn progressing(&self) -> Observation {
        Observation::new(Type::Progressing, is_under_way(self.reason), self.reason, self.message)
    }

    /// `refused`: the plan tells of what is worse than a step that fails. `members`: what is wrong with them.
    pub fn degraded(&self, refused: bool, members: impl FnOnce() -> Option<Observation>) -> Observation {
        if let Some(taken) = taken(self.outcome) {
            return taken;
        }
        if refused {
            return Observation::new(Type::Degraded, true, self.reason, self.message);
        }
        failed(self.outcome).or_else(members).unwrap_or_else(|| {
            Observation::new(Type::Degraded, false, Reason::Healthy, "Nothing is wrong that we know of.")
        })
    }

    /// The summary: everything is as the present spec asks, and every member says so, which `settled` tells.
    pub fn ready(&self, accepted: &Observation, degraded: &Observation, settled: String) -> Observation {
        if accepted.status == Status::False {
            return Observation { r#type: Type::Ready, ..accepted.clone() };
        }
        if self.reason == Reason::Paused {
            return Observation::new(Type::Ready, Status::Unknown, Reason::Paused, self.message);
        }
        let tells = self.reason == Reason::Settled
            || matches!(degraded.reason, Reason::NameTaken | Reason::StepFailed);
        if degraded.status == Status::True && tells {
            return Observation { r#type: Type::Ready, status: Status::False, ..degraded.clone() };
        }
        if self.reason != Reason::Settled {
            return Observation::new(Type::Ready, false, self.reason, self.message);
        }
        Observation::new(Type::Ready, true, Reason::AllMembersReady, settled)
    }
}

/// The operator changes something, or waits for what changes by itself.
fn is_under_way(reason: Reason) -> bool {
    use Reason::{
        Bootstrapping, Founding, Growing, Hibernating, Joining, MembershipChanging, ProxyUnready, Recovering,
        ReplacingMember, ResettingMember, ResizingVolumes, RollingOut, RolloutWaiting, SchemaPending,
        Shrinking, StartingMembers, WaitingForMembers,
    };
    matches!(
        reason,
        Bootstrapping
            | Founding
            | Growing
            | Hibernating
            | Joining
            | MembershipChanging
            | ProxyUnready
            | Recovering
            | ReplacingMember
            | ResettingMember
            | ResizingVolumes
            | RollingOut
            | RolloutWaiting
            | SchemaPending
            | Shrinking
            | StartingMembers
            | WaitingForMembers
    )
}

/// Why there is nobody to ask, where that is so.
pub fn absent(asleep: bool, founded: bool) -> Option<(Reason, &'static str)> {
    if asleep {
        Some((Reason::Hibernated, "hibernated is true: no member runs."))
    } else {
        (!founded).then_some((Reason::NotFounded, "The cluster has not been founded yet."))
    }
}

fn accepted(faults: &[Fault]) -> Observation {
    match faults.first() {
        None => Observation::new(Type::Accepted, true, Reason::SpecAccepted, "The spec is in force."),
        Some(first) => Observation::new(Type::Accepted, false, reason(first.reason), told(faults)),
    }
}

fn told(faults: &[Fault]) -> String {
    faults.iter().map(|fault| format!("{}: {}", fault.field, fault.message)).collect::<Vec<_>>().join("; ")
}

/// All conditions of a resource of which no spec was ever in force.
pub fn never_accepted(faults: &[Fault], types: &[Type]) -> Vec<Observation> {
    let accepted = accepted(faults);
    let observe = |r#type: &Type| match r#type {
        Type::Accepted => accepted.clone(),
        Type::Degraded => {
            Observation::new(Type::Degraded, false, Reason::NotFounded, "Nothing was made yet.")
        }
        r#type => Observation { r#type: *r#type, status: Status::False, ..accepted.clone() },
    };
    types.iter().map(observe).collect()
}

/// A child's name that belongs to somebody else, if there is one.
fn taken(outcome: &Outcome) -> Option<Observation> {
    let (kind, name): &(ObjectKind, String) = outcome.taken.first()?;
    let message = format!(
        "{kind} {name} exists and is not ours; it is left alone. Delete or rename it, or give this resource another name."
    );
    Some(Observation::new(Type::Degraded, true, Reason::NameTaken, message))
}

/// The last step failed, and not because somebody was faster.
fn failed(outcome: &Outcome) -> Option<Observation> {
    let failure = outcome.failure.as_ref().filter(|failure| failure.class != Class::Conflict)?;
    Some(Observation::new(Type::Degraded, true, Reason::StepFailed, failure.chain()))
}

/// The oldest of several versions.
pub fn oldest(versions: impl Iterator<Item = String>) -> Option<String> {
    let numbers = |version: &str| -> Vec<u64> {
        version.split(['.', '-', '+']).map_while(|part| part.parse().ok()).collect()
    };
    versions.min_by(|left, right| (numbers(left), left).cmp(&(numbers(right), right)))
}
