//! Ends of waits that come before their beginnings.
//!
//! A member sends an acquisition and the end of its wait one after the other, but what is sent again after a change
//! of leader, or still lay in a connection that was given up, may arrive in the other order. Whoever asked has gone:
//! a wait that began after its end would come to a grant that nobody uses until its lease runs out. So an end that
//! finds no wait is remembered for as long as what it ends may be on its way.

use std::collections::{BTreeMap, BTreeSet};

use quartet_raft::LogTime;

/// Longer than what a member sent before its client went, or before it was told to stop, is on its way.
const LIFETIME_MS: u64 = 60_000;
/// The oldest make room: forgetting one costs time, never safety.
const REMEMBERED_MAX: usize = 4096;

/// By the ids of the acquisitions.
#[derive(Debug, Default)]
pub(super) struct EarlyEnds {
    by_request: BTreeMap<Vec<u8>, LogTime>,
    due: BTreeSet<(LogTime, Vec<u8>)>,
}

impl EarlyEnds {
    pub(super) fn remember(&mut self, now: LogTime, request: &[u8]) {
        // Many may share none.
        if !request.is_empty() {
            self.insert(LogTime(now.0.saturating_add(LIFETIME_MS)), request.to_vec());
        }
        self.forget(now);
    }

    /// Whether this acquisition's wait has ended before it began.
    pub(super) fn take(&mut self, now: LogTime, request: &[u8]) -> bool {
        self.forget(now);
        let Some((request, until)) = self.by_request.remove_entry(request) else { return false };
        self.due.remove(&(until, request));
        true
    }

    pub(super) fn insert(&mut self, until: LogTime, request: Vec<u8>) {
        if let Some(before) = self.by_request.insert(request.clone(), until) {
            self.due.remove(&(before, request.clone()));
        }
        self.due.insert((until, request));
    }

    /// The first to be forgotten first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &(LogTime, Vec<u8>)> {
        self.due.iter()
    }

    fn forget(&mut self, now: LogTime) {
        while let Some((until, request)) = self.due.first()
            && (*until <= now || self.due.len() > REMEMBERED_MAX)
        {
            self.by_request.remove(request);
            self.due.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_early_end_counts_once_and_for_a_while() {
        let mut ends = EarlyEnds::default();
        ends.remember(LogTime(0), b"a");
        ends.remember(LogTime(5), b"a");
        ends.remember(LogTime(5), b"");
        assert!(!ends.take(LogTime(6), b"") && !ends.take(LogTime(6), b"b"));
        assert!(ends.take(LogTime(LIFETIME_MS + 4), b"a"));
        assert!(!ends.take(LogTime(LIFETIME_MS + 4), b"a"));
        ends.remember(LogTime(10), b"a");
        assert!(!ends.take(LogTime(LIFETIME_MS + 10), b"a"));
        assert_eq!((ends.by_request.len(), ends.due.len()), (0, 0));
    }

    #[test]
    fn no_more_are_remembered_than_there_may_be() {
        let mut ends = EarlyEnds::default();
        for number in 0..2 * REMEMBERED_MAX as u64 {
            ends.remember(LogTime(number), &number.to_le_bytes());
            assert!(ends.by_request.len() <= REMEMBERED_MAX && ends.due.len() == ends.by_request.len());
        }
        let now = LogTime(2 * REMEMBERED_MAX as u64);
        assert!(!ends.take(now, &0_u64.to_le_bytes()) && ends.take(now, &(now.0 - 1).to_le_bytes()));
    }
}
