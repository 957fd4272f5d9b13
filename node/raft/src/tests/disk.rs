use super::cluster::Cluster;
use super::solo::{Solo, empty_entry, outcome, position};
use crate::*;

#[test]
fn a_follower_promises_nothing_before_it_is_on_disk() {
    let mut solo = Solo::new();
    let effects = solo.append(2, position(1, 1), vec![empty_entry(2, 2)], 0);
    assert!(effects.send.is_empty());
    assert_eq!(outcome(&effects), Some(AppendOutcome::Matched(Index(2))));
    assert_eq!(effects.send_durable.len(), 1);
}

#[test]
fn a_leader_counts_itself_only_by_what_is_on_its_disk() {
    let mut cluster = Cluster::of(3).led_by(0);
    let before = cluster.raft(0).committed();
    cluster.isolate(2);
    cluster.syncing(0, false);
    cluster.propose(0, "a").unwrap();
    cluster.deliver();
    assert_eq!(cluster.raft(1).last(), cluster.raft(0).last());
    assert_eq!(cluster.raft(0).committed(), before);
    cluster.sync(0);
    assert_eq!(cluster.raft(0).committed(), before.next());
}

#[test]
fn followers_commit_without_the_leaders_disk_but_it_applies_only_what_it_holds() {
    let mut cluster = Cluster::of(3).led_by(0);
    cluster.syncing(0, false);
    cluster.propose(0, "a").unwrap();
    cluster.deliver();
    cluster.settle();
    assert_eq!(cluster.raft(0).committed(), cluster.raft(0).last().index);
    assert_eq!((cluster.commands(0).len(), cluster.commands(1)), (0, vec!["a"]));
    cluster.sync(0);
    assert_eq!(cluster.commands(0), ["a"]);
}

#[test]
fn what_a_later_write_replaced_is_not_on_disk_even_if_it_comes_back() {
    let mut solo = Solo::new();
    solo.append(2, position(1, 1), vec![empty_entry(2, 2)], 0);
    solo.append(3, position(1, 1), vec![empty_entry(3, 2)], 0);
    // The same entry as the first, from a later leader that has it, and now committed.
    let comes_back = vec![empty_entry(2, 2), empty_entry(4, 3)];
    solo.append(4, position(1, 1), comes_back, 3);
    let first = solo.raft.step(Input::Persisted(position(2, 2))).unwrap();
    assert_eq!(first.apply.len(), 0);
    let second = solo.raft.step(Input::Persisted(position(3, 2))).unwrap();
    assert_eq!(second.apply.len(), 0);
    let third = solo.raft.step(Input::Persisted(position(4, 3))).unwrap();
    assert_eq!(third.apply.len(), 2);
}

#[test]
fn a_committed_entry_waits_for_the_disk_and_is_applied_once() {
    let mut solo = Solo::new();
    assert_eq!(solo.heartbeat(2).apply.len(), 0);
    let effects = solo.append(2, position(1, 1), vec![empty_entry(2, 2)], 2);
    assert_eq!(effects.apply, founding(super::cluster::voters(&[0, 1, 2])).entries);
    let effects = solo.raft.step(Input::Persisted(position(2, 2))).unwrap();
    assert_eq!(effects.apply, [empty_entry(2, 2)]);
    assert_eq!(solo.append(2, position(1, 1), vec![empty_entry(2, 2)], 2).apply.len(), 0);
    assert_eq!(solo.raft.step(Input::Persisted(position(2, 2))).unwrap().apply.len(), 0);
}

#[test]
fn one_word_from_the_disk_may_stand_for_many_writes() {
    let mut solo = Solo::new();
    for index in 2..6 {
        solo.append(2, position(if index == 2 { 1 } else { 2 }, index - 1), vec![empty_entry(2, index)], 5);
    }
    let effects = solo.raft.step(Input::Persisted(position(2, 5))).unwrap();
    assert_eq!(effects.apply.len(), 4);
}

#[test]
fn acknowledged_entries_survive_a_crash_of_all() {
    let mut cluster = Cluster::of(3).led_by(0);
    cluster.commit(0, "a");
    cluster.commit(0, "b");
    for ordinal in 0..3 {
        cluster.crash(ordinal);
    }
    cluster.wire.clear();
    for ordinal in 0..3 {
        cluster.restart(ordinal);
    }
    cluster.await_leader(&[]);
    cluster.settle();
    for ordinal in 0..3 {
        assert_eq!(cluster.commands(ordinal), ["a", "b"]);
    }
}
