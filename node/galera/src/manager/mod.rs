//! One task that owns the member's state: it hears what has happened, decides, begins the next step, and publishes what
//! there is to tell. Steps run beside it and report back; it never waits for one.

mod drain;
mod evictions;
mod face;
mod grant;
mod life;
mod schema;
mod state;
mod step;

use std::sync::Arc;
use std::time::{Duration, Instant};

use quartet_client::galera::{BegunFrom, Bootstrap, Drain, Position};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;
use uuid::Uuid;

pub use face::{Face, Route};
pub use grant::Answer;

use crate::decide::{self, Action, Leave, Phase, Restart, View, Waiting};
use crate::error::chain;
use crate::examine::{ExamineError, Found};
use crate::inputs::Inputs;
use crate::options::Options;
use crate::peers::Peers;
use crate::server::{Children, RecoveryError};
use crate::volume::{Identity, Volume, VolumeError};
use drain::Draining;
use life::{Life, Markers};
use schema::Schema;
use state::State;

/// What the operator tells this member.
#[derive(Debug)]
pub enum Command {
    Bootstrap(Bootstrap, oneshot::Sender<Answer>),
    Drain(Drain, oneshot::Sender<Answer>),
}

/// What steps report.
enum Event {
    Examined(Result<(Identity, Found), ExamineError>),
    Started(Result<(Box<Life>, oneshot::Receiver<crate::server::Ended>), step::StepError>),
    Ended(crate::server::Ended),
    /// Markers of what was under way have been removed.
    Settled(Result<Identity, VolumeError>),
    /// All peers have been asked about a grant.
    Asked(Bootstrap, oneshot::Sender<Answer>),
    /// Of this run.
    Promoted(Uuid, Uuid, Result<(), String>, oneshot::Sender<Answer>),
    Applied([u8; 32], Result<quartet_client::galera::SchemaReport, String>),
    /// How many clients there were.
    Drained(Result<usize, String>),
    Transferred(u64),
}

const TICK: Duration = Duration::from_millis(100);
const EVENTS_MAX: usize = 64;
/// Failures in a row after which it is not expected any more that the next try does better.
const FAILURES: u32 = 3;
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A server that has served for so long did not fail at its start.
const STEADY: Duration = Duration::from_secs(10);
/// A server that was told to end and does not is killed: its data outlives that.
const END_WITHIN: Duration = Duration::from_mins(1);
/// One that still joins has nothing to finish.
const END_JOINING_WITHIN: Duration = Duration::from_secs(5);
/// A server that has served, and does not answer for so long, hangs: it holds up those who wait to know what it holds.
const HUNG_AFTER: Duration = Duration::from_mins(1);
/// Data is given up only after the storage engine has called it corrupt for so long, and so often: what seems so for
/// minutes (a volume that is not there yet, a wrong setting that is being reverted) may still be put right.
const CORRUPT_FOR: Duration = Duration::from_mins(10);
const CORRUPT_TIMES: u32 = 3;

pub struct Manager {
    options: Arc<Options>,
    volume: Arc<Volume>,
    children: Children,
    inputs: watch::Receiver<Inputs>,
    peers: Peers,
    identity: Identity,
    run: Uuid,
    /// The operation that was granted to this run.
    granted: Option<Uuid>,
    /// It is yet to be acted upon.
    grant_due: Option<Leave>,
    asking: bool,
    state: State,
    /// Starts in a row that came to nothing.
    failures: u32,
    /// Of these, granted ones in a row whose server ended before it was part of a Primary component.
    grants_in_vain: u32,
    /// Since the last recovery that went well: since when, and how often, the storage engine called the data corrupt.
    corrupt: Option<(Instant, u32)>,
    /// How far the data had come when that was known last: of what was known before this start of the manager, its history
    /// only, and that it may have come to anywhere.
    known: Option<Position>,
    not_before: Instant,
    /// How the last server, or examination, ended; for a human.
    trouble: Option<String>,
    waiting: Waiting,
    draining: Draining,
    schema: Schema,
    events: mpsc::Sender<Event>,
    happened: mpsc::Receiver<Event>,
    commands: mpsc::Receiver<Command>,
    stops: watch::Receiver<u32>,
    face: watch::Sender<Arc<Face>>,
}

/// What the manager is made of.
pub struct Parts {
    pub options: Arc<Options>,
    pub volume: Arc<Volume>,
    pub children: Children,
    pub inputs: watch::Receiver<Inputs>,
    pub peers: Peers,
    pub identity: Identity,
    /// Of which history the data was known to be.
    pub history: Option<Uuid>,
    pub commands: mpsc::Receiver<Command>,
    /// Counts how often the member was told to stop: the first time it leaves gracefully, the second at once.
    pub stops: watch::Receiver<u32>,
}

impl Manager {
    pub fn new(parts: Parts) -> (Self, watch::Receiver<Arc<Face>>) {
        let Parts { options, volume, children, inputs, peers, identity, history, commands, stops } = parts;
        let (events, happened) = mpsc::channel(EVENTS_MAX);
        let (face, seen) = watch::channel(Arc::new(Face::unknown(&options, &identity, &inputs.borrow())));
        let manager = Self {
            volume,
            children,
            peers,
            identity,
            run: Uuid::new_v4(),
            granted: None,
            grant_due: None,
            asking: false,
            state: State::Unexamined,
            failures: 0,
            grants_in_vain: 0,
            corrupt: None,
            known: history.map(|cluster| Position { cluster, seqno: u64::MAX }),
            not_before: Instant::now(),
            trouble: None,
            waiting: Waiting::Nothing,
            draining: Draining::default(),
            schema: Schema::default(),
            events,
            happened,
            commands,
            stops,
            face,
            inputs,
            options,
        };
        (manager, seen)
    }

    /// Until the member was told to stop, and has.
    pub async fn run(mut self) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(event) = self.happened.recv() => self.hear(event),
                Some(command) = self.commands.recv() => self.obey(command),
                _ = ticks.tick() => {}
            }
            if self.inputs.has_changed().unwrap_or(false) {
                self.peers.watch(&self.inputs.borrow_and_update().settings);
            }
            if self.act() {
                self.publish();
                return;
            }
            self.publish();
        }
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::Examined(found) => self.examined(found),
            Event::Started(Ok((life, ended))) => {
                self.report(async move {
                    let ended = ended.await.unwrap_or_else(|_| crate::server::Ended::unknown());
                    Event::Ended(ended)
                });
                self.state = State::Running(life);
            }
            Event::Started(Err(error)) => self.failed(chain(&error)),
            Event::Ended(ended) => self.server_ended(&ended),
            Event::Settled(settled) => self.settled(settled),
            Event::Asked(grant, reply) => self.asked(&grant, reply),
            Event::Promoted(run, operation, result, reply) => self.promoted(run, operation, result, reply),
            Event::Applied(hash, result) => self.schema.applied(hash, result),
            Event::Drained(clients) => self.draining.drained(clients),
            Event::Transferred(bytes) => {
                if let Some(life) = self.state.life_mut() {
                    life.has_transferred(Instant::now(), bytes);
                }
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Bootstrap(grant, reply) => self.asked_to_bootstrap(grant, reply),
            Command::Drain(drain, reply) => {
                let answer = if drain.run == self.run {
                    self.draining.prolong(Instant::now());
                    Ok(())
                } else {
                    Err(decide::Refused::Run(self.run).into())
                };
                let _ = reply.send(answer);
            }
        }
    }

    fn examined(&mut self, found: Result<(Identity, Found), ExamineError>) {
        let found = match found {
            Ok((identity, found)) => {
                self.identity = identity;
                found
            }
            Err(error) => {
                let corrupt =
                    matches!(error, ExamineError::Recovery(RecoveryError::Failed { corrupt: true, .. }));
                self.failed(chain(&error));
                if corrupt && self.gives_up(Instant::now()) {
                    self.state = State::Unreadable;
                }
                return;
            }
        };
        self.corrupt = None;
        self.known = None;
        self.state = match found {
            Found::Empty => State::Empty,
            Found::Data { position, doubt } => {
                tracing::info!(%position, doubt, "the data's position");
                self.known = Some(position);
                State::Stopped { position, doubt }
            }
            Found::Unusable { why, position } => {
                tracing::warn!(why, ?position, "the data counts for nothing");
                self.known = position;
                State::Unusable { why, position }
            }
        };
        self.pause(self.failures);
    }

    /// The storage engine has called the data corrupt once more. Whether that counts by now.
    fn gives_up(&mut self, now: Instant) -> bool {
        let (since, times) = self.corrupt.unwrap_or((now, 0));
        let times = times.saturating_add(1);
        self.corrupt = Some((since, times));
        times >= CORRUPT_TIMES && now.saturating_duration_since(since) >= CORRUPT_FOR
    }

    /// A step came to nothing: everything is looked at again after a pause.
    fn failed(&mut self, why: String) {
        tracing::error!(why, "failed");
        self.trouble = Some(why);
        self.failures = self.failures.saturating_add(1);
        self.new_run();
        self.pause(self.failures);
    }

    fn server_ended(&mut self, ended: &crate::server::Ended) {
        let State::Running(life) = &self.state else { return };
        let steady = life.was_synced.is_some_and(|since| since.elapsed() >= STEADY);
        let wanted = life.told_to_end.is_some();
        let settling = life.markers == Markers::Going;
        if life.was_primary {
            self.grants_in_vain = 0;
        } else if life.is_granted() {
            self.grants_in_vain = self.grants_in_vain.saturating_add(1);
        }
        self.known = life.last_position().or(self.known);
        if ended.ahead && !wanted {
            self.trouble = Some(AHEAD.into());
        } else if !wanted {
            let errors = ended.errors.as_deref().unwrap_or("it told of no error");
            self.trouble = Some(format!("the server ended by itself ({}): {errors}", ended.how));
        }
        tracing::warn!(how = ended.how, wanted, "the server has ended");
        self.failures = if steady || wanted { 0 } else { self.failures.saturating_add(1) };
        self.new_run();
        if settling {
            self.state = State::Settling;
        }
        // What the volume holds is looked at without a pause: others wait for that.
        self.not_before = Instant::now();
    }

    /// The server is known to be dead, and whatever was granted to it is void.
    fn new_run(&mut self) {
        self.run = Uuid::new_v4();
        self.granted = None;
        self.grant_due = None;
        self.state = State::Unexamined;
        self.schema.forget();
    }

    fn pause(&mut self, failures: u32) {
        let pause = match failures {
            0 => Duration::ZERO,
            n => Duration::from_secs(1 << (n - 1).min(5)).min(PAUSE_MAX),
        };
        self.not_before = Instant::now() + pause;
    }

    fn settled(&mut self, settled: Result<Identity, VolumeError>) {
        if matches!(self.state, State::Settling) {
            // What is on the volume tells what became of it.
            self.state = State::Unexamined;
        }
        let Some(life) = self.state.life_mut() else { return };
        life.markers = match &settled {
            Ok(_) => Markers::Gone,
            Err(_) => Markers::There,
        };
        match settled {
            Ok(identity) => {
                self.identity = identity;
                self.trouble = None;
            }
            Err(error) => self.trouble = Some(chain(&error)),
        }
    }

    /// Begins what is to be done now. True when the member is to end.
    fn act(&mut self) -> bool {
        let now = Instant::now();
        self.tend(now);
        let mut peers = self.peers.now();
        self.forget_those_who_left(&mut peers);
        let told = peers.iter().any(|peer| peer.report.as_ref().is_some_and(|report| report.primary));
        if let Some(life) = self.state.life_mut().filter(|_| told) {
            life.primary_told = now;
        }
        let stopping = self.stopping(now);
        let group = self.state.life().map(Life::group).unwrap_or_default();
        let (begun_from, stepped_over) = self.humans_word();
        let view = View {
            ordinal: self.options.ordinal,
            address: self.options.address,
            phase: self.phase(now),
            peers: &peers,
            granted: self.grant_due,
            stopping,
            may_start: now >= self.not_before,
            schema_due: self.schema.is_due(now, self.inputs.borrow().schema_hash()),
            group: &group,
            primary_group: self.state.life().and_then(Life::primary_group),
            begun_from,
            stepped_over,
            position: self.state.life().and_then(|life| life.settled_position(now)),
            alone_for: self.state.life().and_then(|life| life.alone_for(now)),
            transfer_moves: self.state.life().is_some_and(|life| life.transfer_moves(now)),
            evicted_for: self.state.life().and_then(|life| life.evictions.done_for(now)),
        };
        if stopping && !matches!(view.phase, Phase::Running(_)) {
            return true;
        }
        let action = decide::decide(&view);
        self.schema.is_ours = decide::is_first(&view);
        self.waiting = Waiting::Nothing;
        match action {
            Action::Wait(why) => self.waiting = why,
            Action::Examine => self.examine(),
            Action::Found => self.start(step::Start::Found),
            Action::Bootstrap(position) => self.start(step::Start::Bootstrap(position)),
            Action::Begin { history, from } => self.start(step::Start::Begin { history, from }),
            Action::Join(join) => self.start(step::Start::Join(join)),
            // Done by the one who was granted it, at once.
            Action::Promote => {}
            Action::Evict(node) => self.evict(node),
            Action::Unevict => self.unevict(now),
            Action::Restart(why) => self.restart(now, why),
            Action::ApplySchema => self.apply_schema(),
            Action::Stop => self.end_server(now),
        }
        false
    }

    /// As the settings tell it: what the history was begun from, and whether that was without this member.
    fn humans_word(&mut self) -> (Option<BegunFrom>, bool) {
        let inputs = self.inputs.borrow();
        let begun_from = inputs.settings.begun_from;
        if let Some(life) = self.state.life_mut()
            && begun_from.map(|begun| begun.history) == life.begun
        {
            // From here on they say what holds, also should that change.
            life.begun = None;
        }
        (begun_from, inputs.settings.stepped_over.contains(&self.options.ordinal))
    }

    /// What goes on beside decisions: markers are removed, transfers are measured, clients are sent away, a server that
    /// does not end is killed.
    fn tend(&mut self, now: Instant) {
        self.send_clients_away(now);
        let Some(life) = self.state.life_mut() else { return };
        life.look(now);
        if let Some(since) = life.told_to_end {
            let limit = if life.was_answered() { END_WITHIN } else { END_JOINING_WITHIN };
            if now - since >= limit {
                life.server.kill();
            }
        }
        if life.hangs(now, HUNG_AFTER) && life.was_synced.is_some() && life.told_to_end.is_none() {
            tracing::error!("the server hangs: it is killed");
            self.trouble = Some(format!(
                "the server had not answered for more than {} s and was killed",
                HUNG_AFTER.as_secs()
            ));
            self.kill_server(now);
            return;
        }
        if life.may_settle() {
            life.markers = Markers::Going;
            let volume = Arc::clone(&self.volume);
            let history = life.last_position().map(|position| position.cluster);
            self.report_blocking(move || Event::Settled(step::settle(&volume, history)));
        } else if life.measures_transfer(now) {
            let volume = Arc::clone(&self.volume);
            self.report_blocking(move || Event::Transferred(step::transferred(&volume)));
        }
    }

    fn examine(&mut self) {
        self.state = State::Examining;
        let (volume, children, options) =
            (Arc::clone(&self.volume), self.children.clone(), Arc::clone(&self.options));
        let inputs = self.inputs.borrow().clone();
        self.report(
            async move { Event::Examined(step::examine(&volume, children, &options, &inputs).await) },
        );
    }

    fn start(&mut self, start: step::Start) {
        tracing::info!(?start, "starting the server");
        self.grant_due = None;
        self.state = State::Starting { founding: start == step::Start::Found };
        let (volume, children, options) =
            (Arc::clone(&self.volume), self.children.clone(), Arc::clone(&self.options));
        let inputs = self.inputs.borrow().clone();
        self.report(async move {
            Event::Started(step::start(&volume, &children, &options, &inputs, start).await)
        });
    }

    fn evict(&mut self, node: Uuid) {
        let Some(life) = self.state.life_mut() else { return };
        // Told once, unless that fails: those that are gone already do not mind.
        let settled = self.peers.settle(node);
        life.evictions.tell(Instant::now(), settled.and_then(|settled| settled.dead.address));
        let (sql, peers) = (life.sql.clone(), self.peers.clone());
        tracing::info!(%node, "evicting a server that is proven dead");
        tokio::spawn(async move {
            if let Err(error) = sql.evict(node).await {
                tracing::warn!(%node, %error, "cannot evict: it is tried again");
                if let Some(settled) = settled {
                    peers.unsettle(settled);
                }
            }
        });
    }

    fn unevict(&mut self, now: Instant) {
        let Some(life) = self.state.life_mut() else { return };
        life.evictions.taken_back(now);
        let sql = life.sql.clone();
        tokio::spawn(async move {
            if let Err(error) = sql.unevict().await {
                tracing::warn!(%error, "cannot take evictions back");
            }
        });
    }

    /// A dead server that the group does not count any more need not be evicted.
    fn forget_those_who_left(&self, peers: &mut [decide::Peer]) {
        let Some(life) = self.state.life().filter(|life| life.was_answered()) else { return };
        for peer in peers.iter_mut().filter(|peer| !peer.dead.is_empty()) {
            // It may have come back elsewhere: what counts is where it was.
            peer.dead.retain(|dead| {
                let counted = dead.address.is_some_and(|address| life.counts(address));
                if !counted {
                    self.peers.settle(dead.node);
                }
                counted
            });
        }
    }

    fn restart(&mut self, now: Instant, why: Restart) {
        if self.state.life().is_some_and(|life| life.told_to_end.is_none()) {
            tracing::warn!(?why, "restarting the server");
        }
        match why {
            // It waits for the dead, and would go on waiting for them; its data outlives the kill.
            Restart::Behind | Restart::Alone => self.kill_server(now),
            Restart::Unmerged | Restart::Disconnected => self.end_server(now),
        }
    }

    fn end_server(&mut self, now: Instant) {
        if let Some(life) = self.state.life_mut()
            && life.told_to_end.is_none()
        {
            life.told_to_end = Some(now);
            life.server.terminate();
        }
    }

    fn kill_server(&mut self, now: Instant) {
        if let Some(life) = self.state.life_mut() {
            life.told_to_end.get_or_insert(now);
            life.server.kill();
        }
    }

    fn report(&self, step: impl Future<Output = Event> + Send + 'static) {
        let events = self.events.clone();
        tokio::spawn(async move {
            // Nobody listens when the manager has ended.
            let _ = events.send(step.await).await;
        });
    }

    fn report_blocking(&self, step: impl FnOnce() -> Event + Send + 'static) {
        let events = self.events.clone();
        tokio::task::spawn_blocking(move || {
            let _ = events.blocking_send(step());
        });
    }

    fn phase(&self, now: Instant) -> Phase {
        self.state.phase(now, self.known)
    }

    fn publish(&mut self) {
        let face = self.make_face(Instant::now());
        self.face.send_replace(Arc::new(face));
    }
}

const AHEAD: &str = "this data holds transactions that the Primary component does not have: it is not overwritten; \
                     make sure that nothing of it is needed, then delete this member's volume claim and pod to have it \
                     replaced by a copy of the others'";
/// What a human can do about data that nobody else overwrites.
const REPLACE: &str = "make sure that nothing of it is needed, then delete this member's volume claim and pod to have it \
                       replaced by a copy of the others'";

#[cfg(test)]
mod tests;
