//! What there is to tell of this member, at one moment.

use std::time::{Duration, Instant};

use quartet_client::galera::{MemberReport, MemberState, PeerReport, Sst};

use super::life::{FRESH, Life, Said};
use super::state::State;
use super::{AHEAD, Manager};
use crate::decide::Waiting;
use crate::inputs::Inputs;
use crate::options::Options;
use crate::server::status::Status;
use crate::volume::Identity;

/// A server that has answered before, and does not for so long, hangs.
const HUNG_AFTER: Duration = Duration::from_mins(1);
/// Starts that fail in a row while there is somebody to join.
const FAILURES: u32 = 3;
const CONNECTIONS_OF_OURS: u32 = 1;

/// Whether clients are to be sent here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    Serve,
    /// No new ones.
    Drain,
    No,
}

#[derive(Clone, Debug)]
pub struct Face {
    pub at: Instant,
    pub member: MemberReport,
    pub peer: PeerReport,
    pub route: Route,
    /// Why the pod should be restarted.
    pub hung: Option<String>,
    /// What the server said last.
    pub status: Option<Status>,
    /// As proxies know this member.
    pub member_name: String,
}

impl Face {
    /// Before anything is known.
    pub(super) fn unknown(options: &Options, identity: &Identity, inputs: &Inputs) -> Self {
        let settings = &inputs.settings;
        let run = uuid::Uuid::nil();
        let member = MemberReport {
            name: settings.name.clone(),
            version: VERSION.into(),
            ordinal: options.ordinal,
            incarnation: identity.incarnation,
            run,
            state: MemberState::Examining,
            message: None,
            position: None,
            server: None,
            transferred_bytes: None,
            draining: false,
            granted: None,
            schema: None,
            disk_free_bytes: 0,
            disk_total_bytes: 0,
        };
        let peer = PeerReport {
            cluster_name: settings.cluster_name.clone(),
            ordinal: options.ordinal,
            run,
            state: MemberState::Examining,
            position: None,
            node: None,
            server_runs: false,
            primary: false,
        };
        let member_name = super::step::node_name(inputs, options.ordinal);
        let at = Instant::now();
        Self { at, member, peer, route: Route::No, hung: None, status: None, member_name }
    }
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

impl Manager {
    pub(super) fn make_face(&self, now: Instant) -> Face {
        let inputs = self.inputs.borrow();
        let life = self.state.life();
        let said = life.and_then(Life::said);
        let state = self.member_state(now, said.as_ref());
        let draining = self.draining.is_on(now);
        let (free, total) = self.volume.room().unwrap_or_default();
        let mut face = Face::unknown(&self.options, &self.identity, &inputs);
        face.route = self.route(now, said.as_ref(), inputs.settings.sst);
        face.hung = hung(now, life, said.as_ref());
        face.status = said.as_ref().map(|said| said.status.clone());
        let position = self.position();
        let server = said.as_ref().map(|said| {
            let mut server = said.status.report(&said.version, CONNECTIONS_OF_OURS);
            if let Some(clients) = self.draining.clients().filter(|_| draining) {
                server.connections = u32::try_from(clients).unwrap_or(u32::MAX);
            }
            server
        });
        face.peer = PeerReport {
            run: self.run,
            state,
            position,
            node: said.as_ref().and_then(|said| said.status.node()),
            server_runs: life.is_some() || matches!(self.state, State::Starting { .. }),
            primary: said.as_ref().is_some_and(|said| said.status.is_primary()),
            ..face.peer
        };
        face.member = MemberReport {
            run: self.run,
            state,
            message: self.message(state, face.hung.as_deref()),
            position,
            server,
            transferred_bytes: life
                .and_then(|life| life.transferred)
                .filter(|_| state == MemberState::Joining),
            draining,
            granted: self.granted,
            schema: self.schema.report(),
            disk_free_bytes: free,
            disk_total_bytes: total,
            ..face.member
        };
        face
    }

    fn member_state(&self, now: Instant, said: Option<&Said>) -> MemberState {
        if self.stops_seen() > 0 {
            return MemberState::Stopping;
        }
        let gives_up = self.failures >= FAILURES && self.waiting != Waiting::Grant;
        match &self.state {
            State::Unexamined | State::Examining if self.failures >= FAILURES && now < self.not_before => {
                MemberState::Failed
            }
            State::Unexamined | State::Examining => MemberState::Examining,
            State::Empty => MemberState::Empty,
            State::Unusable(_) => MemberState::Unusable,
            State::Stopped { .. } if gives_up => MemberState::Failed,
            State::Stopped { .. } => MemberState::Waiting,
            State::Starting { founding: true } => MemberState::Initialising,
            State::Starting { founding: false } => MemberState::Joining,
            State::Running(life) => running(life, said.map(|said| &said.status)),
        }
    }

    /// Only who is Primary and Synced. A donor serves while nobody else does: mariabackup leaves it free to.
    fn route(&self, now: Instant, said: Option<&Said>, sst: Sst) -> Route {
        let Some(said) = said.filter(|said| now - said.at <= FRESH) else { return Route::No };
        let settled = self.state.life().is_some_and(|life| life.is_settled() && life.told_to_end.is_none());
        let synced = said.status.is_synced();
        let lone_donor =
            said.status.is_donor()
                && said.status.is_ready()
                && sst == Sst::Mariabackup
                && self.peers.now().iter().all(|peer| {
                    peer.report.as_ref().is_none_or(|report| report.state != MemberState::Synced)
                });
        match settled && (synced || lone_donor) {
            false => Route::No,
            true if self.draining.is_on(now) => Route::Drain,
            true => Route::Serve,
        }
    }

    fn message(&self, state: MemberState, hung: Option<&str>) -> Option<String> {
        let found = match &self.state {
            State::Unusable(why) => Some(why.clone()),
            State::Stopped { doubt, .. } => doubt.clone(),
            _ => None,
        };
        let waits = match self.waiting {
            Waiting::Grant if matches!(state, MemberState::Waiting | MemberState::NonPrimary) => {
                Some("no member that answers is part of a Primary component".to_owned())
            }
            Waiting::Foreign(cluster) => Some(format!(
                "the cluster's history is {cluster}, this data's is another: it is not overwritten; delete this \
                 member's volume claim and pod to have it replaced by a copy of the others'"
            )),
            Waiting::Donor => Some("the Primary component's members have no address yet".to_owned()),
            _ => None,
        };
        // What troubled an earlier start is over once the server serves; being ahead is not, until it has joined.
        let serves = state.is_primary();
        let trouble = self.trouble.clone().filter(|trouble| !serves || trouble == AHEAD);
        let parts: Vec<String> =
            [found, waits, trouble, hung.map(str::to_owned)].into_iter().flatten().collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

fn running(life: &Life, status: Option<&Status>) -> MemberState {
    let Some(status) = status.filter(|_| life.is_settled()) else {
        return if life.founding { MemberState::Initialising } else { MemberState::Joining };
    };
    if status.is_synced() {
        MemberState::Synced
    } else if status.is_donor() {
        MemberState::Donor
    } else if status.is_primary() || !life.was_primary {
        MemberState::Joining
    } else {
        MemberState::NonPrimary
    }
}

fn hung(now: Instant, life: Option<&Life>, said: Option<&Said>) -> Option<String> {
    let said = said.filter(|_| life.is_some_and(|life| life.told_to_end.is_none()))?;
    let silent = now - said.at;
    (silent >= HUNG_AFTER).then(|| format!("the server has not answered for {} s", silent.as_secs()))
}
