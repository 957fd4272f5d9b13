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
use quartet_client::galera::{CHECK_PORT, PeerReport};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use uuid::Uuid;

use crate::decide::{Dead, Peer, Proof};
use crate::server::config::GROUP_PORT;

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
    /// The run and the server that were seen running last.
    running: Option<(Uuid, Uuid)>,
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
        if let Some((run, node)) = self.running.take_if(|(run, _)| *run != report.run || !report.server_runs)
        {
            self.died(run, node, Proof::Word);
        }
        if let Some(node) = report.node.filter(|_| report.server_runs) {
            self.running = Some((report.run, node));
        }
        self.report = Some((now, report));
    }

    fn refused(&mut self) {
        self.refusals += 1;
        if self.refusals >= REFUSALS
            && let Some((run, node)) = self.running.take()
        {
            self.died(run, node, Proof::Refusal);
        }
        // What refuses is no member of a Primary component.
        self.report = None;
    }

    fn silent(&mut self) {
        self.refusals = 0;
    }

    fn died(&mut self, run: Uuid, node: Uuid, proof: Proof) {
        if self.dead.len() == DEAD_MAX {
            self.dead.remove(0);
        }
        self.dead.push((run, Dead { node, proof }));
    }
}

/// All peers of one member.
#[derive(Clone, Debug)]
pub struct Peers {
    ordinal: u16,
    http: reqwest::Client,
    seen: Arc<Mutex<BTreeMap<u16, Seen>>>,
    tasks: Arc<Mutex<BTreeMap<u16, (String, AbortHandle)>>>,
    /// Another cluster's members may get an address that was a peer's.
    cluster_name: String,
}

impl Peers {
    pub fn new(ordinal: u16, cluster_name: &str) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .timeout(ANSWER_WITHIN)
            .connect_timeout(CONNECT_WITHIN)
            .no_proxy()
            .pool_max_idle_per_host(1)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        let (seen, tasks) = (Arc::default(), Arc::default());
        Ok(Self { ordinal, http, seen, tasks, cluster_name: cluster_name.to_owned() })
    }

    /// Host names of all members by ordinal, this one's included. Whoever is not there any more is forgotten.
    pub fn watch(&self, members: &[String]) {
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

    /// The server is not waited for any longer. Says where it was.
    pub fn settle(&self, node: Uuid) -> Option<IpAddr> {
        let mut all = self.seen();
        let seen = all.values_mut().find(|seen| seen.dead.iter().any(|(_, dead)| dead.node == node))?;
        seen.dead.retain(|(_, dead)| dead.node != node);
        seen.address
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
                seen.address = Some(address.ip());
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
        (report.cluster_name == self.cluster_name && report.ordinal == ordinal).then_some(report)
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
            ordinal: 1,
            run: Uuid::from_u128(run),
            state: if server_runs { MemberState::Synced } else { MemberState::Waiting },
            position: None,
            node: node.map(Uuid::from_u128),
            server_runs,
            serves: false,
            applies_schema: false,
            primary: server_runs,
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
    fn the_dead_are_bounded() {
        let mut seen = Seen::default();
        for node in 1..100 {
            seen.reported(report(node, Some(node), true), Instant::now());
        }
        assert_eq!(dead(&seen), (91..99).collect::<Vec<_>>());
    }
}
