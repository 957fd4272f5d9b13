//! One run: everything that happens, in order of virtual time, and what is checked about it.

mod clients;
mod lives;
mod operating;
mod steps;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use bytes::Bytes;
use quartet_raft::MemberId;
use quartet_replica::engine::{Event, RequestId};
use quartet_replica::wire::{Failure, PeerMessage};

use crate::client::{Client, Record};
use crate::coverage::Coverage;
use crate::host::Host;
use crate::invariant::{Invariant, Violation};
use crate::network::Network;
use crate::observer::Observer;
use crate::operator::Operator;
use crate::plan::Plan;
use crate::profile::{Broken, Profile, Stack};
use crate::queue::{Micros, Queue};
use crate::rng::Rng;

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
}
