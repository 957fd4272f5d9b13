//! What there is to tell of this member, at one moment.

use std::time::{Duration, Instant};

use quartet_client::galera::{MemberReport, MemberState, PeerReport, Sst};

use super::life::{FRESH, Life, Said};
use super::state::State;
use super::{AHEAD, FAILURES, Manager};
use crate::decide::{Peer, Waiting};
use crate::inputs::Inputs;
use crate::options::Options;
use crate::server::status::Status;
use crate::volume::Identity;

/// A server that has answered before, and does not for so long, hangs.
const HUNG_AFTER: Duration = Duration::from_mins(1);
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
            members: vec![],
        };
        let member_name = super::step::node_name(inputs, options.ordinal);
        let at = Instant::now();
        Self { at, member, peer, route: Route::No, hung: None, status: None, member_name }
    }
}

#[cfg(test)]
impl Face {
    /// Member 2 of `shop`, before anything is known.
    pub(crate) fn example() -> Self {
        let options = Options {
            ordinal: 2,
            address: std::net::Ipv4Addr::LOCALHOST.into(),
            data: "/data".into(),
            settings: "/settings.json".into(),
            passwords: "/passwords".into(),
            run_dir: "/run".into(),
            http: ([127, 0, 0, 1], 0).into(),
            admin: ([127, 0, 0, 1], 0).into(),
            admin_token_file: "/token".into(),
            drain_timeout: Duration::ZERO,
            gcache_bytes: 1,
            buffer_pool_bytes: 1,
            snapshot_isolation: false,
            server_options: vec![],
        };
        let settings = r#"{"name":"shop","namespace":"default","clusterName":"shop-1","members":["a","b","c"],
            "sst":"mariabackup","schema":"h","databases":[],"users":[],"proxy":{"balance":"roundrobin"}}"#;
        let inputs = Inputs { settings: serde_json::from_str(settings).unwrap(), passwords: vec![] };
        Self::unknown(
            &options,
            &Identity { incarnation: uuid::Uuid::from_u128(5), held_data: false },
            &inputs,
        )
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
            members: life.map(Life::noticed).unwrap_or_default(),
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
            State::Unreadable => MemberState::Failed,
            State::Unexamined | State::Examining => MemberState::Examining,
            State::Empty => MemberState::Empty,
            State::Unusable(_) => MemberState::Unusable,
            State::Stopped { .. } if gives_up => MemberState::Failed,
            State::Stopped { .. } => MemberState::Waiting,
            State::Starting { founding: true } => MemberState::Initialising,
            State::Starting { founding: false } => MemberState::Joining,
            State::Running(life) => {
                let status = said.map(|said| &said.status).filter(|_| life.is_settled());
                running(status, life.founding, life.was_primary)
            }
        }
    }

    fn route(&self, now: Instant, said: Option<&Said>, sst: Sst) -> Route {
        let Some(said) = said.filter(|said| now - said.at <= FRESH) else { return Route::No };
        let fit =
            |life: &Life| life.is_settled() && life.told_to_end.is_none() && !life.has_just_come_back(now);
        let fit = self.state.life().is_some_and(fit);
        let synced = |peer: &Peer| peer.report.as_ref().is_some_and(|it| it.state == MemberState::Synced);
        let alone = said.status.is_donor() && sst == Sst::Mariabackup && !self.peers.now().iter().any(synced);
        if !fit || !serves(&said.status, alone) {
            Route::No
        } else if self.draining.is_on(now) {
            Route::Drain
        } else {
            Route::Serve
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

/// Only who is Primary and Synced. A donor does while nobody else can: mariabackup leaves it free to.
fn serves(status: &Status, alone: bool) -> bool {
    status.is_synced() || (alone && status.is_donor() && status.is_ready())
}

/// `status`: once nothing of the start is left half done.
fn running(status: Option<&Status>, founding: bool, was_primary: bool) -> MemberState {
    let Some(status) = status else {
        return if founding { MemberState::Initialising } else { MemberState::Joining };
    };
    if status.is_synced() {
        MemberState::Synced
    } else if status.is_donor() {
        MemberState::Donor
    } else if status.is_primary() || !was_primary {
        MemberState::Joining
    } else {
        MemberState::NonPrimary
    }
}

fn hung(now: Instant, life: Option<&Life>, said: Option<&Said>) -> Option<String> {
    let said = said.filter(|_| life.is_some_and(|life| life.told_to_end.is_none()))?;
    // In words that stay the same: they are written into the resource's status.
    let hangs = now - said.at >= HUNG_AFTER;
    hangs.then(|| format!("the server has not answered for more than {} s", HUNG_AFTER.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::status::tests::status;

    const NON_PRIMARY: (&str, &str) = ("wsrep_cluster_status", "non-Primary");
    const DONOR: (&str, &str) = ("wsrep_local_state", "2");

    #[test]
    fn a_running_server_is_what_it_says_once_its_start_is_over() {
        let state = |changed: &[(&str, &str)]| running(Some(&status(changed)), false, true);
        assert_eq!(state(&[]), MemberState::Synced);
        assert_eq!(state(&[DONOR]), MemberState::Donor);
        assert_eq!(state(&[("wsrep_local_state", "3")]), MemberState::Joining);
        assert_eq!(state(&[NON_PRIMARY]), MemberState::NonPrimary);
        assert_eq!(running(Some(&status(&[NON_PRIMARY])), false, false), MemberState::Joining);
        assert_eq!(running(None, false, false), MemberState::Joining);
        assert_eq!(running(None, true, true), MemberState::Initialising);
    }

    #[test]
    fn clients_are_sent_to_who_is_synced_and_to_a_donor_only_when_it_is_alone() {
        assert!(serves(&status(&[]), false));
        assert!(serves(&status(&[DONOR]), true));
        for (changed, alone) in [
            (vec![DONOR], false),
            (vec![DONOR, ("wsrep_ready", "OFF")], true),
            (vec![NON_PRIMARY], true),
            (vec![NON_PRIMARY, DONOR], true),
            (vec![("wsrep_local_state", "3")], true),
        ] {
            assert!(!serves(&status(&changed), alone), "{changed:?}");
        }
    }
}
