//! That the simulator is worth its time: runs repeat, much happens in them, and each invariant bites.

use quartet_sim::{BROKEN_RULES, Invariant, PROFILES, Profile, batch, run};

fn only(names: &[&str]) -> Vec<Profile> {
    let profiles: Vec<Profile> =
        PROFILES.iter().filter(|profile| names.contains(&profile.name)).copied().collect();
    assert_eq!(profiles.len(), names.len(), "all of {names:?} are profiles");
    profiles
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for profile in PROFILES {
        let [first, second] = [(); 2].map(|()| run(profile, 7, None, false));
        assert_eq!((first.digest, first.coverage), (second.digest, second.coverage), "{}", profile.name);
        assert_ne!(first.digest, run(profile, 8, None, false).digest, "{}", profile.name);
    }
}

#[test]
fn nothing_is_violated_and_much_happens() {
    let tally = batch::sweep(PROFILES, 0, 4 * PROFILES.len() as u64, 2, None);
    let failures: Vec<String> = tally
        .failures
        .iter()
        .map(|failure| format!("{} {}: {}", failure.profile, failure.seed, failure.violation))
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert_eq!(tally.short_of(), None);
}

/// Within so many seeds a broken rule has to be noticed.
const SEEDS: u64 = 3000;

fn bites(rule: &str, profiles: &[&str], invariants: &[Invariant]) {
    let broken = BROKEN_RULES.iter().find(|(name, _)| *name == rule).map(|(_, rule)| *rule);
    assert!(broken.is_some(), "{rule} is a rule");
    // One thread, so that it is always the same seed that notices.
    let tally = batch::sweep(&only(profiles), 0, SEEDS, 1, broken);
    assert!(!tally.failures.is_empty(), "nobody notices {rule} in {SEEDS} seeds");
    for failure in &tally.failures {
        let noticed = failure.violation.invariant;
        assert!(invariants.contains(&noticed), "{rule} was noticed as {}", failure.violation);
    }
}

#[test]
fn a_vote_for_a_stale_log_is_noticed() {
    bites("vote-for-stale-log", &["core-crashes", "core-partitions"], &[Invariant::LeaderCompleteness]);
}

#[test]
fn two_votes_in_a_term_are_noticed() {
    bites("vote-twice", &["core-crashes", "core-partitions"], &[Invariant::ElectionSafety]);
}

#[test]
fn a_commit_without_a_quorum_is_noticed() {
    bites(
        "commit-without-quorum",
        &["core-crashes", "core-partitions"],
        &[Invariant::LeaderCompleteness, Invariant::StateMachineSafety],
    );
}

#[test]
fn a_commit_of_an_earlier_term_is_noticed() {
    bites("commit-earlier-term", &["core-churn"], &[Invariant::LeaderCompleteness]);
}

#[test]
fn an_append_without_its_check_is_noticed() {
    bites("skip-consistency-check", &["core-churn"], &[Invariant::LogMatching, Invariant::Durability]);
}

#[test]
fn a_read_without_its_round_is_noticed() {
    bites("read-without-round", &["membership"], &[Invariant::Linearizability]);
}

#[test]
fn a_promise_before_its_sync_is_noticed() {
    bites("promise-before-sync", &["core-crashes"], &[Invariant::Durability]);
}

#[test]
fn a_skipped_joint_configuration_is_noticed() {
    bites(
        "skip-joint",
        &["core-membership"],
        &[
            Invariant::ElectionSafety,
            Invariant::LeaderCompleteness,
            Invariant::StateMachineSafety,
            // Two leaders of a term: what is promised to one is not what the other's log holds.
            Invariant::Durability,
        ],
    );
}

#[test]
fn a_leader_that_leaps_in_time_after_a_sleep_is_noticed() {
    bites("leap-in-time", &["partitions"], &[Invariant::LogTime]);
}

#[test]
fn a_leader_that_stamps_by_its_own_clock_is_noticed() {
    bites("stamp-by-own-clock", &["crashes"], &[Invariant::LogTime]);
}

#[test]
fn a_command_applied_again_is_noticed() {
    bites("apply-again", &["crashes"], &[Invariant::Linearizability]);
}

#[test]
fn a_promise_that_the_engine_does_not_hold_back_is_noticed() {
    bites("engine-promise-before-sync", &["crashes"], &[Invariant::Durability]);
}

#[test]
fn an_answer_from_a_state_that_is_too_old_is_noticed() {
    bites("answer-before-applied", &["crashes"], &[Invariant::Linearizability]);
}

#[test]
fn lives_of_a_member_that_number_their_requests_alike_are_noticed() {
    bites("number-lives-alike", &["crashes"], &[Invariant::Linearizability]);
}

#[test]
fn a_leader_that_goes_on_while_its_disk_hangs_is_noticed() {
    bites("lead-on-hung-disk", &["disks"], &[Invariant::HungDisk]);
}

/// What `cargo e2e test` runs.
#[test]
fn three_hundred_seeds_run_every_profile() {
    for profile in PROFILES {
        let runs = (0..300).filter_map(|seed| batch::profile_of(seed, PROFILES));
        let count = runs.filter(|run| run.name == profile.name).count();
        assert!(count >= 10, "{} is run {count} times", profile.name);
    }
}
