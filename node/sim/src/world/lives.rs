//! Lives of members: how they begin, what ends them, and what they find of the one before.

use std::time::Duration;

use quartet_raft::MemberId;
use quartet_replica::engine::{Event, MemberCommand};
use quartet_replica::store::{Batch, Identity, Opened, StoreSettings, Written};
use quartet_sync::Partition;

use super::{Happening, Verdict, World};
use crate::core_member::CoreMember;
use crate::host::{Health, Host, Running, Trouble};
use crate::invariant::{Invariant, Violation};
use crate::model::ModelVolume;
use crate::observer::Unnoticed;
use crate::operator::{CLUSTER, address};
use crate::profile::{Stack, Work};
use crate::register::Registers;
use crate::replica_member::{self, StoreVolume};
use crate::seam::{Eye, Member, Volume};

impl World {
    pub(super) fn found(&mut self) -> Verdict {
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
    pub(super) fn be_born(&mut self, ordinal: u16, volume: Box<dyn Volume>, life: u64) -> Verdict {
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
    pub(super) fn is_blocked_by_rot(&mut self, ordinal: u16, opened: &Opened) -> Result<bool, Violation> {
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
    pub(super) fn reset(&mut self, ordinal: u16) -> Verdict {
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
    pub(super) fn disk_failed(&mut self, ordinal: u16, error: &str) -> Verdict {
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
    pub(super) fn end(&mut self, ordinal: u16) {
        let Some(host) = self.hosts.get_mut(&ordinal) else { return };
        host.running = None;
        host.volume.close();
        host.trouble = host.trouble.filter(|trouble| *trouble == Trouble::Full);
    }

    pub(super) fn room(&mut self, ordinal: u16) -> Verdict {
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

    /// Sometimes the next connection is refused. By the time this is heard, the member may be back.
    pub(crate) fn hint(&mut self, to: u16, gone: MemberId, wait: u64) {
        if self.rng.chance(500) {
            let wait = wait + 50_000 + self.rng.below(50_000);
            self.coverage.hints += 1;
            self.bring(to, wait, Event::Gone { peer: gone });
        }
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
                self.hint(other, id, wait);
            }
        }
    }
}
