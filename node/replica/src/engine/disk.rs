//! Whether this member's disk gets on.
//!
//! A sync that hangs is no error: a volume over a network comes back after seconds, or never. Ending the process
//! would help nobody, for a thread that waits for the disk cannot be ended, and holds the process's connections open
//! with it. So the member stays, leads nothing, takes nothing in that it could not write, and says so.

use std::time::Duration;

/// How long something has waited for a disk that finished nothing meanwhile. Counted in ticks, so that a process that
/// slept does not take that for its disk's doing.
#[derive(Debug, Default)]
pub(super) struct DiskWatch {
    waited: Duration,
}

impl DiskWatch {
    /// A tick has gone by, `waits` if anything waited for the disk.
    pub(super) fn tick(&mut self, tick: Duration, waits: bool) {
        self.waited = if waits { self.waited + tick } else { Duration::ZERO };
    }

    /// Something that waited is on the disk.
    pub(super) fn got_on(&mut self) {
        self.waited = Duration::ZERO;
    }

    /// For how long, if it is long enough to say that the disk hangs.
    pub(super) fn hangs(&self, patience: Duration) -> Option<Duration> {
        (self.waited > patience).then_some(self.waited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_hangs_when_what_waits_for_it_waits_too_long_and_nothing_gets_done_meanwhile() {
        let (tick, patience) = (Duration::from_secs(1), Duration::from_secs(3));
        let mut disk = DiskWatch::default();
        for _ in 0..10 {
            disk.tick(tick, false);
        }
        for _ in 0..3 {
            disk.tick(tick, true);
        }
        assert_eq!(disk.hangs(patience), None);
        disk.got_on();
        for _ in 0..3 {
            disk.tick(tick, true);
        }
        assert_eq!(disk.hangs(patience), None, "it did something meanwhile");
        disk.tick(tick, true);
        assert_eq!(disk.hangs(patience), Some(Duration::from_secs(4)));
        disk.got_on();
        assert_eq!(disk.hangs(patience), None);
    }
}
