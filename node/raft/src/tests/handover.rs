use super::cluster::{Cluster, learners, m};
use crate::*;

#[test]
fn the_leadership_moves_at_once_to_a_follower_that_lacks_nothing() {
    let mut cluster = Cluster::of(3).led_by(0);
    cluster.input(0, Input::Transfer { to: m(2) }).unwrap();
    cluster.deliver();
    assert_eq!((cluster.leaders(), cluster.term(2)), (vec![2], Term(3)));
}

#[test]
fn a_follower_that_lacks_something_gets_it_first() {
    let mut cluster = Cluster::of(3).led_by(0);
    cluster.cut(0, 2);
    cluster.propose(0, "a").unwrap();
    cluster.deliver();
    cluster.input(0, Input::Transfer { to: m(2) }).unwrap();
    cluster.deliver();
    assert_eq!((cluster.leaders(), cluster.raft(0).transferring()), (vec![0], Some(m(2))));
    cluster.heal();
    cluster.settle();
    cluster.settle();
    assert_eq!(cluster.leaders(), [2]);
    cluster.settle();
    assert_eq!(cluster.commands(1), ["a"]);
}

#[test]
fn meanwhile_nothing_new_is_taken_and_after_an_election_timeout_it_is_again() {
    let mut cluster = Cluster::of(3).led_by(0);
    cluster.isolate(2);
    cluster.input(0, Input::Transfer { to: m(2) }).unwrap();
    let refusal = Err(Refusal::Transferring { to: m(2) });
    assert_eq!(cluster.propose(0, "a"), refusal);
    assert_eq!(cluster.change(0, learners(&[0, 1, 2], &[3])), refusal);
    assert_eq!(cluster.input(0, Input::Transfer { to: m(1) }), refusal);
    cluster.input(0, Input::Transfer { to: m(2) }).unwrap();
    cluster.input(0, Input::Read(ReadId(1))).unwrap();
    cluster.tick(20);
    assert_eq!((cluster.leaders(), cluster.raft(0).transferring()), (vec![0], None));
    assert_eq!(cluster.node(0).reads.len(), 1);
    cluster.commit(0, "b");
    assert_eq!(cluster.commands(1), ["b"]);
}

#[test]
fn only_a_voter_can_take_over() {
    let mut cluster = Cluster::of(3).led_by(0).and_empty(&[3]);
    cluster.change(0, learners(&[0, 1, 2], &[3])).unwrap();
    cluster.deliver();
    assert_eq!(cluster.input(0, Input::Transfer { to: m(3) }), Err(Refusal::NotVoter { to: m(3) }));
    assert_eq!(cluster.input(0, Input::Transfer { to: m(9) }), Err(Refusal::NotVoter { to: m(9) }));
}

#[test]
fn to_itself_is_nothing_to_do() {
    let mut cluster = Cluster::of(3).led_by(0);
    cluster.input(0, Input::Transfer { to: m(0) }).unwrap();
    assert_eq!(cluster.raft(0).transferring(), None);
}

#[test]
fn a_lost_word_to_begin_is_said_again() {
    let mut cluster = Cluster::of(3).led_by(0);
    cluster.input(0, Input::Transfer { to: m(2) }).unwrap();
    cluster.wire.clear();
    cluster.settle();
    assert_eq!(cluster.leaders(), [2]);
}

#[test]
fn only_the_own_leaders_word_begins_an_election() {
    let mut cluster = Cluster::of(3).led_by(0);
    let message = Message { term: cluster.term(1), body: Body::TimeoutNow };
    cluster.input(1, Input::Receive { from: m(2), message }).unwrap();
    assert_eq!(cluster.role(1), Role::Follower);
}
