//! A place where members live, one after the other: its volume, its disk's pace, its clock, what runs there.

use std::collections::VecDeque;
use std::time::Duration;

use quartet_raft::MemberId;
use quartet_replica::engine::Event;
use quartet_replica::store::{Batch, Written};

use crate::queue::Micros;
use crate::seam::{Eye, Member, Volume};

pub(crate) struct Host {
    pub(crate) id: MemberId,
    pub(crate) volume: Box<dyn Volume>,
    pub(crate) running: Option<Running>,
    /// Counts starts: what was meant for an earlier life is dropped.
    pub(crate) life: u64,
    /// This host's clock, relative to real time.
    pub(crate) rate_ppm: i64,
    /// Whether it belongs to a cluster, as far as it has said.
    pub(crate) has_cluster: bool,
    /// Left the cluster for good.
    pub(crate) retired: bool,
    /// What its disk does wrong now or soon.
    pub(crate) trouble: Option<Trouble>,
    pub(crate) health: Health,
}

/// Of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    Sound,
    /// A bit was flipped while its member was down.
    Rotten,
    /// Its member takes no part until it is reset.
    Blocked,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// A sync will fail.
    Sync,
    /// The power will go in the middle of a write.
    Power,
    /// There is hardly any room.
    Full,
}

pub(crate) struct Running {
    pub(crate) member: Box<dyn Member>,
    pub(crate) eye: Eye,
    clock: Clock,
    /// An output is going to be taken.
    pub(crate) pumping: bool,
    /// Events since it was paused.
    pub(crate) paused: Option<Vec<Event>>,
    pub(crate) paused_at: Micros,
    /// While its clock went on.
    pub(crate) slept: Slept,
    /// Batches that wait for the sync under way.
    pub(crate) queued: VecDeque<Batch>,
    pub(crate) syncing: bool,
    /// How long the next sync takes, if it is to hang.
    pub(crate) hang_us: Option<u64>,
    /// Ticks since the disk finished something, while something waited for it.
    pub(crate) hung_ticks: u32,
    pub(crate) last_written: u64,
    pub(crate) last_synced: u64,
    pub(crate) written: Written,
}

/// How long a member did nothing while its clock went on, and how often.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Slept {
    pub(crate) us: u64,
    pub(crate) times: u64,
}

struct Clock {
    started_at: Micros,
    base: Duration,
    rate_ppm: i64,
    stalled_us: u64,
}

impl Clock {
    fn at(&self, now: Micros) -> Duration {
        let gone = i64::try_from(now - self.started_at - self.stalled_us).unwrap_or(0);
        let gone = gone + gone * self.rate_ppm / 1_000_000;
        self.base + Duration::from_micros(u64::try_from(gone).unwrap_or(0))
    }
}

impl Running {
    pub(crate) fn new(member: Box<dyn Member>, eye: Eye, now: Micros, base: Duration, rate_ppm: i64) -> Self {
        Self {
            member,
            eye,
            clock: Clock { started_at: now, base, rate_ppm, stalled_us: 0 },
            pumping: false,
            paused: None,
            paused_at: now,
            slept: Slept::default(),
            queued: VecDeque::new(),
            syncing: false,
            hang_us: None,
            hung_ticks: 0,
            last_written: 0,
            last_synced: 0,
            written: Written::default(),
        }
    }

    pub(crate) fn clock(&self, now: Micros) -> Duration {
        self.clock.at(now)
    }

    /// The clock stood still for so long, with the member.
    pub(crate) fn stall(&mut self, for_us: u64) {
        self.clock.stalled_us += for_us;
    }
}

impl Host {
    pub(crate) fn is_serving(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.paused.is_none())
    }
}
