//! Evictions of the dead that are in force, and for how long.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// The group has done without an evicted member long before; or it is another one at the same address.
const COUNTED_MAX: Duration = Duration::from_secs(5);
/// By then the server's status shows that it was told.
const SHOWN_WITHIN: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
pub(super) struct Evictions {
    /// Where those were who are being evicted.
    addresses: BTreeSet<IpAddr>,
    told: Option<Instant>,
    /// The server's status has shown it since.
    shown: bool,
    /// Since when the group does without all of them.
    done: Option<Instant>,
}

impl Evictions {
    /// Somebody at this address is about to be evicted.
    pub(super) fn tell(&mut self, now: Instant, address: Option<IpAddr>) {
        self.addresses.extend(address);
        (self.told, self.shown, self.done) = (Some(now), false, None);
    }

    /// `in_force`: as the server's status says. `counted`: whether the group counts somebody at that address.
    pub(super) fn look(&mut self, now: Instant, in_force: bool, counted: impl Fn(&IpAddr) -> bool) {
        let told_within = |limit| self.told.is_some_and(|told| now - told < limit);
        if in_force {
            self.shown = true;
            // Taken back while somebody counts, it would not have been done at all.
            if !(self.addresses.iter().any(counted) && told_within(COUNTED_MAX)) {
                self.done.get_or_insert(now);
            }
        } else {
            self.done = None;
            if self.shown || !told_within(SHOWN_WITHIN) {
                self.addresses.clear();
            }
        }
    }

    /// They have done their work, so long ago, and are still in force.
    pub(super) fn done_for(&self, now: Instant) -> Option<Duration> {
        self.done.map(|since| now - since)
    }

    /// They are about to be taken back: not told again at once.
    pub(super) fn taken_back(&mut self, now: Instant) {
        self.done = Some(now);
    }

    /// Where those were who are being evicted: whoever comes back before that is over is waited for like the dead.
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.addresses.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const DEAD: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 7));

    fn is_dead(address: &IpAddr) -> bool {
        *address == DEAD
    }

    fn told(now: Instant) -> Evictions {
        let mut evictions = Evictions::default();
        evictions.tell(now, Some(DEAD));
        evictions
    }

    #[test]
    fn it_stays_until_the_group_does_without_the_dead_also_where_the_status_is_late_to_show_it() {
        let start = Instant::now();
        let mut evictions = told(start);
        let later = |ms| start + Duration::from_millis(ms);
        evictions.look(later(100), false, is_dead);
        evictions.look(later(200), true, is_dead);
        evictions.look(later(3000), true, is_dead);
        assert_eq!(evictions.done_for(later(3000)), None, "it has not been done yet");
        evictions.look(later(3100), true, |_| false);
        // It is back, before the eviction was.
        evictions.look(later(3300), true, is_dead);
        assert_eq!(evictions.done_for(later(3600)), Some(Duration::from_millis(500)));
        assert_eq!(evictions.addresses().collect::<Vec<_>>(), [DEAD]);
        evictions.look(later(3700), false, is_dead);
        assert_eq!((evictions.done_for(later(3700)), evictions.addresses().next()), (None, None));
    }

    #[test]
    fn another_one_begins_it_anew() {
        let start = Instant::now();
        let mut evictions = told(start);
        evictions.look(start, true, |_| false);
        evictions.tell(start, None);
        assert_eq!(evictions.done_for(start), None);
    }

    #[test]
    fn it_does_not_stay_for_ever_nor_where_it_was_never_done() {
        let start = Instant::now();
        let mut evictions = told(start);
        evictions.look(start + COUNTED_MAX, true, is_dead);
        assert!(evictions.done_for(start + COUNTED_MAX).is_some());
        let mut evictions = told(start);
        evictions.look(start + SHOWN_WITHIN, false, is_dead);
        assert_eq!(evictions.addresses().next(), None);
    }
}
