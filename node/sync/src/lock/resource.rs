//! One resource: who holds it, who waits, and the rule by which the next is served.

use std::collections::{BTreeMap, VecDeque};

use quartet_raft::{Index, LogTime};

use super::ledger::{Ledger, Name};
use super::message::{Cancelled, Claim, Granted, Held, Mode, Waiter, answer};
use super::table::Answers;

#[derive(Debug)]
pub(super) struct Resource {
    pub(super) name: Name,
    /// Of all holders: one owner if exclusive. Says nothing while there is none.
    pub(super) mode: Mode,
    pub(super) holders: BTreeMap<Name, Holder>,
    pub(super) queue: VecDeque<Place>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Holder {
    pub(super) token: u64,
    pub(super) expires: LogTime,
}

/// An owner's place in the queue, for all the requests it has waiting here. Never empty.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) owner: Name,
    pub(super) waits: Vec<Wait>,
}

#[derive(Debug)]
pub(super) struct Wait {
    pub(super) ticket: Index,
    pub(super) mode: Mode,
    pub(super) ttl_ms: u64,
    pub(super) deadline: LogTime,
    pub(super) request: Vec<u8>,
}

impl Place {
    /// The strongest mode asked for.
    pub(super) fn mode(&self) -> Mode {
        if self.waits.iter().any(|wait| wait.mode == Mode::Exclusive) {
            Mode::Exclusive
        } else {
            Mode::Shared
        }
    }

    /// Of the latest request.
    fn ttl_ms(&self) -> u64 {
        self.waits.last().map_or(0, |wait| wait.ttl_ms)
    }
}

impl Resource {
    pub(super) fn new(name: Name) -> Self {
        Self { name, mode: Mode::Shared, holders: BTreeMap::new(), queue: VecDeque::new() }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.holders.is_empty() && self.queue.is_empty()
    }

    /// Whether what the owner holds gives it what it asks for.
    pub(super) fn covers(&self, owner: &str, mode: Mode) -> bool {
        self.holders.contains_key(owner) && (self.mode == mode || self.mode == Mode::Exclusive)
    }

    /// Whether a grant would conflict with no other owner's.
    pub(super) fn admits(&self, owner: &str, mode: Mode) -> bool {
        let others = self.holders.len() - usize::from(self.holders.contains_key(owner));
        others == 0 || (mode == Mode::Shared && self.mode == Mode::Shared)
    }

    /// The other owner that waits to turn its shared grant into an exclusive one, if any: there is at most one, at
    /// the head.
    pub(super) fn upgrading(&self, asking: &str) -> Option<&Name> {
        let owner = &self.queue.front()?.owner;
        (&**owner != asking && self.holders.contains_key(owner)).then_some(owner)
    }

    pub(super) fn waits(&self) -> usize {
        self.queue.iter().map(|place| place.waits.len()).sum()
    }

    /// A new grant; what the owner held before ends with it.
    pub(super) fn grant(&mut self, owner: &Name, mode: Mode, ttl_ms: u64, ledger: &mut Ledger) -> Granted {
        let token = ledger.next_token();
        let expires = ledger.after(ttl_ms);
        if let Some(before) = self.holders.insert(owner.clone(), Holder { token, expires }) {
            ledger.end_lease(before.token, before.expires);
        }
        self.mode = mode;
        ledger.begin_lease(token, expires, &self.name, owner);
        Granted { mode: mode.into(), token, expires_in_ms: ttl_ms }
    }

    /// None unless the owner holds it, under this token if one is named.
    pub(super) fn renew(
        &mut self,
        owner: &str,
        token: Option<u64>,
        ttl_ms: u64,
        ledger: &mut Ledger,
    ) -> Option<Granted> {
        let holder = self.holders.get_mut(owner)?;
        if token.is_some_and(|token| token != holder.token) {
            return None;
        }
        let expires = ledger.after(ttl_ms);
        ledger.move_lease(holder.token, holder.expires, expires);
        holder.expires = expires;
        Some(Granted { mode: self.mode.into(), token: holder.token, expires_in_ms: ttl_ms })
    }

    /// False unless the owner held it, under this token if one is named.
    pub(super) fn release(&mut self, owner: &str, token: Option<u64>, ledger: &mut Ledger) -> bool {
        let Some(holder) = self.holders.get(owner).copied() else { return false };
        if token.is_some_and(|token| token != holder.token) {
            return false;
        }
        self.holders.remove(owner);
        ledger.end_lease(holder.token, holder.expires);
        self.forget_if_gone(owner, ledger);
        true
    }

    /// An upgrade waits at the head, since nobody behind it can be served before its shared grant ends; everybody
    /// else at the end.
    pub(super) fn enqueue(&mut self, owner: &Name, wait: Wait, ledger: &mut Ledger) {
        ledger.begin_wait(wait.ticket, wait.deadline, &self.name, owner);
        if let Some(place) = self.queue.iter_mut().find(|place| place.owner == *owner) {
            place.waits.push(wait);
            return;
        }
        let place = Place { owner: owner.clone(), waits: vec![wait] };
        if self.holders.contains_key(owner) {
            self.queue.push_front(place);
        } else {
            self.queue.push_back(place);
        }
    }

    /// Takes out the first wait that matches.
    pub(super) fn dequeue(&mut self, matches: impl Fn(&Wait) -> bool, ledger: &mut Ledger) -> Option<Wait> {
        let (at, within) = self
            .queue
            .iter()
            .enumerate()
            .find_map(|(at, place)| place.waits.iter().position(&matches).map(|within| (at, within)))?;
        let place = self.queue.get_mut(at)?;
        let wait = place.waits.remove(within);
        ledger.end_wait(wait.ticket, wait.deadline);
        if place.waits.is_empty()
            && let Some(place) = self.queue.remove(at)
        {
            self.forget_if_gone(&place.owner, ledger);
        }
        Some(wait)
    }

    /// Ends all waits of an owner; how many there were.
    pub(super) fn cancel(&mut self, owner: &str, ledger: &mut Ledger, answers: &mut Answers) -> u64 {
        let Some(at) = self.queue.iter().position(|place| &*place.owner == owner) else { return 0 };
        let Some(place) = self.queue.remove(at) else { return 0 };
        let mut cancelled = 0;
        for wait in place.waits {
            ledger.end_wait(wait.ticket, wait.deadline);
            answers.push(wait.ticket, answer::Kind::Cancelled(Cancelled { by_owner: true }));
            cancelled += 1;
        }
        self.forget_if_gone(owner, ledger);
        cancelled
    }

    /// Grants from the head of the queue as long as the head can be granted: the only order there is.
    pub(super) fn serve(&mut self, ledger: &mut Ledger, answers: &mut Answers) {
        while let Some(place) = self.queue.front() {
            if !self.admits(&place.owner, place.mode()) {
                return;
            }
            let Some(place) = self.queue.pop_front() else { return };
            let granted = self.grant(&place.owner, place.mode(), place.ttl_ms(), ledger);
            for wait in place.waits {
                ledger.end_wait(wait.ticket, wait.deadline);
                answers.push(wait.ticket, answer::Kind::Granted(granted.clone()));
            }
        }
    }

    fn forget_if_gone(&self, owner: &str, ledger: &mut Ledger) {
        if !self.holders.contains_key(owner) && !self.queue.iter().any(|place| &*place.owner == owner) {
            ledger.leave(owner, &self.name);
        }
    }

    /// The oldest grant first.
    pub(super) fn claims(&self, ledger: &Ledger) -> Vec<Claim> {
        let mut claims: Vec<_> = self
            .holders
            .iter()
            .map(|(owner, holder)| Claim {
                owner: owner.to_string(),
                mode: self.mode.into(),
                token: holder.token,
                expires_in_ms: ledger.until(holder.expires),
            })
            .collect();
        claims.sort_by_key(|claim| claim.token);
        claims
    }

    /// What a refused request is told: bounded, however many share the resource.
    pub(super) fn held(&self, ledger: &Ledger) -> Held {
        const NAMED_MAX: usize = 100;
        let mut holders = self.claims(ledger);
        holders.truncate(NAMED_MAX);
        Held { holders }
    }

    pub(super) fn waiters(&self) -> Vec<Waiter> {
        let waiter = |place: &Place| Waiter { owner: place.owner.to_string(), mode: place.mode().into() };
        self.queue.iter().map(waiter).collect()
    }
}
