//! What a status says, as sentences. Conditions along a life are in `life`.

use quartet_client::galera::MemberReport;
use quartet_crds::{
    conditions::Type,
    galera_cluster::{CONDITIONS, GaleraClusterStatus, MemberState},
};

use crate::{
    fixture,
    galera_cluster::{GaleraClusters, fixture::cluster},
    members::Probe,
    reconcile::{Outcome, Verdict},
};

fn said(status: &GaleraClusterStatus, r#type: Type) -> (String, String, String) {
    fixture::said(&status.conditions, r#type)
}

#[test]
fn every_condition_is_there_from_the_first_look() {
    let status = cluster().status();
    for r#type in CONDITIONS {
        said(&status, r#type);
    }
    assert_eq!(said(&status, Type::Ready).1, "StartingMembers");
    assert_eq!(said(&status, Type::Quorate).1, "NotFounded");
    assert_eq!(
        (said(&status, Type::Recovering).0, said(&status, Type::Degraded).0),
        ("False".into(), "False".into())
    );
}

#[test]
fn a_member_is_told_in_its_own_words() {
    let cluster = cluster().settled();
    let status = cluster.status();
    let member = &status.members[1];
    let position = cluster.position(1).unwrap();
    assert_eq!((member.name.as_str(), member.state), ("shop-1", MemberState::Synced));
    assert_eq!(member.uuid, Some(position.cluster.to_string()));
    assert_eq!((member.wsrep_ready, member.cluster_size), (true, Some(3)));
    assert_eq!(member.wsrep_local_state_comment.as_deref(), Some("Synced"));
    assert_eq!(member.version.as_deref(), Some("10.11.14"));
    assert!(member.last_seen.is_some());
}

#[test]
fn a_silent_member_keeps_what_it_held_when_it_was_last_heard() {
    let mut cluster = cluster().settled();
    let before = cluster.status().members[1].clone();
    cluster.cut.insert(1);
    cluster.tick();
    let member = cluster.status().members[1].clone();
    assert_eq!(member.state, MemberState::Unreachable);
    assert_eq!((member.incarnation, member.uuid), (before.incarnation, before.uuid));
    assert!(member.seqno.is_some() && member.last_seen.is_some() && !member.wsrep_ready);
    assert_eq!(cluster.status().member_summary.as_deref(), Some("2/3"));
}

/// A volume may be a folder of a disk that it shares with others: what is left is measured by what was asked for.
#[test]
fn a_volume_is_nearly_full_by_its_own_size() {
    const GIB: u64 = 1 << 30;
    let cluster = cluster().settled();
    let report = cluster.seen().report(0).unwrap().clone();
    let is = |total, free, asked_for| {
        let report = MemberReport { disk_total_bytes: total, disk_free_bytes: free, ..report.clone() };
        super::is_nearly_full(&report, asked_for)
    };
    assert!(is(10 * GIB, GIB / 4, 10 * GIB) && !is(10 * GIB, GIB, 10 * GIB));
    assert!(!is(200 * GIB, GIB, 10 * GIB), "a tenth of it is there");
    assert!(is(10 * GIB, GIB / 4, 100 * GIB), "it has not grown yet");
}

#[test]
fn a_volume_that_fills_up_is_told_before_it_is_full_and_not_written_as_it_fills() {
    let mut cluster = cluster().settled();
    let least = 64 << 20;
    cluster.own.free_bytes = least;
    assert_eq!(said(&cluster.status(), Type::Degraded).0, "False");
    cluster.own.free_bytes = least - 1024;
    let status = cluster.status();
    for r#type in [Type::Degraded, Type::Ready] {
        let (_, reason, message) = said(&status, r#type);
        assert_eq!(reason, "VolumeNearlyFull");
        assert!(message.contains("members 0, 1 and 2") && message.contains("spec.storage.size"), "{message}");
    }
    assert_eq!(said(&status, Type::Available).0, "True");
    cluster.own.free_bytes = 1024;
    assert_eq!(cluster.status(), status);
    // It has not been measured yet.
    let mut seen = cluster.seen();
    for probe in seen.probes.values_mut() {
        let Probe::Answered(report) = probe else { panic!("{probe:?}") };
        (report.disk_free_bytes, report.disk_total_bytes) = (0, 0);
    }
    let (plan, valid) = (cluster.plan(), cluster.valid());
    let verdict = Verdict::<GaleraClusters> { faults: &[], valid: Some(&valid), plan: &plan };
    let status = super::status(&cluster.resource, &seen, &verdict, &Outcome::default(), &cluster.given());
    assert_eq!(said(&status, Type::Degraded).0, "False");
}
