//! What a status says, as sentences. Conditions along a life are in `plan` and `life`.

use quartet_crds::{
    conditions::{self, Type},
    sync_cluster::{MemberRole, SyncClusterStatus},
};

use crate::{
    failure::{Class, Failure},
    plan::{ObjectKind, Plan},
    reconcile::{Fault, Outcome, Verdict},
    sync_cluster::{
        SyncClusters,
        fixture::{Cluster, cluster},
        status::status,
    },
};

fn said(status: &SyncClusterStatus, r#type: Type) -> (String, String, String) {
    let condition = conditions::find(&status.conditions, r#type).unwrap();
    (condition.status.clone(), condition.reason.clone(), condition.message.clone())
}

fn after(cluster: &Cluster, outcome: &Outcome) -> SyncClusterStatus {
    let (seen, given, plan) = (cluster.seen(), cluster.given(), cluster.plan());
    let valid = crate::sync_cluster::validate::validate(&cluster.resource, &seen, &given).unwrap();
    let verdict = Verdict::<SyncClusters> { faults: &[], valid: Some(&valid), plan: &plan };
    status(&cluster.resource, &seen, &verdict, outcome, &given)
}

#[test]
fn every_condition_is_there_from_the_first_look() {
    let status = after(&cluster(), &Outcome::default());
    for r#type in [
        Type::Accepted,
        Type::Progressing,
        Type::Available,
        Type::Degraded,
        Type::Ready,
        Type::LeaderElected,
        Type::MembershipStable,
    ] {
        said(&status, r#type);
    }
    assert_eq!(said(&status, Type::Ready).1, "StartingMembers");
    assert_eq!(said(&status, Type::Available).1, "NotFounded");
    assert_eq!(said(&status, Type::Degraded).0, "False");
}

#[test]
fn a_spec_that_was_never_accepted_says_what_is_wrong_in_every_column() {
    let cluster = cluster();
    let faults =
        [Fault { field: "spec.image".into(), reason: "ImageInvalid", message: "no reference".into() }];
    let plan = Plan::idle("ImageInvalid", "");
    let verdict = Verdict::<SyncClusters> { faults: &faults, valid: None, plan: &plan };
    let status = status(&cluster.resource, &cluster.seen(), &verdict, &Outcome::default(), &cluster.given());
    for r#type in [Type::Accepted, Type::Ready] {
        let expected = ("False".to_owned(), "ImageInvalid".to_owned(), "spec.image: no reference".to_owned());
        assert_eq!(said(&status, r#type), expected);
    }
}

#[test]
fn a_running_cluster_with_a_bad_spec_is_available_and_not_ready() {
    let cluster = cluster().three_members().with_spec(|spec| spec.image = Some("no image".into()));
    let status = cluster.status();
    assert_eq!(said(&status, Type::Available).0, "True");
    assert_eq!(said(&status, Type::Ready).1, "ImageInvalid");
    assert_eq!(said(&status, Type::Accepted).0, "False");
    assert_eq!(status.observed_generation, cluster.resource.metadata.generation);
}

#[test]
fn a_taken_name_is_degraded_and_names_the_object() {
    let cluster = cluster().three_members();
    let outcome = Outcome { taken: vec![(ObjectKind::Service, "demo".into())], ..Outcome::default() };
    let status = after(&cluster, &outcome);
    let (holds, reason, message) = said(&status, Type::Degraded);
    assert_eq!((holds.as_str(), reason.as_str()), ("True", "NameTaken"));
    assert!(message.contains("Service demo"), "{message}");
    assert_eq!(said(&status, Type::Ready).1, "NameTaken");
    assert_eq!(said(&status, Type::Available).0, "True");
}

#[test]
fn a_failed_step_is_told_and_a_conflict_is_not() {
    let cluster = cluster().three_members();
    let failed = |class| {
        let cause = std::io::Error::other("the quota is used up");
        let failure = Failure::caused(class, "apply StatefulSet demo", cause);
        let outcome = Outcome { failure: Some(failure), ..Outcome::default() };
        said(&after(&cluster, &outcome), Type::Degraded)
    };
    assert_eq!(failed(Class::Transient).1, "StepFailed");
    assert!(failed(Class::Transient).2.contains("apply StatefulSet demo: the quota is used up"));
    assert_eq!(failed(Class::Conflict).1, "Healthy");
}

#[test]
fn a_paused_cluster_promises_nothing_and_still_tells_what_serves() {
    let cluster = cluster().three_members().with_spec(|spec| spec.paused = true);
    let status = cluster.status();
    assert_eq!(said(&status, Type::Ready).0, "Unknown");
    assert_eq!(said(&status, Type::Ready).1, "Paused");
    assert_eq!(said(&status, Type::Available).0, "True");
}

#[test]
fn a_member_of_another_cluster_is_named() {
    let mut cluster = cluster().three_members();
    cluster.claims.get_mut(&2).unwrap().volume.cluster = Some(uuid::Uuid::from_u128(77));
    let cluster = cluster.later();
    let status = cluster.status();
    assert_eq!(said(&status, Type::Degraded).1, "ForeignMember");
    assert!(said(&status, Type::Degraded).2.contains("members 2"));
}

#[test]
fn a_silent_member_keeps_what_is_known_of_it() {
    let cluster = cluster().three_members();
    let before = cluster.status().members[1].clone();
    let cluster = cluster.cut(1).later();
    let member = cluster.status().members[1].clone();
    assert_eq!(member.role, MemberRole::Unreachable);
    assert_eq!((member.incarnation, member.version), (before.incarnation, before.version));
    assert_eq!(cluster.status().member_summary.as_deref(), Some("2/3"));
}

#[test]
fn no_index_and_no_term_is_ever_in_a_status() {
    let text = serde_json::to_string(&cluster().three_members().status()).unwrap();
    for word in ["term", "ndex", "null"] {
        assert!(!text.contains(word), "{word}: {text}");
    }
}
