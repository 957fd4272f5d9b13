use super::cluster::{Cluster, ids, learners, m, voters};
use super::solo::{Solo, outcome, position};
use crate::*;

/// Changes, and waits until the configuration is the target, committed, everywhere in it.
fn change(cluster: &mut Cluster, leader: u16, target: &Configuration) {
    cluster.change(leader, target.clone()).unwrap();
    cluster.deliver();
    cluster.settle();
    for member in target.members() {
        let raft = cluster.raft(member.ordinal);
        assert!(raft.configuration_committed());
        assert_eq!(raft.configuration(), target);
    }
}

#[test]
fn three_become_five_and_three_again() {
    let mut cluster = Cluster::of(3).led_by(0).and_empty(&[3, 4]);
    cluster.commit(0, "a");
    change(&mut cluster, 0, &learners(&[0, 1, 2], &[3, 4]));
    assert_eq!((cluster.commands(4), cluster.role(4)), (vec!["a"], Role::Learner));
    change(&mut cluster, 0, &voters(&[0, 1, 2, 3, 4]));
    assert_eq!(cluster.role(4), Role::Follower);
    cluster.isolate(1);
    cluster.isolate(2);
    cluster.commit(0, "b");
    assert_eq!(cluster.commands(3), ["a", "b"]);
    cluster.heal();
    cluster.settle();
    change(&mut cluster, 0, &voters(&[0, 1, 2]));
    cluster.isolate(3);
    cluster.isolate(4);
    cluster.commit(0, "c");
    assert_eq!(cluster.commands(2), ["a", "b", "c"]);
}

#[test]
fn one_member_is_replaced_at_once() {
    let mut cluster = Cluster::of(3).led_by(0).and_empty(&[3]);
    change(&mut cluster, 0, &learners(&[0, 1, 2], &[3]));
    cluster.crash(2);
    change(&mut cluster, 0, &voters(&[0, 1, 3]));
    cluster.commit(0, "a");
    assert_eq!(cluster.commands(3), ["a"]);
}

#[test]
fn a_lone_voter_becomes_three() {
    let mut cluster = Cluster::of(1).led_by(0).and_empty(&[1, 2]);
    change(&mut cluster, 0, &learners(&[0], &[1, 2]));
    change(&mut cluster, 0, &voters(&[0, 1, 2]));
    cluster.crash(0);
    cluster.await_leader(&[1, 2]);
}

#[test]
fn while_joint_both_majorities_decide() {
    for (away, whose) in [([4, 5], "new"), ([1, 2], "old")] {
        let mut cluster = Cluster::of(3).led_by(0).and_empty(&[3, 4, 5]);
        change(&mut cluster, 0, &learners(&[0, 1, 2], &[3, 4, 5]));
        for ordinal in away {
            cluster.isolate(ordinal);
        }
        cluster.change(0, voters(&[3, 4, 5])).unwrap();
        cluster.deliver();
        cluster.settle();
        assert!(cluster.raft(0).configuration().is_joint());
        assert!(!cluster.raft(0).configuration_committed(), "without a majority of the {whose} voters");
        cluster.heal();
        cluster.settle();
        cluster.settle();
        assert_eq!(*cluster.raft(3).configuration(), voters(&[3, 4, 5]));
    }
}

#[test]
fn a_change_of_voters_goes_through_a_joint_configuration_with_all_addresses() {
    let mut cluster = Cluster::of(3).led_by(0);
    let target = voters(&[0, 1, 3]);
    cluster.change(0, target.clone()).unwrap();
    let joint = cluster.raft(0).configuration();
    assert_eq!((&joint.voters, &joint.outgoing), (&target.voters, &ids(&[0, 1, 2])));
    assert_eq!(joint.addresses.len(), 4);
}

#[test]
fn a_change_of_learners_alone_is_one_entry() {
    let mut cluster = Cluster::of(3).led_by(0);
    cluster.change(0, learners(&[0, 1, 2], &[3])).unwrap();
    assert_eq!(*cluster.raft(0).configuration(), learners(&[0, 1, 2], &[3]));
}

#[test]
fn a_change_to_what_is_in_force_writes_nothing() {
    let mut cluster = Cluster::of(3).led_by(0);
    let last = cluster.raft(0).last();
    cluster.change(0, voters(&[0, 1, 2])).unwrap();
    assert_eq!(cluster.raft(0).last(), last);
}

#[test]
fn a_change_that_expects_another_configuration_is_refused() {
    let mut cluster = Cluster::of(3).led_by(0);
    let refused = cluster.input(0, Input::Change { expected: Index(2), target: voters(&[0, 1]) });
    assert_eq!(refused, Err(Refusal::Unexpected { expected: Index(2), actual: Index(1) }));
}

#[test]
fn a_change_is_refused_while_another_is_not_finished() {
    let mut cluster = Cluster::of(3).led_by(0);
    cluster.change(0, learners(&[0, 1, 2], &[3])).unwrap();
    assert_eq!(cluster.change(0, voters(&[0, 1])), Err(Refusal::ChangeUnderWay));
    cluster.deliver();
    cluster.settle();
    cluster.change(0, voters(&[0, 1])).unwrap();
    assert_eq!(cluster.change(0, voters(&[0, 1, 2])), Err(Refusal::ChangeUnderWay));
}

#[test]
fn malformed_configurations_are_refused() {
    let mut cluster = Cluster::of(3).led_by(0);
    let joint = Configuration { outgoing: ids(&[0]), ..voters(&[0, 1]) };
    for target in [Configuration::default(), learners(&[0, 1], &[1]), joint] {
        assert_eq!(cluster.change(0, target), Err(Refusal::Malformed));
    }
}

#[test]
fn a_new_leader_changes_nothing_before_its_own_entry_is_committed() {
    let mut solo = Solo::new();
    solo.win();
    let refused = solo.raft.step(Input::Change { expected: Index(1), target: voters(&[0]) });
    assert_eq!(refused.unwrap_err(), Refusal::NotEstablished);
}

#[test]
fn a_configuration_is_in_force_from_the_log_and_rolled_back_with_it() {
    let mut cluster = Cluster::of(3).led_by(0);
    cluster.isolate(0);
    cluster.change(0, voters(&[0, 1, 2, 3, 4])).unwrap();
    assert!(cluster.raft(0).configuration().is_joint());
    let leader = cluster.await_leader(&[1, 2]);
    cluster.commit(leader, "a");
    cluster.heal();
    cluster.settle();
    assert_eq!(*cluster.raft(0).configuration(), voters(&[0, 1, 2]));
    assert_eq!(cluster.raft(0).configuration_index(), Index(1));
    assert_eq!(cluster.commands(0), ["a"]);
}

#[test]
fn a_new_leader_that_finds_a_joint_configuration_ends_it() {
    let mut cluster = Cluster::of(3).led_by(0).and_empty(&[3]);
    change(&mut cluster, 0, &learners(&[0, 1, 2], &[3]));
    cluster.change(0, voters(&[0, 1, 3])).unwrap();
    // The joint configuration is everywhere, and the leader dies before it can end it.
    while cluster.wire.iter().any(|letter| letter.from == m(0)) {
        cluster.deliver_at(0);
    }
    cluster.wire.clear();
    cluster.crash(0);
    let leader = cluster.await_leader(&[]);
    cluster.settle();
    assert_eq!(*cluster.raft(leader).configuration(), voters(&[0, 1, 3]));
    assert!(cluster.raft(leader).configuration_committed());
}

#[test]
fn a_leader_that_is_removed_leads_until_it_is_committed_and_hands_over() {
    let mut cluster = Cluster::of(4).led_by(0);
    cluster.commit(0, "a");
    cluster.change(0, voters(&[1, 2, 3])).unwrap();
    cluster.deliver();
    // Without waiting for a timeout.
    let leaders = cluster.leaders();
    assert_eq!(leaders.len(), 1);
    assert_ne!(leaders, [0]);
    assert_eq!(
        (cluster.role(0), cluster.raft(leaders[0]).configuration()),
        (Role::Learner, &voters(&[1, 2, 3]))
    );
    cluster.commit(leaders[0], "b");
    assert_eq!(cluster.commands(1), ["a", "b"]);
}

/// Otherwise nobody could: the others still need its vote, and lack what it has.
#[test]
fn a_leader_that_falls_before_its_removal_is_committed_stands_again() {
    let mut cluster = Cluster::of(1).led_by(0).and_empty(&[1, 2, 3]);
    change(&mut cluster, 0, &learners(&[0], &[1, 2, 3]));
    cluster.change(0, voters(&[1, 2, 3])).unwrap();
    // The joint configuration commits; the final one, and what follows, reaches nobody.
    for _ in 0..100 {
        if cluster.raft(0).configuration().is_joint() {
            cluster.deliver_at(0);
        }
    }
    assert!(!cluster.raft(0).configuration().is_joint());
    cluster.wire.clear();
    cluster.isolate(0);
    cluster.tick(50);
    assert_eq!(cluster.leaders(), [0_u16; 0]);
    cluster.heal();
    cluster.await_leader(&[]);
    cluster.tick(50);
    let leader = cluster.leaders()[0];
    assert_ne!(leader, 0);
    assert_eq!(*cluster.raft(leader).configuration(), voters(&[1, 2, 3]));
    assert!(cluster.raft(leader).configuration_committed());
}

#[test]
fn removed_members_do_not_disturb() {
    let mut cluster = Cluster::of(5).led_by(0);
    cluster.isolate(4);
    cluster.change(0, voters(&[0, 1, 2])).unwrap();
    cluster.deliver();
    cluster.settle();
    cluster.heal();
    let term = cluster.term(0);
    cluster.tick(200);
    assert_eq!((cluster.leaders(), cluster.term(0)), (vec![0], term));
    assert_eq!(cluster.role(4), Role::Candidate);
}

#[test]
fn a_learner_neither_stands_nor_counts() {
    let mut cluster = Cluster::of(3).led_by(0).and_empty(&[3, 4]);
    change(&mut cluster, 0, &learners(&[0, 1, 2], &[3, 4]));
    for away in [1, 2] {
        cluster.isolate(away);
    }
    let before = cluster.raft(0).committed();
    cluster.propose(0, "a").unwrap();
    cluster.deliver();
    assert_eq!(cluster.raft(4).last(), cluster.raft(0).last());
    assert_eq!(cluster.raft(0).committed(), before);
    cluster.crash(0);
    cluster.tick(200);
    assert_eq!((cluster.role(3), cluster.role(4)), (Role::Learner, Role::Learner));
    assert_eq!(cluster.leaders(), [0_u16; 0]);
}

#[test]
fn a_learner_votes_when_asked_since_who_asks_may_know_better() {
    let mut solo = Solo::of(&[1, 2]);
    assert_eq!(solo.role(), Role::Learner);
    let effects = solo.hear(1, 2, Body::Vote { last: position(2, 9), transfer: false });
    assert_eq!(super::solo::votes(&effects), [true]);
}

#[test]
fn an_empty_member_follows_whoever_leads() {
    let mut raft = Raft::new(m(9), Settings::default(), Recovered::default());
    let body = Body::Append {
        previous: Position::default(),
        entries: founding(learners(&[0], &[9])).entries,
        commit: Index(1),
        read_round: 3,
    };
    let message = Message { term: Term(4), body };
    let effects = raft.step(Input::Receive { from: m(0), message }).unwrap();
    assert_eq!(outcome(&effects), Some(AppendOutcome::Matched(Index(1))));
    let standing = Standing { role: Role::Learner, term: Term(4), leader: Some(m(0)) };
    assert_eq!(effects.standing, Some(standing));
}
