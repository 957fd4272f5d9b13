//! Replicated time, as the leader makes it.

use std::time::Duration;

use quartet_raft::LogTime;

/// Goes on from the last stamp in the leader's log by the leader's monotonic clock. It therefore never runs ahead
/// of real time since any stamp was made, and a lease lasts at least as long as it was granted for. A step is
/// capped, so that a leader that slept gives its clients' renewals a chance before it finds anything expired.
#[derive(Debug)]
pub(super) struct LogClock {
    time: LogTime,
    seen: Duration,
    step_max: Duration,
}

impl LogClock {
    pub(super) fn starting_at(last: LogTime, now: Duration, step_max: Duration) -> Self {
        Self { time: last, seen: now, step_max }
    }

    pub(super) fn read(&mut self, now: Duration) -> LogTime {
        let step = now.saturating_sub(self.seen).min(self.step_max);
        let whole_ms = u64::try_from(step.as_millis()).unwrap_or(u64::MAX);
        self.time.0 = self.time.0.saturating_add(whole_ms);
        // What is less than a millisecond is kept for the next reading, unless the step was cut short.
        self.seen = if now.saturating_sub(self.seen) > self.step_max {
            now
        } else {
            self.seen + Duration::from_millis(whole_ms)
        };
        self.time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(value: u64) -> Duration {
        Duration::from_millis(value)
    }

    #[test]
    fn goes_on_from_the_last_stamp_at_the_pace_of_the_clock() {
        let mut clock = LogClock::starting_at(LogTime(500), ms(10_000), ms(1000));
        assert_eq!(clock.read(ms(10_000)), LogTime(500));
        assert_eq!(clock.read(ms(10_250)), LogTime(750));
        assert_eq!(clock.read(ms(10_250)), LogTime(750));
    }

    #[test]
    fn loses_no_part_of_a_millisecond() {
        let mut clock = LogClock::starting_at(LogTime(0), Duration::ZERO, ms(1000));
        for step in 1..=10 {
            clock.read(Duration::from_micros(step * 300));
        }
        assert_eq!(clock.read(ms(3)), LogTime(3));
    }

    #[test]
    fn a_leader_that_slept_does_not_leap() {
        let mut clock = LogClock::starting_at(LogTime(0), Duration::ZERO, ms(1000));
        assert_eq!(clock.read(ms(60_000)), LogTime(1000));
        assert_eq!(clock.read(ms(60_050)), LogTime(1050));
    }

    #[test]
    fn a_clock_that_goes_back_stands_still() {
        let mut clock = LogClock::starting_at(LogTime(7), ms(100), ms(1000));
        assert_eq!(clock.read(ms(50)), LogTime(7));
        assert_eq!(clock.read(ms(101)), LogTime(8));
    }
}
