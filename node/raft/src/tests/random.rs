//! A few thousand random steps per seed, with crashes, cuts, loss, repetition and disorder.

use super::cluster::{Cluster, learners, m, voters};
use super::invariants::Invariants;
use crate::*;

/// xorshift64* (Vigna 2016).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % sides
    }

    fn member(&mut self) -> u16 {
        u16::try_from(self.roll(5)).unwrap()
    }
}

pub(super) struct Run {
    pub(super) committed: Index,
    pub(super) terms: u64,
    pub(super) configurations: usize,
    pub(super) snapshots: usize,
}

pub(super) fn run(seed: u64, steps: u32, settings: &Settings) -> Run {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let settings =
        Settings { seed, election_ticks: 10, append_bytes_max: [1, 200][dice.roll(2)], ..settings.clone() };
    let mut cluster = Cluster::founded_by(&voters(&[0, 1, 2]), settings).and_empty(&[3, 4]);
    let mut invariants = Invariants::default();
    let mut snapshots = 0;
    for step in 0..steps {
        let ordinal = dice.member();
        let up = cluster.nodes[&m(ordinal)].raft.is_some();
        match dice.roll(1000) {
            0..400 if !cluster.wire.is_empty() => {
                let near = cluster.wire.len().min(8);
                cluster.deliver_at(dice.roll(near));
            }
            400..420 if !cluster.wire.is_empty() => {
                let place = dice.roll(cluster.wire.len());
                let again = cluster.wire[place].clone();
                cluster.wire.push_back(again);
            }
            420..440 if !cluster.wire.is_empty() => {
                let place = dice.roll(cluster.wire.len());
                cluster.wire.remove(place);
            }
            440..760 => cluster.input(ordinal, Input::Tick).unwrap(),
            760..860 => drop(cluster.propose(ordinal, &format!("{seed}.{step}"))),
            860..880 => {
                let id = ReadId(u64::from(step));
                invariants.asked(id);
                drop(cluster.input(ordinal, Input::Read(id)));
            }
            880..900 => cluster.syncing(ordinal, dice.roll(3) > 0),
            900..950 => cluster.sync(ordinal),
            950..955 if up => cluster.crash(ordinal),
            955..970 if !up => cluster.restart(ordinal),
            970..974 => cluster.isolate(ordinal),
            974..980 => cluster.heal(),
            980..985 => drop(cluster.input(ordinal, Input::Transfer { to: m(dice.member()) })),
            985..990 if up => {
                let target = match dice.roll(5) {
                    0 => voters(&[0, 1, 2, 3, 4]),
                    1 => learners(&[0, 1, 2], &[3, 4]),
                    2 => voters(&[2, 3, 4]),
                    3 => voters(&[1]),
                    _ => voters(&[0, 1, 2]),
                };
                drop(cluster.change(ordinal, target));
            }
            990..994 if up => snapshots += usize::from(compact(&mut cluster, ordinal)),
            994..1000 if up => carry(&mut cluster, ordinal),
            _ => {}
        }
        invariants.check(&cluster);
    }
    // All faults end: whoever is in the configuration agrees, and something new is committed.
    cluster.heal();
    for ordinal in 0..5 {
        if cluster.nodes[&m(ordinal)].raft.is_none() {
            cluster.restart(ordinal);
        }
        cluster.syncing(ordinal, true);
        cluster.sync(ordinal);
    }
    quiet(&mut cluster);
    assert!(!cluster.leaders().is_empty(), "seed {seed}: nobody leads");
    let leader = *cluster.leaders().last().unwrap();
    let done = cluster.propose(leader, "end");
    quiet(&mut cluster);
    invariants.check(&cluster);
    assert_eq!(done, Ok(()), "seed {seed}");
    let leader = *cluster.leaders().last().unwrap();
    for member in cluster.raft(leader).configuration().members() {
        assert_eq!(cluster.commands(member.ordinal), cluster.commands(leader), "seed {seed}");
        assert_eq!(cluster.commands(member.ordinal).last(), Some(&"end"), "seed {seed}");
    }
    let set = |entry: &&Entry| matches!(entry.payload, Payload::Configuration(_));
    Run {
        committed: cluster.raft(leader).committed(),
        terms: cluster.term(leader).0,
        configurations: cluster.nodes[&m(leader)].applied.iter().filter(set).count(),
        snapshots,
    }
}

fn quiet(cluster: &mut Cluster) {
    for _ in 0..200 {
        cluster.tick(1);
        for ordinal in 0..5 {
            carry(cluster, ordinal);
        }
    }
}

fn compact(cluster: &mut Cluster, ordinal: u16) -> bool {
    let applied = cluster.nodes[&m(ordinal)].applied.last().map_or(Index(0), |entry| entry.index);
    let new = applied > cluster.raft(ordinal).snapshot().last.index;
    if new {
        cluster.compact(ordinal, 1);
    }
    new
}

/// Carries the snapshots that a member wants to send, some of them where nobody wants them any more.
fn carry(cluster: &mut Cluster, ordinal: u16) {
    let wanted = std::mem::take(&mut cluster.node(ordinal).snapshots);
    for to in wanted {
        let up = cluster.nodes[&to].raft.is_some();
        if !up || cluster.carry_snapshot(ordinal, to.ordinal).is_err() {
            cluster.input(ordinal, Input::SnapshotSent { to, index: None }).unwrap();
        }
    }
}

#[test]
fn random_faults_break_nothing_and_when_they_end_everyone_agrees() {
    let (mut committed, mut terms, mut configurations, mut snapshots) = (0, 0, 0, 0);
    for seed in 0..100 {
        let run = run(seed, 4000, &Settings::default());
        committed += run.committed.0;
        terms += run.terms;
        configurations += run.configurations;
        snapshots += run.snapshots;
    }
    println!("{committed} entries, {terms} terms, {configurations} configurations, {snapshots} snapshots");
    // It tries what it is meant to try.
    assert!(committed > 3000 && terms > 500 && configurations > 200 && snapshots > 300);
}
