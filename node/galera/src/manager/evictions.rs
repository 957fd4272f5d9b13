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
    /// Since when the group has done without all of them, and they are still evicted.
    done: Option<Instant>,
    /// Where those were who are being evicted.
    addresses: BTreeSet<IpAddr>,
    told: Option<Instant>,
}

impl Evictions {
    /// Somebody at this address is about to be evicted.
    pub(super) fn tell(&mut self, now: Instant, address: Option<IpAddr>) {
        self.addresses.extend(address);
        self.told = Some(now);
    }

    /// `in_force`: as the server's status says. `counted`: whether the group counts somebody at that address.
    pub(super) fn look(&mut self, now: Instant, in_force: bool, counted: impl Fn(&IpAddr) -> bool) {
        let told_within = |limit| self.told.is_some_and(|told| now - told < limit);
        if !in_force {
            self.done = None;
            if !told_within(SHOWN_WITHIN) {
                self.addresses.clear();
            }
        } else if self.addresses.iter().any(counted) && told_within(COUNTED_MAX) {
            // Taken back now, it would not have been done at all.
            self.done = Some(now);
        } else {
            self.done.get_or_insert(now);
        }
    }

    /// They have done their work, so long ago.
    pub(super) fn for_at_least(&self, now: Instant) -> Option<Duration> {
        self.done.map(|since| now - since)
    }

    /// They are about to be taken back: not told again at once.
    pub(super) fn taken_back(&mut self, now: Instant) {
        self.done = Some(now);
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

    #[test]
    fn it_stays_until_the_group_does_without_the_dead_also_where_the_status_is_late_to_show_it() {
        let told = Instant::now();
        let mut evictions = Evictions::default();
        evictions.tell(told, Some(DEAD));
        let later = |ms| told + Duration::from_millis(ms);
        evictions.look(later(100), false, is_dead);
        evictions.look(later(200), true, is_dead);
        evictions.look(later(3000), true, is_dead);
        assert_eq!(evictions.for_at_least(later(3000)), Some(Duration::ZERO), "it has not been done yet");
        evictions.look(later(3100), true, |_| false);
        assert_eq!(evictions.for_at_least(later(3600)), Some(Duration::from_millis(600)));
    }

    #[test]
    fn it_does_not_stay_for_ever() {
        let told = Instant::now();
        let mut evictions = Evictions::default();
        evictions.tell(told, Some(DEAD));
        let end = told + COUNTED_MAX;
        evictions.look(end, true, is_dead);
        assert_eq!(evictions.for_at_least(end + SHOWN_WITHIN), Some(SHOWN_WITHIN));
        evictions.look(end + SHOWN_WITHIN, false, is_dead);
        assert_eq!(evictions.for_at_least(end + SHOWN_WITHIN), None);
        assert!(evictions.addresses.is_empty());
    }
}
