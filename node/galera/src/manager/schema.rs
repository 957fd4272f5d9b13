//! When databases and users are applied.

use std::time::{Duration, Instant};

use quartet_client::galera::SchemaReport;

use super::{Event, Manager};
use crate::schema::{self, Runner};

const RETRY_AFTER: Duration = Duration::from_secs(2);
/// Somebody may have changed by hand what was applied.
const AGAIN_AFTER: Duration = Duration::from_mins(5);

#[derive(Debug, Default)]
pub(super) struct Schema {
    /// What was applied, and when.
    applied: Option<([u8; 32], Instant)>,
    report: Option<SchemaReport>,
    running: bool,
    not_before: Option<Instant>,
    /// Of the members that are Synced, this one applies it.
    pub(super) is_ours: bool,
}

impl Schema {
    pub(super) fn is_due(&self, now: Instant, hash: [u8; 32]) -> bool {
        let in_force = self.applied.is_some_and(|(applied, at)| applied == hash && now - at < AGAIN_AFTER);
        !self.running && !in_force && self.not_before.is_none_or(|at| now >= at)
    }

    pub(super) fn applied(&mut self, hash: [u8; 32], result: Result<SchemaReport, String>) {
        self.running = false;
        match result {
            Ok(report) => {
                if !report.faults.is_empty() {
                    tracing::warn!(faults = ?report.faults, "parts of the schema are refused");
                }
                self.applied = Some((hash, Instant::now()));
                self.report = Some(report);
            }
            Err(error) => {
                tracing::warn!(error, "the schema is applied again soon");
                self.not_before = Some(Instant::now() + RETRY_AFTER);
            }
        }
    }

    pub(super) fn is_running(&self) -> bool {
        self.running
    }

    /// As far as it is this member's task.
    pub(super) fn report(&self) -> Option<SchemaReport> {
        self.report.clone().filter(|_| self.is_ours)
    }

    pub(super) fn forget(&mut self) {
        let running = self.running;
        *self = Self { running, ..Self::default() };
    }
}

impl Manager {
    pub(super) fn apply_schema(&mut self) {
        let Some(life) = self.state.life() else { return };
        let (sql, inputs) = (life.sql.clone(), self.inputs.borrow().clone());
        let hash = inputs.schema_hash();
        let runner = Runner { ordinal: self.options.ordinal, run: self.run, peers: self.peers.clone() };
        self.schema.running = true;
        // Whoever reads in the cluster that this member is at it can ask it whether it still is.
        self.publish();
        self.report(async move {
            let result = schema::apply(&sql, &runner, &inputs).await;
            Event::Applied(hash, result.map_err(|error| super::chain(&error)))
        });
    }
}
