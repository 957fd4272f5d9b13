//! All locks of a partition, and what each command does to them.

use std::collections::BTreeMap;

use quartet_raft::{Index, LogTime};
use quartet_replica::At;

use super::early::EarlyEnds;
use super::ledger::{Due, Ledger, Name};
use super::message::{
    Acquire, Answer, CancelWait, Cancelled, Command, Deadlock, Done, Full, Invalid, Lost, Mode, NotHeld,
    OwnerReleased, Query, Release, ReleaseOwner, Released, Renew, Status, answer, command,
};
use super::resource::{Resource, Wait};

/// What one partition keeps at most. Part of the rules: the same on every member.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of a resource's and an owner's name.
    pub name_bytes: usize,
    /// Requests waiting for one resource.
    pub waits_per_resource: usize,
    /// Grants and waits of the partition together, which bounds its resources too: one that nobody holds or waits
    /// for is not kept.
    pub claims: usize,
}

impl Limits {
    pub const DEFAULT: Self = Self { name_bytes: 512, waits_per_resource: 1024, claims: 65_536 };
    const REQUEST_BYTES: usize = 64;
}

/// Answers decided by one step, in the order of decision, each to the ticket of its command.
#[derive(Debug, Default)]
pub struct Answers(pub Vec<(Index, Answer)>);

impl Answers {
    pub(super) fn push(&mut self, ticket: Index, kind: answer::Kind) {
        self.0.push((ticket, Answer { kind: Some(kind) }));
    }
}

#[derive(Debug)]
pub struct Table {
    pub(super) limits: Limits,
    pub(super) ledger: Ledger,
    /// Those that are held or waited for.
    pub(super) resources: BTreeMap<Name, Resource>,
    pub(super) early: EarlyEnds,
}

impl Default for Table {
    fn default() -> Self {
        Self::new(Limits::DEFAULT)
    }
}

impl Table {
    pub fn new(limits: Limits) -> Self {
        Self { limits, ledger: Ledger::default(), resources: BTreeMap::new(), early: EarlyEnds::default() }
    }

    /// Ends the leases and waits that are due by `now`, in the order in which they fell due.
    pub fn advance(&mut self, now: LogTime, answers: &mut Answers) {
        self.ledger.now = self.ledger.now.max(now);
        // Ends: what is granted on the way is due later than now, since no lease is shorter than a millisecond.
        while let Some(due) = self.ledger.pop_due() {
            match due {
                Due::Lease { token } => self.expire(token, answers),
                Due::Wait { ticket } => self.give_up(ticket, answers),
            }
        }
    }

    pub fn apply(&mut self, at: At, command: Command, answers: &mut Answers) {
        let ticket = at.index;
        match command.kind {
            Some(command::Kind::Acquire(acquire)) => self.acquire(ticket, acquire, answers),
            Some(command::Kind::Renew(renew)) => {
                let answer = self.renew(&renew);
                answers.push(ticket, answer);
            }
            Some(command::Kind::Release(release)) => self.release(ticket, &release, answers),
            Some(command::Kind::ReleaseOwner(release)) => self.release_owner(ticket, &release, answers),
            Some(command::Kind::CancelWait(cancel)) => self.cancel_wait(ticket, &cancel, answers),
            None => answers.push(ticket, invalid("this version does not know the lock command")),
        }
    }

    pub fn query(&self, query: &Query) -> Answer {
        let status = self.resources.get(query.resource.as_str()).map_or_else(Status::default, |resource| {
            Status { holders: resource.claims(&self.ledger), waiters: resource.waiters() }
        });
        answer::Kind::Status(status).into()
    }

    pub fn deadline(&self) -> Option<LogTime> {
        self.ledger.deadline()
    }

    /// Grants in force.
    pub fn held(&self) -> usize {
        self.ledger.held()
    }

    /// Requests waiting.
    pub fn waiting(&self) -> usize {
        self.ledger.waiting()
    }

    fn acquire(&mut self, ticket: Index, acquire: Acquire, answers: &mut Answers) {
        let Acquire { resource: name, owner, mode, ttl_ms, wait_ms, request } = acquire;
        let Ok(mode) = Mode::try_from(mode) else {
            return answers.push(ticket, invalid("this version does not know the mode of the lock"));
        };
        if let Err(why) = self.check(&name, &owner, ttl_ms, &request) {
            return answers.push(ticket, why);
        }
        if self.early.take(self.ledger.now, &request) {
            return answers.push(ticket, answer::Kind::Cancelled(Cancelled { by_owner: false }));
        }
        let full = self.ledger.held() + self.ledger.waiting() >= self.limits.claims;
        let name: Name = name.into();
        let resource = self.resources.entry(name.clone()).or_insert_with(|| Resource::new(name));
        let ledger = &mut self.ledger;

        let holds = resource.holders.contains_key(owner.as_str());
        let answer = if resource.covers(&owner, mode) {
            resource.renew(&owner, None, ttl_ms, ledger).map(answer::Kind::Granted)
        } else if full && !(holds && resource.admits(&owner, mode)) {
            Some(answer::Kind::Full(Full { message: "the partition holds as many locks as it may".into() }))
        } else if (holds || resource.queue.is_empty()) && resource.admits(&owner, mode) {
            Some(answer::Kind::Granted(resource.grant(&owner.into(), mode, ttl_ms, ledger)))
        } else if wait_ms == 0 {
            Some(answer::Kind::Held(resource.held(ledger)))
        } else if let Some(other) = resource.upgrading(&owner).filter(|_| holds) {
            Some(answer::Kind::Deadlock(Deadlock { cycle: vec![owner, other.to_string()] }))
        } else if resource.waits() >= self.limits.waits_per_resource {
            Some(answer::Kind::Full(Full { message: "too many requests wait for this resource".into() }))
        } else {
            let deadline = ledger.after(wait_ms);
            resource.enqueue(&owner.into(), Wait { ticket, mode, ttl_ms, deadline, request }, ledger);
            None
        };
        let idle = resource.is_idle().then(|| resource.name.clone());
        if let Some(name) = idle {
            self.resources.remove(&name);
        }
        if let Some(answer) = answer {
            answers.push(ticket, answer);
        }
    }

    fn renew(&mut self, renew: &Renew) -> answer::Kind {
        if renew.ttl_ms == 0 {
            return invalid("ttl_ms must be at least 1");
        }
        self.resources
            .get_mut(renew.resource.as_str())
            .and_then(|held| held.renew(&renew.owner, Some(renew.token), renew.ttl_ms, &mut self.ledger))
            .map_or(answer::Kind::Lost(Lost {}), answer::Kind::Granted)
    }

    fn release(&mut self, ticket: Index, release: &Release, answers: &mut Answers) {
        let released = self
            .resources
            .get_mut(release.resource.as_str())
            .is_some_and(|held| held.release(&release.owner, release.token, &mut self.ledger));
        let answer =
            if released { answer::Kind::Released(Released {}) } else { answer::Kind::NotHeld(NotHeld {}) };
        answers.push(ticket, answer);
        if released {
            self.serve(&release.resource, answers);
        }
    }

    fn release_owner(&mut self, ticket: Index, release: &ReleaseOwner, answers: &mut Answers) {
        let mut outcome = OwnerReleased::default();
        for name in self.ledger.resources_of(&release.owner) {
            if let Some(resource) = self.resources.get_mut(&name) {
                outcome.cancelled += resource.cancel(&release.owner, &mut self.ledger, answers);
                outcome.released += u64::from(resource.release(&release.owner, None, &mut self.ledger));
                self.serve(&name, answers);
            }
        }
        answers.push(ticket, answer::Kind::OwnerReleased(outcome));
    }

    fn cancel_wait(&mut self, ticket: Index, cancel: &CancelWait, answers: &mut Answers) {
        let wait = self
            .resources
            .get_mut(cancel.resource.as_str())
            .and_then(|resource| resource.dequeue(|wait| wait.request == cancel.request, &mut self.ledger));
        answers.push(ticket, answer::Kind::Done(Done { found: wait.is_some() }));
        if wait.is_none() && cancel.request.len() <= Limits::REQUEST_BYTES {
            self.early.remember(self.ledger.now, &cancel.request);
        }
        if let Some(wait) = wait {
            answers.push(wait.ticket, answer::Kind::Cancelled(Cancelled { by_owner: false }));
            self.serve(&cancel.resource, answers);
        }
    }

    fn expire(&mut self, token: u64, answers: &mut Answers) {
        let Some((name, owner)) = self.ledger.grant(token) else { return };
        if let Some(resource) = self.resources.get_mut(&name) {
            resource.release(&owner, Some(token), &mut self.ledger);
            self.serve(&name, answers);
        }
    }

    fn give_up(&mut self, ticket: Index, answers: &mut Answers) {
        let Some(name) = self.ledger.wait(ticket) else { return };
        if let Some(resource) = self.resources.get_mut(&name) {
            resource.dequeue(|wait| wait.ticket == ticket, &mut self.ledger);
            answers.push(ticket, answer::Kind::Held(resource.held(&self.ledger)));
            self.serve(&name, answers);
        }
    }

    /// After anything ended: the next are granted, and a resource that nobody wants is dropped.
    fn serve(&mut self, name: &str, answers: &mut Answers) {
        if let Some(resource) = self.resources.get_mut(name) {
            resource.serve(&mut self.ledger, answers);
            if resource.is_idle() {
                self.resources.remove(name);
            }
        }
    }

    fn check(&self, resource: &str, owner: &str, ttl_ms: u64, request: &[u8]) -> Result<(), answer::Kind> {
        for (field, name) in [("resource", resource), ("owner", owner)] {
            if name.is_empty() || name.len() > self.limits.name_bytes {
                let limit = self.limits.name_bytes;
                return Err(invalid(&format!("{field} must have 1 to {limit} bytes")));
            }
        }
        if ttl_ms == 0 {
            return Err(invalid("ttl_ms must be at least 1"));
        }
        if request.len() > Limits::REQUEST_BYTES {
            return Err(invalid("the request's id is too long"));
        }
        Ok(())
    }
}

fn invalid(message: &str) -> answer::Kind {
    answer::Kind::Invalid(Invalid { message: message.into() })
}
