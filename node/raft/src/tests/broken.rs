//! Each rule of Raft, left out, is noticed: what the checks would let through, they would not check.

use std::panic::catch_unwind;

use super::random::run;
use super::replication::figure_8;
use crate::*;

fn without(rule: BrokenRule) -> Settings {
    Settings { broken: Some(rule), ..Settings::default() }
}

/// The seeds that a rule's absence may take to show.
fn is_noticed(rule: BrokenRule, seeds: u64) {
    let noticed = (0..seeds).find(|seed| catch_unwind(|| run(*seed, 4000, &without(rule))).is_err());
    println!("{rule:?}: noticed with seed {noticed:?}");
    assert!(noticed.is_some(), "{rule:?}");
}

#[test]
fn votes_for_stale_logs_are() {
    is_noticed(BrokenRule::VoteForStaleLog, 100);
}

#[test]
fn second_votes_are() {
    is_noticed(BrokenRule::VoteTwice, 300);
}

#[test]
fn commits_without_a_quorum_are() {
    is_noticed(BrokenRule::CommitWithoutQuorum, 100);
}

/// Too rare for chance: the paper's own example.
#[test]
fn commits_of_earlier_terms_are() {
    assert!(catch_unwind(|| figure_8(without(BrokenRule::CommitEarlierTerm))).is_err());
}

#[test]
fn appends_without_the_consistency_check_are() {
    is_noticed(BrokenRule::SkipConsistencyCheck, 100);
}

#[test]
fn reads_without_a_round_are() {
    is_noticed(BrokenRule::ReadWithoutRound, 2000);
}

#[test]
fn promises_before_they_are_on_disk_are() {
    is_noticed(BrokenRule::PromiseBeforeSync, 300);
}

#[test]
fn changes_without_a_joint_configuration_are() {
    is_noticed(BrokenRule::SkipJoint, 300);
}
