//! What every kind's status says alike.

use std::collections::BTreeMap;

use quartet_crds::conditions::{Observation, Reason, Status, Type};

use crate::{
    failure::Class,
    plan::ObjectKind,
    reconcile::{Fault, Outcome},
};

/// The word of the closed set; a plan or a fault never says another.
pub fn reason(word: &str) -> Reason {
    Reason::ALL.iter().copied().find(|reason| reason.as_str() == word).unwrap_or(Reason::SpecInvalid)
}

pub fn accepted(faults: &[Fault]) -> Observation {
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
pub fn taken(outcome: &Outcome) -> Option<Observation> {
    let (kind, name): &(ObjectKind, String) = outcome.taken.first()?;
    let message = format!(
        "{kind} {name} exists and is not ours; it is left alone. Delete or rename it, or give this resource another name."
    );
    Some(Observation::new(Type::Degraded, true, Reason::NameTaken, message))
}

/// The last step failed, and not because somebody was faster.
pub fn failed(outcome: &Outcome) -> Option<Observation> {
    let failure = outcome.failure.as_ref().filter(|failure| failure.class != Class::Conflict)?;
    Some(Observation::new(Type::Degraded, true, Reason::StepFailed, failure.chain()))
}

/// For the scale subresource.
pub fn selector(labels: &BTreeMap<String, String>) -> String {
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

/// The oldest of several versions.
pub fn oldest(versions: impl Iterator<Item = String>) -> Option<String> {
    let numbers = |version: &str| -> Vec<u64> {
        version.split(['.', '-', '+']).map_while(|part| part.parse().ok()).collect()
    };
    versions.min_by(|left, right| (numbers(left), left).cmp(&(numbers(right), right)))
}
