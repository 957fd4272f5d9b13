//! How clients and the cluster meet.

use bytes::Bytes;
use quartet_history::linear::RegisterRequest;
use quartet_replica::GroupId;
use quartet_replica::engine::{Event, RequestId};
use quartet_replica::wire::Failure;
use std::time::Duration;

use super::{Happening, Verdict, World};
use crate::client::{Next, What};
use crate::invariant::{Invariant, Violation};
use crate::locks;
use crate::profile::{Stack, Work};
use crate::register::REGISTERS;

impl World {
    fn client(&mut self, number: u32) -> Option<&mut crate::client::Client> {
        self.clients.get_mut(usize::try_from(number).ok()?)
    }

    pub(super) fn think(&mut self, number: u32) {
        if self.quiet {
            return;
        }
        let (now, groups) = (self.now, self.plan.groups);
        let keyed = self.profile.stack == Stack::Replica && self.rng.chance(900);
        let Some(client) = usize::try_from(number).ok().and_then(|at| self.clients.get_mut(at)) else {
            return;
        };
        match self.profile.work {
            Work::Registers => {
                let group = GroupId(u16::try_from(self.rng.below(u64::from(groups))).unwrap_or(0));
                let register = u8::try_from(self.rng.below(u64::from(REGISTERS))).unwrap_or(0);
                let request = if self.rng.chance(500) {
                    self.next_value += 1;
                    RegisterRequest::Write(self.next_value)
                } else {
                    RegisterRequest::Read
                };
                client.ask(What::Register { register, request }, group, keyed, now, &mut self.rng);
            }
            Work::Locks => {
                let (group, request) = client.locker.next(groups, &mut self.rng);
                client.ask(What::Lock(request), group, keyed, now, &mut self.rng);
            }
        }
        self.attempt(number);
    }

    /// Sends the client's request to some member.
    pub(super) fn attempt(&mut self, number: u32) {
        let attempt = self.request_id();
        let up: Vec<u16> = self
            .hosts
            .iter()
            .filter(|(_, host)| host.running.is_some())
            .map(|(ordinal, _)| *ordinal)
            .collect();
        let to = self.rng.pick(&up).copied();
        let Some(asked) = self.client(number).and_then(|client| client.current.as_mut()) else { return };
        asked.attempt = attempt;
        let (request, timeout_us) = (asked.request.clone(), asked.timeout_us);
        self.asking.insert(attempt, number);
        let Some(to) = to else {
            // Nobody to connect to.
            let result = Err(Failure::Unavailable);
            self.after(1_000, Happening::Answer { from: None, id: attempt, result });
            return;
        };
        let wait = self.rng.between(100, 5_000);
        let timeout = Duration::from_micros(timeout_us);
        if !self.clients_cut.contains(&(number, to)) {
            self.bring(to, wait, Event::Request { id: attempt, timeout, request });
        }
        let patience = timeout_us + self.rng.below(200_000);
        self.after(patience, Happening::TimedOut { client: number, attempt });
        if self.rng.chance(50) {
            let wait = self.rng.below(timeout_us);
            self.bring(to, wait, Event::Cancel { id: attempt });
        }
    }

    pub(super) fn timed_out(&mut self, number: u32, attempt: RequestId) {
        if self.asking.remove(&attempt).is_some() {
            self.attempt_failed(number, None);
        }
    }

    pub(super) fn answered(
        &mut self,
        from: Option<u16>,
        id: RequestId,
        result: Result<Bytes, Failure>,
    ) -> Verdict {
        let Some(number) = self.asking.get(&id).copied() else { return Ok(()) };
        if from.is_some_and(|from| self.clients_cut.contains(&(number, from))) {
            // The client learns nothing, until it gives up.
            return Ok(());
        }
        self.asking.remove(&id);
        self.coverage.refused += u64::from(result == Err(Failure::NoSpace));
        match result {
            Ok(answer) => self.done(number, Some(&answer)),
            Err(Failure::KeyReused) => {
                let detail = format!("client {number} never used the key of {id:?} for anything else");
                return Err(Violation::new(Invariant::Linearizability, detail));
            }
            Err(failure) => self.attempt_failed(number, Some(failure)),
        }
        Ok(())
    }

    fn attempt_failed(&mut self, number: u32, failure: Option<Failure>) {
        let Some(asked) = self.client(number).and_then(|client| client.current.as_mut()) else { return };
        match asked.attempt_failed(failure) {
            Next::Again => {
                let wait = self.rng.between(20_000, 300_000);
                self.after(wait, Happening::Attempt { client: number });
            }
            Next::Done => self.done(number, None),
        }
    }

    fn done(&mut self, number: u32, answer: Option<&[u8]>) {
        let now = self.now;
        let Some(client) = usize::try_from(number).ok().and_then(|at| self.clients.get_mut(at)) else {
            return;
        };
        let Some(asked) = client.current.take() else { return };
        if let What::Lock(request) = &asked.what {
            let told = answer.and_then(|answer| locks::answer(request, answer));
            client.locker.learn(asked.group(), request, told.as_ref());
        }
        let what = asked.what.clone();
        let known = answer.map(<[u8]>::len);
        self.coverage.unknown += u64::from(asked.record(number, answer, now, &mut self.record));
        self.note(|| format!("client {number} is done with {what:?}, answer of {known:?} bytes"));
        let wait = self.rng.below(self.plan.think_max_us) + 1_000;
        self.after(wait, Happening::Think { client: number });
    }
}
