//! How much happened in runs: a simulation of nothing proves nothing.

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
    /// That a member's process is gone, true or not.
    pub hints: u64,
    /// Volumes with a flipped bit that their members noticed.
    pub damaged: u64,
    /// Those that they could not notice: it was in the last that was synced.
    pub damaged_tails: u64,
    pub failed_syncs: u64,
    /// Syncs that took long on purpose.
    pub hangs: u64,
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

impl Coverage {
    pub(crate) fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.elections += other.elections;
        self.crashes += other.crashes;
        self.wipes += other.wipes;
        self.damaged += other.damaged;
        self.damaged_tails += other.damaged_tails;
        self.failed_syncs += other.failed_syncs;
        self.hangs += other.hangs;
        self.torn += other.torn;
        self.full += other.full;
        self.refused += other.refused;
        self.client_cuts += other.client_cuts;
        self.cuts += other.cuts;
        self.hints += other.hints;
        self.pauses += other.pauses;
        self.snapshots += other.snapshots;
        self.configurations += other.configurations;
        self.acknowledged += other.acknowledged;
        self.unknown += other.unknown;
        self.undecided += other.undecided;
    }
}

impl std::fmt::Display for Coverage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} elections, {} crashes, {} cuts, {} of clients, {} hints, {} pauses, {} wiped volumes, {} damaged ({} in what \
             nothing proves durable), {} failed syncs, {} that hung, {} torn writes, {} full disks ({} refusals), {} snapshots, {} \
             configurations, {} operations acknowledged, {} of unknown outcome, {} histories undecided, {} events",
            self.elections,
            self.crashes,
            self.cuts,
            self.client_cuts,
            self.hints,
            self.pauses,
            self.wipes,
            self.damaged,
            self.damaged_tails,
            self.failed_syncs,
            self.hangs,
            self.torn,
            self.full,
            self.refused,
            self.snapshots,
            self.configurations,
            self.acknowledged,
            self.unknown,
            self.undecided,
            self.events,
        )
    }
}
