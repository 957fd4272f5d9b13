//! Many seeds, on as many threads as asked: each run is alone in its own.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crate::{Broken, Coverage, Outcome, Profile, Violation, run};

#[derive(Debug)]
pub struct Failure {
    pub seed: u64,
    pub profile: &'static str,
    pub violation: Violation,
}

#[derive(Debug, Default)]
pub struct Tally {
    pub runs: u64,
    pub coverage: Coverage,
    /// By seed.
    pub failures: Vec<Failure>,
}

/// Which profile a seed runs: they take turns.
pub fn profile_of(seed: u64, profiles: &[Profile]) -> Option<&Profile> {
    let at = seed.checked_rem(profiles.len() as u64)?;
    profiles.get(usize::try_from(at).ok()?)
}

/// Runs `count` seeds from `start` on; ends early when one has failed.
pub fn sweep(profiles: &[Profile], start: u64, count: u64, jobs: usize, broken: Option<Broken>) -> Tally {
    let next = AtomicU64::new(start);
    let failed = AtomicBool::new(false);
    let work = || {
        let mut tally = Tally::default();
        while !failed.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= start + count {
                break;
            }
            let Some(profile) = profile_of(seed, profiles) else { break };
            let outcome = run(profile, seed, broken, false);
            if outcome.violation.is_some() {
                failed.store(true, Ordering::Relaxed);
            }
            tally.add(seed, profile.name, outcome);
        }
        tally
    };
    let mut total = Tally::default();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs.max(1)).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            match worker.join() {
                Ok(tally) => total.join(tally),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    total.failures.sort_by_key(|failure| failure.seed);
    total
}

impl Tally {
    fn add(&mut self, seed: u64, profile: &'static str, outcome: Outcome) {
        self.runs += 1;
        self.coverage.add(&outcome.coverage);
        if let Some(violation) = outcome.violation {
            self.failures.push(Failure { seed, profile, violation });
        }
    }

    /// What should have happened in runs of all profiles, and did not: a simulation of nothing proves nothing.
    pub fn short_of(&self) -> Option<&'static str> {
        let coverage = &self.coverage;
        [
            ("elections", coverage.elections, 2),
            ("crashes", coverage.crashes, 1),
            ("cut connections", coverage.cuts, 1),
            ("snapshots", coverage.snapshots, 4),
            ("configurations", coverage.configurations, 2),
            ("damaged volumes", 100 * coverage.damaged, 2),
            ("failed syncs", 100 * coverage.failed_syncs, 5),
            ("hung disks", 100 * coverage.hangs, 5),
            ("torn writes", 100 * coverage.torn, 5),
            ("full disks", 100 * coverage.full, 5),
            ("acknowledged operations", coverage.acknowledged, 50),
        ]
        .into_iter()
        .find(|(_, happened, per_run)| *happened < self.runs * per_run)
        .map(|(what, _, _)| what)
    }

    fn join(&mut self, other: Self) {
        self.runs += other.runs;
        self.coverage.add(&other.coverage);
        self.failures.extend(other.failures);
    }
}
