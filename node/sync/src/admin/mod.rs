//! The authenticated port: what the operator asks of this member and tells it to do (contract and types in
//! `quartet_client::admin`). Reached by nobody else; never behind the clients' Service.

mod report;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use quartet_client::admin::{
    Address, ChangeMembership, CommandOutcome, Drain, Found, GroupOutcome, MemberReport, Peer, Reset,
};
use quartet_raft::MemberId;
use quartet_replica::GroupId;
use quartet_replica::engine::{GroupChange, MemberCommand};
use quartet_serve::body::{self, Body};
use quartet_serve::{Refusal, routes, token};
use uuid::Uuid;

use crate::member::Member;
use crate::service::Service;

#[derive(Clone, Debug)]
pub struct Settings {
    /// The cluster's name, as its resource is named.
    pub cluster: String,
    pub version: String,
    /// See [`token::required`].
    pub token_file: PathBuf,
    /// How long no client may have come for it to be quiet.
    pub quiet: Duration,
}

#[derive(Debug)]
struct Admin<M> {
    settings: Settings,
    service: Arc<Service<M>>,
}

/// After the last command to drain: the operator repeats it, so that nobody stays out of service whom nobody wants out
/// any more.
const DRAIN_LAPSES: Duration = Duration::from_secs(20);

pub fn router<M: Member>(settings: Settings, service: Arc<Service<M>>) -> Router {
    let token_file = settings.token_file.clone();
    let routes = Router::new()
        .route("/v1/member", get(report::<M>))
        .route("/v1/found", post(found::<M>))
        .route("/v1/membership", post(change_membership::<M>))
        .route("/v1/drain", post(drain::<M>))
        .route("/v1/reset", post(reset::<M>))
        .with_state(Arc::new(Admin { settings, service }));
    token::required(routes::only(routes), token_file)
}

async fn report<M: Member>(State(admin): State<Arc<Admin<M>>>) -> Json<MemberReport> {
    let (settings, member) = (&admin.settings, admin.service.member());
    let room = member.disk_bytes().unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot tell how much room the volume has");
        (0, 0)
    });
    let report = member.report().await;
    Json(MemberReport {
        draining: admin.service.is_draining(),
        quiet: admin.service.is_quiet(settings.quiet),
        ..report::member(&report, &settings.cluster, &settings.version, room)
    })
}

async fn found<M: Member>(
    State(admin): State<Arc<Admin<M>>>,
    body: Body,
) -> Result<Json<CommandOutcome>, Refusal> {
    let Found { operation, cluster, members } = body::read(body)?;
    tracing::info!(%operation, %cluster, "asked to found the cluster");
    let report = admin.service.member().report().await;
    if report.cluster == Some(cluster.as_u128()) {
        return Ok(Json(CommandOutcome::default()));
    }
    let members: Vec<_> = members.into_iter().map(addressed).collect();
    if !members.iter().any(|(id, _)| *id == report.id) {
        return Err(conflict(&format!("this member, {}, is not among the founders", report.id)));
    }
    admin.command(MemberCommand::Found { cluster: cluster.as_u128(), members }).await
}

async fn change_membership<M: Member>(
    State(admin): State<Arc<Admin<M>>>,
    body: Body,
) -> Result<Json<CommandOutcome>, Refusal> {
    let ChangeMembership { operation, cluster, groups } = body::read(body)?;
    tracing::info!(%operation, groups = groups.len(), "asked to change the membership");
    let groups = groups
        .into_iter()
        .map(|change| GroupChange {
            group: GroupId(change.group),
            expected: quartet_raft::Index(change.expected_index),
            voters: change.voters.into_iter().map(addressed).collect(),
            learners: change.learners.into_iter().map(addressed).collect(),
        })
        .collect();
    admin.command(MemberCommand::Change { cluster: cluster.as_u128(), groups }).await
}

async fn drain<M: Member>(
    State(admin): State<Arc<Admin<M>>>,
    body: Body,
) -> Result<Json<CommandOutcome>, Refusal> {
    let Drain { operation, cluster, leaving } = body::read(body)?;
    let except = leaving.into_iter().map(id).collect();
    let outcome = admin.command(MemberCommand::Handover { cluster: cluster.as_u128(), except }).await?;
    if !admin.service.is_draining() {
        tracing::info!(%operation, "asked to drain");
    }
    admin.service.drain_for(DRAIN_LAPSES);
    Ok(outcome)
}

async fn reset<M: Member>(
    State(admin): State<Arc<Admin<M>>>,
    body: Body,
) -> Result<Json<CommandOutcome>, Refusal> {
    let Reset { operation, incarnation } = body::read(body)?;
    tracing::warn!(%operation, %incarnation, "asked to give up all data of this incarnation");
    admin.service.member().reset(incarnation.as_u128()).await.map_err(|why| conflict(&why))?;
    Ok(Json(CommandOutcome::default()))
}

impl<M: Member> Admin<M> {
    async fn command(&self, command: MemberCommand) -> Result<Json<CommandOutcome>, Refusal> {
        let outcome = self.service.member().command(command).await.map_err(|why| conflict(&why))?;
        let groups = outcome
            .into_iter()
            .map(|(group, result)| {
                let refusal = result.err();
                (group.0, GroupOutcome { accepted: refusal.is_none(), refusal })
            })
            .collect();
        Ok(Json(CommandOutcome { groups }))
    }
}

fn conflict(why: &str) -> Refusal {
    Refusal::conflict("refused", why, false)
}

fn addressed(Address { peer, address }: Address) -> (MemberId, String) {
    (id(peer), address)
}

fn id(Peer { ordinal, incarnation }: Peer) -> MemberId {
    MemberId { ordinal, incarnation: incarnation.as_u128() }
}

fn peer(id: MemberId) -> Peer {
    Peer { ordinal: id.ordinal, incarnation: Uuid::from_u128(id.incarnation) }
}
