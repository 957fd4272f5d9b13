//! The scenarios: one file each, a claim in one line, and whether the cluster may be shared meanwhile.
//!
//! To add one: a file with `pub async fn run(stage: Stage) -> Result<()>`, and a line in [`ALL`].
//! Those of GaleraCluster are in [`galera`].

mod admission;
mod convergence;
mod damage;
mod deletion;
mod failover;
pub mod faults;
mod foreign;
mod full_disk;
pub mod galera;
mod growth;
mod image_change;
mod name_taken;
pub mod operator;
mod quickstart;
mod recovery;
mod rest;
mod specs;
mod steady;
mod storage;
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
    /// Breaks hosts, the operator or the network, counts what everybody writes, or answers for every request, which
    /// others' disk load can delay by seconds: runs alone, after the others.
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

/// Those of a full run.
pub fn full() -> impl Iterator<Item = &'static Scenario> {
    ALL.iter().chain(galera::SCENARIOS)
}

/// Those that a filter can select.
pub fn selectable() -> impl Iterator<Item = &'static Scenario> {
    full().chain(galera::ON_REQUEST)
}

const ALL: &[Scenario] = &[
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
    shared(
        "members-come-and-go",
        "3→5→3→1→3 under load: clients see retryable 503s at most, nothing is lost, removed volumes are gone",
        |stage| Box::pin(growth::members(stage)),
    )
    .exclusive(),
    shared(
        "image-change",
        "a rolling change of the image under load: one member at a time, those that lead most last, 503s at most",
        |stage| Box::pin(image_change::rolled(stage)),
    )
    .on_kind()
    .exclusive(),
    shared(
        "killed-and-wiped",
        "all killed: nothing is lost; one volume wiped: healed by itself; two of three: nobody serves, the status says why",
        |stage| Box::pin(recovery::killed_and_wiped(stage)),
    )
    .on_kind(),
    shared(
        "damaged-log",
        "a flipped bit in the middle of a member's log: it is reset and taken in again by itself",
        |stage| Box::pin(damage::one_of_three(stage)),
    )
    .on_kind(),
    shared(
        "damaged-log-single",
        "a flipped bit in the log of a single member: it stays blocked, serves nothing and says where",
        |stage| Box::pin(damage::single(stage)),
    )
    .on_kind(),
    shared(
        "full-disk",
        "full volumes of one member and of all: new locks are refused with the reason, renewals and releases go on",
        |stage| Box::pin(full_disk::run(stage)),
    )
    .on_kind(),
    shared("admission-rules", "each rule of the CRD refuses what it is for on the API server, and no more", |stage| {
        Box::pin(admission::rules(stage))
    }),
    shared("admission-kubectl", "kubectl apply -f crds/ installs the CRDs", |stage| {
        Box::pin(admission::kubectl_applies(stage))
    }),
    shared("specs-refused", "a spec that cannot be put into force is refused with its field named", |stage| {
        Box::pin(specs::refused(stage))
    }),
    shared(
        "specs-last-accepted",
        "a bad spec stops no healing, a rollout that cannot succeed costs one member, both can be reverted",
        |stage| Box::pin(specs::last_accepted(stage)),
    ),
    shared("name-taken", "an object of the user's with a child's name is never touched", |stage| {
        Box::pin(name_taken::left_alone(stage))
    }),
    shared("deletion", "deletion leaves nothing but retained volumes, and with Delete nothing", |stage| {
        Box::pin(deletion::retained_and_deleted(stage))
    }),
    shared("storage-growth", "volumes grow where their class allows it, and the refusal says why elsewhere", |stage| {
        Box::pin(storage::of_sync_cluster(stage))
    }),
    shared("hibernation", "hibernated stops all pods, keeps volumes and locks, and wakes the same cluster", |stage| {
        Box::pin(rest::hibernated(stage))
    }),
    shared("paused", "paused keeps the operator's hands off, and what was asked meanwhile follows", |stage| {
        Box::pin(rest::paused(stage))
    }),
    shared("foreign-hands", "what a foreign hand edits or deletes is put back within 10 s, no volume lost", |stage| {
        Box::pin(foreign::put_back(stage))
    }),
    shared("foreign-token", "a lost or emptied token is made anew and taken up without a restart", |stage| {
        Box::pin(foreign::token(stage))
    }),
    shared("quickstart", "every command of docs/quickstart.md works as written", |stage| {
        Box::pin(quickstart::as_written(stage))
    }),
    shared(
        "operator-killed",
        "an operator killed at random moments of founding, growth, shrinking, rollout and hibernation converges",
        |stage| Box::pin(convergence::killed_at_random(stage)),
    )
    .on_kind()
    .exclusive(),
    shared("steady-state", "20 idle clusters make the operator write nothing but its Lease for 2 minutes", |stage| {
        Box::pin(steady::writes_nothing(stage))
    })
    .on_kind()
    .exclusive(),
];
