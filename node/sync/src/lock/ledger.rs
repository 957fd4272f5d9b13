//! What cuts across resources: the token counter, what is due when, and who is involved where.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quartet_raft::{Index, LogTime};

/// Resources and owners: shared between the indexes, so that a long name is kept once.
pub(super) type Name = Arc<str>;

/// At one moment leases run out first: a waiter whose time ends as the lock comes free gets the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    Lease { token: u64 },
    Wait { ticket: Index },
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) now: LogTime,
    /// Grants ever made here, which is the latest fencing token.
    pub(super) granted: u64,
    /// Resource and owner of each grant in force.
    grants: BTreeMap<u64, (Name, Name)>,
    /// Resource of each wait.
    waits: BTreeMap<Index, Name>,
    due: BTreeSet<(LogTime, Due)>,
    /// Resources that an owner holds or waits for.
    owners: BTreeMap<Name, BTreeSet<Name>>,
}

impl Ledger {
    pub(super) fn after(&self, ms: u64) -> LogTime {
        LogTime(self.now.0.saturating_add(ms))
    }

    pub(super) fn until(&self, time: LogTime) -> u64 {
        time.0.saturating_sub(self.now.0)
    }

    pub(super) fn next_token(&mut self) -> u64 {
        self.granted += 1;
        self.granted
    }

    pub(super) fn deadline(&self) -> Option<LogTime> {
        self.due.first().map(|(time, _)| *time)
    }

    /// The first thing due by now, taken off the list.
    pub(super) fn pop_due(&mut self) -> Option<Due> {
        let (time, due) = *self.due.first()?;
        if time > self.now {
            return None;
        }
        self.due.remove(&(time, due));
        Some(due)
    }

    pub(super) fn begin_lease(&mut self, token: u64, expires: LogTime, resource: &Name, owner: &Name) {
        self.grants.insert(token, (resource.clone(), owner.clone()));
        self.due.insert((expires, Due::Lease { token }));
        self.involve(owner, resource);
    }

    pub(super) fn move_lease(&mut self, token: u64, from: LogTime, to: LogTime) {
        self.due.remove(&(from, Due::Lease { token }));
        self.due.insert((to, Due::Lease { token }));
    }

    pub(super) fn end_lease(&mut self, token: u64, expires: LogTime) {
        self.grants.remove(&token);
        self.due.remove(&(expires, Due::Lease { token }));
    }

    pub(super) fn begin_wait(&mut self, ticket: Index, deadline: LogTime, resource: &Name, owner: &Name) {
        self.waits.insert(ticket, resource.clone());
        self.due.insert((deadline, Due::Wait { ticket }));
        self.involve(owner, resource);
    }

    pub(super) fn end_wait(&mut self, ticket: Index, deadline: LogTime) {
        self.waits.remove(&ticket);
        self.due.remove(&(deadline, Due::Wait { ticket }));
    }

    pub(super) fn grant(&self, token: u64) -> Option<(Name, Name)> {
        self.grants.get(&token).cloned()
    }

    pub(super) fn wait(&self, ticket: Index) -> Option<Name> {
        self.waits.get(&ticket).cloned()
    }

    fn involve(&mut self, owner: &Name, resource: &Name) {
        self.owners.entry(owner.clone()).or_default().insert(resource.clone());
    }

    /// The owner neither holds nor waits for the resource any more.
    pub(super) fn leave(&mut self, owner: &str, resource: &str) {
        if let Some(resources) = self.owners.get_mut(owner) {
            resources.remove(resource);
            if resources.is_empty() {
                self.owners.remove(owner);
            }
        }
    }

    pub(super) fn resources_of(&self, owner: &str) -> Vec<Name> {
        self.owners.get(owner).map(|resources| resources.iter().cloned().collect()).unwrap_or_default()
    }

    pub(super) fn held(&self) -> usize {
        self.grants.len()
    }

    pub(super) fn waiting(&self) -> usize {
        self.waits.len()
    }
}
