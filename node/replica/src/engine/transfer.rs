//! Snapshots on their way between members: in pieces, resumed where they broke off.

use std::cmp::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use quartet_raft::{Index, Input, MemberId, Position, SnapshotMeta, Term};

use super::EngineSettings;
use super::group::{Group, Snapshot, State};
use super::outbox::{Install, Outbox};
use crate::state_machine::StateMachine;
use crate::store::Record;
use crate::wire::PeerMessage;

/// Pieces under way at once.
const WINDOW: u64 = 4;
/// Ticks without an acknowledgement after which the pieces are sent again.
const RESEND_TICKS: u32 = 20;
/// Resendings without progress after which the core is told that it failed.
const RESENDS_MAX: u32 = 10;

pub(super) struct Outgoing {
    meta: SnapshotMeta,
    data: Bytes,
    sent: u64,
    acknowledged: u64,
    /// Without progress.
    quiet_ticks: u32,
    resends: u32,
    /// A gap was noticed since the last progress, and what follows it has been sent again.
    rewound: bool,
    /// What was acknowledged last is less than what was acknowledged before: an acknowledgement that was overtaken,
    /// or a receiver that began anew. The time to resend comes only if it is the latter.
    fell_back_to: Option<u64>,
}

pub(super) struct Incoming {
    from: MemberId,
    term: Term,
    meta: SnapshotMeta,
    total: u64,
    buffer: BytesMut,
    /// Complete, and on its way to the disk.
    writing: bool,
}

/// A received snapshot that cannot be restored, of another version perhaps, or damaged on its way. It never gets to
/// the disk, where it would replace what this member has.
pub(super) struct RefusedSnapshot {
    pub(super) last: Position,
    pub(super) why: String,
    /// Until it may be tried again.
    ticks: u32,
}

/// A piece, as it arrived.
pub(super) struct Chunk {
    pub(super) term: Term,
    pub(super) meta: SnapshotMeta,
    pub(super) total: u64,
    pub(super) offset: u64,
    pub(super) data: Bytes,
}

impl<S: StateMachine> Group<S> {
    pub(super) fn begin_transfer(&mut self, to: MemberId, chunk_bytes: usize, out: &mut Outbox) {
        // The log reaches back to the last snapshot, so that there is one whenever a follower is behind the log.
        let Some(snapshot) = &self.snapshot else {
            return;
        };
        let (meta, data) = (snapshot.meta.clone(), snapshot.data.clone());
        let outgoing = Outgoing {
            meta,
            data,
            sent: 0,
            acknowledged: 0,
            quiet_ticks: 0,
            resends: 0,
            rewound: false,
            fell_back_to: None,
        };
        self.outgoing.insert(to, outgoing);
        self.send_chunks(to, chunk_bytes, out);
    }

    fn send_chunks(&mut self, to: MemberId, chunk_bytes: usize, out: &mut Outbox) {
        let (group, term) = (self.id, self.raft.standing().term);
        let Some(outgoing) = self.outgoing.get_mut(&to) else {
            return;
        };
        let chunk_bytes = (chunk_bytes as u64).min(CHUNK_BYTES_MAX);
        let total_bytes = outgoing.data.len() as u64;
        let window_end = (outgoing.acknowledged + WINDOW * chunk_bytes).min(total_bytes);
        while outgoing.sent < window_end {
            let end = (outgoing.sent + chunk_bytes).min(total_bytes);
            let range = usize::try_from(outgoing.sent).unwrap_or(usize::MAX)
                ..usize::try_from(end).unwrap_or(usize::MAX);
            let message = PeerMessage::SnapshotChunk {
                group,
                term,
                meta: outgoing.meta.clone(),
                total_bytes,
                offset: outgoing.sent,
                data: outgoing.data.slice(range),
            };
            out.send.push((to, message));
            outgoing.sent = end;
        }
    }

    /// How many entries before `index` the log keeps for followers that live, so that whoever is being sent a
    /// snapshot, or has just got one, goes on from the log: otherwise one that takes longer than the next one to
    /// come is followed by another, for ever.
    pub(super) fn kept_for_followers(&self, index: Index) -> u64 {
        let sent = self.outgoing.values().map(|outgoing| outgoing.meta.last.index);
        let progress = self.raft.progress();
        let reached = self.raft.first_index();
        let alive = progress.values().filter(|peer| peer.active && peer.matched.next() >= reached);
        let oldest = sent.chain(alive.map(|peer| peer.matched)).min();
        oldest.map_or(0, |oldest| index.0.saturating_sub(oldest.0)).min(KEPT_FOR_FOLLOWERS_MAX)
    }

    pub(super) fn tick_transfers(&mut self, now: Duration, settings: &EngineSettings, out: &mut Outbox) {
        if let Some(refused) = &mut self.refused {
            refused.ticks -= 1;
            self.refused.take_if(|refused| refused.ticks == 0);
        }
        let (mut resend, mut failed) = (Vec::new(), Vec::new());
        for (to, outgoing) in &mut self.outgoing {
            outgoing.quiet_ticks += 1;
            if outgoing.quiet_ticks > RESEND_TICKS {
                outgoing.quiet_ticks = 0;
                outgoing.resends += 1;
                outgoing.rewound = false;
                outgoing.acknowledged = outgoing.fell_back_to.take().unwrap_or(outgoing.acknowledged);
                outgoing.sent = outgoing.acknowledged;
                if outgoing.resends > RESENDS_MAX { failed.push(*to) } else { resend.push(*to) }
            }
        }
        for to in resend {
            self.send_chunks(to, settings.chunk_bytes, out);
        }
        for to in failed {
            self.outgoing.remove(&to);
            // Refused when this member no longer leads: then it is nobody's business.
            let _ = self.step(now, settings, Input::SnapshotSent { to, index: None }, out);
        }
    }

    pub(super) fn acknowledge(
        &mut self,
        now: Duration,
        settings: &EngineSettings,
        from: MemberId,
        index: Index,
        received: Option<u64>,
        out: &mut Outbox,
    ) {
        let Some(outgoing) = self.outgoing.get_mut(&from).filter(|sent| sent.meta.last.index == index) else {
            return;
        };
        if let Some(received) = received {
            match received.cmp(&outgoing.acknowledged) {
                Ordering::Greater => {
                    outgoing.quiet_ticks = 0;
                    outgoing.resends = 0;
                    outgoing.rewound = false;
                    outgoing.fell_back_to = None;
                    outgoing.acknowledged = received;
                    outgoing.sent = outgoing.sent.max(received);
                }
                // A piece was lost. Once: each piece behind the gap says the same.
                Ordering::Equal if !outgoing.rewound => {
                    outgoing.sent = received;
                    outgoing.rewound = true;
                }
                Ordering::Equal => return,
                Ordering::Less => {
                    outgoing.fell_back_to = Some(received);
                    return;
                }
            }
            self.send_chunks(from, settings.chunk_bytes, out);
        } else {
            self.outgoing.remove(&from);
            let _ = self.step(now, settings, Input::SnapshotSent { to: from, index: Some(index) }, out);
        }
    }

    /// `make` gives an empty state machine.
    pub(super) fn receive_chunk(
        &mut self,
        from: MemberId,
        chunk: Chunk,
        make: impl FnOnce() -> S,
        out: &mut Outbox,
    ) {
        let (group, index) = (self.id, chunk.meta.last.index);
        let acknowledge = |received_bytes, installed| {
            let (term, index) = (chunk.term, chunk.meta.last.index);
            (from, PeerMessage::SnapshotAck { group, term, index, received_bytes, installed })
        };
        if index <= self.raft.committed() {
            out.send.push(acknowledge(chunk.total, true));
            return;
        }
        if chunk.term < self.raft.standing().term || chunk.total > SNAPSHOT_BYTES_MAX {
            return;
        }
        // Not acknowledged: to the sender its pieces are lost, so that it sends the first few again now and then.
        if self.refused.as_ref().is_some_and(|refused| refused.last == chunk.meta.last) {
            return;
        }
        // The same snapshot goes on where it broke off, whoever sends it; another one starts anew.
        let same = self.incoming.as_ref().is_some_and(|incoming| {
            incoming.meta == chunk.meta && incoming.total == chunk.total && incoming.from == from
        });
        if !same {
            let newest = self.incoming.as_ref().map(|incoming| (incoming.term, incoming.meta.last.index));
            if newest.is_some_and(|newest| (chunk.term, index) <= newest) {
                // Overtaken by what replaced it.
                return;
            }
            let (term, meta, buffer) = (chunk.term, chunk.meta.clone(), BytesMut::new());
            self.incoming = Some(Incoming { from, term, meta, total: chunk.total, buffer, writing: false });
        }
        let Some(incoming) = self.incoming.as_mut() else {
            return;
        };
        incoming.term = incoming.term.max(chunk.term);
        if incoming.writing {
            return;
        }
        if chunk.offset == incoming.buffer.len() as u64 {
            incoming.buffer.extend_from_slice(&chunk.data);
        }
        let received = incoming.buffer.len() as u64;
        if received < incoming.total {
            out.send.push(acknowledge(received, false));
            return;
        }
        incoming.writing = true;
        if index <= self.snapshot_given {
            // A later one is on its way to the disk.
            return;
        }
        let data = std::mem::take(&mut incoming.buffer).freeze();
        let meta = chunk.meta;
        match State::decode(data.clone(), make()) {
            Ok(state) => self.received.insert(index, state),
            Err(why) => {
                self.incoming = None;
                let why = why.to_string();
                self.refused = Some(RefusedSnapshot { last: meta.last, why, ticks: REFUSED_TICKS });
                return;
            }
        };
        self.snapshot_given = index;
        self.refused = None;
        out.records.push(Record::Snapshot { group, meta: meta.clone(), data: data.clone() });
        out.installs.push(Install { group, from, term: chunk.term, meta, data });
    }

    /// A received snapshot is on disk.
    pub(super) fn restore(
        &mut self,
        now: Duration,
        settings: &EngineSettings,
        install: Install,
        out: &mut Outbox,
    ) {
        self.incoming = None;
        let Install { group, from, term, meta, data } = install;
        let index = meta.last.index;
        let state = self.received.remove(&index);
        self.received.retain(|later, _| *later > index);
        let before = self.raft.committed();
        let restore = Input::Restore { from, term, meta: meta.clone() };
        if let Ok(effects) = self.raft.step(restore) {
            if before < index && self.raft.snapshot().last == meta.last {
                // Decoded before it went to the disk; without its state this member must not go on.
                let Some(state) = state else {
                    out.fatal = Some(format!("group {}: nothing was kept of a received snapshot", group.0));
                    return;
                };
                self.install(Snapshot { meta, data }, state);
            }
            self.carry_out(now, settings, effects, out);
        }
        let received_bytes = 0;
        let ack = PeerMessage::SnapshotAck { group, term, index, received_bytes, installed: true };
        if self.raft.committed() >= index {
            out.send.push((from, ack));
        }
    }
}

/// How long a snapshot that was refused is not looked at again.
const REFUSED_TICKS: u32 = 1200;
/// Entries kept for followers at most.
const KEPT_FOR_FOLLOWERS_MAX: u64 = 1 << 14;
/// The largest piece, whatever the settings say: what a frame may hold.
const CHUNK_BYTES_MAX: u64 = 1 << 20;
/// The largest snapshot that is taken from a peer.
const SNAPSHOT_BYTES_MAX: u64 = 4 << 30;
