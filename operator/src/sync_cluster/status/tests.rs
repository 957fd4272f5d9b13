//! What a status says, as sentences. Conditions along a life are in `plan` and `life`.

use quartet_crds::{
    conditions::Type,
    sync_cluster::{CONDITIONS, MemberRole, SyncClusterStatus},
};

use crate::{fixture, sync_cluster::fixture::cluster};

fn said(status: &SyncClusterStatus, r#type: Type) -> (String, String, String) {
    fixture::said(&status.conditions, r#type)
}

#[test]
fn every_condition_is_there_from_the_first_look() {
    let cluster = cluster();
    let status = cluster.status();
    for r#type in CONDITIONS {
        said(&status, r#type);
    }
    assert_eq!(status.observed_generation, cluster.resource.metadata.generation);
    assert_eq!(said(&status, Type::Ready).1, "StartingMembers");
    assert_eq!(said(&status, Type::Available).1, "NotFounded");
    assert_eq!(said(&status, Type::Degraded).0, "False");
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
