//! What members do while they live: events in, output out, and what their disks and the network make of it.

use quartet_raft::{MemberId, Role};
use quartet_replica::engine::{Event, Output};
use quartet_replica::store::Written;
use quartet_replica::wire::PeerMessage;

use super::{Happening, Verdict, World};
use crate::host::Slept;
use crate::invariant::{Invariant, Violation};
use crate::observer::Awake;
use crate::operator::CLUSTER;
use crate::profile::Stack;

impl World {
    pub(super) fn tick(&mut self, ordinal: u16, life: u64) -> Verdict {
        let Some(host) = self.hosts.get(&ordinal).filter(|host| host.life == life) else { return Ok(()) };
        let Some(running) = &host.running else { return Ok(()) };
        let tick_us = u64::try_from(self.plan.engine.tick.as_micros()).unwrap_or(1);
        let rate = u64::try_from(1_000_000 + host.rate_ppm).unwrap_or(1_000_000);
        let missed =
            running.paused.as_ref().is_some_and(|events| events.iter().any(|e| matches!(e, Event::Tick)));
        self.after(tick_us * 1_000_000 / rate, Happening::Tick { host: ordinal, life });
        // A member that slept hears one tick for all that it has missed.
        if missed {
            return Ok(());
        }
        self.handle(ordinal, Event::Tick)?;
        self.look_at_disk(ordinal)
    }

    /// A member whose disk hangs leads nothing.
    fn look_at_disk(&mut self, ordinal: u16) -> Verdict {
        let Some(host) = self.hosts.get_mut(&ordinal) else { return Ok(()) };
        let (id, Some(running)) = (host.id, &mut host.running) else { return Ok(()) };
        if running.paused.is_some() || self.profile.stack == Stack::Core {
            return Ok(());
        }
        running.hung_ticks = if running.syncing { running.hung_ticks + 1 } else { 0 };
        // One more for what it began between two ticks.
        let able =
            self.plan.engine.tick * running.hung_ticks.saturating_sub(2) <= self.plan.engine.disk_patience;
        let leads = || running.member.report().groups.into_iter().find(|group| group.role == Role::Leader);
        let Some(group) = (!able).then(leads).flatten() else { return Ok(()) };
        let detail = format!("{id} leads group {} while its disk hangs", group.group.0);
        Err(Violation::new(Invariant::HungDisk, detail))
    }

    /// Gives an event to the member, or keeps it until the member goes on.
    pub(super) fn handle(&mut self, ordinal: u16, event: Event) -> Verdict {
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
    pub(super) fn look(&mut self, id: MemberId, ordinal: u16) -> Verdict {
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

    pub(super) fn pump_soon(&mut self, ordinal: u16) {
        let Some(host) = self.hosts.get_mut(&ordinal) else { return };
        let Some(running) = host.running.as_mut().filter(|running| !running.pumping) else { return };
        running.pumping = true;
        let life = host.life;
        let wait = self.rng.below(300);
        self.after(wait, Happening::Pump { host: ordinal, life });
    }

    /// Takes the member's output and carries it out.
    pub(super) fn pump(&mut self, ordinal: u16, life: u64) -> Verdict {
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

    pub(super) fn note_output(&mut self, id: MemberId, output: &Output) {
        for record in output.batch.iter().flat_map(|batch| &batch.records) {
            self.note(|| format!("{id} writes {record:?}"));
        }
        for (to, message) in &output.send {
            self.note(|| format!("{id} to {to} {message:?}"));
        }
    }

    pub(super) fn carry_out(&mut self, ordinal: u16, id: MemberId, output: Output) -> Verdict {
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
    pub(super) fn write_queued(&mut self, ordinal: u16) -> Verdict {
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
        let hang = running.hang_us.take();
        let batch = running.last_written;
        let pace = self.rng.between(100, self.plan.sync_max_us);
        let wait = hang.unwrap_or(pace);
        self.after(wait, Happening::Synced { host: ordinal, life, batch });
        Ok(())
    }

    pub(super) fn synced(&mut self, ordinal: u16, life: u64, batch: u64) -> Verdict {
        let Some(host) = self.hosts.get_mut(&ordinal).filter(|host| host.life == life) else { return Ok(()) };
        let (id, Some(running)) = (host.id, &mut host.running) else { return Ok(()) };
        if let Err(error) = host.volume.sync() {
            return self.disk_failed(ordinal, &error);
        }
        running.syncing = false;
        running.hung_ticks = 0;
        running.last_synced = batch;
        let written: Written = std::mem::take(&mut running.written);
        self.observer.synced(id, batch);
        self.note(|| format!("{id} has synced {batch}"));
        self.handle(ordinal, Event::Synced { batch, written })?;
        self.write_queued(ordinal)
    }

    pub(super) fn deliver(&mut self, from: MemberId, to: MemberId, message: PeerMessage) -> Verdict {
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
}
