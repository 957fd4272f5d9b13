//! What the operator counts, in Prometheus' text form.

use std::{sync::Mutex, sync::PoisonError, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKind {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    kind: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Acted {
    kind: &'static str,
    action: &'static str,
}

pub struct Metrics {
    registry: Mutex<Registry>,
    seconds: Family<OfKind, Histogram, fn() -> Histogram>,
    ended: Family<Ended, Counter>,
    acted: Family<Acted, Counter>,
    watch_errors: Counter,
    leader: Gauge,
    resident: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Mutex::default(),
            seconds: Family::new_with_constructor(|| {
                Histogram::new([0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0])
            }),
            ended: Family::default(),
            acted: Family::default(),
            watch_errors: Counter::default(),
            leader: Gauge::default(),
            resident: Gauge::default(),
        };
        let mut registry = Registry::default();
        let help = "Time of one reconciliation";
        registry.register_with_unit("quartet_reconcile", help, Unit::Seconds, metrics.seconds.clone());
        let help = "Reconciliations by outcome: Done, Refused, or the class of the failure";
        registry.register("quartet_reconcile", help, metrics.ended.clone());
        let help = "Steps carried out: record, apply, delete, call, status";
        registry.register("quartet_actions", help, metrics.acted.clone());
        registry.register(
            "quartet_watch_errors",
            "Watches that had to be taken up again",
            metrics.watch_errors.clone(),
        );
        registry.register("quartet_leader", "1 on the replica that acts", metrics.leader.clone());
        registry.register("process_resident_memory_bytes", "Resident memory", metrics.resident.clone());
        metrics.registry = Mutex::new(registry);
        metrics
    }
}

impl Metrics {
    pub fn ended(&self, kind: &'static str, outcome: &'static str, took: Duration) {
        self.seconds.get_or_create(&OfKind { kind }).observe(took.as_secs_f64());
        self.ended.get_or_create(&Ended { kind, outcome }).inc();
    }

    pub fn acted(&self, kind: &'static str, action: &'static str) {
        self.acted.get_or_create(&Acted { kind, action }).inc();
    }

    pub fn watch_failed(&self) {
        self.watch_errors.inc();
    }

    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    pub fn text(&self) -> Result<String, std::fmt::Error> {
        if let Some(bytes) = resident_bytes() {
            self.resident.set(bytes);
        }
        let mut text = String::new();
        text::encode(&mut text, &self.registry.lock().unwrap_or_else(PoisonError::into_inner))?;
        Ok(text)
    }
}

fn resident_bytes() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: i64 = line.split_ascii_whitespace().nth(1)?.parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_can_be_scraped() {
        let metrics = Metrics::default();
        metrics.ended("synccluster", "Done", Duration::from_millis(20));
        metrics.acted("synccluster", "apply");
        metrics.leads(true);
        let text = metrics.text().unwrap();
        assert!(text.contains("quartet_reconcile_total{kind=\"synccluster\",outcome=\"Done\"} 1"), "{text}");
        assert!(text.contains("quartet_reconcile_seconds_count{kind=\"synccluster\"} 1"), "{text}");
        assert!(text.contains("quartet_actions_total{kind=\"synccluster\",action=\"apply\"} 1"), "{text}");
        assert!(text.contains("quartet_leader 1"), "{text}");
        assert!(metrics.resident.get() > 0);
    }
}
