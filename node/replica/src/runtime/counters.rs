//! What is counted for the metrics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quartet_raft::Body;

use crate::wire::PeerMessage;

/// Upper bounds of the buckets, microseconds; one more bucket holds what is above.
pub const FSYNC_BUCKETS_US: [u64; 14] =
    [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 5_000_000];

#[derive(Debug, Default)]
pub(super) struct Counters {
    appends: AtomicU64,
    votes: AtomicU64,
    messages_dropped: AtomicU64,
    batches: AtomicU64,
    fsync_buckets: [AtomicU64; FSYNC_BUCKETS_US.len() + 1],
    fsync_sum_us: AtomicU64,
}

/// All since the member started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// AppendEntries sent, heartbeats included.
    pub appends: u64,
    /// RequestVote sent (pre-votes not included).
    pub votes: u64,
    /// Messages to members that were not connected or too slow.
    pub messages_dropped: u64,
    /// Batches written; many share one fsync.
    pub batches: u64,
    pub fsync: FsyncTimes,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FsyncTimes {
    /// How many took at most [`FSYNC_BUCKETS_US`] and more than the bound before; the last: longer than all.
    pub buckets: [u64; FSYNC_BUCKETS_US.len() + 1],
    pub sum: Duration,
    pub count: u64,
}

impl Counters {
    pub(super) fn sent(&self, message: &PeerMessage) {
        if let PeerMessage::Raft { message, .. } = message {
            match message.body {
                Body::Append { .. } => add(&self.appends, 1),
                Body::Vote { .. } => add(&self.votes, 1),
                _ => {}
            }
        }
    }

    pub(super) fn dropped(&self) {
        add(&self.messages_dropped, 1);
    }

    pub(super) fn synced(&self, batches: usize, took: Duration) {
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = FSYNC_BUCKETS_US.iter().position(|bound| took_us <= *bound);
        add(&self.fsync_buckets[bucket.unwrap_or(FSYNC_BUCKETS_US.len())], 1);
        add(&self.fsync_sum_us, took_us);
        add(&self.batches, batches as u64);
    }

    pub(super) fn read(&self) -> Counted {
        let buckets = std::array::from_fn(|at| get(&self.fsync_buckets[at]));
        Counted {
            appends: get(&self.appends),
            votes: get(&self.votes),
            messages_dropped: get(&self.messages_dropped),
            batches: get(&self.batches),
            fsync: FsyncTimes {
                buckets,
                sum: Duration::from_micros(get(&self.fsync_sum_us)),
                count: buckets.iter().sum(),
            },
        }
    }
}

fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_fsync_is_counted_in_the_bucket_of_its_time() {
        let counters = Counters::default();
        for took_us in [50, 51, 6_000_000] {
            counters.synced(2, Duration::from_micros(took_us));
        }
        let counted = counters.read();
        assert_eq!(
            (counted.fsync.buckets[0], counted.fsync.buckets[1], counted.fsync.buckets[14]),
            (1, 1, 1)
        );
        assert_eq!((counted.fsync.count, counted.batches), (3, 6));
        assert_eq!(counted.fsync.sum, Duration::from_micros(6_000_101));
    }
}
