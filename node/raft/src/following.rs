//! The follower's side of replication: checking, appending, repairing, and taking snapshots.

use crate::broken::BrokenRule;
use crate::core::{Raft, State};
use crate::effects::Refusal;
use crate::message::{AppendOutcome, Body};
use crate::types::{Entry, Index, MemberId, Position, SnapshotMeta, Term};

impl Raft {
    /// From the leader of this member's term.
    pub(crate) fn receive_append(
        &mut self,
        from: MemberId,
        previous: Position,
        entries: Vec<Entry>,
        commit: Index,
        read_round: u64,
    ) {
        let gapless = (previous.index.0 + 1..).zip(&entries).all(|(index, entry)| entry.index.0 == index);
        if matches!(self.state, State::Leader(_)) || !gapless {
            return;
        }
        if self.leader != Some(from) || !matches!(self.state, State::Follower) {
            self.follow(self.hard.term, Some(from));
        }
        self.elapsed_ticks = 0;
        if !self.agrees(previous) {
            return self.reject(from, previous, read_round);
        }
        let covered = Index(previous.index.0 + entries.len() as u64);
        self.take(entries);
        self.commit = self.commit.max(commit.min(covered));
        // What is committed agrees with any leader's log.
        let outcome = AppendOutcome::Matched(covered.max(self.commit));
        self.send_durable(from, Body::AppendReply { outcome, read_round });
    }

    /// Whether the log agrees with the leader's up to `previous`: it does if this one entry is the same (§3.5).
    fn agrees(&self, previous: Position) -> bool {
        previous.index <= self.commit
            || self.log.holds(previous)
            || (self.settings.breaks(BrokenRule::SkipConsistencyCheck)
                && previous.index <= self.log.last().index)
    }

    /// Appends what is new. Only an entry that differs removes what follows it: an Append that was overtaken by a
    /// later one must not cut off what that has brought.
    fn take(&mut self, entries: Vec<Entry>) {
        let commit = self.commit;
        let log = &self.log;
        let mut new = entries
            .into_iter()
            .skip_while(|entry| entry.index <= commit || log.holds(entry.position()))
            .collect::<Vec<_>>()
            .into_iter();
        let Some(first) = new.next() else { return };
        if first.index <= self.log.last().index {
            self.unpersist(first.index);
            self.log.truncate(first.index);
        }
        for entry in std::iter::once(first).chain(new) {
            self.effects.append.push(entry.clone());
            self.log.append(entry);
        }
    }

    /// Says where the logs could agree at best, by this one's terms: one answer skips a whole term.
    pub(crate) fn reject(&mut self, from: MemberId, previous: Position, read_round: u64) {
        let last = self.log.last();
        let limit = Position { term: previous.term, index: previous.index.min(last.index) };
        let floor = self.log.floor(limit).max(self.commit);
        let hint = self.log.position(floor).unwrap_or_default();
        let outcome = AppendOutcome::Rejected { previous: previous.index, hint };
        self.send(from, Body::AppendReply { outcome, read_round });
    }

    /// A snapshot holds only what is committed, so it may come from a leader of any term.
    pub(crate) fn restore(&mut self, from: MemberId, term: Term, meta: SnapshotMeta) -> Result<(), Refusal> {
        let index = meta.last.index;
        if index <= self.commit {
            return Err(Refusal::Stale { snapshot: index, committed: self.commit });
        }
        let current = term >= self.hard.term && !(term == self.hard.term && self.leader == Some(self.id));
        if current {
            if term > self.hard.term || self.leader != Some(from) || !matches!(self.state, State::Follower) {
                self.follow(term, Some(from));
            }
            self.elapsed_ticks = 0;
        }
        if !self.log.holds(meta.last) {
            if matches!(self.state, State::Leader(_)) {
                self.follow(self.hard.term, None);
            }
            self.forget_unsynced();
            self.persisted = index;
        }
        self.log.restore(meta);
        self.commit = index;
        self.applied = index;
        self.persisted = self.persisted.max(index);
        if current {
            let outcome = AppendOutcome::Matched(index);
            self.send_durable(from, Body::AppendReply { outcome, read_round: 0 });
        }
        Ok(())
    }
}
