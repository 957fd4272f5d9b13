//! The scenarios: one file each, a claim in one line, and whether the cluster may be shared meanwhile.
//!
//! To add one: a file with `pub async fn run(stage: Stage) -> Result<()>`, and a line in [`ALL`].

mod failover;
mod faults;
mod operator;
mod witness;

use std::time::Duration;

use anyhow::Result;
use futures::future::LocalBoxFuture;

use crate::stage::Stage;

const DEADLINE: Duration = Duration::from_mins(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Touches only what is in its namespace: up to three such run at once.
    Shared,
    /// Breaks hosts, the operator or the network, or counts what everybody writes: runs alone, after the others.
    Exclusive,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Any cluster with the operator.
    Operator,
    /// Hosts that are containers here: faults, the audit log, images of our own.
    Kind,
}

#[derive(Clone, Copy)]
#[must_use]
pub struct Scenario {
    pub name: &'static str,
    pub claim: &'static str,
    pub sharing: Sharing,
    pub needs: Needs,
    pub deadline: Duration,
    pub run: fn(Stage) -> LocalBoxFuture<'static, Result<()>>,
}

const fn shared(
    name: &'static str,
    claim: &'static str,
    run: fn(Stage) -> LocalBoxFuture<'static, Result<()>>,
) -> Scenario {
    Scenario { name, claim, sharing: Sharing::Shared, needs: Needs::Operator, deadline: DEADLINE, run }
}

impl Scenario {
    pub const fn exclusive(mut self) -> Self {
        self.sharing = Sharing::Exclusive;
        self
    }

    pub const fn on_kind(mut self) -> Self {
        self.needs = Needs::Kind;
        self
    }

    pub const fn within(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }
}

pub const ALL: &[Scenario] = &[
    shared(
        "faults-processes-and-volumes",
        "kill, pause, fill and wipe hit one pod and nothing else",
        |stage| Box::pin(faults::processes_and_volumes(stage)),
    )
    .on_kind(),
    shared(
        "faults-network-and-hosts",
        "cuts and lost hosts take effect, heal, and are seen from outside",
        |stage| Box::pin(faults::network_and_hosts(stage)),
    )
    .on_kind()
    .exclusive(),
    shared(
        "operator-takeover",
        "when the operator's leader hangs or dies, another leads within 20 s",
        |stage| Box::pin(operator::takeover(stage)),
    )
    .on_kind()
    .exclusive(),
    shared(
        "failover-members",
        "a killed or deleted leader: others serve within 5 s, no lock is granted twice, tokens grow, TTLs survive",
        |stage| Box::pin(failover::killed_and_deleted(stage)),
    )
    .on_kind(),
    shared(
        "failover-pause",
        "a leader stopped for 20 s: others serve within 5 s, and it revokes and grants nothing when it goes on",
        |stage| Box::pin(failover::paused(stage)),
    )
    .on_kind(),
    shared(
        "failover-hosts",
        "the leader's host cut off or stopped: others serve within 5 s, nothing granted twice, TTLs survive",
        |stage| Box::pin(failover::hosts_lost(stage)),
    )
    .on_kind()
    .exclusive(),
];
