use super::cluster::{Cluster, m};
use super::solo::{Solo, position, votes};
use crate::*;

#[test]
fn a_group_elects_one_leader_and_its_followers_know_it() {
    let mut cluster = Cluster::of(3);
    let leader = cluster.await_leader(&[]);
    cluster.settle();
    for ordinal in 0..3 {
        let standing = cluster.raft(ordinal).standing();
        assert_eq!((standing.leader, standing.term), (Some(m(leader)), cluster.term(leader)));
    }
    assert_eq!(cluster.leaders(), [leader]);
}

#[test]
fn a_lone_voter_elects_itself_at_the_next_tick() {
    let mut cluster = Cluster::of(1);
    cluster.tick(1);
    assert_eq!(cluster.leaders(), [0]);
    assert_eq!(cluster.raft(0).committed(), Index(2));
}

#[test]
fn a_lone_voter_is_not_heard_in_its_term_before_its_vote_is_on_disk() {
    let mut cluster = Cluster::founded_by(&super::cluster::learners(&[0], &[1]), Settings::default());
    cluster.syncing(0, false);
    cluster.tick(1);
    assert_eq!(cluster.leaders(), [0]);
    assert_eq!(cluster.term(1), Term(1));
    assert_eq!(cluster.raft(0).committed(), Index(0));
    cluster.sync(0);
    cluster.deliver();
    assert_eq!(cluster.term(1), Term(2));
    // From now on entries travel while the disk works.
    cluster.propose(0, "a").unwrap();
    assert!(!cluster.wire.is_empty());
}

#[test]
fn nobody_with_an_empty_configuration_stands_for_election() {
    let mut cluster = Cluster::founded_by(&Configuration::default(), Settings::default()).and_empty(&[0, 1]);
    cluster.tick(200);
    assert_eq!(cluster.leaders(), [0_u16; 0]);
    assert_eq!((cluster.role(0), cluster.term(0)), (Role::Learner, Term(0)));
}

#[test]
fn timeouts_are_in_their_range_and_differ_between_members_and_attempts() {
    let mut seen = std::collections::BTreeSet::new();
    for ordinal in 0..10 {
        let mut raft = Raft::new(
            m(ordinal),
            Settings::default(),
            founding(super::cluster::voters(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9])),
        );
        for _ in 0..4 {
            let ticks = (1..100).find(|_| !raft.step(Input::Tick).unwrap().send.is_empty()).unwrap();
            assert!((20..40).contains(&ticks), "{ticks}");
            seen.insert(ticks);
        }
    }
    assert!(seen.len() > 10, "{seen:?}");
}

#[test]
fn a_split_vote_elects_nobody_and_the_next_attempt_succeeds() {
    let mut cluster = Cluster::of(2);
    // Both ask, then both stand, before either hears the other.
    for ordinal in [0, 1] {
        while cluster.role(ordinal) != Role::Candidate {
            cluster.input(ordinal, Input::Tick).unwrap();
        }
    }
    cluster.deliver();
    assert_eq!(cluster.leaders(), [0_u16; 0]);
    assert_eq!((cluster.term(0), cluster.term(1)), (Term(2), Term(2)));
    cluster.await_leader(&[]);
}

#[test]
fn a_vote_is_given_once_per_term_and_again_to_the_same_candidate() {
    let mut solo = Solo::new();
    let vote = || Body::Vote { last: position(1, 1), transfer: false };
    assert_eq!(votes(&solo.hear(1, 2, vote())), [true]);
    assert_eq!(votes(&solo.hear(2, 2, vote())), [false]);
    assert_eq!(votes(&solo.hear(1, 2, vote())), [true]);
    assert_eq!(votes(&solo.hear(2, 3, vote())), [true]);
}

#[test]
fn a_vote_is_not_given_to_a_log_that_lacks_something() {
    let mut solo = Solo::with_log(&[2, 3, 3]);
    let vote = |term, index| Body::Vote { last: position(term, index), transfer: false };
    assert_eq!(votes(&solo.hear(1, 4, vote(3, 3))), [false]);
    assert_eq!(votes(&solo.hear(1, 5, vote(2, 9))), [false]);
    assert_eq!(votes(&solo.hear(1, 6, vote(3, 4))), [true]);
    assert_eq!(votes(&solo.hear(1, 7, vote(4, 2))), [true]);
}

#[test]
fn a_vote_leaves_only_once_it_is_on_disk_and_is_remembered() {
    let mut cluster = Cluster::of(3);
    cluster.syncing(1, false);
    cluster.isolate(2);
    cluster.tick_one(0, 40);
    assert_eq!(cluster.role(0), Role::Candidate);
    cluster.sync(1);
    cluster.deliver();
    assert_eq!(cluster.role(0), Role::Leader);
    cluster.crash(1);
    assert_eq!(cluster.disk(1).hard_state, HardState { term: cluster.term(0), vote: Some(m(0)) });
}

#[test]
fn a_candidates_own_vote_is_on_disk_before_it_asks_others() {
    let mut solo = Solo::new();
    solo.time_out();
    let effects = solo.hear(1, 2, Body::PreVoteReply { granted: true });
    assert_eq!(effects.hard_state, Some(HardState { term: Term(2), vote: Some(m(0)) }));
    assert!(effects.send.is_empty());
    assert_eq!(effects.send_durable.len(), 2);
}

#[test]
fn a_member_cut_off_does_not_raise_its_term_and_does_not_disturb_when_it_returns() {
    let mut cluster = Cluster::of(3).led_by(0);
    let term = cluster.term(0);
    cluster.isolate(2);
    cluster.tick(200);
    assert_eq!(cluster.term(2), term);
    cluster.heal();
    cluster.tick(40);
    assert_eq!((cluster.leaders(), cluster.term(0)), (vec![0], term));
    assert_eq!(cluster.raft(2).standing().leader, Some(m(0)));
}

#[test]
fn who_hears_a_leader_ignores_candidates_unless_the_leader_sent_them() {
    let mut solo = Solo::new();
    solo.heartbeat(2);
    let last = position(9, 9);
    assert!(solo.hear(2, 3, Body::PreVote { last }).send.is_empty());
    assert!(votes(&solo.hear(2, 3, Body::Vote { last, transfer: false })).is_empty());
    assert_eq!(solo.term(), 2);
    solo.tick(20);
    assert_eq!(votes(&solo.hear(2, 3, Body::PreVote { last })), [true]);
    solo.heartbeat(2);
    assert_eq!(votes(&solo.hear(2, 3, Body::Vote { last, transfer: true })), [true]);
}

#[test]
fn a_leader_ignores_candidates_while_it_leads() {
    let mut solo = Solo::new();
    solo.win();
    solo.hear(2, 9, Body::Vote { last: position(9, 9), transfer: false });
    assert_eq!((solo.role(), solo.term()), (Role::Leader, 2));
}

#[test]
fn a_pre_vote_changes_no_term_and_gives_no_vote() {
    let mut solo = Solo::new();
    let effects = solo.hear(1, 5, Body::PreVote { last: position(1, 1) });
    assert_eq!(votes(&effects), [true]);
    assert_eq!((effects.hard_state, solo.term()), (None, 1));
    assert_eq!(votes(&solo.hear(2, 5, Body::PreVote { last: position(1, 1) })), [true]);
}

#[test]
fn a_refused_pre_vote_teaches_the_term() {
    let mut solo = Solo::new();
    solo.time_out();
    solo.hear(1, 7, Body::PreVoteReply { granted: false });
    assert_eq!((solo.role(), solo.term()), (Role::Follower, 7));
}

#[test]
fn a_candidate_that_a_majority_refuses_gives_up() {
    let mut solo = Solo::new();
    solo.time_out();
    solo.hear(1, 2, Body::PreVoteReply { granted: true });
    assert_eq!((solo.role(), solo.term()), (Role::Candidate, 2));
    solo.hear(1, 2, Body::VoteReply { granted: false });
    assert_eq!(solo.role(), Role::Candidate);
    solo.hear(2, 2, Body::VoteReply { granted: false });
    assert_eq!(solo.role(), Role::Follower);
}

#[test]
fn a_promise_for_a_term_already_entered_counts_for_nothing() {
    let mut solo = Solo::new();
    solo.time_out();
    solo.hear(1, 2, Body::PreVoteReply { granted: true });
    // The real election fails, the next question is for term 3.
    let mut asked = false;
    for _ in 0..40 {
        asked |= solo.tick(1).send.iter().any(|(_, message)| matches!(message.body, Body::PreVote { .. }));
    }
    assert!(asked);
    solo.hear(2, 2, Body::PreVoteReply { granted: true });
    assert_eq!(solo.term(), 2);
}

#[test]
fn votes_of_others_than_voters_count_for_nothing() {
    let mut solo = Solo::new();
    solo.time_out();
    solo.hear(7, 2, Body::PreVoteReply { granted: true });
    assert_eq!(solo.term(), 1);
    solo.hear(1, 2, Body::PreVoteReply { granted: true });
    solo.hear(7, 2, Body::VoteReply { granted: true });
    assert_eq!(solo.role(), Role::Candidate);
}

#[test]
fn a_leader_that_hears_no_quorum_for_an_election_timeout_steps_down() {
    let mut cluster = Cluster::of(3).led_by(0);
    cluster.isolate(0);
    cluster.tick_one(0, 18);
    assert_eq!(cluster.role(0), Role::Leader);
    cluster.tick_one(0, 3);
    assert_eq!((cluster.role(0), cluster.raft(0).standing().leader), (Role::Follower, None));
}

#[test]
fn a_leader_that_hears_just_a_quorum_stays() {
    let mut cluster = Cluster::of(3).led_by(0);
    cluster.isolate(2);
    cluster.tick(100);
    assert_eq!((cluster.leaders(), cluster.term(0)), (vec![0], Term(2)));
}

#[test]
fn a_member_whose_term_is_ahead_makes_the_leader_stand_again_and_then_follows() {
    let mut cluster = Cluster::of(3).led_by(0);
    cluster.crash(2);
    cluster.node(2).disk.hard_state = HardState { term: Term(9), vote: None };
    cluster.restart(2);
    cluster.settle();
    assert_eq!(cluster.leaders(), [0_u16; 0]);
    let leader = cluster.await_leader(&[]);
    cluster.settle();
    assert!(cluster.term(leader) > Term(9));
    assert_eq!(cluster.raft(2).standing().leader, Some(m(leader)));
}

#[test]
fn a_leader_found_gone_is_replaced_within_a_few_heartbeats() {
    let mut cluster = Cluster::of(3).led_by(0);
    cluster.commit(0, "a");
    cluster.crash(0);
    for ordinal in [1, 2] {
        cluster.input(ordinal, Input::Gone(m(0))).unwrap();
    }
    cluster.tick(12);
    let leader = cluster.leaders();
    assert_eq!(leader.len(), 1, "{leader:?}");
    assert_eq!(cluster.commands(leader[0]), ["a"]);
}

#[test]
fn who_alone_believes_the_leader_gone_changes_nothing() {
    let mut cluster = Cluster::of(3).led_by(0);
    let term = cluster.term(0);
    cluster.cut(0, 2);
    cluster.input(2, Input::Gone(m(0))).unwrap();
    assert_eq!(cluster.raft(2).standing().leader, None);
    cluster.tick(60);
    assert_eq!((cluster.leaders(), cluster.term(0), cluster.term(2)), (vec![0], term, term));
    cluster.heal();
    cluster.tick(3);
    assert_eq!(cluster.raft(2).standing().leader, Some(m(0)));
}

#[test]
fn attempts_are_short_until_the_others_must_have_missed_the_leader_too() {
    let mut solo = Solo::new();
    solo.heartbeat(2);
    solo.raft.step(Input::Gone(m(1))).unwrap();
    let asks = |effects: &Effects| !effects.send.is_empty();
    let attempts: Vec<u32> = (1..=120).filter(|_| asks(&solo.tick(1))).collect();
    let gaps: Vec<u32> = attempts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let hurried = attempts.iter().filter(|at| **at < 40).count();
    assert!(attempts[0] <= 4 && hurried >= 5, "{attempts:?}");
    assert!(gaps[..hurried - 1].iter().all(|gap| (4..8).contains(gap)), "{attempts:?}");
    assert!(gaps[hurried..].iter().all(|gap| (20..40).contains(gap)) && gaps.len() > hurried, "{attempts:?}");
}

#[test]
fn a_message_of_the_leader_ends_the_suspicion() {
    let mut solo = Solo::new();
    solo.heartbeat(2);
    solo.raft.step(Input::Gone(m(1))).unwrap();
    solo.heartbeat(2);
    for _ in 0..19 {
        assert!(solo.tick(1).send.is_empty());
    }
    assert_eq!(solo.raft.standing().leader, Some(m(1)));
}

#[test]
fn that_another_member_than_the_leader_is_gone_means_nothing() {
    let mut cluster = Cluster::of(3).led_by(0);
    cluster.input(1, Input::Gone(m(2))).unwrap();
    cluster.input(0, Input::Gone(m(0))).unwrap();
    assert_eq!(cluster.raft(1).standing().leader, Some(m(0)));
    assert_eq!(cluster.leaders(), [0]);
}

#[test]
fn who_knows_the_leader_gone_leads_as_soon_as_another_has_missed_it() {
    let mut cluster = Cluster::of(3).led_by(0);
    cluster.cut(0, 2);
    cluster.commit(0, "a");
    cluster.crash(0);
    // Only this one's log is complete, and only this one was told.
    cluster.input(1, Input::Gone(m(0))).unwrap();
    cluster.tick(20 + 8 + 2);
    assert_eq!(cluster.leaders(), [1]);
}
