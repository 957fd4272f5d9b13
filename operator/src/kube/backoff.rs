//! When to try again: per object, by the class of the failure.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::failure::Class;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_mins(5);
/// A human is needed: look again now and then, the watch will mostly be earlier.
const BLOCKED: Duration = Duration::from_mins(1);

/// Failures in a row, per object; an object without is not in the map.
#[derive(Debug, Default)]
pub struct Backoff {
    attempts: Mutex<HashMap<String, u32>>,
}

impl Backoff {
    /// The wait before the next attempt. `random` is in 0..1.
    pub fn failed(&self, object: &str, class: Class, random: f64) -> Duration {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        let attempt = attempts.entry(object.to_owned()).or_default();
        let wait = wait(class, *attempt, random);
        *attempt = attempt.saturating_add(1);
        wait
    }

    pub fn succeeded(&self, object: &str) {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner).remove(object);
    }
}

fn wait(class: Class, attempt: u32, random: f64) -> Duration {
    let exponential = FIRST.saturating_mul(2_u32.saturating_pow(attempt.min(16))).min(LONGEST);
    let wait = match class {
        // Somebody was faster: read again at once, but don't wrestle.
        Class::Conflict => exponential.min(FIRST * 4),
        Class::Transient | Class::Invalid => exponential,
        Class::Blocked => exponential.max(BLOCKED),
    };
    // Up to a fifth less, so that what failed together doesn't come back together.
    wait.mul_f64(1.0 - 0.2 * random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_from_one_second_to_five_minutes() {
        let waits: Vec<u64> = (0..11).map(|attempt| wait(Class::Transient, attempt, 0.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(wait(Class::Transient, u32::MAX, 0.0), LONGEST);
    }

    #[test]
    fn jitter_only_shortens_and_by_a_fifth_at_most() {
        assert_eq!(wait(Class::Transient, 3, 1.0), Duration::from_millis(6400));
        assert!(wait(Class::Transient, 3, 0.5) < Duration::from_secs(8));
    }

    #[test]
    fn a_conflict_is_retried_soon_and_what_needs_a_human_slowly() {
        assert_eq!(wait(Class::Conflict, 9, 0.0), Duration::from_secs(4));
        assert_eq!(wait(Class::Blocked, 0, 0.0), BLOCKED);
    }

    #[test]
    fn objects_wait_apart_and_success_forgets() {
        let backoff = Backoff::default();
        assert_eq!(backoff.failed("a", Class::Transient, 0.0).as_secs(), 1);
        assert_eq!(backoff.failed("a", Class::Transient, 0.0).as_secs(), 2);
        assert_eq!(backoff.failed("b", Class::Transient, 0.0).as_secs(), 1);
        backoff.succeeded("a");
        assert_eq!(backoff.failed("a", Class::Transient, 0.0).as_secs(), 1);
        backoff.succeeded("a");
        backoff.succeeded("b");
        assert!(backoff.attempts.lock().unwrap().is_empty());
    }
}
