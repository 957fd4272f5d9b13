//! A cluster's life on the model: it converges from everywhere, also when the operator is killed between any two
//! actions, and what must never happen does not.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use quartet_crds::{
    common::DeletionPolicy,
    conditions::{Reason, Type},
    sync_cluster::MemberRole,
};

use super::fixture::{Cluster, cluster};
use crate::{fixture::random, names, plan::ObjectKind};

fn roles(cluster: &Cluster) -> Vec<MemberRole> {
    cluster.status().members.iter().map(|member| member.role).collect()
}

fn is_ready(cluster: &Cluster) -> bool {
    cluster.condition(Type::Ready) == ("True".to_owned(), "AllMembersReady".to_owned())
}

/// As many voters as pods and volumes, in every group.
fn is_of(cluster: &Cluster, members: usize) -> bool {
    let groups = cluster.own.clusters.values().next().expect("a cluster");
    is_ready(cluster)
        && groups.iter().all(|group| group.configuration.voters.len() == members)
        && (cluster.pods.len(), cluster.claims.len()) == (members, members)
}

#[test]
fn three_empty_members_become_one_cluster() {
    let cluster = cluster().three_members();
    assert!(is_of(&cluster, 3));
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
        assert!(plan.record.is_none() && plan.delete.is_empty() && plan.calls.is_empty(), "{plan}");
    }
    assert_eq!(cluster.resource.status, before);
}

#[test]
fn it_grows_and_shrinks_and_removed_volumes_are_gone() {
    let mut cluster = cluster().three_members();
    for replicas in [5, 3, 1, 3, 7, 1, 5] {
        cluster.change(|spec| spec.replicas = replicas);
        cluster.settle();
        assert!(is_of(&cluster, usize::try_from(replicas).unwrap()), "{replicas}: {:#?}", cluster.status());
    }
}

#[test]
fn a_wiped_member_comes_back_as_a_voter() {
    for ordinal in 0..3 {
        let mut cluster = cluster().three_members().wiped(ordinal).later();
        assert_eq!(cluster.condition(Type::Available).0, "True");
        assert_eq!(roles(&cluster)[usize::from(ordinal)], MemberRole::Empty);
        cluster.settle();
        assert!(is_of(&cluster, 3));
    }
}

#[test]
fn a_damaged_member_gives_up_its_data_and_comes_back() {
    let mut cluster = cluster().three_members().damaged(1).later();
    cluster.settle();
    assert!(is_of(&cluster, 3));
    assert!(!cluster.claims[&1].volume.damaged);
}

#[test]
fn a_new_image_reaches_every_member_one_at_a_time() {
    let mut cluster = cluster().scaled(5).settled();
    let before: Vec<String> = cluster.pods.values().map(|pod| pod.uid.clone()).collect();
    cluster.change(|spec| spec.image = Some("quartet/node:2".to_owned()));
    cluster.settle();
    assert!(is_of(&cluster, 5));
    assert!(cluster.pods.values().all(|pod| !before.contains(&pod.uid)));
}

#[test]
fn a_single_member_restarts_too() {
    let mut cluster = cluster().scaled(1).settled();
    let before = cluster.pods[&0].uid.clone();
    cluster.change(|spec| spec.lock.default_ttl = quartet_crds::duration::Duration::new("10s"));
    cluster.settle();
    assert!(is_of(&cluster, 1));
    assert_ne!(cluster.pods[&0].uid, before);
}

#[test]
fn an_image_that_does_not_exist_costs_one_member_and_going_back_recovers() {
    let mut cluster = cluster().three_members().with_spec(|spec| spec.image = Some("missing:1".to_owned()));
    cluster.rounds(60);
    assert_eq!(cluster.pods.values().filter(|pod| !pod.runs).count(), 1);
    assert_eq!(cluster.condition(Type::Available).0, "True");
    assert_eq!(cluster.condition(Type::Ready).0, "False");
    cluster.change(|spec| spec.image = None);
    cluster.settle();
    assert!(is_of(&cluster, 3));
}

#[test]
fn a_first_image_that_does_not_exist_is_put_right_by_the_next() {
    let mut cluster = cluster().with_spec(|spec| spec.image = Some("missing:1".to_owned()));
    cluster.rounds(10);
    cluster.change(|spec| spec.image = None);
    cluster.settle();
    assert!(is_of(&cluster, 3));
}

#[test]
fn hibernation_stops_the_pods_one_by_one_and_waking_finds_everything() {
    let mut cluster = cluster().three_members();
    let identity = cluster.status().cluster_id;
    cluster.change(|spec| spec.hibernated = true);
    let mut counts = vec![3];
    while !cluster.pods.is_empty() {
        cluster.rounds(1);
        counts.push(cluster.pods.len());
    }
    assert!(counts.windows(2).all(|pair| pair[0] - pair[1] <= 1), "{counts:?}");
    cluster.settle();
    assert_eq!(cluster.claims.len(), 3);
    assert_eq!(cluster.condition(Type::Available), ("False".to_owned(), "Hibernated".to_owned()));
    cluster.change(|spec| spec.hibernated = false);
    cluster.settle();
    assert!(is_of(&cluster, 3));
    assert_eq!(cluster.status().cluster_id, identity);
}

#[test]
fn a_cluster_that_shrank_in_its_sleep_wakes_whole_first() {
    let mut cluster = cluster().scaled(5).settled().with_spec(|spec| spec.hibernated = true).settled();
    cluster.change(|spec| (spec.replicas, spec.hibernated) = (3, false));
    cluster.settle();
    assert!(is_of(&cluster, 3));
}

#[test]
fn kept_volumes_are_found_again_by_a_new_resource() {
    let mut cluster = cluster().scaled(5).settled();
    let identity = cluster.status().cluster_id;
    cluster.made_again();
    cluster.change(|spec| spec.replicas = 3);
    cluster.settle();
    assert!(is_of(&cluster, 3));
    assert_eq!(cluster.status().cluster_id, identity);
}

#[test]
fn a_pod_gets_its_labels_back_and_keeps_running() {
    let mut cluster = cluster().three_members();
    let before = cluster.pods[&1].uid.clone();
    cluster.pods.get_mut(&1).unwrap().lost_labels =
        vec![names::MANAGED_BY.to_owned(), names::INSTANCE.to_owned()];
    cluster.settle();
    assert!(cluster.pods[&1].lost_labels.is_empty());
    assert_eq!(cluster.pods[&1].uid, before);
    assert!(cluster.plan().apply.iter().all(|child| child.object.kind() != ObjectKind::Pod));
}

#[test]
fn a_growth_that_was_called_off_leaves_no_empty_volumes() {
    let mut cluster = cluster().three_members().scaled(5);
    while !(3..5).all(|ordinal| cluster.seen().is_empty(ordinal)) {
        cluster.rounds(1);
    }
    let mut cluster = cluster.scaled(3).settled();
    assert!(is_of(&cluster, 3));
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
    let time = |second| Some(Time(Timestamp::from_second(second).unwrap()));
    let mut cluster = cluster().three_members();
    cluster.made_again();
    for claim in cluster.claims.values_mut() {
        claim.object.metadata.creation_timestamp = time(1);
    }
    cluster.resource.metadata.creation_timestamp = time(2);
    cluster.wipe(0);
    cluster.change(|spec| spec.replicas = 1);
    let plan = cluster.until(Reason::ForeignMember);
    assert!(plan.record.is_none() && plan.message.contains("spec.replicas to 3"), "{plan}");
    // Said by the status too, and cured by what it says.
    cluster.reconcile(usize::MAX);
    assert_eq!(cluster.condition(Type::Degraded), ("True".to_owned(), "ForeignMember".to_owned()));
    cluster.change(|spec| spec.replicas = 3);
    cluster.settle();
    assert!(is_of(&cluster, 3));
}

/// Deleted with `deletionPolicy: Delete` and made again before the garbage collector has come round.
#[test]
fn volumes_that_go_with_an_earlier_resource_are_neither_used_nor_kept() {
    let mut cluster = cluster().three_members();
    cluster.change(|spec| spec.deletion_policy = DeletionPolicy::Delete);
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
    assert!(is_of(&cluster, 3));
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
fn a_deleted_and_a_scaled_stateful_set_are_put_back() {
    let mut cluster = cluster().three_members();
    cluster.set = None;
    cluster.tick();
    cluster.settle();
    assert!(is_of(&cluster, 3));
    cluster.set.as_mut().unwrap().spec.as_mut().unwrap().replicas = Some(1);
    cluster.tick();
    cluster.settle();
    assert!(is_of(&cluster, 3));
}

#[test]
fn volumes_grow_where_the_class_allows_it() {
    let mut cluster = cluster().three_members();
    cluster.change(|spec| spec.storage.size = quartet_crds::quantity::Bytes::new("2Gi"));
    cluster.settle();
    assert!(
        cluster.claims.values().all(|claim| crate::members::volumes::requested(&claim.object) == Some("2Gi"))
    );
    cluster.change(|spec| spec.replicas = 5);
    cluster.settle();
    assert!(
        cluster.claims.values().all(|claim| crate::members::volumes::requested(&claim.object) == Some("2Gi"))
    );
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
    assert!(is_of(&cluster, 3));
}

#[test]
fn volumes_belong_to_the_resource_only_while_they_shall_go_with_it() {
    let mut cluster = cluster().three_members();
    let owned = |cluster: &Cluster| {
        cluster.claims.values().filter(|claim| claim.object.metadata.owner_references.is_some()).count()
    };
    assert_eq!(owned(&cluster), 0);
    cluster.change(|spec| spec.deletion_policy = DeletionPolicy::Delete);
    cluster.settle();
    assert_eq!(owned(&cluster), 3);
    // At once, also where the rest of the spec is refused: the resource may be deleted next.
    cluster.change(|spec| {
        (spec.deletion_policy, spec.image) = (DeletionPolicy::Retain, Some("no image".to_owned()));
    });
    cluster.settle();
    assert_eq!(cluster.condition(Type::Accepted).0, "False");
    assert_eq!(owned(&cluster), 0);
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
                3 if !cluster.resource.spec.hibernated && cluster.claims.len() >= 3 => {
                    cluster.wipe(u16::try_from(next(3)).unwrap());
                }
                4 => cluster.change(|spec| spec.hibernated = !spec.hibernated),
                _ => cluster.set = None,
            }
            // Twelve actions at most in a plan; most operators live through theirs.
            cluster.settle_with(
                |round| if round < 200 { usize::try_from(next(24)).unwrap() } else { usize::MAX },
            );
        }
        cluster.change(|spec| (spec.replicas, spec.hibernated) = (3, false));
        cluster.settle();
        assert!(is_of(&cluster, 3), "seed {seed}: {}", cluster.plan());
    }
}

/// The spec changes again while the step before is still under way.
#[test]
fn a_mind_changed_half_way_is_followed() {
    for rounds in 0..25 {
        let mut cluster = cluster().three_members().scaled(5);
        cluster.rounds(rounds);
        cluster.change(|spec| spec.replicas = 3);
        cluster.settle();
        assert!(is_ready(&cluster), "{rounds}: {:#?}", cluster.status());
        assert!(cluster.pods.len() == 3, "{rounds}");
        let mut cluster = cluster.scaled(5).settled().scaled(3);
        cluster.rounds(rounds);
        cluster.change(|spec| spec.replicas = 5);
        cluster.settle();
        assert!(is_of(&cluster, 5), "{rounds}: {:#?}", cluster.status());
    }
}
