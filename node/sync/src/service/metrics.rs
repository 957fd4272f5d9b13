//! What Prometheus reads.

use std::fmt::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::response::Response;
use prometheus_client::encoding::{
    EncodeLabelSet, EncodeLabelValue, EncodeMetric, LabelValueEncoder, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::Registry;
use quartet_raft::Role;
use quartet_replica::engine::Report;
use quartet_replica::runtime::{Counted, FSYNC_BUCKETS_US, FsyncTimes};
use quartet_serve::{Refusal, metrics};

use super::process;
use super::replicated::NotExecuted;
use crate::lock::answer;
use crate::partition::Gauges;

/// Half a millisecond to 16 s: from one fsync on a good disk to an election and a retry.
const SECONDS: [f64; 16] =
    [0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.0, 2.0, 4.0, 8.0, 16.0];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Outcome {
    Granted,
    Held,
    Deadlock,
    Full,
    Failed,
}

impl Outcome {
    const ALL: [Self; 5] = [Self::Granted, Self::Held, Self::Deadlock, Self::Full, Self::Failed];

    pub(super) fn of(answer: &Result<answer::Kind, NotExecuted>) -> Self {
        match answer {
            Ok(answer::Kind::Granted(_)) => Self::Granted,
            Ok(answer::Kind::Held(_)) => Self::Held,
            Ok(answer::Kind::Deadlock(_)) => Self::Deadlock,
            Ok(answer::Kind::Full(_)) => Self::Full,
            Ok(_) | Err(_) => Self::Failed,
        }
    }
}

impl EncodeLabelValue for Outcome {
    fn encode(&self, encoder: &mut LabelValueEncoder) -> fmt::Result {
        encoder.write_str(match self {
            Self::Granted => "granted",
            Self::Held => "held",
            Self::Deadlock => "deadlock",
            Self::Full => "full",
            Self::Failed => "failed",
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfResult {
    result: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfOperation {
    operation: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfPartition {
    partition: u16,
}

/// What the service counts itself; the rest is asked for when it is read.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    lock_acquire: Family<OfResult, Counter>,
    lock_release: Counter,
    request_seconds: Family<OfOperation, Histogram>,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let mut registry = Registry::default();
        let lock_acquire = Family::<OfResult, Counter>::default();
        // Shown from the start: a rate over a series that appears with its first event misses that event.
        for result in Outcome::ALL {
            drop(lock_acquire.get_or_create(&OfResult { result }));
        }
        let lock_release = Counter::default();
        let request_seconds = Family::new_with_constructor((|| Histogram::new(SECONDS)) as fn() -> Histogram);
        registry.register(
            "lock_acquire",
            "Acquisitions answered by this member, by their result",
            lock_acquire.clone(),
        );
        registry.register(
            "lock_release",
            "Locks released through this member by their owners",
            lock_release.clone(),
        );
        registry.register(
            "request_seconds",
            "Time from a request to its answer, waiting for locks included, by operation",
            request_seconds.clone(),
        );
        Self { registry, lock_acquire, lock_release, request_seconds }
    }

    pub(super) fn acquired(&self, result: Outcome) {
        self.lock_acquire.get_or_create(&OfResult { result }).inc();
    }

    pub(super) fn released(&self, locks: u64) {
        self.lock_release.inc_by(locks);
    }

    pub(super) fn took(&self, operation: &'static str, time: Duration) {
        self.request_seconds.get_or_create(&OfOperation { operation }).observe(time.as_secs_f64());
    }

    pub(super) fn answer(
        &self,
        report: &Report,
        gauges: &[std::sync::Arc<Gauges>],
        counted: &Counted,
    ) -> Result<Response, Refusal> {
        let mut now = Registry::default();
        register_groups(&mut now, report, gauges);
        register_counters(&mut now, counted);
        register_process(&mut now);
        metrics::answer(&[&self.registry, &now])
    }
}

/// Locks are counted where their partition is led, so that the sum over all members counts each once.
fn register_groups(now: &mut Registry, report: &Report, gauges: &[std::sync::Arc<Gauges>]) {
    let role = Family::<OfPartition, Gauge>::default();
    let term = Family::<OfPartition, Gauge>::default();
    let held = Family::<OfPartition, Gauge>::default();
    let waiting = Family::<OfPartition, Gauge>::default();
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    for group in &report.groups {
        let partition = OfPartition { partition: group.group.0 };
        role.get_or_create(&partition).set(match group.role {
            Role::Follower => 0,
            Role::Candidate => 1,
            Role::Leader => 2,
            Role::Learner => 3,
        });
        term.get_or_create(&partition).set(number(group.term.0));
        if let Some(gauges) = gauges.get(usize::from(group.group.0)) {
            let led = |gauge: &AtomicU64| {
                if group.role == Role::Leader { gauge.load(Ordering::Relaxed) } else { 0 }
            };
            held.get_or_create(&partition).set(number(led(&gauges.locks_held)));
            waiting.get_or_create(&partition).set(number(led(&gauges.locks_waiting)));
        }
    }
    now.register(
        "raft_role",
        "Role of this member in each partition: 0 follower, 1 candidate, 2 leader, 3 learner",
        role,
    );
    now.register("raft_term", "Term of each partition as this member knows it", term);
    now.register("lock_held", "Locks held, in the partitions that this member leads", held);
    now.register(
        "lock_waiting",
        "Requests waiting for a lock, in the partitions that this member leads",
        waiting,
    );
}

fn register_counters(now: &mut Registry, counted: &Counted) {
    now.register(
        "raft_append_entries",
        "AppendEntries messages sent to other members, heartbeats included",
        ConstCounter::new(counted.appends),
    );
    now.register(
        "raft_request_vote",
        "RequestVote messages sent to other members, pre-votes not included",
        ConstCounter::new(counted.votes),
    );
    now.register("fsync_seconds", "Time of each sync of the log to disk", Measured(counted.fsync.clone()));
}

fn register_process(now: &mut Registry) {
    if let Some(usage) = process::usage() {
        now.register(
            "process_cpu_seconds",
            "Processor time that the process has used",
            ConstCounter::new(usage.cpu_seconds),
        );
        now.register(
            "process_resident_memory_bytes",
            "Memory of the process that is resident",
            ConstGauge::new(usage.resident_bytes),
        );
    }
}

/// A histogram that somebody else has measured.
#[derive(Debug)]
struct Measured(FsyncTimes);

impl TypedMetric for Measured {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Measured {
    fn encode(&self, mut encoder: MetricEncoder) -> fmt::Result {
        let bounds =
            FSYNC_BUCKETS_US.iter().map(|us| Duration::from_micros(*us).as_secs_f64()).chain([f64::INFINITY]);
        let buckets: Vec<_> = bounds.zip(self.0.buckets).collect();
        encoder.encode_histogram::<NoLabelSet>(self.0.sum.as_secs_f64(), self.0.count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}
