//! Whether this member's disk gets on, and what the member does without it while it does not.
//!
//! A sync that hangs is no error: a volume over a network comes back after seconds, or never. Ending the process
//! would help nobody, for a thread that waits for the disk cannot be ended, and holds the process's connections open
//! with it. So the member stays, leads nothing, takes nothing in that it could not write, and says so.

use std::time::Duration;

use super::Engine;
use super::api::Event;
use super::broken::BrokenRule;
use super::group::Group;
use crate::state_machine::StateMachine;
use crate::wire::{Failure, PeerMessage};

/// How long something has waited for a disk that finished nothing meanwhile. Counted in ticks, so that a process that
/// slept does not take that for its disk's doing.
#[derive(Debug, Default)]
pub(super) struct DiskWatch {
    waited: Duration,
}

impl DiskWatch {
    /// A tick has gone by, `waits` if anything waited for the disk.
    pub(super) fn tick(&mut self, tick: Duration, waits: bool) {
        self.waited = if waits { self.waited + tick } else { Duration::ZERO };
    }

    /// Something that waited is on the disk.
    pub(super) fn got_on(&mut self) {
        self.waited = Duration::ZERO;
    }

    /// For how long, if it is long enough to say that the disk hangs.
    pub(super) fn hangs(&self, patience: Duration) -> Option<Duration> {
        (self.waited > patience).then_some(self.waited)
    }
}

impl<S: StateMachine> Engine<S> {
    /// Whether the disk has kept this member waiting for so long that it does without: it leads nothing, and takes
    /// nothing in that would have to be written, so that no more waits for the disk than did before.
    pub fn disk_hangs(&self) -> bool {
        self.disk.hangs(self.settings.disk_patience).is_some()
            && !self.settings.breaks(BrokenRule::LeadOnHungDisk)
    }

    /// What keeps this member from doing its part, though it may pass.
    pub fn trouble(&self) -> Option<String> {
        let disk = self.disk.hangs(self.settings.disk_patience).map(|waited| {
            format!("the disk has finished nothing for {} s: this member leads nothing", waited.as_secs())
        });
        disk.or_else(|| self.groups.values().find_map(Group::trouble))
    }

    /// What is lost of it is as if the network had lost it; whoever asks hears that nothing was done.
    pub(super) fn is_handled_without_disk(&mut self, event: &Event) -> bool {
        match event {
            Event::Message {
                message: PeerMessage::Raft { .. } | PeerMessage::SnapshotChunk { .. }, ..
            }
            | Event::Joined { .. } => false,
            Event::Request { id, .. } => {
                self.answers.push((*id, Err(Failure::Unavailable)));
                false
            }
            Event::Command { id, .. } => {
                self.command_results.push((*id, Err("the disk of this member hangs".to_owned())));
                false
            }
            Event::Tick
            | Event::Message { .. }
            | Event::Disconnected { .. }
            | Event::Gone { .. }
            | Event::Synced { .. }
            | Event::Cancel { .. } => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_hangs_when_what_waits_for_it_waits_too_long_and_nothing_gets_done_meanwhile() {
        let (tick, patience) = (Duration::from_secs(1), Duration::from_secs(3));
        let mut disk = DiskWatch::default();
        for _ in 0..10 {
            disk.tick(tick, false);
        }
        for _ in 0..3 {
            disk.tick(tick, true);
        }
        assert_eq!(disk.hangs(patience), None);
        disk.got_on();
        for _ in 0..3 {
            disk.tick(tick, true);
        }
        assert_eq!(disk.hangs(patience), None, "it did something meanwhile");
        disk.tick(tick, true);
        assert_eq!(disk.hangs(patience), Some(Duration::from_secs(4)));
        disk.got_on();
        assert_eq!(disk.hangs(patience), None);
    }
}
