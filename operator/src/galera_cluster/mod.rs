//! GaleraCluster: what is known about keeping one.
//!
//! `seen`, `command`, `validate`, `plan`, `build` and `status` are pure: data in, data out. `observe` and `call` do
//! the IO. What never lives here: other kinds, and Galera itself (members join and serve among themselves).

pub mod build;
pub mod call;
pub mod command;
pub mod observe;
pub mod plan;
pub mod seen;
pub mod status;
pub mod validate;

use quartet_crds::galera_cluster::{GaleraCluster, GaleraClusterStatus};
use uuid::Uuid;

pub use command::{Call, Command};
pub use seen::Seen;
pub use validate::Valid;

use crate::{
    failure::Failure,
    kube::Context,
    plan::{ObjectKind, Plan},
    reconcile::{Fault, Given, Kind, Outcome, Verdict},
};

/// Value of `app.kubernetes.io/name` on every child.
pub const LABEL: &str = "galeracluster";
/// Components: values of `app.kubernetes.io/component` on pods.
pub const MEMBER: &str = "member";
pub const PROXY: &str = "proxy";

/// MariaDB's protocol, at members and at proxies.
pub const CLIENT_PORT: u16 = 3306;
/// At the proxies: all to one member.
pub const WRITER_PORT: u16 = 3307;
/// The clients' Service, as the source system had it.
pub const LEGACY_PORT: u16 = 3300;
/// The proxies' page of statistics.
pub const STATS_PORT: u16 = 8404;
/// Group communication.
pub const GROUP_PORT: u16 = 4567;
/// Incremental transfers (IST).
pub const INCREMENTAL_PORT: u16 = 4568;
/// Transfers of everything (SST).
pub const TRANSFER_PORT: u16 = 4444;

/// The kind, for the generic driver.
#[derive(Clone, Copy, Debug)]
pub struct GaleraClusters;

impl Kind for GaleraClusters {
    type Resource = GaleraCluster;
    type Seen = Seen;
    type Valid = Valid;
    type Call = Call;
    type Status = GaleraClusterStatus;

    const LABEL: &'static str = LABEL;

    async fn observe(ctx: &Context, obj: &GaleraCluster) -> Result<Seen, Failure> {
        observe::observe(ctx, obj).await
    }

    fn validate(obj: &GaleraCluster, seen: &Seen, given: &Given) -> Result<Valid, Vec<Fault>> {
        validate::validate(obj, seen, given)
    }

    fn restore(accepted: &GaleraCluster, given: &Given) -> Option<Valid> {
        validate::restore(accepted, given)
    }

    /// A human who says where to begin from is heard at once.
    fn in_force(present: &GaleraCluster, mut accepted: GaleraCluster) -> GaleraCluster {
        accepted.spec.recovery = present.spec.recovery.clone();
        accepted
    }

    fn field(child: ObjectKind, path: &str) -> String {
        validate::field(child, path)
    }

    fn plan(obj: &GaleraCluster, valid: &Valid, seen: &Seen, given: &Given) -> Plan<Call> {
        plan::next(obj, valid, seen, given)
    }

    async fn call(ctx: &Context, _: &GaleraCluster, seen: &Seen, call: &Call) -> Result<(), Failure> {
        call::call(ctx, seen, call).await
    }

    fn status(
        obj: &GaleraCluster,
        seen: &Seen,
        verdict: &Verdict<'_, Self>,
        outcome: &Outcome,
        given: &Given,
    ) -> GaleraClusterStatus {
        status::status(obj, seen, verdict, outcome, given)
    }

    fn operation(obj: &GaleraCluster) -> Option<Uuid> {
        obj.status.as_ref()?.operation.as_ref()?.id.parse().ok()
    }
}

#[cfg(test)]
mod answers;
#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod life;
