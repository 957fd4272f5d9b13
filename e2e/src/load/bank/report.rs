//! What clients asked and were told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

const OPERATIONS_MAX: usize = 2_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Money goes from one account to another, which is noted.
    Transfer,
    /// An id is written.
    Entry,
}

/// One operation through all its attempts.
#[derive(Clone, Debug)]
pub struct Operation {
    pub client: u32,
    pub id: u64,
    pub work: Work,
    pub began: Instant,
    pub ended: Instant,
    /// False: given up.
    pub acknowledged: bool,
    /// Connections that broke under it, or could not be made.
    pub lost: u32,
    /// Refusals other than conflicts with other clients, which are part of life.
    pub refused: u32,
}

#[derive(Clone, Debug, Default)]
pub struct Report {
    pub operations: Vec<Operation>,
    /// Attempts that lost against another client's and were made again.
    pub conflicts: usize,
    /// What attempts got but an acknowledgement, conflicts left out: how often.
    pub errors: BTreeMap<String, usize>,
    /// Acknowledged operations by the member that served them.
    pub members: BTreeMap<String, usize>,
}

impl Report {
    pub(super) fn keep(&mut self, operation: Operation, member: Option<&str>) -> Result<()> {
        ensure!(self.operations.len() < OPERATIONS_MAX, "the record of the load is full");
        if let Some(member) = member.filter(|_| operation.acknowledged) {
            *self.members.entry(member.to_owned()).or_default() += 1;
        }
        self.operations.push(operation);
        Ok(())
    }

    pub fn acknowledged(&self, work: Work) -> BTreeSet<u64> {
        let of_it = self.operations.iter().filter(|done| done.acknowledged && done.work == work);
        of_it.map(|done| done.id).collect()
    }

    pub(super) fn clients_served_since(&self, since: Instant) -> usize {
        let recent = self.operations.iter().rev().filter(|done| done.acknowledged && done.began >= since);
        recent.map(|done| done.client).collect::<BTreeSet<_>>().len()
    }

    /// The end of the first operation that was begun from then on and acknowledged.
    pub(super) fn first_since(&self, since: Instant) -> Option<Instant> {
        let recent = self.operations.iter().filter(|done| done.acknowledged && done.began >= since);
        recent.map(|done| done.ended).min()
    }

    /// The longest time between two moments that a client waited for one operation.
    pub fn longest_wait(&self, from: Instant, to: Instant) -> Duration {
        let during = self.operations.iter().filter(|done| done.ended >= from && done.began <= to);
        during.map(|done| done.ended - done.began).max().unwrap_or_else(|| to.saturating_duration_since(from))
    }

    /// The longest time between two moments that nobody at all was served.
    pub fn longest_silence(&self, from: Instant, to: Instant) -> Duration {
        let served = self.operations.iter().filter(|done| done.acknowledged);
        let served = served.map(|done| done.ended).filter(|ended| (from..=to).contains(ended));
        let mut times: Vec<_> = served.chain([from, to]).collect();
        times.sort_unstable();
        times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }

    /// Every operation was acknowledged, and met nothing worse on its way than one broken connection.
    pub fn one_reconnect_at_most(&self) -> Result<()> {
        let is_bad = |done: &&Operation| !done.acknowledged || done.lost > 1 || done.refused > 0;
        let bad: Vec<_> = self.operations.iter().filter(is_bad).collect();
        ensure!(
            bad.is_empty(),
            "{} of {} operations met more than one broken connection; the first: {:?}; all errors: {:?}",
            bad.len(),
            self.operations.len(),
            bad.first(),
            self.errors
        );
        Ok(())
    }

    /// Nothing was given up.
    pub fn all_acknowledged(&self) -> Result<()> {
        let given_up = self.operations.iter().filter(|done| !done.acknowledged).count();
        ensure!(given_up == 0, "{given_up} operations were given up; errors: {:?}", self.errors);
        Ok(())
    }

    /// In one line.
    pub fn summary(&self) -> String {
        let acknowledged = self.operations.iter().filter(|done| done.acknowledged).count();
        let lost: u32 = self.operations.iter().map(|done| done.lost).sum();
        format!(
            "{acknowledged} operations acknowledged, {} given up; {} conflicts, {lost} connections lost; errors {:?}; \
             served by {:?}",
            self.operations.len() - acknowledged,
            self.conflicts,
            self.errors,
            self.members
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    fn done(start: Instant, client: u32, (began, ended): (u64, u64)) -> Operation {
        Operation {
            client,
            id: ended,
            work: Work::Entry,
            began: at(start, began),
            ended: at(start, ended),
            acknowledged: true,
            lost: 0,
            refused: 0,
        }
    }

    fn report(operations: Vec<Operation>) -> Report {
        Report { operations, ..Report::default() }
    }

    #[test]
    fn a_wait_is_one_clients_and_a_silence_everybodys() {
        let start = Instant::now();
        let all = [(0, (0, 10)), (1, (0, 500)), (0, (20, 300)), (0, (310, 320))];
        let report = report(all.map(|(client, times)| done(start, client, times)).to_vec());
        let (from, to) = (at(start, 5), at(start, 600));
        assert_eq!(report.longest_wait(from, to).as_millis(), 500);
        assert_eq!(report.longest_silence(from, to).as_millis(), 290);
        assert_eq!(report.first_since(at(start, 15)), Some(at(start, 300)));
        assert_eq!(report.first_since(at(start, 5)), Some(at(start, 300)));
        assert_eq!(report.clients_served_since(at(start, 15)), 1);
    }

    #[test]
    fn more_than_one_broken_connection_is_told() {
        let start = Instant::now();
        let with = |change: fn(&mut Operation)| {
            let mut operation = done(start, 0, (0, 1));
            change(&mut operation);
            report(vec![operation]).one_reconnect_at_most()
        };
        assert!(with(|done| done.lost = 1).is_ok());
        assert!(with(|done| done.lost = 2).is_err());
        assert!(with(|done| done.refused = 1).is_err());
        assert!(with(|done| done.acknowledged = false).is_err());
    }

    #[test]
    fn only_what_was_acknowledged_must_be_there() {
        let start = Instant::now();
        let mut operations = vec![done(start, 0, (0, 1)), done(start, 0, (2, 3))];
        operations[1].acknowledged = false;
        let report = report(operations);
        assert_eq!(report.acknowledged(Work::Entry), BTreeSet::from([1]));
        assert!(report.acknowledged(Work::Transfer).is_empty());
        assert!(report.all_acknowledged().is_err());
    }
}
