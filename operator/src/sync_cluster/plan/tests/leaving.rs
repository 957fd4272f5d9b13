//! Members leave: their Service, the configurations, their pods and volumes, in this order.

use quartet_crds::conditions::{Reason, Type};

use super::{ALL, acts, changes, drains, recorded, says};
use crate::{
    names,
    plan::{Grounds, Plan},
    sync_cluster::{
        Call,
        fixture::{Cluster, cluster},
    },
};

/// Reconciles until configurations are changed.
fn until_changes(cluster: &mut Cluster) -> Plan<Call> {
    for _ in 0..100 {
        let plan = cluster.reconcile(ALL);
        if !changes(&plan).is_empty() {
            return plan;
        }
        cluster.tick();
    }
    panic!("never: {}", cluster.plan());
}

#[test]
fn members_leave_the_configurations_before_their_pods_stop_and_their_volumes_go() {
    let mut cluster = cluster().scaled(5).settled().scaled(3);
    let plan = cluster.plan();
    says(&plan, Reason::Shrinking);
    assert_eq!(recorded(&plan), Some("Shrink"));
    assert!(plan.delete.is_empty());
    until_changes(&mut cluster);
    assert_eq!(cluster.pods.len(), 5);
    let mut gone = Vec::new();
    for _ in 0..20 {
        let members =
            cluster.own.clusters.values().flatten().map(|group| group.configuration.voters.len()).max();
        let plan = cluster.reconcile(ALL);
        if !plan.delete.is_empty() {
            assert_eq!((members, cluster.pods.len()), (Some(3), 3));
        }
        gone.extend(plan.delete.into_iter().map(|deletion| (deletion.name, deletion.grounds)));
        cluster.tick();
    }
    assert!(gone.iter().all(|(_, grounds)| matches!(grounds, Grounds::MemberRemoved { .. })));
    let names: Vec<_> = gone.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, [names::claim("demo", 3), names::claim("demo", 4)]);
}

/// Should the leader fall before it has committed the removal, the next one may count on the old members again.
#[test]
fn a_removal_that_is_not_committed_everywhere_takes_nothing_from_anybody() {
    let mut cluster = cluster().scaled(5).settled().scaled(3);
    until_changes(&mut cluster);
    cluster.tick();
    for group in cluster.own.clusters.values_mut().flatten() {
        let now = &mut group.configuration;
        assert_eq!((now.voters.len(), now.outgoing.len()), (3, 0));
        now.committed = false;
    }
    for _ in 0..3 {
        let plan = cluster.reconcile(ALL);
        assert!(plan.delete.is_empty() && changes(&plan).is_empty(), "{plan}");
        assert_eq!(cluster.set.as_ref().unwrap().spec.as_ref().unwrap().replicas, Some(5));
    }
    cluster.settle();
    assert_eq!((cluster.pods.len(), cluster.claims.len()), (3, 3));
}

#[test]
fn members_leave_their_service_before_they_leave_the_configurations() {
    let mut cluster = cluster().scaled(5).settled().scaled(3);
    let leads = |cluster: &Cluster, ordinals: &[u16]| {
        let mut leaders = cluster.own.clusters.values().flatten().filter_map(|group| group.leader);
        leaders.any(|leader| ordinals.contains(&leader.ordinal))
    };
    cluster.own.clusters.values_mut().flatten().for_each(|group| {
        group.leader = group.configuration.voters.iter().copied().find(|peer| peer.ordinal == 4);
    });
    let mut told = 0;
    let plan = loop {
        let plan = cluster.plan();
        assert_eq!(drains(&plan), (vec![3, 4], vec![3, 4]), "{plan}");
        if !changes(&plan).is_empty() {
            break plan;
        }
        assert!(plan.message.contains("have gone elsewhere"), "{plan}");
        told += 1;
        cluster.rounds(1);
    };
    assert!(told >= 3, "{told}");
    assert!(!cluster.is_ready(3) && !cluster.is_ready(4) && !leads(&cluster, &[3, 4]), "{plan}");
    assert!(format!("{plan}").contains("call member 3: leave the Service"), "{plan}");
}

#[test]
fn a_leaving_member_that_nobody_reaches_has_nothing_to_drain() {
    let mut cluster = cluster().scaled(5).settled().cut(4).later().scaled(3);
    let plan = cluster.plan();
    assert_eq!(drains(&plan), (vec![3], vec![3, 4]), "{plan}");
    until_changes(&mut cluster);
    cluster.settle();
    assert_eq!((cluster.pods.len(), cluster.claims.len()), (3, 3));
}

#[test]
fn a_member_that_does_not_drain_holds_up_a_shrink_for_a_minute() {
    let mut cluster = cluster().scaled(5).settled().scaled(3);
    cluster.own.stubborn.insert(3);
    for second in 0..60 {
        let plan = cluster.reconcile(ALL);
        assert!(
            changes(&plan).is_empty() && plan.message.contains("have gone elsewhere"),
            "{second}: {plan}"
        );
        assert_eq!(drains(&plan).0, [3, 4]);
        cluster.tick();
    }
    assert!(!changes(&cluster.plan()).is_empty());
    cluster.settle();
    assert_eq!(cluster.condition(Type::Ready).0, "True");
}

#[test]
fn members_that_stay_after_all_come_back_to_their_service() {
    let mut cluster = cluster().scaled(5).settled().scaled(3);
    while cluster.is_ready(3) {
        cluster.rounds(1);
    }
    cluster.change(|spec| spec.replicas = 5);
    cluster.settle();
    assert!((0..5).all(|ordinal| cluster.is_ready(ordinal)));
    assert!(cluster.own.clusters.values().flatten().all(|group| group.configuration.voters.len() == 5));
}

#[test]
fn nobody_leaves_while_those_who_stay_are_not_well() {
    let plan = cluster().scaled(5).settled().cut(1).scaled(3).later().plan();
    says(&plan, Reason::Shrinking);
    assert!(!acts(&plan), "{plan}");
}

#[test]
fn no_pod_is_taken_away_while_nobody_says_who_is_a_member() {
    let mut cluster = cluster().scaled(5).settled().scaled(3);
    cluster.cut.extend(0..5);
    cluster.reconcile(ALL);
    let cluster = cluster.later();
    assert_eq!(cluster.pods.len(), 5);
    assert_eq!(cluster.claims.len(), 5);
}
