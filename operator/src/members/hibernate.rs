//! Pods stopped in order, one at a time from the highest ordinal, volumes kept.

use std::time::Duration;

use quartet_crds::conditions::Reason;

use super::Members;
use crate::plan::Step;

const ASLEEP: Duration = Duration::from_mins(10);

/// One fewer than run, once the one before is gone.
pub fn replicas(members: &Members) -> u16 {
    let live = members.asked_for().unwrap_or(0);
    let stopping = members.pods.keys().any(|ordinal| *ordinal >= live);
    if stopping { live } else { live.saturating_sub(1) }
}

pub fn step<Call>(members: &Members) -> Step<Call> {
    match members.pods.len() {
        0 => Step::wait(
            Reason::Hibernated,
            "All pods are stopped and the volumes kept; set hibernated to false to wake.",
        )
        .after(ASLEEP),
        running => {
            Step::wait(Reason::Hibernating, format!("{running} pods still run; they are stopped one by one."))
        }
    }
}
