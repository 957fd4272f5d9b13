//! Kinds of runs: what they are made of and which faults they meet.

use quartet_raft::BrokenRule;
use quartet_replica::engine::BrokenRule as EngineRule;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stack {
    /// The consensus core alone.
    Core,
    /// quartet-replica's engine over its store.
    Replica,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Registers,
    Locks,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Storm {
    Calm,
    Rough,
}

/// How often each fault comes, relative to the others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Faults {
    pub(crate) crash: u32,
    pub(crate) crash_all: u32,
    pub(crate) cut: u32,
    pub(crate) heal: u32,
    pub(crate) pause: u32,
    pub(crate) wipe: u32,
    pub(crate) resize: u32,
    pub(crate) handover: u32,
    /// Between clients and members.
    pub(crate) cut_clients: u32,
    /// The power goes in the middle of a write.
    pub(crate) tear: u32,
    pub(crate) fail_sync: u32,
    /// A sync takes so long that the disk counts as hanging.
    pub(crate) hang: u32,
    pub(crate) fill: u32,
    /// A bit of what is durable flips.
    pub(crate) rot: u32,
}

const NONE: Faults = Faults {
    crash: 0,
    crash_all: 0,
    cut: 0,
    heal: 0,
    pause: 0,
    wipe: 0,
    resize: 0,
    handover: 0,
    cut_clients: 0,
    tear: 0,
    fail_sync: 0,
    hang: 0,
    fill: 0,
    rot: 0,
};

#[derive(Clone, Copy, Debug)]
pub struct Profile {
    pub name: &'static str,
    pub(crate) stack: Stack,
    pub(crate) work: Work,
    pub(crate) weather: Storm,
    pub(crate) faults: Faults,
    /// Some runs have a single member.
    pub(crate) alone: bool,
    /// Faults come faster than entries commit.
    pub(crate) hurry: bool,
}

const CORE: Profile = Profile {
    name: "core-calm",
    stack: Stack::Core,
    work: Work::Registers,
    weather: Storm::Calm,
    faults: Faults { handover: 1, ..NONE },
    alone: false,
    hurry: false,
};
const REPLICA: Profile = Profile { name: "calm", stack: Stack::Replica, ..CORE };
const LOCKS: Profile = Profile { name: "locks-calm", work: Work::Locks, ..REPLICA };
const CRASHES: Faults = Faults { crash: 6, crash_all: 1, ..NONE };
const PARTITIONS: Faults = Faults { cut: 5, heal: 2, pause: 1, handover: 1, ..NONE };
const MEMBERSHIP: Faults = Faults { resize: 6, wipe: 2, handover: 2, cut: 4, heal: 2, crash: 2, ..NONE };
/// Leaders come and go faster than they can commit: figure 8 of the Raft paper.
const CHURN: Faults = Faults { crash: 2, cut: 6, heal: 4, pause: 2, handover: 2, ..NONE };
const EVERYTHING: Faults = Faults {
    crash: 5,
    crash_all: 1,
    cut: 5,
    heal: 3,
    pause: 3,
    wipe: 1,
    resize: 2,
    handover: 2,
    cut_clients: 2,
    tear: 1,
    fail_sync: 1,
    hang: 1,
    fill: 1,
    rot: 1,
};
const DISKS: Faults =
    Faults { crash: 2, tear: 4, fail_sync: 3, hang: 3, fill: 3, rot: 4, cut_clients: 1, ..NONE };

pub const PROFILES: &[Profile] = &[
    CORE,
    Profile { name: "core-crashes", faults: CRASHES, alone: true, ..CORE },
    Profile { name: "core-partitions", faults: PARTITIONS, ..CORE },
    Profile { name: "core-churn", hurry: true, faults: CHURN, weather: Storm::Rough, ..CORE },
    Profile { name: "core-membership", faults: MEMBERSHIP, ..CORE },
    Profile { name: "core-chaos", faults: EVERYTHING, weather: Storm::Rough, ..CORE },
    REPLICA,
    Profile { name: "crashes", faults: CRASHES, alone: true, ..REPLICA },
    Profile { name: "partitions", faults: PARTITIONS, ..REPLICA },
    Profile { name: "membership", faults: MEMBERSHIP, ..REPLICA },
    Profile { name: "disks", faults: DISKS, ..REPLICA },
    Profile { name: "chaos", faults: EVERYTHING, weather: Storm::Rough, ..REPLICA },
    LOCKS,
    Profile { name: "locks-crashes", faults: CRASHES, alone: true, ..LOCKS },
    Profile { name: "locks-partitions", faults: PARTITIONS, ..LOCKS },
    Profile { name: "locks-membership", faults: MEMBERSHIP, ..LOCKS },
    Profile { name: "locks-disks", faults: DISKS, ..LOCKS },
    Profile { name: "locks-chaos", faults: EVERYTHING, weather: Storm::Rough, ..LOCKS },
];

/// A rule left out on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    Raft(BrokenRule),
    Engine(EngineRule),
}

/// By the names that `--broken` takes.
pub const BROKEN_RULES: [(&str, Broken); 15] = [
    ("vote-for-stale-log", Broken::Raft(BrokenRule::VoteForStaleLog)),
    ("vote-twice", Broken::Raft(BrokenRule::VoteTwice)),
    ("commit-without-quorum", Broken::Raft(BrokenRule::CommitWithoutQuorum)),
    ("commit-earlier-term", Broken::Raft(BrokenRule::CommitEarlierTerm)),
    ("skip-consistency-check", Broken::Raft(BrokenRule::SkipConsistencyCheck)),
    ("read-without-round", Broken::Raft(BrokenRule::ReadWithoutRound)),
    ("promise-before-sync", Broken::Raft(BrokenRule::PromiseBeforeSync)),
    ("skip-joint", Broken::Raft(BrokenRule::SkipJoint)),
    ("leap-in-time", Broken::Engine(EngineRule::LeapInTime)),
    ("stamp-by-own-clock", Broken::Engine(EngineRule::StampByOwnClock)),
    ("apply-again", Broken::Engine(EngineRule::ApplyAgain)),
    ("engine-promise-before-sync", Broken::Engine(EngineRule::PromiseBeforeSync)),
    ("answer-before-applied", Broken::Engine(EngineRule::AnswerBeforeApplied)),
    ("number-lives-alike", Broken::Engine(EngineRule::NumberLivesAlike)),
    ("lead-on-hung-disk", Broken::Engine(EngineRule::LeadOnHungDisk)),
];
