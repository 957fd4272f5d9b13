//! Clients are moved off a member before it goes: proxies send no new ones, and those that do nothing are sent away.

use std::time::{Duration, Instant};

use super::{Event, Manager};
use crate::decide::Link;
use crate::decide::Phase;

/// A drain lapses unless the operator repeats it.
const LAPSES_AFTER: Duration = Duration::from_secs(20);
/// Proxies have taken note by then: they ask every 200 ms.
const NOTICED_AFTER: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Whoever has done nothing for so long is between two transactions, and not between a transaction's begin and its first
/// statement, which the server does not tell apart. Clients that never rest are ended in a shorter gap, once the others
/// have gone: at the latest they would be ended in the middle of something, with the server.
const RESTED: Duration = Duration::from_millis(50);
const RESTLESS_AFTER: Duration = Duration::from_secs(4);

#[derive(Debug, Default)]
pub(super) struct Draining {
    /// By the operator's word.
    until: Option<Instant>,
    /// The member was told to stop.
    stopping: bool,
    since: Option<Instant>,
    looked: Option<Instant>,
    looking: bool,
    clients: Option<usize>,
}

impl Draining {
    pub(super) fn prolong(&mut self, now: Instant) {
        self.until = Some(now + LAPSES_AFTER);
        self.since.get_or_insert(now);
    }

    fn stop(&mut self, now: Instant) {
        self.stopping = true;
        self.since.get_or_insert(now);
    }

    pub(super) fn is_on(&self, now: Instant) -> bool {
        self.stopping || self.until.is_some_and(|until| now < until)
    }

    /// Clients that were still there when it was looked last; none while nobody has looked.
    pub(super) fn clients(&self) -> Option<usize> {
        self.clients
    }

    pub(super) fn drained(&mut self, clients: Result<usize, String>) {
        self.looking = false;
        match clients {
            Ok(clients) => self.clients = self.since.map(|_| clients),
            Err(error) => tracing::warn!(error, "cannot look for clients"),
        }
    }

    fn lapse(&mut self) {
        if self.since.is_some() {
            *self = Self { looking: self.looking, ..Self::default() };
        }
    }

    fn look_due(&mut self, now: Instant) -> bool {
        let noticed = self.since.is_some_and(|since| now - since >= NOTICED_AFTER);
        let due = noticed && !self.looking && self.looked.is_none_or(|at| now - at >= LOOK_EVERY);
        if due {
            self.looked = Some(now);
            self.looking = true;
        }
        due
    }

    fn rested(&self, now: Instant) -> Duration {
        if self.for_at_least(now) < RESTLESS_AFTER { RESTED } else { Duration::ZERO }
    }

    fn for_at_least(&self, now: Instant) -> Duration {
        self.since.map_or(Duration::ZERO, |since| now - since)
    }
}

impl Manager {
    pub(super) fn stops_seen(&self) -> u32 {
        *self.stops.borrow()
    }

    /// True once the server is to be ended: it was told to stop, and no client needs it any longer.
    pub(super) fn stopping(&mut self, now: Instant) -> bool {
        let stops = self.stops_seen();
        if stops == 0 {
            return false;
        }
        self.draining.stop(now);
        let serves = matches!(self.phase(now), Phase::Running(Link::Primary { .. }));
        !serves
            || stops > 1
            || self.draining.clients() == Some(0)
            || self.draining.for_at_least(now) >= self.options.drain_timeout
    }

    pub(super) fn send_clients_away(&mut self, now: Instant) {
        if !self.draining.is_on(now) {
            self.draining.lapse();
            return;
        }
        let Some(life) = self.state.life().filter(|life| life.was_answered()) else { return };
        let sql = life.sql.clone();
        if self.draining.look_due(now) {
            let rested = self.draining.rested(now);
            self.report(async move {
                Event::Drained(sql.send_idle_away(rested).await.map_err(|error| super::chain(&error)))
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_lapses_unless_it_is_repeated_and_a_stop_does_not() {
        let begun = Instant::now();
        let mut draining = Draining::default();
        assert!(!draining.is_on(begun));
        draining.prolong(begun);
        assert!(draining.is_on(begun + LAPSES_AFTER / 2));
        draining.prolong(begun + LAPSES_AFTER / 2);
        assert!(draining.is_on(begun + LAPSES_AFTER));
        assert!(!draining.is_on(begun + LAPSES_AFTER * 2));
        draining.stop(begun);
        assert!(draining.is_on(begun + LAPSES_AFTER * 2));
    }

    #[test]
    fn whoever_rests_goes_first_and_whoever_never_does_goes_too() {
        let begun = Instant::now();
        let mut draining = Draining::default();
        draining.prolong(begun);
        assert_eq!(draining.rested(begun + NOTICED_AFTER), RESTED);
        assert_eq!(draining.rested(begun + RESTLESS_AFTER), Duration::ZERO);
    }

    #[test]
    fn clients_are_looked_for_once_proxies_know_and_one_look_at_a_time() {
        let begun = Instant::now();
        let mut draining = Draining::default();
        draining.prolong(begun);
        assert!(!draining.look_due(begun));
        let noticed = begun + NOTICED_AFTER;
        assert!(draining.look_due(noticed));
        assert!(!draining.look_due(noticed + LOOK_EVERY), "the first one has not come back");
        draining.drained(Ok(3));
        assert_eq!(draining.clients(), Some(3));
        assert!(draining.look_due(noticed + LOOK_EVERY));
    }
}
