use super::cluster::{Cluster, m, voters};
use super::solo::{Solo, empty_entry, outcome, position};
use crate::*;

fn meta(term: u64, index: u64) -> SnapshotMeta {
    SnapshotMeta {
        last: position(term, index),
        time: LogTime(7),
        configuration: voters(&[0, 1, 2]),
        configuration_index: Index(1),
    }
}

fn restore(solo: &mut Solo, term: u64, meta: SnapshotMeta) -> Result<Effects, Refusal> {
    solo.raft.step(Input::Restore { from: m(1), term: Term(term), meta })
}

#[test]
fn a_snapshot_lets_the_log_before_it_go_but_for_what_is_kept() {
    let mut cluster = Cluster::of(3).led_by(0);
    for _ in 0..10 {
        cluster.commit(0, "a");
    }
    cluster.compact(0, 4);
    assert_eq!(cluster.raft(0).snapshot().last, position(2, 12));
    assert_eq!(cluster.raft(0).first_index(), Index(9));
    cluster.commit(0, "b");
    assert_eq!(cluster.commands(2).len(), 11);
    cluster.crash(0);
    cluster.restart(0);
    assert_eq!((cluster.raft(0).committed(), cluster.raft(0).last()), (Index(12), position(2, 13)));
}

#[test]
fn a_snapshot_of_what_is_not_applied_is_refused() {
    let mut solo = Solo::new();
    solo.append(2, position(1, 1), vec![empty_entry(2, 2)], 2);
    let refused = solo.raft.step(Input::Compact { meta: meta(2, 2), keep: 0 });
    assert!(matches!(refused, Err(Refusal::Stale { .. })));
    solo.raft.step(Input::Persisted(position(2, 2))).unwrap();
    solo.raft.step(Input::Compact { meta: meta(2, 2), keep: 0 }).unwrap();
    assert_eq!((solo.raft.first_index(), solo.raft.last_time()), (Index(3), LogTime(7)));
}

#[test]
fn a_follower_that_the_log_no_longer_reaches_gets_a_snapshot_once() {
    let mut cluster = Cluster::of(3).led_by(0);
    cluster.isolate(2);
    for _ in 0..10 {
        cluster.commit(0, "a");
    }
    cluster.compact(0, 0);
    cluster.commit(0, "b");
    cluster.heal();
    cluster.settle();
    cluster.settle();
    assert_eq!(cluster.node(0).snapshots, [m(2)]);
    assert!(cluster.raft(0).progress()[&m(2)].in_snapshot);
    // Nothing but heartbeats meanwhile; it does not stand for election.
    cluster.propose(0, "c").unwrap();
    assert!(cluster.wire.iter().all(|letter| letter.to != m(2)));
    cluster.tick(100);
    assert_eq!((cluster.leaders(), cluster.role(2)), (vec![0], Role::Follower));
    cluster.carry_snapshot(0, 2).unwrap();
    cluster.deliver();
    cluster.settle();
    assert!(!cluster.raft(0).progress()[&m(2)].in_snapshot);
    assert_eq!(cluster.commands(2), cluster.commands(0));
    assert_eq!(cluster.commands(2).len(), 12);
}

#[test]
fn a_snapshot_that_failed_is_asked_for_again() {
    let mut cluster = Cluster::of(3).led_by(0);
    cluster.isolate(2);
    cluster.commit(0, "a");
    cluster.compact(0, 0);
    cluster.commit(0, "b");
    cluster.heal();
    cluster.settle();
    cluster.settle();
    assert_eq!(cluster.node(0).snapshots, [m(2)]);
    cluster.input(0, Input::SnapshotSent { to: m(2), index: None }).unwrap();
    assert_eq!(cluster.node(0).snapshots, [m(2)]);
    cluster.settle();
    assert_eq!(cluster.node(0).snapshots, [m(2), m(2)]);
}

#[test]
fn a_member_that_is_down_is_sent_no_snapshot() {
    let mut cluster = Cluster::of(3).led_by(0);
    cluster.crash(2);
    cluster.tick(30);
    // More than is kept in flight, so that its place falls behind the log.
    for _ in 0..6 {
        cluster.commit(0, "a");
    }
    cluster.compact(0, 0);
    cluster.commit(0, "b");
    cluster.tick(30);
    assert!(cluster.node(0).snapshots.is_empty());
}

#[test]
fn a_restore_replaces_a_log_that_differs() {
    let mut solo = Solo::with_log(&[2, 2, 2]);
    let effects = restore(&mut solo, 5, meta(4, 3)).unwrap();
    assert_eq!((solo.raft.last(), solo.raft.committed()), (position(4, 3), Index(3)));
    assert_eq!((solo.raft.first_index(), effects.apply.len()), (Index(4), 0));
    assert_eq!(outcome(&effects), Some(AppendOutcome::Matched(Index(3))));
    assert_eq!(effects.hard_state, Some(HardState { term: Term(5), vote: None }));
    let effects = solo.append(5, position(4, 3), vec![empty_entry(5, 4)], 4);
    assert_eq!(outcome(&effects), Some(AppendOutcome::Matched(Index(4))));
}

#[test]
fn a_restore_keeps_what_was_promised_after_it() {
    let mut solo = Solo::with_log(&[2, 2, 2]);
    restore(&mut solo, 2, meta(2, 3)).unwrap();
    assert_eq!((solo.raft.last(), solo.raft.committed()), (position(2, 4), Index(3)));
    let effects = solo.append(2, position(2, 4), Vec::new(), 4);
    assert_eq!(effects.apply, [empty_entry(2, 4)]);
}

#[test]
fn a_restore_of_what_is_committed_is_refused() {
    let mut solo = Solo::with_log(&[2, 2, 2]);
    solo.append(2, position(2, 3), Vec::new(), 3);
    let refused = restore(&mut solo, 2, meta(9, 3)).unwrap_err();
    assert_eq!(refused, Refusal::Stale { snapshot: Index(3), committed: Index(3) });
    assert_eq!(solo.raft.last(), position(2, 4));
}

#[test]
fn a_write_of_a_log_that_a_restore_replaced_counts_for_nothing() {
    let mut solo = Solo::new();
    let entries = (2..10).map(|index| empty_entry(2, index)).collect();
    solo.append(2, position(1, 1), entries, 0);
    restore(&mut solo, 3, meta(3, 4)).unwrap();
    solo.append(3, position(3, 4), (5..10).map(|index| empty_entry(3, index)).collect(), 9);
    assert_eq!(solo.raft.step(Input::Persisted(position(2, 9))).unwrap().apply.len(), 0);
    assert_eq!(solo.raft.step(Input::Persisted(position(3, 9))).unwrap().apply.len(), 5);
}

#[test]
fn a_snapshot_carries_the_configuration_it_stands_under() {
    let mut cluster = Cluster::of(3).led_by(0).and_empty(&[3]);
    cluster.commit(0, "a");
    let before = cluster.raft(0).committed();
    cluster.change(0, super::cluster::learners(&[0, 1, 2], &[3])).unwrap();
    assert_eq!(cluster.raft(0).meta_at(before).unwrap().configuration, voters(&[0, 1, 2]));
    cluster.deliver();
    cluster.settle();
    let now = cluster.raft(0).meta_at(cluster.raft(0).committed()).unwrap();
    assert_eq!(now.configuration, super::cluster::learners(&[0, 1, 2], &[3]));
    assert_eq!(now.configuration_index, before.next());
}
