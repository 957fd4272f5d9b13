//! SyncCluster: what is known about keeping one.
//!
//! `seen`, `command`, `validate`, `plan`, `build` and `status` are pure: data in, data out. `observe` and `call` do
//! the IO. What never lives here: other kinds, and Raft itself (members do that among themselves).

pub mod build;
pub mod call;
pub mod command;
pub mod observe;
pub mod plan;
pub mod seen;
pub mod status;
pub mod validate;

use quartet_crds::sync_cluster::{SyncCluster, SyncClusterStatus};
use uuid::Uuid;

pub use command::{Call, Command};
pub use seen::Seen;
pub use validate::Valid;

use crate::{
    failure::Failure,
    kube::Context,
    plan::Plan,
    reconcile::{Fault, Given, Kind, Outcome, Verdict},
};

/// Value of `app.kubernetes.io/name` on every child.
pub const LABEL: &str = "synccluster";
/// Clients' HTTP.
pub const CLIENT_PORT: u16 = 8100;
/// Traffic between members.
pub const PEER_PORT: u16 = 8101;

/// The kind, for the generic driver.
#[derive(Clone, Copy, Debug)]
pub struct SyncClusters;

impl Kind for SyncClusters {
    type Resource = SyncCluster;
    type Seen = Seen;
    type Valid = Valid;
    type Call = Call;
    type Status = SyncClusterStatus;

    const LABEL: &'static str = LABEL;

    async fn observe(ctx: &Context, obj: &SyncCluster) -> Result<Seen, Failure> {
        observe::observe(ctx, obj).await
    }

    fn validate(obj: &SyncCluster, seen: &Seen, given: &Given) -> Result<Valid, Vec<Fault>> {
        validate::validate(obj, seen, given)
    }

    fn restore(accepted: &SyncCluster, given: &Given) -> Option<Valid> {
        validate::restore(accepted, given)
    }

    fn plan(obj: &SyncCluster, valid: &Valid, seen: &Seen, given: &Given) -> Plan<Call> {
        plan::next(obj, valid, seen, given)
    }

    async fn call(ctx: &Context, _: &SyncCluster, seen: &Seen, call: &Call) -> Result<(), Failure> {
        call::call(ctx, seen, call).await
    }

    fn status(
        obj: &SyncCluster,
        seen: &Seen,
        verdict: &Verdict<'_, Self>,
        outcome: &Outcome,
        given: &Given,
    ) -> SyncClusterStatus {
        status::status(obj, seen, verdict, outcome, given)
    }

    fn operation(obj: &SyncCluster) -> Option<Uuid> {
        obj.status.as_ref()?.operation.as_ref()?.id.parse().ok()
    }

    fn is_disruptive(call: &Call) -> bool {
        call.command.is_disruptive()
    }
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod life;
