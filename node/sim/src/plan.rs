//! What a seed makes of a profile: settings, sizes, rates.

use std::time::Duration;

use quartet_raft::Settings;
use quartet_replica::engine::EngineSettings;

use crate::network::Weather;
use crate::profile::{Broken, Profile, Storm};
use crate::queue::Micros;
use crate::rng::Rng;

pub(crate) struct Plan {
    pub(crate) members: u16,
    pub(crate) groups: u16,
    pub(crate) engine: EngineSettings,
    pub(crate) segment_bytes: u64,
    pub(crate) weather: Weather,
    pub(crate) sync_max_us: u64,
    /// Clocks run faster or slower than real time by up to so much.
    pub(crate) drift_ppm: u64,
    pub(crate) clients: u32,
    pub(crate) think_max_us: u64,
    /// Faults end here.
    pub(crate) faults_until: Micros,
    pub(crate) fault_every_us: u64,
}

impl Plan {
    pub(crate) fn draw(profile: &Profile, broken: Option<Broken>, rng: &mut Rng) -> Self {
        let members = match rng.below(10) {
            0 if profile.alone => 1,
            0..=6 => 3,
            _ => 5,
        };
        let groups = u16::try_from(rng.between(1, 3)).unwrap_or(1);
        let tick = Duration::from_millis(rng.between(50, 100));
        let raft = Settings {
            election_ticks: u32::try_from(rng.between(4, 10)).unwrap_or(4),
            heartbeat_ticks: u32::try_from(rng.between(1, 2)).unwrap_or(1),
            seed: rng.next(),
            append_bytes_max: usize::try_from(rng.between(64, 4096)).unwrap_or(64),
            appends_in_flight_max: usize::try_from(rng.between(1, 6)).unwrap_or(1),
            broken: match broken {
                Some(Broken::Raft(rule)) => Some(rule),
                _ => None,
            },
            ..Settings::default()
        };
        let engine = EngineSettings {
            groups,
            raft,
            tick,
            snapshot_after_bytes: rng.between(512, 8192),
            keep_entries: rng.below(20),
            requests_max: 256,
            keys_max: 4096,
            key_lifetime: Duration::from_mins(10),
            time_step_max: Duration::from_millis(rng.between(200, 1500)),
            chunk_bytes: usize::try_from(rng.between(16, 512)).unwrap_or(16),
            disk_patience: 12 * tick,
            broken: match broken {
                Some(Broken::Engine(rule)) => Some(rule),
                _ => None,
            },
        };
        let mut plan = Self {
            members,
            groups,
            engine,
            segment_bytes: rng.between(16, 32) << 10,
            weather: weather(profile.weather, rng),
            sync_max_us: if rng.chance(300) { 60_000 } else { 4_000 },
            drift_ppm: *rng.pick(&[0, 400, 50_000]).unwrap_or(&0),
            clients: u32::try_from(rng.between(2, 6)).unwrap_or(2),
            think_max_us: rng.between(20_000, 200_000),
            faults_until: rng.between(8_000_000, 16_000_000),
            fault_every_us: rng.between(300_000, 1_500_000),
        };
        if profile.hurry {
            plan.hurry(rng);
        }
        plan
    }

    /// Leaders that come and go faster than they can commit, and send their entries one by one.
    fn hurry(&mut self, rng: &mut Rng) {
        self.members = 5;
        self.engine.raft.append_bytes_max = 1;
        self.engine.raft.appends_in_flight_max = 1;
        self.engine.raft.election_ticks = 4;
        self.engine.snapshot_after_bytes = 1 << 20;
        self.think_max_us = 50_000;
        self.fault_every_us = rng.between(500_000, 2_000_000);
        self.sync_max_us = rng.between(4_000, 60_000);
    }
}

fn weather(storm: Storm, rng: &mut Rng) -> Weather {
    let calm = Weather {
        delay_min_us: 100,
        delay_max_us: rng.between(500, 5_000),
        loss_per_mille: 0,
        duplicate_per_mille: 0,
        late_per_mille: 0,
        ordered: true,
    };
    match storm {
        Storm::Calm => calm,
        Storm::Rough => Weather {
            delay_max_us: rng.between(2_000, 40_000),
            loss_per_mille: u32::try_from(rng.below(120)).unwrap_or(0),
            duplicate_per_mille: u32::try_from(rng.below(80)).unwrap_or(0),
            late_per_mille: u32::try_from(rng.below(40)).unwrap_or(0),
            ordered: rng.chance(300),
            ..calm
        },
    }
}
