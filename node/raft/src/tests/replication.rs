use super::cluster::{Cluster, m, proposal};
use super::solo::{Solo, empty_entry, outcome, position};
use crate::*;

#[test]
fn what_is_proposed_is_applied_by_all_in_order() {
    let mut cluster = Cluster::of(5).led_by(0);
    for data in ["a", "b", "c"] {
        cluster.propose(0, data).unwrap();
    }
    cluster.deliver();
    cluster.settle();
    for ordinal in 0..5 {
        assert_eq!(cluster.commands(ordinal), ["a", "b", "c"]);
    }
}

#[test]
fn only_a_leader_takes_proposals_and_others_say_who_is() {
    let mut cluster = Cluster::of(3).led_by(0);
    assert_eq!(cluster.propose(1, "a"), Err(Refusal::NotLeader { leader: Some(m(0)) }));
}

#[test]
fn a_minority_commits_nothing() {
    let mut cluster = Cluster::of(5).led_by(0);
    let before = cluster.raft(0).committed();
    for gone in [2, 3, 4] {
        cluster.isolate(gone);
    }
    cluster.propose(0, "a").unwrap();
    cluster.deliver();
    cluster.tick(4);
    assert_eq!(cluster.raft(1).last(), cluster.raft(0).last());
    assert_eq!(cluster.raft(0).committed(), before);
}

#[test]
fn log_time_never_goes_back() {
    let mut cluster = Cluster::of(3).led_by(0);
    let at = |time| Proposal { time: LogTime(time), ..proposal("x") };
    cluster.input(0, Input::Propose(vec![at(50), at(20), at(60)])).unwrap();
    cluster.deliver();
    cluster.settle();
    let times: Vec<u64> = cluster.node(1).applied.iter().map(|entry| entry.time.0).collect();
    assert_eq!(times, [0, 0, 50, 50, 60]);
    cluster.crash(0);
    let leader = cluster.await_leader(&[1, 2]);
    assert_eq!(cluster.raft(leader).last_time(), LogTime(60));
}

#[test]
fn an_append_is_refused_where_the_logs_differ_before_it() {
    let mut solo = Solo::with_log(&[2, 2]);
    let effects = solo.append(4, position(3, 3), vec![empty_entry(4, 4)], 4);
    assert_eq!(outcome(&effects), Some(AppendOutcome::Rejected { previous: Index(3), hint: position(2, 3) }));
    assert_eq!((effects.append.len(), solo.raft.committed()), (0, Index(0)));
    let effects = solo.append(4, position(3, 9), vec![empty_entry(4, 10)], 4);
    assert_eq!(outcome(&effects), Some(AppendOutcome::Rejected { previous: Index(9), hint: position(2, 3) }));
}

#[test]
fn a_refusal_skips_whole_terms() {
    let mut solo = Solo::with_log(&[2, 5, 5, 5, 5]);
    let effects = solo.append(6, position(3, 6), Vec::new(), 0);
    assert_eq!(outcome(&effects), Some(AppendOutcome::Rejected { previous: Index(6), hint: position(2, 2) }));
}

#[test]
fn a_commit_beyond_what_an_append_covers_is_not_taken() {
    let mut solo = Solo::with_log(&[2, 2]);
    solo.append(3, position(2, 2), Vec::new(), 3);
    assert_eq!(solo.raft.committed(), Index(2));
}

#[test]
fn an_append_that_was_overtaken_cuts_nothing_off() {
    let mut solo = Solo::new();
    let both = vec![empty_entry(2, 2), empty_entry(2, 3)];
    solo.append(2, position(1, 1), both, 0);
    let late = solo.append(2, position(1, 1), vec![empty_entry(2, 2)], 0);
    assert_eq!((late.append.len(), solo.raft.last()), (0, position(2, 3)));
    assert_eq!(outcome(&late), Some(AppendOutcome::Matched(Index(2))));
}

#[test]
fn an_append_with_a_gap_inside_is_dropped() {
    let mut solo = Solo::new();
    let effects = solo.append(2, position(1, 1), vec![empty_entry(2, 2), empty_entry(2, 4)], 4);
    assert_eq!((effects.append.len(), solo.raft.last()), (0, position(1, 1)));
}

#[test]
fn a_leader_of_an_earlier_term_is_told_so() {
    let mut solo = Solo::new();
    solo.heartbeat(5);
    let effects = solo.append(3, position(1, 1), vec![empty_entry(3, 2)], 2);
    assert_eq!((effects.append.len(), solo.raft.committed()), (0, Index(0)));
    assert_eq!(effects.send[0].1.term, Term(5));
}

/// Figure 7 of the Raft paper: what is missing comes, what is extra goes, whatever the terms.
#[test]
fn logs_that_have_diverged_are_repaired() {
    for terms in
        [&[2, 2, 5][..], &[2, 2, 5, 5, 6, 7, 7, 7, 7], &[2, 2, 2, 2, 2, 2, 2, 2, 2, 2], &[3, 3, 3, 3], &[]]
    {
        let mut cluster = Cluster::of(3);
        for (ordinal, log) in [(0, &[2, 2, 5, 5, 6, 6, 8][..]), (1, &[2, 2, 5, 5, 6, 6, 8]), (2, terms)] {
            cluster.crash(ordinal);
            let disk = &mut cluster.node(ordinal).disk;
            disk.entries.extend((2..).zip(log).map(|(index, term)| empty_entry(*term, index)));
            disk.hard_state.term = Term(8);
            cluster.restart(ordinal);
        }
        let mut cluster = cluster.led_by(0);
        cluster.commit(0, "a");
        assert_eq!(cluster.disk(2).entries, cluster.disk(0).entries, "{terms:?}");
        assert_eq!(cluster.commands(2), ["a"]);
    }
}

#[test]
fn repair_takes_a_round_trip_per_term_not_per_entry() {
    let mut cluster = Cluster::of(3);
    for (ordinal, term, length) in [(0, 3, 400), (1, 3, 400), (2, 2, 300)] {
        cluster.crash(ordinal);
        let disk = &mut cluster.node(ordinal).disk;
        disk.entries.extend((2..length).map(|index| empty_entry(term, index)));
        disk.hard_state.term = Term(3);
        cluster.restart(ordinal);
    }
    cluster.cut(0, 2);
    cluster.elect(0);
    cluster.heal();
    cluster.wire.clear();
    let mut refusals = 0;
    while cluster.raft(2).last() != cluster.raft(0).last() {
        if cluster.wire.is_empty() {
            cluster.input(0, Input::Tick).unwrap();
        }
        let rejected = |letter: &super::cluster::Letter| {
            matches!(letter.message.body, Body::AppendReply { outcome: AppendOutcome::Rejected { .. }, .. })
        };
        refusals += usize::from(cluster.wire.front().is_some_and(rejected));
        cluster.deliver_at(0);
    }
    assert!((1..=3).contains(&refusals), "{refusals}");
}

#[test]
fn appends_in_flight_are_bounded_in_number_and_bytes() {
    let settings = Settings { append_bytes_max: 1000, appends_in_flight_max: 3, ..Settings::default() };
    let configuration = super::cluster::voters(&[0, 1, 2]);
    let mut cluster = Cluster::founded_by(&configuration, settings).led_by(0);
    let large = "x".repeat(200);
    cluster.input(0, Input::Propose((0..100).map(|_| proposal(&large)).collect())).unwrap();
    let sizes: Vec<usize> = cluster
        .wire
        .iter()
        .filter(|letter| letter.to == m(1))
        .map(|letter| match &letter.message.body {
            Body::Append { entries, .. } => entries.len(),
            _ => 0,
        })
        .collect();
    assert_eq!(sizes, [4, 4, 4]);
    cluster.deliver();
    cluster.settle();
    assert_eq!(cluster.commands(1).len(), 100);
}

#[test]
fn an_entry_larger_than_an_append_may_be_travels_alone() {
    let settings = Settings { append_bytes_max: 10, ..Settings::default() };
    let mut cluster = Cluster::founded_by(&super::cluster::voters(&[0, 1, 2]), settings).led_by(0);
    cluster.commit(0, &"x".repeat(1000));
    assert_eq!(cluster.commands(2).len(), 1);
}

#[test]
fn what_waits_for_a_quorum_is_bounded_and_frees_its_place() {
    let settings = Settings { uncommitted_bytes_max: 100, ..Settings::default() };
    let mut cluster = Cluster::founded_by(&super::cluster::voters(&[0, 1, 2]), settings).led_by(0);
    cluster.propose(0, &"x".repeat(100)).unwrap();
    assert_eq!(cluster.propose(0, "y"), Err(Refusal::Full));
    cluster.deliver();
    cluster.propose(0, "y").unwrap();
}

#[test]
fn lost_appends_are_sent_again() {
    let mut cluster = Cluster::of(3).led_by(0);
    for data in ["a", "b", "c", "d", "e", "f", "g"] {
        cluster.propose(0, data).unwrap();
        cluster.wire.clear();
    }
    cluster.settle();
    cluster.settle();
    assert_eq!(cluster.commands(2).len(), 7);
}

#[test]
fn lost_answers_are_made_up_for() {
    let mut cluster = Cluster::of(3).led_by(0);
    for data in ["a", "b", "c", "d", "e", "f", "g"] {
        cluster.propose(0, data).unwrap();
        while cluster.wire.iter().any(|letter| letter.from == m(0)) {
            cluster.deliver_at(0);
        }
        cluster.wire.clear();
    }
    cluster.settle();
    cluster.settle();
    assert_eq!(cluster.commands(2).len(), 7);
}

#[test]
fn letters_may_come_twice_and_in_any_order() {
    let mut cluster = Cluster::of(3).led_by(0);
    for data in ["a", "b", "c", "d"] {
        cluster.propose(0, data).unwrap();
    }
    for turn in 0..500 {
        let Some(letter) = cluster.wire.back().cloned() else { break };
        if turn < 30 {
            cluster.wire.push_front(letter);
        }
        let back = cluster.wire.len() - 1;
        cluster.deliver_at(back);
    }
    cluster.deliver();
    cluster.settle();
    for ordinal in 0..3 {
        assert_eq!(cluster.commands(ordinal), ["a", "b", "c", "d"]);
    }
}

#[test]
fn a_heartbeat_to_a_slow_follower_carries_no_commit_beyond_its_match() {
    let mut cluster = Cluster::of(3).led_by(0);
    cluster.cut(0, 2);
    for data in ["a", "b", "c"] {
        cluster.propose(0, data).unwrap();
        cluster.deliver();
    }
    let matched = cluster.raft(0).progress()[&m(2)].matched;
    assert!(matched < cluster.raft(0).committed());
    while cluster.wire.is_empty() {
        cluster.input(0, Input::Tick).unwrap();
    }
    let to_slow = cluster.wire.iter().find(|letter| letter.to == m(2)).unwrap();
    assert!(matches!(to_slow.message.body, Body::Append { commit, .. } if commit == matched));
}

/// Figure 8 of the Raft paper: an entry of an earlier term on a majority is not yet safe, and is gone when a log
/// with a later term comes back; with an entry of the own term on top it is.
#[test]
fn entries_of_earlier_terms_are_not_committed_by_counting_copies() {
    figure_8(Settings::default());
}

pub(super) fn figure_8(settings: Settings) {
    let mut cluster = Cluster::founded_by(&super::cluster::voters(&[0, 1, 2, 3, 4]), settings);
    let logs: [&[u64]; 5] = [&[2], &[2], &[], &[], &[3]];
    for (ordinal, log) in (0..).zip(logs) {
        cluster.crash(ordinal);
        let disk = &mut cluster.node(ordinal).disk;
        disk.entries.extend((2..).zip(log).map(|(index, term)| empty_entry(*term, index)));
        disk.hard_state.term = Term(3);
        cluster.restart(ordinal);
    }
    // 0 leads term 4 without 4, and brings its entry of term 2 to 2; its own entry of term 4 reaches nobody.
    cluster.isolate(4);
    while cluster.role(0) != Role::Leader {
        cluster.input(0, Input::Tick).unwrap();
        while let Some(place) = cluster.wire.iter().position(
            |letter| !matches!(&letter.message.body, Body::Append { entries, .. } if !entries.is_empty()),
        ) {
            cluster.deliver_at(place);
        }
    }
    assert_eq!(cluster.raft(0).last(), position(4, 3));
    let shorten = |letter: &mut super::cluster::Letter| {
        if let Body::Append { entries, .. } = &mut letter.message.body {
            entries.retain(|entry| entry.term < Term(4));
        }
    };
    for _ in 0..40 {
        cluster.wire.iter_mut().for_each(shorten);
        cluster.deliver_at(0);
    }
    let copies = (0..5).filter(|o| cluster.disk(*o).entries.contains(&empty_entry(2, 2))).count();
    assert!(copies >= 3, "{copies}");
    assert_eq!(cluster.raft(0).committed(), Index(0));
    // 4 comes back, wins with the others, and overwrites it: nobody may have applied it.
    cluster.wire.clear();
    cluster.crash(0);
    cluster.heal();
    for ordinal in [1, 2, 3] {
        for _ in 0..20 {
            cluster.input(ordinal, Input::Tick).unwrap();
        }
    }
    cluster.wire.clear();
    cluster.elect(4);
    cluster.commit(4, "x");
    assert!(cluster.disk(1).entries.contains(&empty_entry(3, 2)));
    assert!(!cluster.disk(1).entries.contains(&empty_entry(2, 2)));
}
