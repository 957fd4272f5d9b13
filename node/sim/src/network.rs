//! Who hears whom, and when: delay, loss, duplication, reordering, partitions.

use std::collections::{BTreeMap, BTreeSet};

use crate::queue::Micros;
use crate::rng::Rng;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    pub(crate) delay_min_us: u64,
    pub(crate) delay_max_us: u64,
    pub(crate) loss_per_mille: u32,
    pub(crate) duplicate_per_mille: u32,
    /// Messages that take much longer than the others.
    pub(crate) late_per_mille: u32,
    /// Whether what was sent first arrives first, as on one connection.
    pub(crate) ordered: bool,
}

pub(crate) struct Network {
    pub(crate) weather: Weather,
    /// From, to.
    cut: BTreeSet<(u16, u16)>,
    /// By connection: from, to, and whether it is the one for bulk.
    last_arrival: BTreeMap<(u16, u16, bool), Micros>,
}

impl Network {
    pub(crate) fn new(weather: Weather) -> Self {
        Self { weather, cut: BTreeSet::new(), last_arrival: BTreeMap::new() }
    }

    pub(crate) fn reaches(&self, from: u16, to: u16) -> bool {
        !self.cut.contains(&(from, to))
    }

    pub(crate) fn cut(&mut self, from: u16, to: u16) {
        self.cut.insert((from, to));
    }

    pub(crate) fn heal(&mut self) {
        self.cut.clear();
    }

    /// When the copies of a message arrive: none, one or two.
    pub(crate) fn arrivals(
        &mut self,
        from: u16,
        to: u16,
        bulk: bool,
        now: Micros,
        rng: &mut Rng,
    ) -> Vec<Micros> {
        let weather = self.weather;
        if !self.reaches(from, to) || rng.chance(weather.loss_per_mille) {
            return Vec::new();
        }
        let copies = 1 + u32::from(rng.chance(weather.duplicate_per_mille));
        let mut arrivals = Vec::new();
        for _ in 0..copies {
            let mut delay = rng.between(weather.delay_min_us, weather.delay_max_us);
            if rng.chance(weather.late_per_mille) {
                delay *= 20;
            }
            let mut at = now + delay;
            // What goes by old and new connections may overtake, pieces of snapshots too.
            if weather.ordered {
                let last = self.last_arrival.entry((from, to, bulk)).or_insert(0);
                at = at.max(*last);
                *last = at;
            }
            arrivals.push(at);
        }
        arrivals
    }
}
