//! The thread that owns the engine.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quartet_raft::{MemberId, Role, Standing};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::counters::Counters;
use super::transport::Peers;
use super::writer::{Queue, Synced};
use super::{INPUTS_MAX, RuntimeSettings, new_identity};
use crate::GroupId;
use crate::engine::{CommandResult, Engine, Event, MemberCommand, Output, Report, Request, RequestId};
use crate::state_machine::StateMachine;
use crate::store::{Identity, Opened};
use crate::wire::{Failure, PeerMessage};

/// Inputs that are taken before their output is: they share a batch.
const DRAIN_MAX: usize = 512;
/// While so many batches wait for the disk, no more work is taken.
pub(super) const QUEUED_MAX: usize = 64;
/// Times that output may lead to more output at once (forwards that cannot be sent).
const PASSES_MAX: usize = 2;

pub(super) enum Input {
    Event(Event),
    Request {
        id: RequestId,
        timeout: Duration,
        request: Request,
        answer: oneshot::Sender<Result<Bytes, Failure>>,
    },
    Cancel {
        id: RequestId,
    },
    Command {
        command: MemberCommand,
        answer: oneshot::Sender<CommandResult>,
    },
    Report {
        answer: oneshot::Sender<Report>,
    },
    Reset {
        incarnation: u128,
        answer: oneshot::Sender<Result<(), String>>,
    },
}

pub(super) struct Driver<S> {
    pub(super) settings: RuntimeSettings,
    pub(super) make: Arc<dyn Fn(GroupId) -> S + Send + Sync>,
    pub(super) inputs: mpsc::Receiver<Input>,
    pub(super) synced: watch::Receiver<Synced>,
    pub(super) queue: Arc<Queue>,
    pub(super) identity: watch::Sender<Identity>,
    pub(super) peers: Peers,
    pub(super) counters: Arc<Counters>,
    pub(super) stop: CancellationToken,
}

impl<S: StateMachine> Driver<S> {
    /// `ended` is dropped when the thread ends, whatever the reason.
    pub(super) fn spawn(self, opened: Opened, ended: DropGuard) -> io::Result<JoinHandle<()>> {
        let runtime = tokio::runtime::Handle::current();
        std::thread::Builder::new().name("driver".to_owned()).spawn(move || {
            let _ended = ended;
            let everything_else = self.stop.clone().drop_guard();
            runtime.block_on(Loop::new(self, opened).run());
            drop(everything_else);
        })
    }
}

/// A member that acts, or one whose disk is damaged: that one only says so, until it is reset.
enum Member<S> {
    Acts(Box<Engine<S>>),
    Blocked { damage: String },
}

struct Loop<S> {
    driver: Driver<S>,
    member: Member<S>,
    began: Instant,
    requests: BTreeMap<RequestId, oneshot::Sender<Result<Bytes, Failure>>>,
    commands: BTreeMap<RequestId, oneshot::Sender<CommandResult>>,
    next_command: u64,
    /// Told to the others once it is durable: by batch.
    identities: VecDeque<(u64, Identity)>,
    /// Forwards that could not be sent, and to whom; the engine does not know yet.
    unsent: Vec<(MemberId, u64)>,
    /// What the engine said last of what keeps it from doing its part.
    trouble: Option<String>,
}

impl<S: StateMachine> Loop<S> {
    fn new(driver: Driver<S>, opened: Opened) -> Self {
        let mut this = Self {
            driver,
            member: Member::Blocked { damage: String::new() },
            began: Instant::now(),
            requests: BTreeMap::new(),
            commands: BTreeMap::new(),
            next_command: 0,
            identities: VecDeque::new(),
            unsent: Vec::new(),
            trouble: None,
        };
        this.begin(opened);
        this
    }

    async fn run(mut self) {
        let mut ticks = tokio::time::interval(self.driver.settings.engine.tick);
        // A process that slept must not believe that everybody else was silent for that long.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stop = self.driver.stop.clone();
        loop {
            // A member whose disk hangs takes nothing in that would have to wait for it, and refuses it at once.
            let room = self.driver.queue.len() < QUEUED_MAX || self.disk_hangs();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Ok(()) = self.driver.synced.changed() => self.take_synced(),
                _ = ticks.tick() => self.tick(),
                input = self.driver.inputs.recv(), if room => match input {
                    Some(input) => self.drain(input).await,
                    None => break,
                },
            }
            self.carry_out();
        }
        self.carry_out();
    }

    fn begin(&mut self, opened: Opened) {
        self.member = if let Some(damage) = opened.damage {
            Member::Blocked { damage }
        } else {
            let make = Arc::clone(&self.driver.make);
            let settings = self.driver.settings.engine.clone();
            let identity = self.driver.identity.borrow().clone();
            match Engine::new(settings, identity, opened, move |group| make(group), self.now()) {
                Ok(engine) => Member::Acts(Box::new(engine)),
                Err(corrupt) => Member::Blocked { damage: corrupt.to_string() },
            }
        };
        if let Member::Blocked { damage } = &self.member {
            tracing::error!("this member's disk is damaged; it takes no part until it is reset: {damage}");
        }
        self.carry_out();
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    async fn drain(&mut self, first: Input) {
        let mut next = Some(first);
        for _ in 0..DRAIN_MAX {
            let Some(input) = next else { return };
            if let Input::Reset { incarnation, answer } = input {
                let reset = if self.disk_hangs() {
                    Err("the disk hangs".to_owned())
                } else {
                    self.reset(incarnation).await
                };
                // Whoever asked may have gone; it is reset all the same.
                let _ = answer.send(reset);
            } else {
                self.take(input);
            }
            next = self.driver.inputs.try_recv().ok();
        }
        if let Some(input) = next {
            self.take_or_refuse(input);
        }
    }

    /// The last of a drain. A reset waits for nothing then: it is refused and asked for again.
    fn take_or_refuse(&mut self, input: Input) {
        if let Input::Reset { answer, .. } = input {
            let _ = answer.send(Err("the member is busy: try again".to_owned()));
        } else {
            self.take(input);
        }
    }

    fn take(&mut self, input: Input) {
        let now = self.now();
        match input {
            Input::Event(event) => self.handle(event),
            // Who has gone while it waited here certainly does not need it any more.
            Input::Request { answer, .. } if answer.is_closed() => {}
            Input::Request { id, timeout, request, answer } => match &mut self.member {
                Member::Acts(engine) => {
                    self.requests.insert(id, answer);
                    engine.handle(now, Event::Request { id, timeout, request });
                }
                Member::Blocked { .. } => _ = answer.send(Err(Failure::Unavailable)),
            },
            Input::Cancel { id } => {
                if self.requests.remove(&id).is_some() {
                    self.handle(Event::Cancel { id });
                }
            }
            Input::Command { command, answer } => match &mut self.member {
                Member::Acts(engine) => {
                    let id = RequestId(self.next_command);
                    self.next_command += 1;
                    self.commands.insert(id, answer);
                    engine.handle(now, Event::Command { id, command });
                }
                Member::Blocked { damage } => _ = answer.send(Err(damage.clone())),
            },
            Input::Report { answer } => _ = answer.send(self.report()),
            Input::Reset { .. } => {}
        }
    }

    fn handle(&mut self, event: Event) {
        let now = self.now();
        if let Member::Acts(engine) = &mut self.member {
            engine.handle(now, event);
        }
    }

    fn disk_hangs(&self) -> bool {
        matches!(&self.member, Member::Acts(engine) if engine.disk_hangs())
    }

    /// Told once when it comes, and once when it goes.
    fn tell_of_trouble(&mut self) {
        let Member::Acts(engine) = &self.member else { return };
        let trouble = engine.trouble();
        if trouble.is_some() == self.trouble.is_some() {
            return;
        }
        match (&self.trouble, &trouble) {
            (_, Some(trouble)) => tracing::error!("{trouble}"),
            (Some(before), None) => tracing::info!("no longer: {before}"),
            (None, None) => {}
        }
        self.trouble = trouble;
    }

    fn tick(&mut self) {
        self.handle(Event::Tick);
        self.tell_of_trouble();
        self.refuse_unsent();
        // Cancellations that found no room.
        let gone: Vec<RequestId> =
            self.requests.iter().filter(|(_, answer)| answer.is_closed()).map(|(id, _)| *id).collect();
        for id in gone {
            self.requests.remove(&id);
            self.handle(Event::Cancel { id });
        }
    }

    fn take_synced(&mut self) {
        let Some((batch, written)) = self.driver.synced.borrow_and_update().clone() else { return };
        while let Some((_, identity)) = self.identities.pop_front_if(|(number, _)| *number <= batch) {
            self.driver.identity.send_replace(identity);
        }
        self.handle(Event::Synced { batch, written });
    }

    fn carry_out(&mut self) {
        for _ in 0..PASSES_MAX {
            let now = self.now();
            let Member::Acts(engine) = &mut self.member else { return };
            let output = engine.take_output(now);
            self.carry(output);
            if self.unsent.is_empty() {
                return;
            }
            self.refuse_unsent();
        }
    }

    /// What was not sent was certainly not done.
    fn refuse_unsent(&mut self) {
        for (from, id) in std::mem::take(&mut self.unsent) {
            let message = PeerMessage::ForwardReply { id, result: Err(Failure::Unavailable) };
            self.handle(Event::Message { from, message });
        }
    }

    fn carry(&mut self, output: Output) {
        if let Some(why) = output.fatal {
            tracing::error!("the member cannot go on, the process ends: {why}");
            eprintln!("the member cannot go on, the process ends: {why}");
            std::process::abort();
        }
        if let Some(batch) = output.batch {
            if let Some(identity) = &batch.identity {
                self.identities.push_back((batch.number, identity.clone()));
            }
            self.driver.queue.push(batch);
        }
        for (group, Standing { role, term, leader }) in output.stood {
            let leader = leader.map(|leader| leader.to_string());
            if role == Role::Leader {
                tracing::info!(group = group.0, term = term.0, "leads");
            } else {
                tracing::debug!(group = group.0, term = term.0, ?role, leader, "stands");
            }
        }
        if let Some(addresses) = output.addresses {
            self.driver.peers.set_addresses(&addresses);
        }
        for (to, message) in output.send {
            self.send(to, message);
        }
        for (id, result) in output.answers {
            if let Some(answer) = self.requests.remove(&id) {
                let _ = answer.send(result);
            }
        }
        for (id, result) in output.command_results {
            if let Some(answer) = self.commands.remove(&id) {
                let _ = answer.send(result);
            }
        }
    }

    fn send(&mut self, to: MemberId, message: PeerMessage) {
        let forward = if let PeerMessage::Forward { id, .. } = message { Some(id) } else { None };
        self.driver.counters.sent(&message);
        if !self.driver.peers.send(to, message) {
            // Raft repeats what is lost; whoever forwarded waits for an answer.
            self.driver.counters.dropped();
            self.unsent.extend(forward.map(|id| (to, id)));
        }
    }

    fn report(&self) -> Report {
        match &self.member {
            Member::Acts(engine) => engine.report(),
            Member::Blocked { damage } => {
                let identity = self.driver.identity.borrow();
                Report {
                    id: identity.id,
                    cluster: identity.cluster,
                    damage: Some(damage.clone()),
                    trouble: None,
                    short_of_space: false,
                    groups: Vec::new(),
                }
            }
        }
    }

    async fn reset(&mut self, incarnation: u128) -> Result<(), String> {
        let current = self.driver.identity.borrow().id;
        if current.incarnation != incarnation {
            return Err(format!("this member is {current}, another incarnation than the one to be given up"));
        }
        tracing::warn!("member {current} gives up its data and becomes an empty member");
        self.member = Member::Blocked { damage: "the member is being reset".to_owned() };
        self.driver.peers.clear();
        for (_, answer) in std::mem::take(&mut self.requests) {
            let _ = answer.send(Err(Failure::Unknown));
        }
        self.commands.clear();
        self.identities.clear();
        self.unsent.clear();
        let identity = new_identity(self.driver.settings.ordinal);
        let opened = self.driver.queue.reset(identity.clone()).await.map_err(|_| "the member has ended")?;
        // The new engine counts its batches from 1: what was synced for the old one is none of them.
        self.driver.synced.mark_unchanged();
        self.driver.identity.send_replace(identity);
        self.begin(opened);
        self.drop_old_events();
        Ok(())
    }

    /// What came over connections to the incarnation that is no more.
    fn drop_old_events(&mut self) {
        for _ in 0..INPUTS_MAX {
            match self.driver.inputs.try_recv() {
                Ok(Input::Event(_)) => {}
                Ok(input) => self.take_or_refuse(input),
                Err(_) => return,
            }
        }
    }
}
