//! Conditions: their types, the closed set of reasons, and when a transition time moves.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// What a condition is about. Those that every kind has come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Type {
    Accepted,
    Progressing,
    Available,
    Degraded,
    Ready,
    LeaderElected,
    MembershipStable,
    Quorate,
    ProxyAvailable,
    Recovering,
    SchemaApplied,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    True,
    False,
    Unknown,
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// Why a condition is as it is: a closed set, documented in docs/.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason { $($(#[doc = $doc])+ $name,)+ }

        impl Reason {
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }

            /// The documentation of the reason, one sentence.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+).trim_ascii(),)+ }
            }
        }
    };
}

reasons! {
    /// Not looked at yet.
    Unobserved,
    /// The spec is in force.
    SpecAccepted,
    /// The spec names a StorageClass that does not exist, or none and the cluster has no default class.
    StorageClassNotFound,
    /// storage.size grew, and the StorageClass does not allow expansion.
    StorageNotExpandable,
    /// The resources cannot be given: a request above its limit, or zero.
    ResourcesImpossible,
    /// The image is not a reference to an image.
    ImageInvalid,
    /// The resource's name cannot be made into names of children.
    NameInvalid,
    /// podTemplate sets a label or annotation that the operator owns.
    ReservedKey,
    /// The spec names a Secret, or a key of one, that does not exist.
    SecretNotFound,
    /// Any other value that cannot be put into force.
    SpecInvalid,
    /// paused is true: the operator does nothing but report.
    Paused,
    /// hibernated is true: the pods are stopped in order.
    Hibernating,
    /// All pods are stopped and the volumes kept.
    Hibernated,
    /// Pods are being started, or have not answered yet.
    StartingMembers,
    /// Empty members are being made one cluster.
    Founding,
    /// Members are being added.
    Growing,
    /// Members are being removed.
    Shrinking,
    /// A member that lost its data is taken in again.
    ReplacingMember,
    /// A damaged or removed member gives up its data.
    ResettingMember,
    /// Members are restarted one at a time with a new pod template.
    RollingOut,
    /// A rollout cannot go on until the members are healthy, or its new pod comes up.
    RolloutWaiting,
    /// Volumes are growing.
    ResizingVolumes,
    /// Nothing is left to do.
    Settled,
    /// Every partition has a leader.
    AllLeadersElected,
    /// A partition has no leader that its members know of.
    LeaderMissing,
    /// The cluster has not been founded yet.
    NotFounded,
    /// Every member votes in every partition, and no other does.
    AllMembersVote,
    /// The configurations are not yet those that the spec asks for.
    MembershipChanging,
    /// Every partition serves.
    Serving,
    /// A member is part of a Primary component.
    PrimaryComponent,
    /// No member that answers is part of a Primary component.
    PrimaryMissing,
    /// What the members' volumes hold is being found out, to form a Primary component anew.
    Recovering,
    /// A member was given leave to form a Primary component.
    Bootstrapping,
    /// No Primary component is formed before members that may hold newer data have answered.
    WaitingForMembers,
    /// A member fetches the data that it lacks.
    Joining,
    /// A proxy leads clients to a member.
    ProxyServing,
    /// No proxy is ready, or not all that shall be.
    ProxyUnready,
    /// Databases and users are as the spec asks.
    SchemaInForce,
    /// Databases and users are not yet as the spec asks.
    SchemaPending,
    /// The server refused a statement of the spec.
    SchemaRefused,
    /// Everything is as the spec asks, and every member says so.
    AllMembersReady,
    /// Nothing is wrong.
    Healthy,
    /// Members do not answer or are not ready.
    MembersUnready,
    /// A member's volume has hardly any room left.
    VolumeNearlyFull,
    /// A member's data is damaged, and it takes no part.
    MemberBlocked,
    /// A member lost its data, and cannot be taken in again yet.
    MemberEmpty,
    /// Data that was acknowledged is on no volume that is there: only a human can say what shall become of it.
    DataLost,
    /// The majority of a partition's voters lost their data: only a human can say what shall become of it.
    QuorumLost,
    /// A member belongs to another cluster.
    ForeignMember,
    /// A child's name is taken by an object that is not ours.
    NameTaken,
    /// The operator's last step failed; it is tried again.
    StepFailed,
}

impl Type {
    pub const ALL: [Self; 11] = [
        Self::Accepted,
        Self::Progressing,
        Self::Available,
        Self::Degraded,
        Self::Ready,
        Self::LeaderElected,
        Self::MembershipStable,
        Self::Quorate,
        Self::ProxyAvailable,
        Self::Recovering,
        Self::SchemaApplied,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::Progressing => "Progressing",
            Self::Available => "Available",
            Self::Degraded => "Degraded",
            Self::Ready => "Ready",
            Self::LeaderElected => "LeaderElected",
            Self::MembershipStable => "MembershipStable",
            Self::Quorate => "Quorate",
            Self::ProxyAvailable => "ProxyAvailable",
            Self::Recovering => "Recovering",
            Self::SchemaApplied => "SchemaApplied",
        }
    }
}

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for Status {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is known now of one type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    pub r#type: Type,
    pub status: Status,
    pub reason: Reason,
    pub message: String,
}

impl Observation {
    pub fn new(r#type: Type, status: impl Into<Status>, reason: Reason, message: impl Into<String>) -> Self {
        Self { r#type, status: status.into(), reason, message: message.into() }
    }

    /// Before the first look.
    pub fn unknown(r#type: Type) -> Self {
        Self::new(r#type, Status::Unknown, Reason::Unobserved, "Not looked at yet.")
    }
}

/// Longest message that a condition carries: the API's own limit is 32 KiB, a screen's is less.
pub const MESSAGE_LENGTH: usize = 1024;

/// The conditions that `now` writes: the transition time moves only where the status does, so that saying the same
/// again changes nothing. Types that are not observed stay as they were.
pub fn update(
    before: &[Condition],
    observed: &[Observation],
    generation: Option<i64>,
    now: &Time,
) -> Vec<Condition> {
    let mut after = before.to_vec();
    for seen in observed {
        let old = after.iter().position(|condition| condition.type_ == seen.r#type.as_str());
        let since = old
            .map(|at| &after[at])
            .filter(|condition| condition.status == seen.status.as_str())
            .map_or(now, |condition| &condition.last_transition_time);
        let new = Condition {
            type_: seen.r#type.as_str().to_owned(),
            status: seen.status.as_str().to_owned(),
            reason: seen.reason.as_str().to_owned(),
            message: seen.message.chars().take(MESSAGE_LENGTH).collect(),
            observed_generation: generation,
            last_transition_time: since.clone(),
        };
        match old {
            Some(at) => after[at] = new,
            None => after.push(new),
        }
    }
    after
}

pub fn find(conditions: &[Condition], r#type: Type) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.type_ == r#type.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Time {
        Time(jiff::Timestamp::from_second(second).unwrap())
    }

    fn ready(holds: bool, message: &str) -> Observation {
        Observation::new(Type::Ready, holds, Reason::Serving, message)
    }

    #[test]
    fn the_transition_time_moves_only_with_the_status() {
        let first = update(&[], &[ready(false, "a")], Some(1), &at(10));
        let same_status = update(&first, &[ready(false, "b")], Some(2), &at(20));
        assert_eq!(same_status[0].last_transition_time, at(10));
        assert_eq!(same_status[0].message, "b");
        assert_eq!(same_status[0].observed_generation, Some(2));
        let flipped = update(&same_status, &[ready(true, "c")], Some(2), &at(30));
        assert_eq!(flipped[0].last_transition_time, at(30));
    }

    #[test]
    fn saying_the_same_again_changes_nothing() {
        let first = update(&[], &[ready(true, "a"), Observation::unknown(Type::Degraded)], Some(1), &at(10));
        assert_eq!(
            update(&first, &[ready(true, "a"), Observation::unknown(Type::Degraded)], Some(1), &at(99)),
            first
        );
    }

    #[test]
    fn a_type_that_is_not_observed_stays() {
        let first = update(&[], &[Observation::unknown(Type::Degraded)], Some(1), &at(10));
        let second = update(&first, &[ready(true, "a")], Some(1), &at(20));
        assert!(find(&second, Type::Degraded).is_some() && find(&second, Type::Ready).is_some());
    }

    #[test]
    fn every_reason_is_a_word_and_has_a_meaning() {
        for reason in Reason::ALL {
            assert!(reason.as_str().chars().all(char::is_alphanumeric));
            assert!(reason.meaning().ends_with('.'), "{reason}");
        }
    }

    #[test]
    fn every_reason_is_documented_for_a_kind() {
        let pages = [include_str!("../../docs/synccluster.md"), include_str!("../../docs/galera-cluster.md")];
        for reason in Reason::ALL {
            assert!(pages.iter().any(|page| page.contains(&format!("`{reason}`"))), "docs lack {reason}");
        }
    }
}
