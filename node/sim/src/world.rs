//! One run: everything that happens, in order of virtual time, and what is checked about it.

mod clients;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Duration;

use bytes::Bytes;
use quartet_raft::MemberId;
use quartet_replica::GroupId;
use quartet_replica::engine::{Event, MemberCommand, Output, Report, RequestId};
use quartet_replica::store::{Batch, Identity, Opened, StoreSettings, Written};
use quartet_replica::wire::{Failure, PeerMessage};
use quartet_sync::Partition;

use crate::client::{Client, Record};
use crate::core_member::CoreMember;
use crate::host::{Health, Host, Running, Slept, Trouble};
use crate::invariant::{Invariant, Violation};
use crate::model::ModelVolume;
use crate::network::Network;
use crate::observer::{Awake, Observer, Unnoticed};
use crate::operator::{CLUSTER, Operator, address};
use crate::plan::Plan;
use crate::profile::{Broken, Profile, Stack, Work};
use crate::queue::{Micros, Queue};
use crate::register::Registers;
use crate::replica_member::{self, StoreVolume};
use crate::rng::Rng;
use crate::seam::{Eye, Member, Volume};

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    /// Of everything that happened, in order: two runs of a seed agree on it.
    pub digest: u64,
    pub coverage: Coverage,
    pub violation: Option<Violation>,
    /// When and what, if asked for.
    pub trace: Vec<String>,
}

/// How much happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    pub events: u64,
    pub elections: u64,
    pub crashes: u64,
    pub wipes: u64,
    pub cuts: u64,
    /// Between clients and members.
    pub client_cuts: u64,
    /// Volumes with a flipped bit that their members noticed.
    pub damaged: u64,
    /// Those that they could not notice: it was in the last that was synced.
    pub damaged_tails: u64,
    pub failed_syncs: u64,
    /// Power that went in the middle of a write.
    pub torn: u64,
    /// Disks with hardly any room, and requests that were refused for it.
    pub full: u64,
    pub refused: u64,
    pub pauses: u64,
    pub snapshots: u64,
    /// Configurations that some member appended, each once.
    pub configurations: u64,
    pub acknowledged: u64,
    pub unknown: u64,
    /// Histories whose search was given up.
    pub undecided: u64,
}

pub(crate) enum Happening {
    Tick {
        host: u16,
        life: u64,
    },
    Pump {
        host: u16,
        life: u64,
    },
    Deliver {
        from: MemberId,
        to: MemberId,
        message: Box<PeerMessage>,
    },
    Synced {
        host: u16,
        life: u64,
        batch: u64,
    },
    ToMember {
        host: u16,
        life: u64,
        event: Box<Event>,
    },
    Think {
        client: u32,
    },
    Attempt {
        client: u32,
    },
    TimedOut {
        client: u32,
        attempt: RequestId,
    },
    /// None: from no member.
    Answer {
        from: Option<u16>,
        id: RequestId,
        result: Result<Bytes, Failure>,
    },
    Fault,
    Start {
        host: u16,
    },
    Reset {
        host: u16,
    },
    /// A full disk has room again.
    Room {
        host: u16,
    },
    Kill {
        host: u16,
        life: u64,
    },
    Resume {
        host: u16,
        life: u64,
        stalled: Option<u64>,
    },
    Heal,
    Operate,
    Calm,
    Check,
}

type Verdict = Result<(), Violation>;

pub(crate) struct World {
    pub(crate) profile: Profile,
    pub(crate) plan: Plan,
    pub(crate) rng: Rng,
    pub(crate) now: Micros,
    queue: Queue<Happening>,
    pub(crate) network: Network,
    pub(crate) hosts: BTreeMap<u16, Host>,
    pub(crate) operator: Operator,
    observer: Observer,
    clients: Vec<Client>,
    asking: BTreeMap<RequestId, u32>,
    /// Which clients cannot reach which members, nor hear from them.
    pub(crate) clients_cut: BTreeSet<(u32, u16)>,
    record: Record,
    next_request: u64,
    next_value: u64,
    pub(crate) calm: bool,
    /// Everything serves again: clients ask no more, so that members can come to the same state.
    quiet: bool,
    pub(crate) coverage: Coverage,
    digest: u64,
    trace: Option<Vec<String>>,
}

/// After the last fault, everything must work again within this time.
const RECOVERY_US: Micros = 60_000_000;
const EVENTS_MAX: u64 = 5_000_000;

/// Runs one seed of a profile.
pub fn run(profile: &Profile, seed: u64, broken: Option<Broken>, traced: bool) -> Outcome {
    let mut rng = Rng::new(seed ^ xxhash_rust::xxh3::xxh3_64(profile.name.as_bytes()));
    let plan = Plan::draw(profile, broken, &mut rng);
    let mut world = World::new(*profile, plan, rng, traced);
    let violation = world.run().err();
    world.coverage.elections = world.observer.elections;
    world.coverage.snapshots = world.observer.snapshots;
    world.coverage.configurations = world.observer.configurations;
    world.coverage.acknowledged = world.record.acknowledged;
    let trace = world.trace.take().unwrap_or_default();
    Outcome { digest: world.digest, coverage: world.coverage, violation, trace }
}

impl World {
    fn new(profile: Profile, plan: Plan, rng: Rng, traced: bool) -> Self {
        let network = Network::new(plan.weather);
        let step_max = u64::try_from(plan.engine.time_step_max.as_micros()).unwrap_or(u64::MAX);
        let observer = Observer::new(plan.drift_ppm, (profile.stack == Stack::Replica).then_some(step_max));
        let clients = (0..plan.clients).map(Client::new).collect();
        Self {
            profile,
            plan,
            rng,
            now: 0,
            queue: Queue::new(),
            network,
            hosts: BTreeMap::new(),
            operator: Operator::default(),
            observer,
            clients,
            asking: BTreeMap::new(),
            clients_cut: BTreeSet::new(),
            record: Record::default(),
            next_request: 0,
            next_value: 0,
            calm: false,
            quiet: false,
            coverage: Coverage::default(),
            digest: 0,
            trace: traced.then(Vec::new),
        }
    }

    /// Writes a line of the trace, if there is one.
    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(trace) = &mut self.trace {
            let mut text = format!("{now:>10} us  ");
            let _ = write!(text, "{}", line());
            trace.push(text);
        }
    }

    fn mix(&mut self, value: u64) {
        self.digest = (self.digest ^ value).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }

    pub(crate) fn after(&mut self, us: u64, happening: Happening) {
        self.queue.push(self.now + us, happening);
    }

    fn run(&mut self) -> Verdict {
        self.found()?;
        for client in 0..self.plan.clients {
            let wait = self.rng.below(500_000);
            self.after(wait, Happening::Think { client });
        }
        let (every, until) = (self.plan.fault_every_us, self.plan.faults_until);
        self.after(every, Happening::Fault);
        self.after(until, Happening::Calm);
        self.after(300_000, Happening::Operate);
        while let Some((at, happening)) = self.queue.pop() {
            self.now = at;
            self.coverage.events += 1;
            if self.coverage.events > EVENTS_MAX {
                return Err(Violation::new(Invariant::Liveness, "the run does not end".to_owned()));
            }
            if matches!(happening, Happening::Check) {
                if self.is_recovered()? {
                    break;
                }
                if self.now > self.plan.faults_until + RECOVERY_US {
                    return Err(self.stuck());
                }
                self.after(250_000, Happening::Check);
                continue;
            }
            self.happen(happening)?;
        }
        self.check_histories()
    }

    fn found(&mut self) -> Verdict {
        for ordinal in 0..self.plan.members {
            self.add_host(ordinal)?;
        }
        self.operator.wanted = self.hosts.values().map(|host| host.id).collect();
        let members: Vec<_> = self.operator.wanted.iter().map(|id| address(*id)).collect();
        for ordinal in 0..self.plan.members {
            let wait = self.rng.below(50_000);
            let command = MemberCommand::Found { cluster: CLUSTER, members: members.clone() };
            self.command(ordinal, wait, command);
        }
        Ok(())
    }

    /// A new host with an empty volume, and a member on it.
    pub(crate) fn add_host(&mut self, ordinal: u16) -> Verdict {
        let volume: Box<dyn Volume> = match self.profile.stack {
            Stack::Core => Box::<ModelVolume>::default(),
            Stack::Replica => Box::new(StoreVolume::new(StoreSettings {
                segment_bytes: self.plan.segment_bytes,
                segments_kept: 4,
                reserve_bytes: 4 * self.plan.segment_bytes,
            })),
        };
        let life = self.hosts.get(&ordinal).map_or(0, |host| host.life);
        self.be_born(ordinal, volume, life)
    }

    /// A member that nobody knows yet, on an empty volume.
    fn be_born(&mut self, ordinal: u16, volume: Box<dyn Volume>, life: u64) -> Verdict {
        let incarnation = u128::from(self.rng.next()) << 64 | u128::from(self.rng.next());
        let id = MemberId { ordinal, incarnation };
        let drift = self.plan.drift_ppm;
        let rate = self.rng.below(2 * drift + 1);
        let rate_ppm = i64::try_from(rate).unwrap_or(0) - i64::try_from(drift).unwrap_or(0);
        let mut host = Host {
            id,
            volume,
            running: None,
            life,
            rate_ppm,
            has_cluster: false,
            retired: false,
            trouble: None,
            health: Health::Sound,
        };
        // As the runtime does when it finds a new volume.
        let identity = Identity { id, cluster: None, groups: self.plan.groups, boots: 0 };
        let birth = Batch { number: 0, identity: Some(identity), records: Vec::new() };
        let born = host.volume.open().map(|_| ()).and_then(|()| {
            host.volume.write(&birth)?;
            host.volume.sync()
        });
        born.map_err(|error| Violation::new(Invariant::Recovery, format!("{id} was not born: {error}")))?;
        self.hosts.insert(ordinal, host);
        self.start(ordinal)
    }

    /// Starts the member from what its volume holds.
    pub(crate) fn start(&mut self, ordinal: u16) -> Verdict {
        let down =
            |host: &&mut Host| host.running.is_none() && host.health != Health::Blocked && !host.retired;
        let Some(host) = self.hosts.get_mut(&ordinal).filter(down) else {
            return Ok(());
        };
        let id = host.id;
        let failed = |why: String| Violation::new(Invariant::Recovery, format!("{id} cannot start: {why}"));
        let opened = match host.volume.open() {
            Err(_) if host.trouble == Some(Trouble::Full) => {
                host.volume.close();
                self.after(500_000, Happening::Start { host: ordinal });
                return Ok(());
            }
            opened => opened.map_err(failed)?,
        };
        if host.health == Health::Rotten && self.is_blocked_by_rot(ordinal, &opened)? {
            return Ok(());
        }
        let Some(host) = self.hosts.get_mut(&ordinal) else { return Ok(()) };
        self.observer.started(id, &opened)?;
        let Some(identity) = opened.identity.clone() else {
            return Err(failed("its volume has no identity".to_owned()));
        };
        host.has_cluster = identity.cluster.is_some();
        host.life += 1;
        let (life, rate_ppm) = (host.life, host.rate_ppm);
        let base = Duration::from_micros(self.rng.below(1_000_000_000_000));
        let eye = Eye::default();
        let settings = self.plan.engine.clone();
        let member: Result<Box<dyn Member>, String> = match (self.profile.stack, self.profile.work) {
            (Stack::Core, _) => CoreMember::new(settings, identity, opened, eye.clone())
                .map(|member| Box::new(member) as Box<dyn Member>),
            (Stack::Replica, Work::Registers) => {
                replica_member::member(settings, identity, opened, eye.clone(), Registers::default, base)
            }
            (Stack::Replica, Work::Locks) => {
                replica_member::member(settings, identity, opened, eye.clone(), Partition::default, base)
            }
        };
        host.running = Some(Running::new(member.map_err(failed)?, eye, self.now, base, rate_ppm));
        let wait = self.rng.below(50_000);
        self.after(wait, Happening::Tick { host: ordinal, life });
        self.note(|| format!("{id} starts"));
        self.pump_soon(ordinal);
        Ok(())
    }

    /// A bit was flipped. If the member says so, or if what it lost cannot be told from what a crash takes, it is
    /// reset and comes back as another: what it may have promised, it must not act without.
    fn is_blocked_by_rot(&mut self, ordinal: u16, opened: &Opened) -> Result<bool, Violation> {
        let Some(host) = self.hosts.get_mut(&ordinal) else { return Ok(true) };
        host.health = Health::Sound;
        if opened.damage.is_some() {
            self.coverage.damaged += 1;
            if !opened.groups.is_empty() {
                let detail = format!("{} says what it holds, and that it is damaged", host.id);
                return Err(Violation::new(Invariant::Recovery, detail));
            }
        } else {
            match self.observer.unnoticed(host.id, opened)? {
                Unnoticed::Harmless => return Ok(false),
                Unnoticed::Tail => self.coverage.damaged_tails += 1,
            }
        }
        host.volume.close();
        host.health = Health::Blocked;
        let (id, damage) = (host.id, opened.damage.clone());
        self.note(|| format!("{id} is blocked: {damage:?}"));
        let wait = self.rng.between(100_000, 2_000_000);
        self.after(wait, Happening::Reset { host: ordinal });
        Ok(true)
    }

    /// The operator has a blocked member forget everything and be another one.
    fn reset(&mut self, ordinal: u16) -> Verdict {
        if !self.hosts.get(&ordinal).is_some_and(|host| host.health == Health::Blocked) {
            return Ok(());
        }
        let Some(mut host) = self.hosts.remove(&ordinal) else { return Ok(()) };
        let old = host.id;
        let wiped = host.volume.wipe();
        wiped.map_err(|why| Violation::new(Invariant::Recovery, format!("{old} is not reset: {why}")))?;
        self.operator.wanted.remove(&old);
        let life = host.life;
        self.be_born(ordinal, host.volume, life)?;
        if let Some(host) = self.hosts.get(&ordinal) {
            self.operator.wanted.insert(host.id);
        }
        self.note(|| format!("{old} is reset"));
        Ok(())
    }

    /// What the volume said is the end of the process, if the disk is known to do wrong.
    fn disk_failed(&mut self, ordinal: u16, error: &str) -> Verdict {
        let Some(host) = self.hosts.get_mut(&ordinal) else { return Ok(()) };
        let id = host.id;
        let Some(trouble) = host.trouble else {
            return Err(Violation::new(Invariant::Recovery, format!("{id}: {error}")));
        };
        self.note(|| format!("{id} ends itself: {error}"));
        match trouble {
            Trouble::Power => {
                self.coverage.torn += 1;
                self.crash(ordinal);
            }
            Trouble::Sync => {
                self.coverage.failed_syncs += 1;
                self.end(ordinal);
                if self.rng.chance(500)
                    && let Some(host) = self.hosts.get_mut(&ordinal)
                {
                    host.volume.crash(&mut self.rng);
                }
            }
            Trouble::Full => self.end(ordinal),
        }
        let wait = self.rng.between(10_000, 1_000_000);
        self.after(wait, Happening::Start { host: ordinal });
        Ok(())
    }

    /// The process is gone, and nothing else.
    fn end(&mut self, ordinal: u16) {
        let Some(host) = self.hosts.get_mut(&ordinal) else { return };
        host.running = None;
        host.volume.close();
        host.trouble = host.trouble.filter(|trouble| *trouble == Trouble::Full);
    }

    fn room(&mut self, ordinal: u16) -> Verdict {
        let Some(host) = self.hosts.get_mut(&ordinal) else { return Ok(()) };
        if host.trouble != Some(Trouble::Full) {
            return Ok(());
        }
        host.trouble = None;
        host.volume.set_room(None);
        // As the runtime does, which looks again every now and then while there is too little.
        let short_of_space = host.volume.look_for_room().unwrap_or(false);
        let Some(running) = host.running.as_ref() else { return Ok(()) };
        let (batch, pinning) = (running.last_synced, Vec::new());
        self.handle(ordinal, Event::Synced { batch, written: Written { pinning, short_of_space } })
    }

    /// The process dies, and the power with it: the disk forgets what was not synced.
    pub(crate) fn crash(&mut self, ordinal: u16) {
        let Some(host) = self.hosts.get_mut(&ordinal).filter(|host| host.running.is_some()) else { return };
        host.running = None;
        host.volume.crash(&mut self.rng);
        host.trouble = host.trouble.filter(|trouble| *trouble == Trouble::Full);
        self.coverage.crashes += 1;
        let id = host.id;
        self.note(|| format!("{id} crashes"));
        let others: Vec<u16> = self.hosts.keys().copied().filter(|other| *other != ordinal).collect();
        for other in others {
            if self.rng.chance(700) {
                let wait = self.rng.below(100_000);
                self.bring(other, wait, Event::Disconnected { peer: id });
            }
        }
    }

    /// Brings an event to the member's present life, later.
    pub(crate) fn bring(&mut self, ordinal: u16, wait_us: u64, event: Event) {
        if let Some(host) = self.hosts.get(&ordinal) {
            let life = host.life;
            self.after(wait_us, Happening::ToMember { host: ordinal, life, event: Box::new(event) });
        }
    }

    pub(crate) fn command(&mut self, ordinal: u16, wait_us: u64, command: MemberCommand) {
        let id = self.request_id();
        self.bring(ordinal, wait_us, Event::Command { id, command });
    }

    fn request_id(&mut self) -> RequestId {
        self.next_request += 1;
        RequestId(self.next_request)
    }

    pub(crate) fn reports(&self) -> Vec<Report> {
        let serving = self.hosts.values().filter(|host| host.is_serving());
        serving.filter_map(|host| host.running.as_ref().map(|running| running.member.report())).collect()
    }

    fn happen(&mut self, happening: Happening) -> Verdict {
        self.mix(self.now);
        match happening {
            Happening::Tick { host, life } => self.tick(host, life)?,
            Happening::Pump { host, life } => self.pump(host, life)?,
            Happening::Deliver { from, to, message } => self.deliver(from, to, *message)?,
            Happening::Synced { host, life, batch } => self.synced(host, life, batch)?,
            Happening::ToMember { host, life, event } => {
                if self.hosts.get(&host).is_some_and(|host| host.life == life) {
                    self.handle(host, *event)?;
                }
            }
            Happening::Think { client } => self.think(client),
            Happening::Attempt { client } => self.attempt(client),
            Happening::TimedOut { client, attempt } => self.timed_out(client, attempt),
            Happening::Answer { from, id, result } => self.answered(from, id, result)?,
            Happening::Fault => self.fault()?,
            Happening::Start { host } => self.start(host)?,
            Happening::Reset { host } => self.reset(host)?,
            Happening::Room { host } => self.room(host)?,
            Happening::Kill { host, life } => {
                if !self.calm && self.hosts.get(&host).is_some_and(|host| host.life == life) {
                    self.crash(host);
                    let wait = self.rng.between(10_000, 2_000_000);
                    self.after(wait, Happening::Start { host });
                }
            }
            Happening::Resume { host, life, stalled } => self.resume(host, life, stalled)?,
            Happening::Heal => {
                self.network.heal();
                self.clients_cut.clear();
                self.note(|| "all connections heal".to_owned());
            }
            Happening::Operate => self.operate(),
            Happening::Calm => self.calm_down()?,
            Happening::Check => {}
        }
        Ok(())
    }

    fn tick(&mut self, ordinal: u16, life: u64) -> Verdict {
        let Some(host) = self.hosts.get(&ordinal).filter(|host| host.life == life) else { return Ok(()) };
        let Some(running) = &host.running else { return Ok(()) };
        let tick_us = u64::try_from(self.plan.engine.tick.as_micros()).unwrap_or(1);
        let rate = u64::try_from(1_000_000 + host.rate_ppm).unwrap_or(1_000_000);
        let missed =
            running.paused.as_ref().is_some_and(|events| events.iter().any(|e| matches!(e, Event::Tick)));
        self.after(tick_us * 1_000_000 / rate, Happening::Tick { host: ordinal, life });
        // A member that slept hears one tick for all that it has missed.
        if missed { Ok(()) } else { self.handle(ordinal, Event::Tick) }
    }

    /// Gives an event to the member, or keeps it until the member goes on.
    fn handle(&mut self, ordinal: u16, event: Event) -> Verdict {
        let now = self.now;
        let Some(host) = self.hosts.get_mut(&ordinal) else { return Ok(()) };
        let (id, Some(running)) = (host.id, &mut host.running) else { return Ok(()) };
        if let Some(paused) = &mut running.paused {
            paused.push(event);
            return Ok(());
        }
        let clock = running.clock(now);
        running.member.handle(clock, event);
        self.look(id, ordinal)?;
        self.pump_soon(ordinal);
        Ok(())
    }

    /// What the state machines have applied.
    fn look(&mut self, id: MemberId, ordinal: u16) -> Verdict {
        let Some(running) = self.hosts.get(&ordinal).and_then(|host| host.running.as_ref()) else {
            return Ok(());
        };
        let seen = running.eye.take();
        for applied in seen {
            self.note(|| format!("{id} applies {applied:?}"));
            self.mix(applied.index.0 ^ applied.command);
            self.observer.applied(id, &applied, self.now)?;
        }
        Ok(())
    }

    fn pump_soon(&mut self, ordinal: u16) {
        let Some(host) = self.hosts.get_mut(&ordinal) else { return };
        let Some(running) = host.running.as_mut().filter(|running| !running.pumping) else { return };
        running.pumping = true;
        let life = host.life;
        let wait = self.rng.below(300);
        self.after(wait, Happening::Pump { host: ordinal, life });
    }

    /// Takes the member's output and carries it out.
    fn pump(&mut self, ordinal: u16, life: u64) -> Verdict {
        let now = self.now;
        let Some(host) = self.hosts.get_mut(&ordinal).filter(|host| host.life == life) else { return Ok(()) };
        let (id, Some(running)) = (host.id, &mut host.running) else { return Ok(()) };
        running.pumping = false;
        if running.paused.is_some() {
            return Ok(());
        }
        let output = running.member.take_output(running.clock(now));
        let awake = Awake { now, slept: running.slept };
        self.look(id, ordinal)?;
        if self.trace.is_some() {
            self.note_output(id, &output);
        }
        let elections = self.observer.elections;
        self.observer.output(id, &output, awake)?;
        if self.profile.hurry && !self.calm && self.observer.elections > elections && self.rng.chance(700) {
            // A leader that is gone before its first entries are everywhere.
            let wait = self.rng.below(150_000);
            self.after(wait, Happening::Kill { host: ordinal, life });
        }
        self.carry_out(ordinal, id, output)
    }

    fn note_output(&mut self, id: MemberId, output: &Output) {
        for record in output.batch.iter().flat_map(|batch| &batch.records) {
            self.note(|| format!("{id} writes {record:?}"));
        }
        for (to, message) in &output.send {
            self.note(|| format!("{id} to {to} {message:?}"));
        }
    }

    fn carry_out(&mut self, ordinal: u16, id: MemberId, output: Output) -> Verdict {
        let Output { batch, send, answers, fatal, .. } = output;
        if let Some(why) = fatal {
            return Err(Violation::new(Invariant::Recovery, format!("{id} ended itself: {why}")));
        }
        if let Some(batch) = batch {
            self.mix(batch.number);
            if let Some(host) = self.hosts.get_mut(&ordinal) {
                if batch.identity.as_ref().is_some_and(|identity| identity.cluster.is_some()) {
                    host.has_cluster = true;
                }
                if let Some(running) = &mut host.running {
                    running.queued.push_back(batch);
                }
            }
            self.write_queued(ordinal)?;
        }
        for (to, message) in send {
            let bulk = message.is_bulk();
            let mut arrivals = self.network.arrivals(ordinal, to.ordinal, bulk, self.now, &mut self.rng);
            if matches!(message, PeerMessage::Forward { .. }) {
                // The runtime writes a frame to one connection, once: it may be lost or late, never doubled. Raft
                // does without that; a refusal, which says that this forward is in no log, does not.
                arrivals.truncate(1);
            }
            for at in arrivals {
                let message = Box::new(message.clone());
                self.queue.push(at, Happening::Deliver { from: id, to, message });
            }
        }
        for (request, result) in answers {
            self.note(|| format!("{id} answers {request:?} {result:?}"));
            let wait = self.rng.between(100, 5_000);
            self.after(wait, Happening::Answer { from: Some(ordinal), id: request, result });
        }
        Ok(())
    }

    /// Writes what waits and begins a sync, unless one is under way.
    fn write_queued(&mut self, ordinal: u16) -> Verdict {
        let Some(host) = self.hosts.get_mut(&ordinal) else { return Ok(()) };
        let (id, life) = (host.id, host.life);
        let Some(running) = host.running.as_mut().filter(|running| !running.syncing) else { return Ok(()) };
        if running.queued.is_empty() {
            return Ok(());
        }
        for batch in std::mem::take(&mut running.queued) {
            self.observer.handed_over(id, batch.number);
            match host.volume.write(&batch) {
                Ok(written) => running.written = written,
                Err(error) => return self.disk_failed(ordinal, &error),
            }
            running.last_written = batch.number;
        }
        running.syncing = true;
        let batch = running.last_written;
        let wait = self.rng.between(100, self.plan.sync_max_us);
        self.after(wait, Happening::Synced { host: ordinal, life, batch });
        Ok(())
    }

    fn synced(&mut self, ordinal: u16, life: u64, batch: u64) -> Verdict {
        let Some(host) = self.hosts.get_mut(&ordinal).filter(|host| host.life == life) else { return Ok(()) };
        let (id, Some(running)) = (host.id, &mut host.running) else { return Ok(()) };
        if let Err(error) = host.volume.sync() {
            return self.disk_failed(ordinal, &error);
        }
        running.syncing = false;
        running.last_synced = batch;
        let written: Written = std::mem::take(&mut running.written);
        self.observer.synced(id, batch);
        self.note(|| format!("{id} has synced {batch}"));
        self.handle(ordinal, Event::Synced { batch, written })?;
        self.write_queued(ordinal)
    }

    fn deliver(&mut self, from: MemberId, to: MemberId, message: PeerMessage) -> Verdict {
        if !self.network.reaches(from.ordinal, to.ordinal) {
            return Ok(());
        }
        let groups = self.plan.groups;
        let Some(host) = self.hosts.get(&to.ordinal).filter(|host| host.id == to) else { return Ok(()) };
        if !host.has_cluster {
            self.handle(to.ordinal, Event::Joined { cluster: CLUSTER, groups })?;
        }
        self.note(|| format!("{to} from {from} {message:?}"));
        self.handle(to.ordinal, Event::Message { from, message })
    }

    pub(crate) fn resume(&mut self, ordinal: u16, life: u64, stalled: Option<u64>) -> Verdict {
        let Some(host) = self.hosts.get_mut(&ordinal).filter(|host| host.life == life) else { return Ok(()) };
        let Some(running) = &mut host.running else { return Ok(()) };
        let Some(events) = running.paused.take() else { return Ok(()) };
        if let Some(for_us) = stalled {
            running.stall(for_us);
        } else {
            let Slept { us, times } = running.slept;
            running.slept = Slept { us: us + self.now - running.paused_at, times: times + 1 };
        }
        for event in events {
            self.handle(ordinal, event)?;
        }
        self.pump_soon(ordinal);
        Ok(())
    }

    fn operate(&mut self) {
        let reports = self.reports();
        for (leader, command) in self.operator.next(&reports) {
            let wait = self.rng.between(1_000, 500_000);
            let there = self.hosts.get(&leader.ordinal).is_some_and(|host| host.id == leader);
            if there {
                self.note(|| format!("the operator will tell {leader} {command:?}"));
                self.command(leader.ordinal, wait, command);
            }
        }
        if self.operator.is_settled(self.plan.groups, &reports) {
            self.retire();
        }
        let wait = self.rng.between(200_000, 600_000);
        self.after(wait, Happening::Operate);
    }

    /// Ends members that belong nowhere any more.
    fn retire(&mut self) {
        let wanted = &self.operator.wanted;
        for host in self.hosts.values_mut().filter(|host| !wanted.contains(&host.id)) {
            host.running = None;
            host.retired = true;
        }
    }

    fn calm_down(&mut self) -> Verdict {
        self.calm = true;
        self.note(|| "all faults end".to_owned());
        self.network.heal();
        self.network.weather.loss_per_mille = 0;
        // Leaders last only where messages take much less than an election timeout (Raft §5.6).
        self.network.weather.late_per_mille = 0;
        self.clients_cut.clear();
        let hosts: Vec<(u16, u64)> = self.hosts.iter().map(|(ordinal, host)| (*ordinal, host.life)).collect();
        for (ordinal, life) in hosts {
            self.resume(ordinal, life, None)?;
            self.room(ordinal)?;
            if self.hosts.get(&ordinal).is_some_and(|host| !host.retired) {
                self.start(ordinal)?;
            }
        }
        self.after(1_000_000, Happening::Check);
        Ok(())
    }

    fn serves(&self, group: GroupId) -> bool {
        self.record.served_us.get(&group).is_some_and(|sent| *sent > self.plan.faults_until)
    }

    /// Whether every group has answered since, is made of the wanted members, and all of them have the same state.
    fn is_recovered(&mut self) -> Result<bool, Violation> {
        let groups: Vec<GroupId> = (0..self.plan.groups).map(GroupId).collect();
        let reports = self.reports();
        if !groups.iter().all(|group| self.serves(*group))
            || !self.operator.is_settled(self.plan.groups, &reports)
        {
            return Ok(false);
        }
        self.quiet = true;
        for group in groups {
            let mut states = BTreeMap::new();
            for host in self.hosts.values().filter(|host| self.operator.wanted.contains(&host.id)) {
                let Some(running) = &host.running else { return Ok(false) };
                let applied = running.member.report().groups.into_iter().find(|report| report.group == group);
                let Some(applied) = applied.map(|report| report.applied) else { return Ok(false) };
                states.insert(host.id, (applied, running.member.state(group)));
            }
            let mut found = states.into_iter();
            let Some((first_id, first)) = found.next() else { return Ok(false) };
            for (id, state) in found {
                if state.0 != first.0 {
                    return Ok(false);
                }
                if state.1 != first.1 {
                    let detail = format!("{first_id} and {id} differ in group {} at {:?}", group.0, first.0);
                    return Err(Violation::new(Invariant::StateMachineSafety, detail));
                }
            }
        }
        Ok(true)
    }

    fn stuck(&self) -> Violation {
        let mut detail = format!("not recovered {} s after the last fault:", RECOVERY_US / 1_000_000);
        for report in self.reports() {
            for group in report.groups {
                let served = self.serves(group.group);
                let _ = write!(
                    detail,
                    "\n  {} group {} {:?} {:?} leader {:?} last {:?} applied {:?} voters {:?} learners {:?} served {served}",
                    report.id,
                    group.group.0,
                    group.role,
                    group.term,
                    group.leader,
                    group.last,
                    group.applied,
                    group.configuration.voters,
                    group.configuration.learners,
                );
            }
        }
        Violation::new(Invariant::Liveness, detail)
    }

    fn check_histories(&mut self) -> Verdict {
        use quartet_history::Operation;
        use quartet_history::linear::{Register, RegisterOperation, Verdict as Linear, check};
        use quartet_history::lock::{Limits, check as check_locks};

        let mut registers: BTreeMap<(GroupId, u8), Vec<RegisterOperation>> = BTreeMap::new();
        for client in &mut self.clients {
            if let Some(asked) = client.current.take() {
                asked.abandon(client.number, self.now, &mut self.record);
            }
        }
        for (group, register, operation) in std::mem::take(&mut self.record.registers) {
            registers.entry((group, register)).or_default().push(operation);
        }
        for ((group, register), mut history) in registers {
            history.sort_by_key(|operation| operation.start_us);
            match check::<Register>(&history, 0, 50_000) {
                Linear::Linearizable => {}
                Linear::Undecided => self.coverage.undecided += 1,
                Linear::NotLinearizable => {
                    let mut detail = format!("register {register} of group {}:", group.0);
                    for Operation { client, start_us, end_us, request, outcome } in history {
                        let _ = write!(
                            detail,
                            "\n  {start_us} to {end_us:?} client {client} {request:?} {outcome:?}"
                        );
                    }
                    return Err(Violation::new(Invariant::Linearizability, detail));
                }
            }
        }
        // Its clocks may be slow as well: what counts is the difference to the fastest.
        let limits = Limits { drift_ppm: self.plan.drift_ppm + 1000 };
        match check_locks(&self.record.locks, limits).into_iter().next() {
            None => Ok(()),
            Some(violation) => {
                let mut detail = violation.to_string();
                let resource = violation.resource().to_owned();
                self.record.locks.sort_by_key(|operation| operation.start_us);
                for Operation { client, start_us, end_us, request, outcome } in &self.record.locks {
                    if request.resource().is_none_or(|of| of == resource) {
                        let _ = write!(
                            detail,
                            "\n  {start_us} to {end_us:?} client {client} {request:?} {outcome:?}"
                        );
                    }
                }
                Err(Violation::new(Invariant::Locks, detail))
            }
        }
    }
}
