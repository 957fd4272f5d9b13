//! The other members, as they are seen from here: asked every 200 ms, each by a task of its own.
//!
//! A server is proven dead by its manager's word (no server runs, or a new run), or when the pod's own address refuses
//! connections both to the manager and to the server, twice: somebody is there to refuse, and the two are not. Silence
//! proves nothing.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::future::join_all;
use quartet_client::galera::{CHECK_PORT, PeerReport, Settings};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use uuid::Uuid;

use crate::decide::{Dead, Peer, Proof};
use crate::server::config::{GROUP_PORT, is_group_name};

const INTERVAL: Duration = Duration::from_millis(200);
const ANSWER_WITHIN: Duration = Duration::from_millis(800);
const CONNECT_WITHIN: Duration = Duration::from_millis(300);
const RESOLVE_EVERY: Duration = Duration::from_secs(1);
const RESOLVE_WITHIN: Duration = Duration::from_secs(5);
/// An older report says nothing about now.
const FRESH: Duration = Duration::from_secs(1);
/// How often in a row both ports have to be refused.
const REFUSALS: u32 = 2;
const DEAD_MAX: usize = 8;
const REPORT_BYTES_MAX: usize = 16 << 10;

/// What has been seen of one peer. Pure but for the time, which comes in.
#[derive(Clone, Debug, Default)]
struct Seen {
    address: Option<IpAddr>,
    report: Option<(Instant, PeerReport)>,
    /// The run and the server that were seen running last, and where.
    running: Option<(Uuid, Uuid, Option<IpAddr>)>,
    refusals: u32,
    /// With the run that the server belonged to.
    dead: Vec<(Uuid, Dead)>,
}

impl Seen {
    fn reported(&mut self, report: PeerReport, now: Instant) {
        self.refusals = 0;
        // Whoever was refused only seemingly is there again; of the others their manager says now that they are dead.
        self.dead.retain(|(run, _)| *run != report.run || !report.server_runs);
        for (_, dead) in &mut self.dead {
            dead.proof = Proof::Word;
        }
        if let Some(running) = self.running.take_if(|(run, ..)| *run != report.run || !report.server_runs) {
            self.died(running, Proof::Word);
        }
        if let Some(node) = report.node.filter(|_| report.server_runs) {
            self.running = Some((report.run, node, self.address));
        }
        self.report = Some((now, report));
    }

    fn refused(&mut self) {
        self.refusals += 1;
        if self.refusals >= REFUSALS
            && let Some(running) = self.running.take()
        {
            self.died(running, Proof::Refusal);
        }
        // What refuses is no member of a Primary component.
        self.report = None;
    }

    fn silent(&mut self) {
        self.refusals = 0;
    }

    /// What was said or refused at another address is no word of this one.
    fn moved(&mut self, address: IpAddr) {
        if self.address.replace(address) != Some(address) {
            self.report = None;
            self.refusals = 0;
        }
    }

    fn died(&mut self, (run, node, address): (Uuid, Uuid, Option<IpAddr>), proof: Proof) {
        self.mourn(run, Dead { node, proof, address });
    }

    fn mourn(&mut self, run: Uuid, dead: Dead) {
        if self.dead.len() == DEAD_MAX {
            self.dead.remove(0);
        }
        self.dead.push((run, dead));
    }
}

/// A dead server that is no longer waited for, and whose it was.
#[derive(Clone, Copy, Debug)]
pub struct Settled {
    ordinal: u16,
    run: Uuid,
    pub dead: Dead,
}

/// All peers of one member.
#[derive(Clone, Debug)]
pub struct Peers {
    ordinal: u16,
    http: reqwest::Client,
    seen: Arc<Mutex<BTreeMap<u16, Seen>>>,
    tasks: Arc<Mutex<BTreeMap<u16, (String, AbortHandle)>>>,
    /// As the settings have it now: what the others say of themselves comes from there, too. Another cluster's members
    /// may get an address that was a peer's.
    cluster_name: Arc<Mutex<String>>,
}

impl Peers {
    pub fn new(ordinal: u16) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .timeout(ANSWER_WITHIN)
            .connect_timeout(CONNECT_WITHIN)
            .no_proxy()
            .pool_max_idle_per_host(1)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        let (seen, tasks, cluster_name) = (Arc::default(), Arc::default(), Arc::default());
        Ok(Self { ordinal, http, seen, tasks, cluster_name })
    }

    /// The members that the settings name, this one among them. Whoever is not there any more is forgotten.
    pub fn watch(&self, settings: &Settings) {
        lock(&self.cluster_name).clone_from(&settings.cluster_name);
        let members = &settings.members;
        let mut tasks = lock(&self.tasks);
        let wanted: BTreeMap<u16, &String> =
            (0..).zip(members).filter(|(ordinal, _)| *ordinal != self.ordinal).collect();
        tasks.retain(|ordinal, (host, task)| {
            let stays = wanted.get(ordinal).is_some_and(|wanted| *wanted == host);
            if !stays {
                task.abort();
                self.seen().remove(ordinal);
            }
            stays
        });
        for (ordinal, host) in wanted {
            tasks.entry(ordinal).or_insert_with(|| {
                self.seen().insert(ordinal, Seen::default());
                let (peers, name) = (self.clone(), host.clone());
                let task = tokio::spawn(async move {
                    tokio::join!(peers.resolve(ordinal, &name), peers.poll(ordinal));
                });
                (host.clone(), task.abort_handle())
            });
        }
    }

    /// As far as it is known at this moment.
    pub fn now(&self) -> Vec<Peer> {
        let now = Instant::now();
        let seen = self.seen();
        seen.iter()
            .map(|(ordinal, seen)| Peer {
                ordinal: *ordinal,
                address: seen.address,
                report: seen.report.as_ref().filter(|(at, _)| now - *at <= FRESH).map(|(_, it)| it.clone()),
                dead: seen.dead.iter().map(|(_, dead)| *dead).collect(),
            })
            .collect()
    }

    /// The server is not waited for any longer.
    pub fn settle(&self, node: Uuid) -> Option<Settled> {
        let mut all = self.seen();
        all.iter_mut().find_map(|(ordinal, seen)| {
            let place = seen.dead.iter().position(|(_, dead)| dead.node == node)?;
            let (run, dead) = seen.dead.remove(place);
            Some(Settled { ordinal: *ordinal, run, dead })
        })
    }

    /// It is waited for all the same, unless it was seen alive meanwhile: whoever only refuses may come back.
    pub fn unsettle(&self, settled: Settled) {
        if let Some(seen) = self.seen().get_mut(&settled.ordinal)
            && seen.running.is_none_or(|(run, ..)| run != settled.run)
        {
            seen.mourn(settled.run, settled.dead);
        }
    }

    /// Asks everybody again, now, and waits for the answers.
    pub async fn ask_all(&self) {
        let known: Vec<(u16, IpAddr)> =
            self.seen().iter().filter_map(|(ordinal, seen)| Some((*ordinal, seen.address?))).collect();
        join_all(known.into_iter().map(|(ordinal, address)| self.ask_and_note(ordinal, address))).await;
    }

    async fn resolve(&self, ordinal: u16, host: &str) {
        loop {
            // A name that is not known (any more) leaves the last address: a dead pod's name goes before its address
            // is another's.
            if let Ok(Ok(mut found)) = timeout(RESOLVE_WITHIN, lookup_host((host, CHECK_PORT))).await
                && let Some(address) = found.next()
                && let Some(seen) = self.seen().get_mut(&ordinal)
            {
                seen.moved(address.ip());
            }
            tokio::time::sleep(RESOLVE_EVERY).await;
        }
    }

    async fn poll(&self, ordinal: u16) {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let address = self.seen().get(&ordinal).and_then(|seen| seen.address);
            if let Some(address) = address {
                self.ask_and_note(ordinal, address).await;
            }
        }
    }

    async fn ask_and_note(&self, ordinal: u16, address: IpAddr) {
        let answer = self.ask(ordinal, address).await;
        let refused = answer.is_none() && refuses(address).await;
        let mut seen = self.seen();
        let Some(seen) = seen.get_mut(&ordinal).filter(|seen| seen.address == Some(address)) else { return };
        match answer {
            Some(report) => seen.reported(report, Instant::now()),
            None if refused => seen.refused(),
            None => seen.silent(),
        }
    }

    async fn ask(&self, ordinal: u16, address: IpAddr) -> Option<PeerReport> {
        let url = format!("http://{}/peer", SocketAddr::from((address, CHECK_PORT)));
        let mut answer = self.http.get(url).send().await.ok()?.error_for_status().ok()?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.ok()? {
            if body.len() + chunk.len() > REPORT_BYTES_MAX {
                return None;
            }
            body.extend_from_slice(&chunk);
        }
        let report: PeerReport = serde_json::from_slice(&body).ok()?;
        self.is_of(&report, ordinal).then_some(report)
    }

    /// Said by the member of that ordinal, and not by somebody else at its address.
    fn is_of(&self, report: &PeerReport, ordinal: u16) -> bool {
        let group_name = report.group_name.as_deref();
        report.cluster_name == *lock(&self.cluster_name)
            && report.ordinal == ordinal
            && group_name.is_none_or(is_group_name)
    }

    fn seen(&self) -> MutexGuard<'_, BTreeMap<u16, Seen>> {
        lock(&self.seen)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The address itself answers that nobody listens, neither the manager nor the server.
async fn refuses(address: IpAddr) -> bool {
    let refuses = |port| async move {
        let connected = timeout(CONNECT_WITHIN, TcpStream::connect(SocketAddr::from((address, port)))).await;
        matches!(connected, Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused)
    };
    let (manager, server) = tokio::join!(refuses(CHECK_PORT), refuses(GROUP_PORT));
    manager && server
}

#[cfg(test)]
mod tests {
    use quartet_client::galera::MemberState;

    use super::*;

    fn report(run: u128, node: Option<u128>, server_runs: bool) -> PeerReport {
        PeerReport {
            cluster_name: "shop".into(),
            group_name: None,
            ordinal: 1,
            run: Uuid::from_u128(run),
            state: if server_runs { MemberState::Synced } else { MemberState::Waiting },
            position: None,
            node: node.map(Uuid::from_u128),
            server_runs,
            serves: false,
            applies_schema: false,
            primary: server_runs,
            begun: None,
            members: vec![],
        }
    }

    fn seen(reports: &[PeerReport]) -> Seen {
        let mut seen = Seen::default();
        for report in reports {
            seen.reported(report.clone(), Instant::now());
        }
        seen
    }

    fn dead(seen: &Seen) -> Vec<u128> {
        seen.dead.iter().map(|(_, dead)| dead.node.as_u128()).collect()
    }

    #[test]
    fn a_server_is_dead_when_its_manager_says_so() {
        assert_eq!(dead(&seen(&[report(1, Some(10), true), report(2, Some(10), false)])), [10]);
        assert_eq!(dead(&seen(&[report(1, Some(10), true), report(1, Some(10), false)])), [10]);
        let restarted = seen(&[report(1, Some(10), true), report(2, None, true), report(2, Some(11), true)]);
        assert_eq!(dead(&restarted), [10], "a new run without a server in between");
    }

    #[test]
    fn a_server_that_goes_on_is_never_called_dead() {
        let same = [report(1, Some(10), true), report(1, Some(10), true)];
        assert!(dead(&seen(&same)).is_empty());
        let other_node = seen(&[report(1, Some(10), true), report(1, Some(11), true)]);
        assert!(dead(&other_node).is_empty(), "the same run: the same process");
        assert!(dead(&seen(&[report(1, Some(10), false)])).is_empty(), "it was not seen running");
    }

    #[test]
    fn two_refusals_in_a_row_prove_it_and_silence_does_not() {
        let mut seen = seen(&[report(1, Some(10), true)]);
        for _ in 0..5 {
            seen.silent();
        }
        seen.refused();
        seen.silent();
        seen.refused();
        assert!(dead(&seen).is_empty());
        seen.refused();
        assert_eq!(dead(&seen), [10]);
        seen.refused();
        assert_eq!(dead(&seen), [10], "told once");
        assert!(seen.report.is_none());
        assert_eq!(seen.dead[0].1.proof, Proof::Refusal);
        seen.reported(report(2, None, false), Instant::now());
        assert_eq!(seen.dead[0].1.proof, Proof::Word);
    }

    #[test]
    fn whoever_was_refused_and_answers_as_before_was_never_dead() {
        let mut seen = seen(&[report(1, Some(10), true)]);
        for _ in 0..REFUSALS {
            seen.refused();
        }
        assert_eq!(dead(&seen), [10]);
        seen.reported(report(1, Some(10), true), Instant::now());
        assert!(dead(&seen).is_empty());
    }

    #[test]
    fn whoever_comes_back_elsewhere_died_where_it_was_and_has_said_nothing_there_yet() {
        let [old, new] = [7, 8].map(|n| IpAddr::from([10, 0, 0, n]));
        let mut seen = Seen::default();
        seen.moved(old);
        seen.reported(report(1, Some(10), true), Instant::now());
        seen.moved(old);
        assert!(seen.report.is_some());
        seen.moved(new);
        assert!(seen.report.is_none() && dead(&seen).is_empty());
        seen.reported(report(2, None, false), Instant::now());
        assert_eq!(
            seen.dead[0].1,
            Dead { node: Uuid::from_u128(10), proof: Proof::Word, address: Some(old) }
        );
    }

    #[tokio::test]
    async fn a_server_that_could_not_be_evicted_is_waited_for_again() {
        let peers = Peers::new(0).unwrap();
        let mut one = Seen::default();
        one.reported(report(1, Some(10), true), Instant::now());
        one.reported(report(1, Some(10), false), Instant::now());
        peers.seen().insert(1, one);
        let known = || peers.now()[0].dead.clone();
        let before = known();
        let settled = peers.settle(Uuid::from_u128(10)).unwrap();
        assert!(known().is_empty() && peers.settle(Uuid::from_u128(10)).is_none());
        peers.unsettle(settled);
        assert_eq!((known(), before.len()), (before, 1));
        // It refused only seemingly.
        let settled = peers.settle(Uuid::from_u128(10)).unwrap();
        peers.seen().get_mut(&1).unwrap().reported(report(1, Some(10), true), Instant::now());
        peers.unsettle(settled);
        assert!(known().is_empty());
    }

    /// As a resource gets another name that was deleted without its children and made again.
    #[tokio::test]
    async fn a_peer_is_known_by_the_name_that_the_settings_have_now() {
        let peers = Peers::new(0).unwrap();
        let settings = |name: &str| {
            let text = r#"{"name":"shop","namespace":"default","clusterName":"NAME","members":[],"sst":"rsync",
                "schema":"h","databases":[],"users":[],"proxy":{"balance":"roundrobin"}}"#;
            serde_json::from_str::<Settings>(&text.replace("NAME", name)).unwrap()
        };
        let told = |name: &str| PeerReport { cluster_name: name.into(), ..report(1, None, false) };
        for (now, before) in [("shop", "shop-next"), ("shop-next", "shop")] {
            peers.watch(&settings(now));
            assert!(peers.is_of(&told(now), 1));
            assert!(!peers.is_of(&told(before), 1) && !peers.is_of(&told(now), 2));
        }
        let group_name = Some("shop\nwsrep_on = OFF".to_owned());
        assert!(!peers.is_of(&PeerReport { group_name, ..told("shop-next") }, 1));
    }

    #[test]
    fn the_dead_are_bounded() {
        let mut seen = Seen::default();
        for node in 1..100 {
            seen.reported(report(node, Some(node), true), Instant::now());
        }
        assert_eq!(dead(&seen), (91..99).collect::<Vec<_>>());
    }
}
