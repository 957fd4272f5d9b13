//! A cluster's life on the model: it converges from everywhere, also when the operator is killed between any two
//! actions, and what must never happen does not.

use quartet_crds::{
    common::DeletionPolicy,
    conditions::{Reason, Type},
    sync_cluster::MemberRole,
};

use super::fixture::{Cluster, cluster};
use crate::{
    fixture::{lives::lives, random},
    plan::ObjectKind,
};

fn roles(cluster: &Cluster) -> Vec<MemberRole> {
    cluster.status().members.iter().map(|member| member.role).collect()
}

lives!(cluster);

#[test]
fn three_empty_members_become_one_cluster() {
    let cluster = cluster().three_members();
    assert!(cluster.is_of(3));
    assert_eq!(roles(&cluster), [MemberRole::Voter; 3]);
    let status = cluster.status();
    assert_eq!(status.member_summary.as_deref(), Some("3/3"));
    assert_eq!(status.leader.as_deref(), Some("demo-0 (1/3)"));
    assert_eq!(status.cluster_id, cluster.own.clusters.keys().next().map(ToString::to_string));
    assert_eq!(status.operation, None);
}

#[test]
fn a_settled_cluster_says_the_same_for_ever() {
    let mut cluster = cluster().three_members();
    let before = cluster.resource.status.clone();
    for _ in 0..50 {
        cluster.tick();
        let plan = cluster.reconcile(usize::MAX);
        assert!(!plan.has_steps(), "{plan}");
        assert!(plan.apply.iter().all(|child| child.object.kind() != ObjectKind::Pod), "{plan}");
    }
    assert_eq!(cluster.resource.status, before);
}

#[test]
fn a_wiped_member_comes_back_as_a_voter() {
    for ordinal in 0..3 {
        let mut cluster = cluster().three_members().wiped(ordinal).later();
        assert_eq!(cluster.condition(Type::Available).0, "True");
        assert_eq!(roles(&cluster)[usize::from(ordinal)], MemberRole::Empty);
        cluster.settle();
        assert!(cluster.is_of(3));
    }
}

#[test]
fn a_damaged_member_gives_up_its_data_and_comes_back() {
    let mut cluster = cluster().three_members().damaged(1).later();
    cluster.settle();
    assert!(cluster.is_of(3));
    assert!(!cluster.claims[&1].volume.damaged);
}

#[test]
fn a_new_image_reaches_every_member_one_at_a_time() {
    let mut cluster = cluster().scaled(5).settled();
    let before: Vec<String> = cluster.pods.values().map(|pod| pod.uid.clone()).collect();
    cluster.change(|spec| spec.image = Some("quartet/node:2".to_owned()));
    cluster.settle();
    assert!(cluster.is_of(5));
    assert!(cluster.pods.values().all(|pod| !before.contains(&pod.uid)));
}

#[test]
fn a_single_member_restarts_too() {
    let mut cluster = cluster().scaled(1).settled();
    let before = cluster.pods[&0].uid.clone();
    cluster.change(|spec| spec.lock.default_ttl = quartet_crds::duration::Duration::new("10s"));
    cluster.settle();
    assert!(cluster.is_of(1));
    assert_ne!(cluster.pods[&0].uid, before);
}

#[test]
fn kept_volumes_are_found_again_by_a_new_resource_that_asks_for_less() {
    let mut cluster = cluster().scaled(5).settled();
    let identity = cluster.status().cluster_id;
    cluster.made_again();
    cluster.change(|spec| spec.replicas = 3);
    cluster.settle();
    assert!(cluster.is_of(3));
    assert_eq!(cluster.status().cluster_id, identity);
}

#[test]
fn a_growth_that_was_called_off_leaves_no_empty_volumes() {
    let mut cluster = cluster().three_members().scaled(5);
    while !(3..5).all(|ordinal| cluster.seen().is_empty(ordinal)) {
        cluster.rounds(1);
    }
    let mut cluster = cluster.scaled(3).settled();
    assert!(cluster.is_of(3));
    // Also where their members were never heard of, they are kept: nobody knows what is on them.
    cluster.change(|spec| spec.replicas = 5);
    cluster.rounds(1);
    cluster.cut.extend([3, 4]);
    let cluster = cluster.scaled(3).settled();
    assert_eq!((cluster.pods.len(), cluster.claims.len()), (3, 5));
}

/// `replicas` is smaller than it was, and the one volume that it asks for is empty.
#[test]
fn nothing_is_founded_beside_volumes_that_an_earlier_resource_left() {
    let mut cluster = cluster().three_members();
    cluster.made_again_beside_volumes(1);
    cluster.wipe(0);
    let plan = cluster.until(Reason::ForeignMember);
    assert!(plan.record.is_none() && plan.message.contains("spec.replicas to 3"), "{plan}");
    // Said by the status too, and cured by what it says.
    cluster.reconcile(usize::MAX);
    assert_eq!(cluster.condition(Type::Degraded), ("True".to_owned(), "ForeignMember".to_owned()));
    cluster.change(|spec| spec.replicas = 3);
    cluster.settle();
    assert!(cluster.is_of(3));
}

/// Deleted with `deletionPolicy: Delete` and made again before the garbage collector has come round.
#[test]
fn volumes_that_go_with_an_earlier_resource_are_neither_used_nor_kept() {
    let mut cluster = cluster().three_members();
    cluster.change(|spec| spec.common.deletion_policy = DeletionPolicy::Delete);
    cluster.settle();
    cluster.made_again_at_once();
    cluster.resource.metadata.uid = Some("the next".to_owned());
    assert!(cluster.seen().reports().count() == 3, "the earlier members still answer");
    for _ in 0..5 {
        let plan = cluster.reconcile(usize::MAX);
        assert!(plan.message.contains("earlier resource"), "{plan}");
        assert_eq!(cluster.status().cluster_id, None);
        cluster.tick();
    }
    assert!(
        cluster.set.is_none()
            && cluster.claims.values().all(|claim| {
                let owners = claim.object.metadata.owner_references.iter().flatten();
                owners.into_iter().all(|owner| owner.uid == "owner")
            })
    );
    cluster.claims.clear();
    cluster.own.clusters.clear();
    cluster.settle();
    assert!(cluster.is_of(3));
}

#[test]
fn what_lasts_is_looked_at_less_often() {
    let mut cluster = cluster().three_members().cut(1).later();
    cluster.reconcile(usize::MAX);
    let pace = |cluster: &Cluster| cluster.plan().recheck_after.unwrap().as_secs();
    assert_eq!(pace(&cluster), 2);
    cluster.wait(3600);
    assert_eq!(pace(&cluster), 10);
}

#[test]
fn a_storage_class_that_went_stops_no_healing_and_comes_back_into_force() {
    let mut cluster = cluster().three_members();
    let classes = std::mem::take(&mut cluster.classes);
    cluster.resource.spec.storage.storage_class_name = Some("standard".to_owned());
    assert_eq!(cluster.condition(Type::Accepted), ("False".to_owned(), "StorageClassNotFound".to_owned()));
    assert_eq!(cluster.condition(Type::Available).0, "True");
    cluster.wipe(1);
    cluster.settle();
    assert_eq!(roles(&cluster), [MemberRole::Voter; 3]);
    cluster.classes = classes;
    assert!(cluster.is_of(3));
}

/// Every operator dies after a number of actions that a seed chooses, over a life with everything in it.
#[test]
fn an_operator_killed_anywhere_leaves_nothing_that_the_next_cannot_finish() {
    for seed in 0..40_u64 {
        let mut next = random(seed);
        let mut cluster = cluster();
        for chapter in 0..8 {
            match next(6) {
                0 => cluster.change(|spec| spec.replicas = 5),
                1 => cluster.change(|spec| spec.replicas = 3),
                2 => cluster.change(|spec| spec.image = Some(format!("quartet/node:{seed}-{chapter}"))),
                // Asleep, two losses would add up to one that nobody survives.
                3 if !cluster.resource.spec.common.hibernated && cluster.claims.len() >= 3 => {
                    cluster.wipe(u16::try_from(next(3)).unwrap());
                }
                4 => cluster.change(|spec| spec.common.hibernated = !spec.common.hibernated),
                _ => cluster.set = None,
            }
            // Twelve actions at most in a plan; most operators live through theirs.
            cluster.settle_with(
                |round| if round < 200 { usize::try_from(next(24)).unwrap() } else { usize::MAX },
            );
        }
        cluster.change(|spec| (spec.replicas, spec.common.hibernated) = (3, false));
        cluster.settle();
        assert!(cluster.is_of(3), "seed {seed}: {}", cluster.plan());
    }
}
