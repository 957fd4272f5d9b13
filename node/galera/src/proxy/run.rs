//! The proxy's life: it looks, corrects, and stops last.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use quartet_serve::server::{Bounded, ListenError, Server as HttpServer};
use rustix::process::{Resource, getrlimit};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior};

use super::config::{Config, POOL, WRITER, server_name};
use super::control;
use super::haproxy::{self, Files, Haproxy};
use super::inputs::{self, Inputs};
use super::state::{Server, State, Statistics};
use super::{Options, addresses, judge, service};
use crate::error::chain;
use crate::run::LAST_ANSWERS;

/// Between two looks at HAProxy: part of the second within which nobody reaches a member that is not well.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Between two looks at files and names.
const ASK_EVERY: Duration = Duration::from_secs(1);
const FIRST_LOOKS_EVERY: Duration = Duration::from_millis(50);
/// HAProxy's checks have come to a result by then, or never will.
const FIRST_CHECKS_DEADLINE: Duration = Duration::from_secs(5);
/// Told to stop, it serves until nobody has come for so long: those who do not know yet are still to come.
const QUIET: Duration = Duration::from_secs(2);
/// How long it serves on at most.
const DRAIN_DEADLINE: Duration = Duration::from_secs(30);
const THREADS_MAX: usize = 4;
const CONNECTIONS_MAX: u64 = 4000;
/// Of the manager's own port: more than probes and scrapes ever have.
const HTTP_CONNECTIONS_MAX: usize = 64;
/// Files that HAProxy has open beside those of its connections.
const FILES_OF_ITS_OWN: u64 = 200;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("what the operator gives")]
    Inputs(#[from] inputs::Error),
    #[error("HAProxy")]
    Haproxy(#[from] haproxy::Error),
    #[error("HAProxy ended by itself: {0}")]
    Ended(std::process::ExitStatus),
    #[error(transparent)]
    Listen(#[from] ListenError),
}

/// `stops` counts how often the proxy was told to stop: the first time it leaves gracefully, the second at once.
pub async fn run(options: Options, mut stops: watch::Receiver<u32>) -> Result<(), Error> {
    let listener = Bounded::bind(options.http, HTTP_CONNECTIONS_MAX).await?;
    let (show, state) = watch::channel(State::default());
    let http = HttpServer::start(listener, service::router(state));
    let ended = tokio::select! {
        ended = manage(options, show, stops.clone()) => ended,
        () = told(&mut stops, 2) => Ok(()),
    };
    http.stop(LAST_ANSWERS).await;
    ended
}

async fn manage(
    options: Options,
    show: watch::Sender<State>,
    mut stops: watch::Receiver<u32>,
) -> Result<(), Error> {
    let mut proxy = tokio::select! {
        started = Proxy::start(options, show) => started?,
        () = told(&mut stops, 1) => return Ok(()),
    };
    proxy.work(&mut stops).await?;
    proxy.drain().await?;
    Ok(proxy.haproxy.stop().await?)
}

/// So often; or nobody is left to tell.
async fn told(stops: &mut watch::Receiver<u32>, times: u32) {
    let _ = stops.wait_for(|stops| *stops >= times).await;
}

struct Proxy {
    options: Options,
    inputs: Inputs,
    /// Where the members were found last, by ordinal.
    addresses: Vec<Option<IpAddr>>,
    haproxy: Haproxy,
    /// The settings that HAProxy has.
    applied: String,
    /// Settings that HAProxy found a fault in.
    refused: Option<String>,
    /// Names that are being looked up: a name server that does not answer holds up nothing else.
    asked: JoinSet<Vec<(usize, IpAddr)>>,
    /// Servers whose connections have been ended in workers of before a reload, by process id.
    closed: BTreeMap<u32, BTreeSet<String>>,
    show: watch::Sender<State>,
}

impl Proxy {
    /// Returns once clients are served.
    async fn start(options: Options, show: watch::Sender<State>) -> Result<Self, Error> {
        let inputs = Inputs::read(&options.settings, &options.credentials).await?;
        let hosts = &inputs.settings.members;
        let mut addresses = vec![None; hosts.len()];
        let all: Vec<_> = (0..hosts.len()).collect();
        for (ordinal, address) in addresses::look_up(hosts, &all).await {
            addresses[ordinal] = Some(address);
        }
        let applied = render(&options, &inputs, &addresses, false);
        let files = Files { program: options.haproxy.clone(), dir: options.run_dir.clone() };
        let haproxy = Haproxy::start(files, &applied).await?;
        let (refused, asked, closed) = (None, JoinSet::new(), BTreeMap::new());
        let mut proxy = Self { options, inputs, addresses, haproxy, applied, refused, asked, closed, show };
        proxy.checks_come_to_results().await;
        let listening = proxy.desired();
        proxy.haproxy.reload(&listening).await?;
        proxy.applied = listening;
        proxy.show.send_modify(|state| state.listens = true);
        tracing::info!(members = proxy.addresses.len(), "clients are served");
        Ok(proxy)
    }

    async fn checks_come_to_results(&mut self) {
        let since = Instant::now();
        while since.elapsed() < FIRST_CHECKS_DEADLINE {
            let looked = self.haproxy.control().statistics().await;
            if looked.is_ok_and(|seen| judge::all_checked(&seen.servers)) {
                break;
            }
            tokio::time::sleep(FIRST_LOOKS_EVERY).await;
        }
    }

    /// Until told to stop.
    async fn work(&mut self, stops: &mut watch::Receiver<u32>) -> Result<(), Error> {
        let (mut look, mut ask) = (every(LOOK_EVERY), every(ASK_EVERY));
        loop {
            tokio::select! {
                () = told(stops, 1) => return Ok(()),
                ended = self.haproxy.ended() => return Err(Error::Ended(ended?)),
                _ = look.tick() => self.look().await,
                _ = ask.tick() => self.ask().await,
                Some(Ok(found)) = self.asked.join_next() => self.found(found).await,
            }
        }
    }

    /// Serves on until everybody has gone, and for a bounded time. It is stopped with its checks running: HAProxy's
    /// own soft stop would end them first, and leave connections on members that are no longer well.
    async fn drain(&mut self) -> Result<(), Error> {
        self.show.send_modify(|state| state.stopping = true);
        let (since, mut look) = (Instant::now(), every(LOOK_EVERY));
        let (mut came, mut last_came) = (None, Instant::now());
        while since.elapsed() < DRAIN_DEADLINE {
            tokio::select! {
                ended = self.haproxy.ended() => return Err(Error::Ended(ended?)),
                _ = look.tick() => self.look().await,
            }
            let seen = self.show.borrow().seen.clone();
            let Some((_, Statistics { sessions, sessions_total, .. })) = seen else { continue };
            if came.replace(sessions_total) != Some(sessions_total) {
                last_came = Instant::now();
            }
            let old_workers = self.show.borrow().old_workers;
            if sessions == 0 && old_workers == 0 && last_came.elapsed() >= QUIET {
                break;
            }
        }
        Ok(())
    }

    /// What HAProxy says of the members, and what is to be done at once.
    async fn look(&mut self) {
        match self.look_once().await {
            Ok((seen, old_workers)) => self.show.send_modify(|state| {
                state.seen = Some((Instant::now(), seen));
                state.old_workers = old_workers;
            }),
            Err(error) => tracing::warn!(error = chain(&error), "cannot ask HAProxy"),
        }
    }

    async fn look_once(&mut self) -> Result<(Statistics, usize), control::Error> {
        let control = self.haproxy.control();
        let seen = control.statistics().await?;
        let to_close = judge::to_close(&seen.servers);
        for server in to_close.iter().filter(|server| server.sessions > 0) {
            control.close_sessions(&server.title()).await?;
        }
        let old = control.processes().await?.old;
        self.closed.retain(|pid, _| old.contains(pid));
        let to_close: BTreeSet<_> = to_close.into_iter().map(Server::title).collect();
        for pid in &old {
            // It gets no new connections: those of a server are ended once.
            if self.closed.get(pid).is_none_or(|closed| !to_close.is_subset(closed)) {
                control.close_old_sessions(*pid, &to_close).await?;
                self.closed.insert(*pid, to_close.clone());
            }
        }
        Ok((seen, old.len()))
    }

    /// Whether the operator gives something else, and where the members are that are not well.
    async fn ask(&mut self) {
        let refused = match Inputs::read(&self.options.settings, &self.options.credentials).await {
            Ok(inputs) => self.take_up(inputs).await,
            Err(error) => Err(chain(&error)),
        };
        self.show.send_if_modified(|state| {
            let refused = refused.err();
            if let Some(why) = refused.as_ref().filter(|_| state.refused != refused) {
                tracing::error!(error = why, "the settings are not taken up; those of before stay in force");
            }
            let is_new = state.refused != refused;
            state.refused = refused;
            is_new
        });
        if self.asked.is_empty() {
            let hosts = self.inputs.settings.members.clone();
            let names = (0..hosts.len()).map(|ordinal| server_name(&self.inputs.settings, ordinal));
            let seen = self.show.borrow();
            let servers = seen.seen.as_ref().map_or(&[][..], |(_, seen)| &seen.servers);
            let lost = judge::lost(servers, names);
            drop(seen);
            if !lost.is_empty() {
                self.asked.spawn(async move { addresses::look_up(&hosts, &lost).await });
            }
        }
    }

    /// The error says why they are not in force.
    async fn take_up(&mut self, inputs: Inputs) -> Result<(), String> {
        let mut addresses = self.addresses.clone();
        addresses.resize(inputs.settings.members.len(), None);
        let desired = render(&self.options, &inputs, &addresses, true);
        if desired == self.applied {
            (self.inputs, self.addresses) = (inputs, addresses);
            return Ok(());
        }
        if self.refused.as_ref() == Some(&desired) {
            // It would be refused again.
            return Err(self.show.borrow().refused.clone().unwrap_or_default());
        }
        match self.haproxy.reload(&desired).await {
            Ok(()) => {
                tracing::info!("HAProxy has new settings");
                (self.inputs, self.addresses) = (inputs, addresses);
                (self.applied, self.refused) = (desired, None);
                self.show.send_modify(|state| state.reloads += 1);
                Ok(())
            }
            Err(error) => {
                if matches!(error, haproxy::Error::Refused(_)) {
                    self.refused = Some(desired);
                }
                Err(chain(&error))
            }
        }
    }

    async fn found(&mut self, found: Vec<(usize, IpAddr)>) {
        for (ordinal, address) in found {
            let is_new = self.addresses.get(ordinal).is_some_and(|known| *known != Some(address));
            if !is_new {
                continue;
            }
            let name = server_name(&self.inputs.settings, ordinal);
            match self.move_to(&name, address).await {
                Ok(()) => {
                    tracing::info!(member = name, %address, "the member has another address");
                    self.addresses[ordinal] = Some(address);
                    self.applied = self.desired();
                }
                // It is tried again when the name is looked up again.
                Err(error) => tracing::warn!(member = name, error = chain(&error), "cannot tell HAProxy"),
            }
        }
    }

    async fn move_to(&self, name: &str, address: IpAddr) -> Result<(), control::Error> {
        for backend in [WRITER, POOL] {
            self.haproxy.control().set_address(&format!("{backend}/{name}"), address).await?;
        }
        Ok(())
    }

    fn desired(&self) -> String {
        render(&self.options, &self.inputs, &self.addresses, true)
    }
}

fn render(options: &Options, inputs: &Inputs, addresses: &[Option<IpAddr>], listens: bool) -> String {
    let threads = std::thread::available_parallelism().map_or(1, |cpus| cpus.get().min(THREADS_MAX));
    let Inputs { settings, credentials } = inputs;
    let (credentials, run_dir) = (credentials.as_ref(), options.run_dir.as_path());
    let connections_max = connections_max();
    Config { settings, addresses, credentials, run_dir, threads, connections_max, listens }.render()
}

/// As many as there can be: HAProxy does not begin with more than it may open files for, two for each.
fn connections_max() -> u64 {
    let files = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    (files.saturating_sub(FILES_OF_ITS_OWN) / 2).clamp(1, CONNECTIONS_MAX)
}

fn every(period: Duration) -> Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
