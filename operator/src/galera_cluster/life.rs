//! A cluster's life on the model: it converges from everywhere, also when the operator is killed between any two
//! actions, and what must never happen does not.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use quartet_crds::{
    common::DeletionPolicy,
    conditions::{Reason, Type},
    galera_cluster::{BootstrapFrom, MemberState, OperationKind},
};

use super::{
    Command,
    fixture::{Cluster, Data, cluster},
};
use crate::{
    fixture::{lives::lives, random},
    plan::Object,
};

/// A human says that this member begins with what it holds.
fn order(cluster: &mut Cluster, ordinal: u16) {
    let position = cluster.position(ordinal).unwrap().to_string();
    let from = BootstrapFrom { member: format!("shop-{ordinal}"), position };
    cluster.change(|spec| spec.recovery.bootstrap_from = Some(from));
}

/// All have crashed and 2 is silent: it holds the newest of what was acknowledged, 1 less than 0, with which a human says
/// to go on.
fn given_up() -> Cluster {
    let mut cluster = cluster().settled();
    cluster.flush();
    cluster.kill_all();
    cluster.died_ahead(2, 5);
    cluster.cut.insert(2);
    let behind = cluster.point(1).unwrap();
    cluster.put(1, Data::At(behind.at(behind.seqno() - 2)));
    let plan = cluster.until(Reason::WaitingForMembers);
    assert!(plan.message.contains("make sure first that its host is off"), "{plan}");
    order(&mut cluster, 0);
    cluster
}

fn states(cluster: &Cluster) -> Vec<MemberState> {
    cluster.status().members.iter().map(|member| member.state).collect()
}

lives!(cluster);

/// Old ones are ready all the while.
#[test]
fn a_new_image_of_the_proxies_is_in_force_once_no_old_one_is_left() {
    let mut cluster = cluster().settled();
    cluster.change(|spec| spec.proxy.image = Some("quartet/haproxy:2".to_owned()));
    cluster.reconcile(usize::MAX);
    for left in ["taken note", "0 of 2 are new"] {
        let plan = cluster.plan();
        assert!(plan.reason == "RollingOut" && plan.message.contains(left), "{plan}");
        assert_eq!(cluster.condition(Type::Ready), ("False".to_owned(), "RollingOut".to_owned()));
        assert_eq!(cluster.condition(Type::ProxyAvailable).0, "True");
        cluster.tick();
    }
    assert!(cluster.is_ready_as_asked(), "{}", cluster.plan());
}

#[test]
fn three_empty_members_become_one_cluster() {
    let cluster = cluster().settled();
    assert!(cluster.is_of(3));
    assert_eq!(states(&cluster), [MemberState::Synced; 3]);
    let status = cluster.status();
    assert_eq!(status.member_summary.as_deref(), Some("3/3"));
    assert_eq!(status.primary.as_deref(), Some("shop-0"));
    assert_eq!(status.cluster, cluster.own.acknowledged.map(|last| last.cluster().to_string()));
    assert_eq!((status.operation, cluster.own.formed), (None, 1));
}

#[test]
fn all_killed_at_once_come_back_by_themselves() {
    let mut cluster = cluster().settled();
    for round in 0..20_u16 {
        cluster.kill_all();
        assert_eq!(cluster.condition(Type::Quorate), ("False".to_owned(), "PrimaryMissing".to_owned()));
        assert_eq!(cluster.condition(Type::Recovering).0, "True");
        cluster.settle();
        assert!(cluster.is_of(3), "{round}");
    }
    assert_eq!(cluster.own.formed, 21);
}

#[test]
fn a_survivor_of_two_is_given_leave_while_it_runs() {
    let mut cluster = cluster().settled();
    cluster.own.slow_managers = true;
    for ordinals in [[0, 1], [0, 2], [1, 2]] {
        for ordinal in ordinals {
            cluster.kill(ordinal);
        }
        let survivor = (0..3).find(|ordinal| !ordinals.contains(ordinal)).unwrap();
        let plan = cluster.until(Reason::Bootstrapping);
        assert_eq!(plan.calls[0].ordinal, survivor, "{plan}");
        cluster.settle();
        assert!(cluster.is_of(3));
    }
}

#[test]
fn a_survivor_of_two_goes_on_by_itself_without_leave() {
    let mut cluster = cluster().settled();
    let formed = cluster.own.formed;
    for survivor in 0..3 {
        (0..3).filter(|ordinal| *ordinal != survivor).for_each(|ordinal| cluster.kill(ordinal));
        cluster.tick();
        cluster.settle();
        assert!(cluster.is_of(3));
    }
    assert_eq!(cluster.own.formed, formed);
}

#[test]
fn a_survivor_that_lacks_what_was_acknowledged_ends_and_the_others_are_begun_from() {
    for survivor in 0..3 {
        let mut cluster = cluster().settled();
        cluster.kill_two_ahead(survivor);
        let plan = cluster.until(Reason::Bootstrapping);
        assert_ne!(plan.calls[0].ordinal, survivor, "{plan}");
        cluster.settle();
        assert!(cluster.is_of(3));
    }
}

#[test]
fn who_is_ahead_begins_whoever_that_is() {
    let mut cluster = cluster().settled();
    for ahead in 0..3 {
        cluster.kill_all();
        cluster.died_ahead(ahead, 3);
        let plan = cluster.until(Reason::Bootstrapping);
        assert_eq!(plan.calls[0].ordinal, ahead, "{plan}");
        cluster.settle();
        assert!(cluster.is_of(3));
    }
}

#[test]
fn an_emptied_and_a_torn_volume_are_filled_and_never_begun_from() {
    for data in [Data::None, Data::Torn] {
        for ordinal in 0..3 {
            let mut cluster = cluster().settled();
            cluster.flush();
            cluster.kill_all();
            if data == Data::None {
                cluster.wipe(ordinal);
            } else {
                cluster.put(ordinal, data);
            }
            cluster.settle();
            assert!(cluster.is_of(3));
        }
    }
}

#[test]
fn nothing_begins_from_less_than_was_seen_and_a_human_can_say_otherwise() {
    let mut cluster = cluster().settled();
    for _ in 0..30 {
        cluster.tick();
        cluster.reconcile(usize::MAX);
    }
    cluster.kill_all();
    // Two volumes are restored from an old copy, and one is gone.
    let old = cluster.point(0).unwrap().at(5);
    (0..2).for_each(|ordinal| cluster.put(ordinal, Data::At(old)));
    cluster.wipe(2);
    let formed = cluster.own.formed;
    let plan = cluster.until(Reason::DataLost);
    assert!(plan.calls.is_empty() && plan.message.contains("bootstrapFrom"), "{plan}");
    for r#type in [Type::Recovering, Type::Degraded] {
        assert_eq!(cluster.condition(r#type), ("True".to_owned(), "DataLost".to_owned()));
    }
    cluster.rounds(30);
    assert_eq!(cluster.own.formed, formed);
    order(&mut cluster, 1);
    cluster.settle();
    assert!(cluster.is_of(3));
    assert_ne!(cluster.status().cluster, Some(old.cluster().to_string()));
    // What was lost then is no loss the next time.
    cluster.kill_all();
    cluster.settle();
    assert!(cluster.is_of(3));
}

#[test]
fn what_galera_gave_up_on_all_members_is_begun_from_by_a_humans_word_alone() {
    let mut cluster = cluster().settled();
    cluster.flush();
    cluster.kill_all();
    for ordinal in 0..3 {
        let point = cluster.point(ordinal).unwrap();
        cluster.put(ordinal, Data::GivenUp(point.at(point.seqno() + 1000 * u64::from(ordinal))));
    }
    let formed = cluster.own.formed;
    let plan = cluster.until(Reason::DataLost);
    let offer = cluster.position(2).unwrap().to_string();
    assert!(plan.message.contains(&offer) && plan.message.contains("bootstrapFrom"), "{plan}");
    let seen = cluster.status().highest_seqno;
    cluster.rounds(30);
    assert_eq!(cluster.status().highest_seqno, seen, "nothing of it counts");
    assert_eq!(cluster.own.formed, formed);
    order(&mut cluster, 2);
    cluster.settle();
    assert!(cluster.is_of(3));
    assert_eq!(cluster.status().begun_from, Some(offer));
}

#[test]
fn what_a_human_gave_up_is_never_begun_from_nor_joined_with() {
    for rounds in 0..12 {
        for crash_first in [true, false] {
            let mut cluster = given_up();
            let old = cluster.status().cluster;
            cluster.rounds(5 + rounds);
            // Who is merely behind is brought back.
            assert_eq!(cluster.primaries(), [0, 1].into());
            assert_ne!(cluster.status().cluster, old);
            for crash in [crash_first, !crash_first, true] {
                if crash {
                    cluster.kill_all();
                }
                cluster.cut.clear();
                cluster.rounds(12);
                assert_eq!(cluster.primaries(), [0, 1].into(), "{rounds}: {}", cluster.plan());
                assert_eq!(
                    cluster.condition(Type::Degraded),
                    ("True".to_owned(), "ForeignMember".to_owned())
                );
            }
            cluster.wipe(2);
            cluster.settle();
            assert!(cluster.is_of(3));
        }
    }
}

/// What it held was given up, and it has been taken into nothing since: the next crash does not wait for it either.
#[test]
fn who_was_stepped_over_by_a_human_stays_so_until_it_is_heard() {
    let mut cluster = given_up();
    cluster.rounds(20);
    for round in 0..3 {
        assert_eq!(cluster.primaries(), [0, 1].into(), "{round}: {}", cluster.plan());
        assert_eq!(cluster.status().stepped_over.iter().map(|one| one.ordinal).collect::<Vec<_>>(), [2]);
        cluster.kill_all();
        cluster.rounds(12);
    }
    // Heard, and emptied, it is taken in, and waited for like any other.
    cluster.cut.clear();
    cluster.rounds(3);
    assert!(cluster.status().stepped_over.is_empty());
    cluster.wipe(2);
    cluster.settle();
    assert!(cluster.is_of(3));
    cluster.kill_all();
    cluster.cut.insert(2);
    let plan = cluster.until(Reason::WaitingForMembers);
    assert!(plan.message.contains("shop-2"), "{plan}");
}

/// That it was heard is on record before it may join: an operator that is killed in between, and a crash of all, lose
/// nothing of what it has taken part in.
#[test]
fn nobody_joins_who_is_on_record_as_stepped_over() {
    let mut cluster = given_up();
    let behind = cluster.point(1).unwrap();
    cluster.put(2, Data::At(behind));
    cluster.own.acknowledged = cluster.point(0);
    cluster.rounds(20);
    cluster.cut.clear();
    // Nobody writes that it answers.
    for _ in 0..20 {
        cluster.tick();
    }
    assert_eq!(cluster.primaries(), [0, 1].into());
    cluster.reconcile(usize::MAX);
    cluster.tick();
    assert_eq!(cluster.primaries(), [0, 1, 2].into());
    assert!(cluster.status().stepped_over.is_empty());
    cluster.settle();
    assert!(cluster.is_of(3));
}

#[test]
fn a_new_history_is_recorded_also_when_it_crashed_before_anybody_saw_it() {
    for seconds in 0..3 {
        let mut cluster = given_up();
        let plan = cluster.until(Reason::Bootstrapping);
        let Command::Bootstrap(leave) = &plan.calls[0].command else { panic!("{plan}") };
        assert!(leave.new_history && plan.calls[0].ordinal == 0, "{plan}");
        let old = leave.position.unwrap();
        cluster.reconcile(usize::MAX);
        (0..seconds).for_each(|_| cluster.tick());
        cluster.kill_all();
        // Ids are of their second.
        cluster.wait(1);
        // Who is silent may hold something of the new history as well.
        cluster.cut.clear();
        cluster.rounds(12);
        assert_eq!(cluster.primaries(), [0, 1].into());
        let status = cluster.status();
        assert_eq!((status.begun_from, status.operation), (Some(old.to_string()), None));
        // Killed before the server had taken the new UUID, it holds what it did before, and begins once more.
        assert_eq!(status.cluster == Some(leave.operation.to_string()), seconds > 0, "{seconds}");
    }
}

/// A stopped member is never begun from beside a server that could form a Primary component by itself.
#[test]
fn servers_that_run_end_before_a_human_s_choice_begins() {
    for chosen in 0..3 {
        let mut cluster = cluster().settled();
        cluster.own.slow_managers = true;
        cluster.flush();
        cluster.kill(0);
        cluster.kill(1);
        cluster.tick();
        let uid = cluster.pods[&2].uid.clone();
        order(&mut cluster, chosen);
        let plan = cluster.plan();
        assert_eq!(plan.delete.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["shop-2"], "{plan}");
        assert!(plan.calls.is_empty() && plan.message.contains("those of members 2"), "{plan}");
        cluster.settle();
        assert!(cluster.is_of(3));
        assert_ne!(cluster.pods[&2].uid, uid);
        let ordered = cluster.resource.spec.recovery.bootstrap_from.clone().unwrap().position;
        assert_eq!(cluster.status().begun_from, Some(ordered));
    }
}

#[test]
fn a_silent_member_is_waited_for_and_named() {
    let mut cluster = cluster().settled();
    cluster.kill_all();
    cluster.cut.insert(1);
    let plan = cluster.until(Reason::WaitingForMembers);
    assert!(plan.message.contains("shop-1"), "{plan}");
    cluster.rounds(30);
    assert!(cluster.primaries().is_empty());
    cluster.cut.clear();
    cluster.settle();
    assert!(cluster.is_of(3));
}

/// Whoever is not Synced may be evicted like any other that is the only one to go; before there is a cluster, everybody.
#[test]
fn hosts_are_drained_of_one_member_that_the_others_can_do_without() {
    let most = |cluster: &Cluster| {
        let plan = cluster.plan();
        let budget = plan.apply.iter().find_map(|child| match &child.object {
            Object::PodDisruptionBudget(budget) if child.name() == "shop" => budget.spec.clone(),
            _ => None,
        });
        budget.map(|spec| spec.max_unavailable)
    };
    let allowed = |most: i32| Some(Some(IntOrString::Int(most)));
    assert_eq!(most(&cluster()), None);
    let mut cluster = cluster().settled();
    assert_eq!(most(&cluster), allowed(1));
    cluster.cut.insert(2);
    cluster.kill(2);
    assert_eq!(most(&cluster), allowed(1));
    cluster.kill(1);
    assert_eq!(most(&cluster), allowed(0));
}

#[test]
fn a_volume_of_another_history_is_never_begun_from() {
    let mut cluster = cluster().settled();
    cluster.flush();
    cluster.kill_all();
    let foreign = cluster.foreign();
    cluster.put(1, Data::At(foreign));
    let plan = cluster.until(Reason::Bootstrapping);
    assert_ne!(plan.calls[0].ordinal, 1, "{plan}");
    cluster.rounds(10);
    assert_eq!(cluster.condition(Type::Available).0, "True");
    assert_eq!(cluster.condition(Type::Degraded), ("True".to_owned(), "ForeignMember".to_owned()));
}

#[test]
fn a_partition_never_makes_two_of_one() {
    for minority in 0..3 {
        let mut cluster = cluster().settled();
        cluster.cut.insert(minority);
        for _ in 0..20 {
            cluster.tick();
            cluster.reconcile(usize::MAX);
        }
        assert_eq!(cluster.primaries().len(), 2);
        assert_eq!(cluster.condition(Type::Available).0, "True");
        cluster.cut.clear();
        cluster.settle();
        assert!(cluster.is_of(3));
        assert_eq!(cluster.own.formed, 1);
    }
}

/// The second operator still holds what it saw before the first one acted.
#[test]
fn two_operators_never_give_two_leaves() {
    let mut cluster = cluster().settled();
    cluster.kill_all();
    let first = cluster.until(Reason::Bootstrapping);
    let calls = first.calls.clone();
    cluster.settle();
    cluster.kill(1);
    cluster.kill(2);
    // Whatever is still on its way to the members now, names a run that is over.
    for call in calls {
        let Command::Bootstrap(leave) = call.command else { panic!("{first}") };
        (0..3).for_each(|ordinal| cluster.bootstrap(ordinal, &leave));
    }
    assert!(cluster.primaries().is_empty());
    cluster.settle();
    assert!(cluster.is_of(3));
}

#[test]
fn a_recorded_leave_is_repeated_by_the_next_operator_and_no_other_is_given() {
    let mut cluster = cluster().settled();
    cluster.kill_all();
    cluster.until(Reason::Bootstrapping);
    // Killed after the record, before the command.
    cluster.reconcile(2);
    let recorded = cluster.resource.status.clone().unwrap().operation.unwrap();
    assert_eq!(recorded.kind, OperationKind::Bootstrap);
    cluster.tick();
    let plan = cluster.plan();
    assert!(plan.record.is_none(), "{plan}");
    let Command::Bootstrap(leave) = &plan.calls[0].command else { panic!("{plan}") };
    assert_eq!(leave.operation.to_string(), recorded.id);
    // Its run ends before the command comes: the leave is another one.
    cluster.kill(plan.calls[0].ordinal);
    let plan = cluster.until(Reason::Bootstrapping);
    assert!(plan.record.is_some(), "{plan}");
    let Command::Bootstrap(leave) = &plan.calls[0].command else { panic!("{plan}") };
    assert_ne!(leave.operation.to_string(), recorded.id);
    assert_eq!(leave.run, cluster.run(plan.calls[0].ordinal));
    cluster.settle();
    assert!(cluster.is_of(3));
}

#[test]
fn a_founder_that_loses_its_volume_is_a_loss() {
    let mut cluster = cluster();
    cluster.until(Reason::Founding);
    cluster.reconcile(2);
    cluster.wipe(0);
    let plan = cluster.until(Reason::DataLost);
    assert!(plan.calls.is_empty() && plan.message.contains("shop-0"), "{plan}");
}

/// The restart before is still recorded when the members are all well again.
#[test]
fn a_growth_that_is_asked_for_during_a_rollout_is_followed() {
    for rounds in 0..20 {
        let mut cluster = cluster().settled();
        cluster.change(|spec| spec.image = Some("quartet/mariadb:2".to_owned()));
        cluster.rounds(rounds);
        cluster.change(|spec| spec.replicas = 5);
        cluster.settle();
        assert!(cluster.is_of(5), "{rounds}: {:#?}", cluster.status());
    }
}

#[test]
fn volumes_that_go_with_an_earlier_resource_are_not_begun_from() {
    let mut cluster =
        cluster().with_spec(|spec| spec.common.deletion_policy = DeletionPolicy::Delete).settled();
    // The members of before still answer, and are Primary.
    cluster.made_again_at_once();
    cluster.resource.metadata.uid = Some("the next".to_owned());
    for _ in 0..5 {
        let plan = cluster.reconcile(usize::MAX);
        assert!(plan.message.contains("earlier resource") && plan.calls.is_empty(), "{plan}");
        assert_eq!(cluster.status().cluster, None);
        cluster.tick();
    }
}

/// `replicas` is smaller than it was: a volume that nobody asks for may hold the newest data.
#[test]
fn nothing_is_begun_beside_volumes_that_an_earlier_resource_left() {
    let mut cluster = cluster().settled();
    cluster.made_again_beside_volumes(1);
    let plan = cluster.until(Reason::ForeignMember);
    assert!(plan.record.is_none() && plan.message.contains("spec.replicas to 3"), "{plan}");
    cluster.change(|spec| spec.replicas = 3);
    cluster.settle();
    assert!(cluster.is_of(3));
}

#[test]
fn a_new_image_reaches_every_member_and_the_writer_last() {
    let mut cluster = cluster().settled();
    let before: Vec<String> = cluster.pods.values().map(|pod| pod.uid.clone()).collect();
    cluster.change(|spec| spec.image = Some("quartet/mariadb:2".to_owned()));
    let mut order = Vec::new();
    for _ in 0..200 {
        for deletion in cluster.reconcile(usize::MAX).delete {
            order.push(deletion.name);
        }
        cluster.tick();
    }
    assert_eq!(order, ["shop-2", "shop-1", "shop-0"]);
    assert!(cluster.is_of(3));
    assert!(cluster.pods.values().all(|pod| !before.contains(&pod.uid)));
    assert_eq!(cluster.own.formed, 1);
}

#[test]
fn clients_that_stay_do_not_keep_a_member_for_ever() {
    let mut cluster = cluster().settled();
    cluster.own.slow_clients = u32::MAX;
    cluster.change(|spec| spec.image = Some("quartet/mariadb:2".to_owned()));
    for _ in 0..40 {
        assert!(cluster.reconcile(usize::MAX).delete.is_empty());
        cluster.tick();
    }
    // The model would complain of a restart under clients.
    let plan = (0..20).map(|_| {
        cluster.wait(1);
        cluster.plan()
    });
    assert!(plan.into_iter().any(|plan| !plan.delete.is_empty()));
}

/// Whenever all die while a member leaves: its volume may be the only one that holds the last of what was acknowledged.
#[test]
fn who_is_about_to_leave_is_asked_first_when_all_die() {
    let mut asked = 0;
    for rounds in 0..30 {
        let mut cluster = cluster().with_spec(|spec| spec.replicas = 5).settled();
        cluster.own.slow_clients = 5;
        cluster.scale(3);
        cluster.rounds(rounds);
        let Some(leaving) = cluster.claims.keys().copied().max().filter(|highest| *highest >= 3) else {
            break;
        };
        if cluster.position(leaving).is_none() {
            continue;
        }
        cluster.kill_all();
        cluster.died_ahead(leaving, 1);
        cluster.cut.insert(leaving);
        cluster.rounds(10);
        assert!(cluster.primaries().is_empty(), "after {rounds} rounds");
        cluster.cut.clear();
        cluster.settle();
        assert!(cluster.is_of(3), "after {rounds} rounds");
        asked += 1;
    }
    assert!(asked > 5, "{asked}");
}

#[test]
fn a_single_member_restarts_and_recovers_too() {
    let mut cluster = cluster().with_spec(|spec| spec.replicas = 1).settled();
    cluster.change(|spec| spec.server.snapshot_isolation = true);
    cluster.settle();
    assert!(cluster.is_of(1));
    cluster.kill_all();
    cluster.settle();
    assert!(cluster.is_of(1));
}

#[test]
fn a_cluster_asleep_is_not_said_to_recover() {
    let cluster = cluster().settled().with_spec(|spec| spec.common.hibernated = true).settled();
    assert_eq!(cluster.condition(Type::Recovering).0, "False");
}

#[test]
fn a_busy_clusters_status_is_written_every_ten_seconds_and_an_idle_ones_never() {
    let mut cluster = cluster().settled();
    let mut written = 0;
    for _ in 0..60 {
        let before = cluster.resource.status.clone();
        cluster.reconcile(usize::MAX);
        written += u32::from(cluster.resource.status != before);
        cluster.tick();
    }
    assert!((5..=7).contains(&written), "{written}");
    let before = cluster.resource.status.clone();
    cluster.reconcile(usize::MAX);
    // Time goes on, and nobody writes.
    for _ in 0..60 {
        cluster.wait(1);
        cluster.reconcile(usize::MAX);
    }
    let after = cluster.resource.status.clone();
    let positions = |status: &Option<quartet_crds::galera_cluster::GaleraClusterStatus>| {
        status.clone().unwrap().highest_seqno
    };
    assert!(positions(&after) >= positions(&before));
    let settled = cluster.resource.status.clone();
    for _ in 0..60 {
        cluster.wait(1);
        cluster.reconcile(usize::MAX);
    }
    assert_eq!(cluster.resource.status, settled);
}

/// Every operator dies after a number of actions that a seed chooses, over a life with everything in it.
#[test]
fn an_operator_killed_anywhere_leaves_nothing_that_the_next_cannot_finish() {
    for seed in 0..60_u64 {
        let mut next = random(seed);
        let mut cluster = cluster();
        cluster.own.chance = seed;
        for chapter in 0..10 {
            let members = u16::try_from(cluster.pods.len()).unwrap();
            cluster.own.slow_managers = next(2) == 0;
            match next(11) {
                0 => cluster.change(|spec| spec.replicas = 5),
                1 => cluster.change(|spec| spec.replicas = 3),
                2 => cluster.change(|spec| spec.image = Some(format!("quartet/mariadb:{seed}-{chapter}"))),
                // One volume at a time, while the others hold everything.
                3 if members >= 3 && cluster.primaries().len() == usize::from(members) => {
                    cluster.wipe(u16::try_from(next(u64::from(members))).unwrap());
                }
                4 => cluster.change(|spec| spec.common.hibernated = !spec.common.hibernated),
                5 if members > 0 => cluster.kill(u16::try_from(next(u64::from(members))).unwrap()),
                6 => cluster.set = None,
                7 if members == 3 && cluster.primaries().len() == 3 => {
                    cluster.kill_two_ahead(u16::try_from(next(3)).unwrap());
                }
                8 if members > 0 => {
                    begin_anew(&mut cluster, u16::try_from(next(u64::from(members))).unwrap(), &mut next);
                }
                _ => cluster.kill_all(),
            }
            // Half of the time the next crash comes before it has settled.
            for _ in 0..next(2) * next(20) {
                cluster.reconcile(usize::try_from(next(48)).unwrap());
                cluster.tick();
                if next(8) == 0 {
                    cluster.kill_all();
                }
            }
            cluster.settle_with(
                |round| if round < 200 { usize::try_from(next(48)).unwrap() } else { usize::MAX },
            );
        }
        cluster.change(|spec| (spec.replicas, spec.common.hibernated) = (3, false));
        cluster.settle();
        assert!(cluster.is_of(3), "seed {seed}: {}", cluster.plan());
    }
}

/// All crash, and a human begins with whom chance names, under operators that are killed. Whoever holds more is emptied.
fn begin_anew(cluster: &mut Cluster, chosen: u16, next: &mut impl FnMut(u64) -> u64) {
    cluster.kill_all();
    if cluster.position(chosen).is_none() {
        return;
    }
    order(cluster, chosen);
    for _ in 0..60 {
        cluster.reconcile(usize::try_from(next(48)).unwrap());
        cluster.tick();
    }
    cluster.rounds(20);
    let begun = cluster.primaries().first().and_then(|first| cluster.position(*first));
    let foreign = |ordinal: &u16| {
        let held = cluster.position(*ordinal);
        held.is_some() && held.map(|held| held.cluster) != begun.map(|begun| begun.cluster)
    };
    let foreign: Vec<u16> = cluster.pods.keys().copied().filter(foreign).collect();
    for ordinal in foreign.into_iter().filter(|_| begun.is_some()) {
        cluster.wipe(ordinal);
    }
}
