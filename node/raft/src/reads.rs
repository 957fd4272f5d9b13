//! Linearizable reads without a log entry (§6.4): a round of heartbeats proves that nobody else led when it began.

use crate::broken::BrokenRule;
use crate::core::{Raft, State};
use crate::effects::{ReadId, Refusal};
use crate::types::Index;

/// Reads that wait, in the round under way and for the next one.
pub(crate) const READS_WAITING_MAX: usize = 1 << 16;

#[derive(Debug, Default)]
pub(crate) struct Reads {
    /// The latest round; every Append carries it.
    pub(crate) round: u64,
    /// What was committed when it began.
    index: Index,
    confirming: Vec<ReadId>,
    /// A round proves nothing about what came after it began.
    waiting: Vec<ReadId>,
}

impl Reads {
    pub(crate) fn into_lost(self) -> impl Iterator<Item = ReadId> {
        self.confirming.into_iter().chain(self.waiting)
    }
}

impl Raft {
    pub(crate) fn read(&mut self, id: ReadId) -> Result<(), Refusal> {
        let State::Leader(lead) = &mut self.state else {
            return Err(Refusal::NotLeader { leader: self.leader });
        };
        if self.commit < lead.first {
            return Err(Refusal::NotEstablished);
        }
        if self.settings.breaks(BrokenRule::ReadWithoutRound) {
            self.effects.reads.push((id, self.commit));
            return Ok(());
        }
        if lead.reads.confirming.len() + lead.reads.waiting.len() >= READS_WAITING_MAX {
            return Err(Refusal::Full);
        }
        lead.reads.waiting.push(id);
        self.advance_reads();
        Ok(())
    }

    /// Ends the round under way if a quorum has confirmed it, and begins the next if any read waits.
    pub(crate) fn advance_reads(&mut self) {
        // Twice: a lone voter confirms the round that it has just begun.
        for _ in 0..2 {
            let State::Leader(lead) = &mut self.state else {
                return;
            };
            let reads = &mut lead.reads;
            if !reads.confirming.is_empty() {
                let confirmed = self.log.configuration().is_quorum(|member| {
                    member == self.id
                        || lead.peers.get(&member).is_some_and(|peer| peer.read_round >= reads.round)
                });
                if !confirmed {
                    return;
                }
                let index = reads.index;
                self.effects.reads.extend(reads.confirming.drain(..).map(|id| (id, index)));
            }
            if reads.waiting.is_empty() {
                return;
            }
            std::mem::swap(&mut reads.confirming, &mut reads.waiting);
            reads.round += 1;
            reads.index = self.commit;
            self.heartbeat();
        }
    }
}
