//! The scenarios: one file each, a claim in one line, and whether the cluster may be shared meanwhile.
//!
//! To add one: a file with `pub async fn run(stage: Stage) -> Result<()>`, and a line in [`ALL`].

mod faults;

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
];
