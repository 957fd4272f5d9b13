//! What there is to tell of this member, at one moment.

use std::time::{Duration, Instant};

use quartet_client::galera::{MemberReport, MemberState, PeerReport, Sst};

use super::life::{FRESH, Life, Said, UNHEARD};
use super::state::State;
use super::{AHEAD, FAILURES, HUNG_AFTER, Manager, REPLACE};
use crate::decide::Waiting;
use crate::inputs::Inputs;
use crate::options::Options;
use crate::server::status::Status;
use crate::volume::Identity;

const CONNECTIONS_OF_OURS: u32 = 2;

/// A server that has answered nothing for so long stands still, and clients are sent to others: with a look of the
/// manager's (100 ms) and a check of HAProxy's (200 ms) it is left out 0.8 s after its last answer, of the 1 s that it may
/// take. What it answers is a ping on a connection of its own. With 200 clients that only compute, on two cores that
/// others use too, it took 30 ms (median), 0.8 s at worst, and the status 0.6 s and 2.6 s: that one tells busy from
/// still.
///
/// A false alarm ends all connections to a member, and what they did comes upon the others: where they are as slow, they
/// would fall in turn. Hence it is left out only where another member serves that answers promptly; where none does, it is
/// kept until its own last word is stale. Nobody has anywhere else to go.
const STANDS_STILL: Duration = Duration::from_millis(500);
/// Whoever counts as such another member has answered so lately. Members that stand still at once have said of themselves
/// that they do not serve by then, and have been asked by the others (every 200 ms), before anyone is left out.
const PROMPT: Duration = Duration::from_millis(200);

/// One that begins to give its data is sent no new clients at first, and only then loses those that it has: all proxies
/// know of it by then, so that nobody who is sent away comes back to it by another proxy and is sent away again
/// (measured). Many transfers are over before. With a look and a check it has nobody left after 0.9 s.
const HANDS_OVER_FOR: Duration = Duration::from_millis(600);

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
            group_name: None,
            ordinal: options.ordinal,
            run,
            state: MemberState::Examining,
            position: None,
            node: None,
            server_runs: false,
            serves: false,
            applies_schema: false,
            primary: false,
            begun: None,
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
        let identity = Identity { incarnation: uuid::Uuid::from_u128(5), held_data: false };
        Self::unknown(&Self::example_options(), &identity, &Self::example_inputs())
    }

    pub(super) fn example_options() -> Options {
        Options {
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
        }
    }

    pub(super) fn example_inputs() -> Inputs {
        let settings = r#"{"name":"shop","namespace":"default","clusterName":"shop-1","members":["a","b","c"],
            "sst":"mariabackup","schema":"h","databases":[],"users":[],"proxy":{"balance":"roundrobin"}}"#;
        Inputs { settings: serde_json::from_str(settings).unwrap(), passwords: vec![] }
    }
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

impl Manager {
    pub(super) fn make_face(&self, now: Instant) -> Face {
        let inputs = self.inputs.borrow();
        let life = self.state.life();
        let last = life.and_then(Life::said);
        let unheard = life.is_some_and(|life| life.is_unheard(now));
        let said = last.clone().filter(|_| !unheard);
        let state = self.member_state(now, said.as_ref());
        let draining = self.draining.is_on(now);
        let (free, total) = self.volume.room().unwrap_or_default();
        let mut face = Face::unknown(&self.options, &self.identity, &inputs);
        face.route = self.route(now, said.as_ref(), inputs.settings.sst);
        let prompt = life.and_then(|life| life.silent_for(now)).is_some_and(|silent| silent <= PROMPT);
        face.hung = hung(now, life);
        face.status = said.as_ref().map(|said| said.status.clone());
        let position = self.state.position(now);
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
            node: last.as_ref().and_then(|said| said.status.node()),
            server_runs: life.is_some() || matches!(self.state, State::Starting { .. }),
            serves: face.route == Route::Serve && prompt,
            applies_schema: self.schema.is_running(),
            // By its last word, however old: nobody is begun beside it before it is known to have ended.
            primary: last.as_ref().is_some_and(|said| said.status.is_primary()),
            members: life.map(Life::noticed).unwrap_or_default(),
            group_name: life.and_then(|life| life.group_name.clone()),
            begun: life.and_then(|life| life.begun).or(inputs.settings.begun_from.map(|begun| begun.history)),
            ..face.peer
        };
        face.member = MemberReport {
            run: self.run,
            state,
            message: self.message(state, face.hung.clone().or(unheard.then(|| unanswered(UNHEARD)))),
            position,
            server,
            transferred_bytes: life.and_then(Life::transferred).filter(|_| state == MemberState::Joining),
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
            State::Unexamined | State::Settling | State::Examining => MemberState::Examining,
            State::Empty => MemberState::Empty,
            State::Unusable { .. } => MemberState::Unusable,
            State::Stopped { .. } if gives_up => MemberState::Failed,
            // Leave is of no use to it for now: others who hold the same may be given it.
            State::Stopped { .. } if self.grants_in_vain >= FAILURES && now < self.not_before => {
                MemberState::Failed
            }
            State::Stopped { .. } => MemberState::Waiting,
            State::Starting { founding: true } => MemberState::Initialising,
            State::Starting { founding: false } => MemberState::Joining,
            State::Running(life) if said.is_none() && life.was_primary => MemberState::NonPrimary,
            State::Running(life) => {
                let status = said.map(|said| &said.status).filter(|_| life.is_settled());
                running(status, life.founding, life.was_primary)
            }
        }
    }

    fn route(&self, now: Instant, said: Option<&Said>, sst: Sst) -> Route {
        let Some(said) = said.filter(|said| now - said.at <= FRESH) else { return Route::No };
        let peers = self.peers.now();
        let some =
            |fits: fn(&PeerReport) -> bool| peers.iter().any(|peer| peer.report.as_ref().is_some_and(fits));
        let another = some(|report| report.serves);
        let fit = |life: &Life| {
            life.is_settled()
                && life.told_to_end.is_none()
                && !life.has_just_come_back(now)
                && life.silent_for(now).is_some_and(|silent| goes_on(silent, another))
        };
        let fit = self.state.life().is_some_and(fit);
        let gives = said.status.is_donor() && sst == Sst::Mariabackup;
        let alone = gives && !some(|report| report.state == MemberState::Synced);
        let unsynced_for = self.state.life().and_then(|life| life.unsynced_for(now));
        let hands_over = gives && said.status.is_ready() && hands_over(unsynced_for);
        if !fit || !(serves(&said.status, alone) || hands_over) {
            Route::No
        } else if self.draining.is_on(now) || (hands_over && !alone) {
            Route::Drain
        } else {
            Route::Serve
        }
    }

    fn message(&self, state: MemberState, silent: Option<String>) -> Option<String> {
        let found = match &self.state {
            State::Unusable { why, .. } => Some(why.clone()),
            State::Stopped { doubt, .. } => doubt.clone(),
            _ => None,
        };
        let waits = match self.waiting {
            Waiting::Grant
                if matches!(state, MemberState::Waiting | MemberState::NonPrimary) && silent.is_none() =>
            {
                Some("no member that answers is part of a Primary component".to_owned())
            }
            Waiting::Foreign(cluster) => Some(format!(
                "the cluster's history is {cluster}, this data's is another: it is not overwritten; {REPLACE}"
            )),
            Waiting::Beyond(begun) => Some(format!(
                "by a human's word the cluster's history {} goes on from {}, and this data goes beyond that: what it \
                 holds since is on no member of the cluster, and is not overwritten; {REPLACE}",
                begun.history, begun.position
            )),
            Waiting::Unnamed(history) => Some(format!(
                "a human's word began the history {history}: this member joins it once the operator has told it so"
            )),
            Waiting::SteppedOver => Some(
                "a human's word began the cluster's history while this member did not answer: it joins once the operator \
                 has heard of it"
                    .to_owned(),
            ),
            Waiting::Donor => {
                Some("no member of the Primary component tells where it is and what it holds".to_owned())
            }
            _ => None,
        };
        // What troubled an earlier start is over once the server serves; being ahead is not, until it has joined.
        let serves = state.is_primary();
        let trouble = self.trouble.clone().filter(|trouble| !serves || trouble == AHEAD);
        let parts: Vec<String> = [found, waits, trouble, silent].into_iter().flatten().collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

/// Whether a server that has answered nothing for so long is taken for one that serves.
fn goes_on(silent: Duration, another_serves: bool) -> bool {
    silent < STANDS_STILL || !another_serves
}

/// Whether one that has begun to give its data keeps the clients that it has.
fn hands_over(unsynced_for: Option<Duration>) -> bool {
    unsynced_for.is_some_and(|unsynced| unsynced < HANDS_OVER_FOR)
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

fn hung(now: Instant, life: Option<&Life>) -> Option<String> {
    let life = life.filter(|life| life.told_to_end.is_none())?;
    life.hangs(now, HUNG_AFTER).then(|| unanswered(HUNG_AFTER))
}

/// In words that stay the same: they are written into the resource's status.
fn unanswered(limit: Duration) -> String {
    format!("the server has not answered for more than {} s", limit.as_secs())
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
    fn a_server_that_stands_still_is_left_out_at_once_where_another_serves() {
        assert!(goes_on(PROMPT, true));
        assert!(!goes_on(STANDS_STILL, true));
        assert!(goes_on(STANDS_STILL, false), "there is nowhere else to go");
    }

    #[test]
    fn from_its_last_answer_on_a_server_that_stands_still_is_routed_to_for_less_than_a_second() {
        const CHECKED_EVERY: Duration = Duration::from_millis(200);
        const ON_THE_WAY: Duration = Duration::from_millis(100);
        assert!(STANDS_STILL + super::super::TICK + CHECKED_EVERY + ON_THE_WAY < Duration::from_secs(1));
    }

    #[test]
    fn a_donor_has_no_client_left_within_a_second_and_no_new_one_before() {
        const CHECKED_EVERY: Duration = Duration::from_millis(200);
        assert!(hands_over(Some(Duration::ZERO)) && !hands_over(Some(HANDS_OVER_FOR)) && !hands_over(None));
        assert!(HANDS_OVER_FOR + super::super::TICK + CHECKED_EVERY < Duration::from_secs(1));
        assert!(HANDS_OVER_FOR > super::super::TICK + CHECKED_EVERY * 2, "all proxies know of it");
    }

    #[test]
    fn those_who_stand_still_at_once_have_heard_so_of_each_other_before_they_leave_clients_alone() {
        const ASKED_EVERY: Duration = Duration::from_millis(200);
        assert!(PROMPT + super::super::TICK + ASKED_EVERY <= STANDS_STILL);
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
