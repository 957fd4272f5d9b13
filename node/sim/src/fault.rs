//! What goes wrong, and when.

use std::collections::BTreeSet;

use quartet_replica::engine::MemberCommand;

use crate::host::{Health, Trouble};
use crate::invariant::Violation;
use crate::operator::CLUSTER;
use crate::profile::Stack;
use crate::world::{Happening, World};

impl World {
    /// One fault by the profile's weights, and when the next one comes.
    pub(crate) fn fault(&mut self) -> Result<(), Violation> {
        if self.calm {
            return Ok(());
        }
        let wait = self.rng.between(1_000, 2 * self.plan.fault_every_us);
        self.after(wait, Happening::Fault);
        let faults = self.profile.faults;
        let weights = [
            faults.crash,
            faults.crash_all,
            faults.cut,
            faults.heal,
            faults.pause,
            faults.wipe,
            faults.resize,
            faults.handover,
            faults.cut_clients,
            faults.tear,
            faults.fail_sync,
            faults.fill,
            faults.rot,
            faults.hang,
        ];
        match self.rng.weighted(&weights) {
            Some(0) => self.crash_one(),
            Some(1) => self.crash_all(),
            Some(2) => self.cut_some(),
            Some(3) => self.after(0, Happening::Heal),
            Some(4) => self.pause_one(),
            Some(5) => return self.wipe_one(),
            Some(6) => return self.resize(),
            Some(7) => self.hand_over(),
            Some(8) => self.cut_clients(),
            Some(9) => self.tear_one(),
            Some(10) => self.fail_a_sync(),
            Some(11) => self.fill_one(),
            Some(12) => self.rot_one(),
            Some(13) => self.hang_one(),
            _ => {}
        }
        Ok(())
    }

    fn any_host(&mut self) -> Option<u16> {
        let up: Vec<u16> =
            self.hosts.iter().filter(|(_, host)| host.is_serving()).map(|(ordinal, _)| *ordinal).collect();
        self.rng.pick(&up).copied()
    }

    fn crash_one(&mut self) {
        if let Some(host) = self.any_host() {
            self.crash(host);
            let wait = self.rng.between(10_000, 3_000_000);
            self.after(wait, Happening::Start { host });
        }
    }

    fn crash_all(&mut self) {
        let all: Vec<u16> = self.hosts.keys().copied().collect();
        for host in all {
            if self.hosts.get(&host).is_some_and(|host| host.running.is_some()) {
                self.crash(host);
                let wait = self.rng.between(10_000, 1_000_000);
                self.after(wait, Happening::Start { host });
            }
        }
    }

    /// Splits the hosts in two, in one direction or both.
    fn cut_some(&mut self) {
        let all: Vec<u16> = self.hosts.keys().copied().collect();
        let side: Vec<bool> = all.iter().map(|_| self.rng.chance(400)).collect();
        let (there, back) = if self.rng.chance(600) {
            (true, true)
        } else {
            let there = self.rng.chance(500);
            (there, !there)
        };
        for (from, from_side) in all.iter().zip(&side) {
            for (to, to_side) in all.iter().zip(&side) {
                if (*from_side && !to_side && there) || (!from_side && *to_side && back) {
                    self.network.cut(*from, *to);
                    // A wall that rejects looks like a process that is gone.
                    if let Some(id) = self.hosts.get(to).map(|host| host.id) {
                        self.hint(*from, id, 0);
                    }
                }
            }
        }
        self.coverage.cuts += 1;
        self.note(|| format!("connections are cut between {all:?}, sides {side:?}, {there} {back}"));
        let wait = self.rng.between(100_000, 4_000_000);
        self.after(wait, Happening::Heal);
    }

    fn cut_clients(&mut self) {
        let all: Vec<u16> = self.hosts.keys().copied().collect();
        for client in 0..self.plan.clients {
            for host in &all {
                if self.rng.chance(400) {
                    self.clients_cut.insert((client, *host));
                }
            }
        }
        self.coverage.client_cuts += 1;
        let wait = self.rng.between(100_000, 4_000_000);
        self.after(wait, Happening::Heal);
    }

    /// A host whose disk does nothing wrong yet.
    fn any_sound_host(&mut self) -> Option<u16> {
        let ordinal = self.any_host()?;
        self.hosts.get(&ordinal).is_some_and(|host| host.trouble.is_none()).then_some(ordinal)
    }

    fn tear_one(&mut self) {
        let Some(ordinal) = self.any_sound_host() else { return };
        let changes = self.rng.below(12);
        if let Some(host) = self.hosts.get_mut(&ordinal)
            && host.volume.stop_after(changes)
        {
            host.trouble = Some(Trouble::Power);
            self.note(|| format!("the power of m{ordinal} will go after {changes} more changes of its disk"));
        }
    }

    fn fail_a_sync(&mut self) {
        let Some(ordinal) = self.any_sound_host() else { return };
        if let Some(host) = self.hosts.get_mut(&ordinal)
            && host.volume.fail_sync()
        {
            host.trouble = Some(Trouble::Sync);
            self.note(|| format!("the next sync of m{ordinal} will fail"));
        }
    }

    /// Only where the member looks after its disk: the core alone knows nothing of it.
    fn hang_one(&mut self) {
        if self.profile.stack == Stack::Core {
            return;
        }
        let Some(ordinal) = self.any_host() else { return };
        let for_us = self.rng.between(500_000, 8_000_000);
        if let Some(running) = self.hosts.get_mut(&ordinal).and_then(|host| host.running.as_mut()) {
            running.hang_us = Some(for_us);
            self.coverage.hangs += 1;
            self.note(|| format!("the next sync of m{ordinal} will take {for_us} us"));
        }
    }

    /// Leaves a disk less room than its reserve, for a while.
    fn fill_one(&mut self) {
        let Some(ordinal) = self.any_sound_host() else { return };
        let free = self.rng.below(3 * self.plan.segment_bytes);
        let wait = self.rng.between(500_000, 5_000_000);
        if let Some(host) = self.hosts.get_mut(&ordinal)
            && host.volume.set_room(Some(free))
        {
            host.trouble = Some(Trouble::Full);
            self.coverage.full += 1;
            self.note(|| format!("the disk of m{ordinal} has {free} bytes left for {wait} us"));
            self.after(wait, Happening::Room { host: ordinal });
        }
    }

    /// Flips a bit of what a member's disk holds, while the member is down. At most one at a time: a cluster
    /// survives as many damaged volumes as it does lost ones.
    fn rot_one(&mut self) {
        if self.operator.wanted.len() < 3 || !self.is_whole() {
            return;
        }
        let Some(ordinal) = self.any_sound_host() else { return };
        if !self.hosts.get(&ordinal).is_some_and(|host| self.operator.wanted.contains(&host.id)) {
            return;
        }
        self.crash(ordinal);
        let Some(host) = self.hosts.get_mut(&ordinal) else { return };
        let flipped = host.volume.rot(&mut self.rng);
        if flipped.is_some() {
            host.health = Health::Rotten;
        }
        self.note(|| format!("a bit of m{ordinal}'s disk is flipped: {flipped:?}"));
        let wait = self.rng.between(10_000, 2_000_000);
        self.after(wait, Happening::Start { host: ordinal });
    }

    fn pause_one(&mut self) {
        let Some(ordinal) = self.any_host() else { return };
        let for_us = self.rng.between(10_000, 4_000_000);
        let stalled = self.rng.chance(500).then_some(for_us);
        if let Some(host) = self.hosts.get_mut(&ordinal) {
            let life = host.life;
            if let Some(running) = &mut host.running {
                running.paused = Some(Vec::new());
                running.paused_at = self.now;
            }
            self.coverage.pauses += 1;
            self.note(|| format!("m{ordinal} pauses for {for_us} us, its clock too: {}", stalled.is_some()));
            self.after(for_us, Happening::Resume { host: ordinal, life, stalled });
        }
    }

    /// Whether the cluster could lose a volume now: everyone runs, and no change is under way.
    fn is_whole(&self) -> bool {
        let serving = self.hosts.values().filter(|host| !host.retired).all(|host| host.running.is_some());
        serving && self.operator.is_settled(self.plan.groups, &self.reports())
    }

    fn wipe_one(&mut self) -> Result<(), Violation> {
        if self.operator.wanted.len() < 3 || !self.is_whole() {
            return Ok(());
        }
        let Some(ordinal) = self.any_host() else { return Ok(()) };
        let Some(old) = self.hosts.get(&ordinal).map(|host| host.id) else { return Ok(()) };
        if !self.operator.wanted.remove(&old) {
            return Ok(());
        }
        self.crash(ordinal);
        self.coverage.wipes += 1;
        self.note(|| format!("the volume of {old} is lost"));
        self.add_host(ordinal)?;
        if let Some(host) = self.hosts.get(&ordinal) {
            self.operator.wanted.insert(host.id);
        }
        Ok(())
    }

    /// From 3 members to 5, or back.
    fn resize(&mut self) -> Result<(), Violation> {
        if !self.is_whole() {
            return Ok(());
        }
        let size = self.operator.wanted.len();
        if size <= 3 {
            let first = u16::try_from(size).unwrap_or(0);
            let target = if size == 1 { 3 } else { 5 };
            for ordinal in first..target {
                self.add_host(ordinal)?;
                if let Some(host) = self.hosts.get(&ordinal) {
                    self.operator.wanted.insert(host.id);
                }
            }
        } else {
            let target = if self.rng.chance(300) { 1 } else { 3 };
            self.operator.wanted.retain(|id| id.ordinal < target);
        }
        let wanted = self.operator.wanted.clone();
        self.note(|| format!("wanted are {wanted:?}"));
        Ok(())
    }

    fn hand_over(&mut self) {
        if let Some(host) = self.any_host() {
            self.note(|| format!("m{host} is told to hand over"));
            self.command(host, 0, MemberCommand::Handover { cluster: CLUSTER, except: BTreeSet::new() });
        }
    }
}
