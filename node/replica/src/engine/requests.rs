//! Clients' requests on this member: routed to whoever leads their group, again and again until answered.
//!
//! Sending a command twice is safe (see [`super::once`]), so that a lost message, a lost leader or a leader that
//! moved costs time and not an answer. Only a deadline, or a group that nobody leads, ends a request without one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use quartet_raft::{MemberId, Term};

use super::api::{Request, RequestId};
use super::envelope::{Envelope, Session};
use super::once::Outcome;
use crate::GroupId;
use crate::wire::{Failure, Forwarded, Key, PeerMessage};

const RESEND_FIRST: Duration = Duration::from_millis(500);
const RESEND_MAX: Duration = Duration::from_secs(8);
/// Of a request's number within one life of the member; the bits above are the life's.
const SEQUENCE_BITS: u32 = 40;

/// Requests under way, by the number that they carry in forwards and sessions.
pub(super) struct Requests {
    member: MemberId,
    boots: u64,
    next_sequence: u64,
    under_way: BTreeMap<u64, Pending>,
    /// Of each forward that has no answer yet: the request's number.
    forwards: BTreeMap<u64, u64>,
    by_id: BTreeMap<RequestId, u64>,
    by_group: BTreeSet<(GroupId, u64)>,
    /// When each has to be looked at next.
    timers: BTreeSet<(Duration, u64)>,
    free_slots: BTreeSet<u32>,
    slots: u32,
}

struct Pending {
    id: RequestId,
    group: GroupId,
    what: What,
    deadline: Duration,
    timer: Duration,
    resend_after: Duration,
    /// Whom it was last passed to.
    sent_to: Option<MemberId>,
    /// Forwards without an answer: of a command, any of them may be in some log.
    forwards: Vec<u64>,
    /// Is, or was, in this member's own log.
    logged: bool,
    /// Is in this member's own log, as the leader of this term: no need to propose it again.
    proposed_in: Option<Term>,
}

enum What {
    Execute { session: Session, entry: Bytes, command: Bytes },
    Query { query: Bytes },
}

/// What a request needs now.
pub(super) enum Step {
    Propose { session: Session, entry: Bytes, command: Bytes },
    Ask { sequence: u64, query: Bytes },
    Forward { to: MemberId, message: PeerMessage },
    Wait,
}

/// A group's leader as this member sees it.
#[derive(Clone, Copy)]
pub(super) enum Leader {
    Here(Term),
    There(MemberId),
    Unknown,
}

impl Requests {
    /// `life` numbers this life of the member: `boots`, unless a rule is left out.
    pub(super) fn new(member: MemberId, boots: u64, life: u64) -> Self {
        Self {
            member,
            boots,
            // Answers to an earlier life's requests may still come, when a new leader applies what it finds in its
            // log: they must not be taken for answers to this one's.
            next_sequence: (life << SEQUENCE_BITS) + 1,
            under_way: BTreeMap::new(),
            forwards: BTreeMap::new(),
            by_id: BTreeMap::new(),
            by_group: BTreeSet::new(),
            timers: BTreeSet::new(),
            free_slots: BTreeSet::new(),
            slots: 0,
        }
    }

    /// The number of the new request; None if there are `limit` already.
    pub(super) fn begin(
        &mut self,
        now: Duration,
        id: RequestId,
        timeout: Duration,
        request: Request,
        limit: usize,
    ) -> Option<u64> {
        if self.under_way.len() >= limit {
            return None;
        }
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let (group, what) = match request {
            Request::Query { group, query } => (group, What::Query { query }),
            Request::Execute { group, key, command } => (group, self.execute(sequence, key, command)),
        };
        let deadline = now + timeout;
        let timer = deadline.min(now + RESEND_FIRST);
        let pending = Pending {
            id,
            group,
            what,
            deadline,
            timer,
            resend_after: RESEND_FIRST,
            sent_to: None,
            forwards: Vec::new(),
            logged: false,
            proposed_in: None,
        };
        self.timers.insert((timer, sequence));
        self.by_id.insert(id, sequence);
        self.by_group.insert((group, sequence));
        self.under_way.insert(sequence, pending);
        Some(sequence)
    }

    fn execute(&mut self, sequence: u64, key: Option<Key>, command: Bytes) -> What {
        let slot = self.free_slots.pop_first().unwrap_or_else(|| {
            self.slots += 1;
            self.slots - 1
        });
        let session = Session { member: self.member, boots: self.boots, slot, sequence };
        let entry = Envelope { session, key, command: command.clone() }.encode();
        What::Execute { session, entry, command }
    }

    pub(super) fn group(&self, sequence: u64) -> Option<GroupId> {
        self.under_way.get(&sequence).map(|pending| pending.group)
    }

    /// Whether some log may hold it.
    pub(super) fn is_in_doubt(&self, sequence: u64) -> bool {
        self.under_way.get(&sequence).is_some_and(Pending::is_in_doubt)
    }

    /// What to do with a request, given who leads its group.
    pub(super) fn route(&mut self, now: Duration, sequence: u64, leader: Leader) -> Step {
        let Some(pending) = self.under_way.get_mut(&sequence) else {
            return Step::Wait;
        };
        match leader {
            Leader::Unknown => Step::Wait,
            Leader::Here(term) => match &pending.what {
                What::Execute { .. } if pending.proposed_in == Some(term) => Step::Wait,
                What::Execute { session, entry, command } => {
                    pending.proposed_in = Some(term);
                    Step::Propose { session: *session, entry: entry.clone(), command: command.clone() }
                }
                What::Query { query } => Step::Ask { sequence, query: query.clone() },
            },
            Leader::There(to) => {
                pending.sent_to = Some(to);
                pending.proposed_in = None;
                let remaining = pending.deadline.saturating_sub(now).as_millis();
                let timeout_ms = u32::try_from(remaining).unwrap_or(u32::MAX);
                let request = match &pending.what {
                    What::Execute { entry, .. } => Forwarded::Execute { entry: entry.clone() },
                    What::Query { query } => Forwarded::Query { query: query.clone() },
                };
                // A number of its own, so that a refusal tells which forward is certainly in no log: a frame is
                // written to one connection, once.
                let id = self.next_sequence;
                self.next_sequence += 1;
                pending.forwards.push(id);
                self.forwards.insert(id, sequence);
                Step::Forward {
                    to,
                    message: PeerMessage::Forward { id, group: pending.group, request, timeout_ms },
                }
            }
        }
    }

    /// A command of this member is in its own log.
    pub(super) fn proposed(&mut self, session: Session) {
        if let Some(pending) = self.under_way.get_mut(&session.sequence) {
            pending.logged = true;
        }
    }

    pub(super) fn is_own(&self, session: Session) -> bool {
        session.member == self.member && session.boots == self.boots
    }

    /// The outcome, whichever try led to it.
    pub(super) fn finish(&mut self, sequence: u64, outcome: Outcome) -> Option<(RequestId, Outcome)> {
        self.end(sequence).map(|pending| (pending.id, outcome))
    }

    /// A member's answer: a command's outcome goes by the command's own number, all else by the forward's.
    pub(super) fn answered(
        &mut self,
        now: Duration,
        id: u64,
        result: Outcome,
    ) -> Option<(RequestId, Outcome)> {
        if self.under_way.contains_key(&id) {
            return self.finish(id, result);
        }
        let sequence = self.forwards.remove(&id)?;
        if let Some(pending) = self.under_way.get_mut(&sequence) {
            pending.forwards.retain(|forward| *forward != id);
        }
        match result {
            Ok(body) => self.finish(sequence, Ok(body)),
            Err(failure) => self.refused(now, sequence, failure),
        }
    }

    /// One try certainly came to nothing. If that can be said of all tries, the failure may be told; otherwise, and
    /// when only whoever was asked could not help, it is tried again.
    pub(super) fn refused(
        &mut self,
        now: Duration,
        sequence: u64,
        failure: Failure,
    ) -> Option<(RequestId, Outcome)> {
        let pending = self.under_way.get_mut(&sequence)?;
        pending.proposed_in = None;
        let failure = match failure {
            Failure::NotMember => pending.failure(),
            Failure::Full | Failure::NoSpace if !pending.is_in_doubt() => failure,
            _ => {
                self.try_soon(now, sequence);
                return None;
            }
        };
        self.finish(sequence, Err(failure))
    }

    fn try_soon(&mut self, now: Duration, sequence: u64) {
        if let Some(pending) = self.under_way.get_mut(&sequence) {
            let soon = pending.deadline.min(now + RESEND_FIRST / 10).min(pending.timer);
            self.timers.remove(&(pending.timer, sequence));
            pending.timer = soon;
            self.timers.insert((soon, sequence));
        }
    }

    pub(super) fn cancel(&mut self, id: RequestId) {
        if let Some(sequence) = self.by_id.get(&id).copied() {
            self.end(sequence);
        }
    }

    fn end(&mut self, sequence: u64) -> Option<Pending> {
        let pending = self.under_way.remove(&sequence)?;
        self.by_id.remove(&pending.id);
        self.by_group.remove(&(pending.group, sequence));
        self.timers.remove(&(pending.timer, sequence));
        for forward in &pending.forwards {
            self.forwards.remove(forward);
        }
        if let What::Execute { session, .. } = &pending.what {
            self.free_slots.insert(session.slot);
        }
        Some(pending)
    }

    /// Requests whose time has come: those past their deadline end with a failure, the others are to be routed
    /// again.
    pub(super) fn due(&mut self, now: Duration) -> (Vec<(RequestId, Failure)>, Vec<u64>) {
        let (mut failed, mut again) = (Vec::new(), Vec::new());
        while let Some((at, sequence)) = self.timers.first().copied() {
            if at > now {
                break;
            }
            self.timers.pop_first();
            let Some(pending) = self.under_way.get_mut(&sequence) else {
                continue;
            };
            if pending.deadline <= now {
                failed.extend(self.fail(sequence));
                continue;
            }
            pending.timer = pending.deadline.min(now + pending.resend_after);
            pending.resend_after = (pending.resend_after * 2).min(RESEND_MAX);
            self.timers.insert((pending.timer, sequence));
            again.push(sequence);
        }
        (failed, again)
    }

    /// Nobody has led the group for long: its requests are told so.
    pub(super) fn fail_group(&mut self, group: GroupId) -> Vec<(RequestId, Failure)> {
        self.of_group(group).into_iter().filter_map(|sequence| self.fail(sequence)).collect()
    }

    fn fail(&mut self, sequence: u64) -> Option<(RequestId, Failure)> {
        let pending = self.end(sequence)?;
        Some((pending.id, pending.failure()))
    }

    pub(super) fn of_group(&self, group: GroupId) -> Vec<u64> {
        self.by_group.range((group, 0)..=(group, u64::MAX)).map(|(_, sequence)| *sequence).collect()
    }

    /// What was passed to a member whose connection ended may be lost: it is tried again.
    pub(super) fn disconnected(&mut self, now: Duration, peer: MemberId) {
        let sent = self.under_way.iter().filter(|(_, pending)| pending.sent_to == Some(peer));
        for sequence in sent.map(|(sequence, _)| *sequence).collect::<Vec<_>>() {
            self.try_soon(now, sequence);
        }
    }
}

impl Pending {
    fn is_in_doubt(&self) -> bool {
        matches!(self.what, What::Execute { .. }) && (self.logged || !self.forwards.is_empty())
    }

    /// What it fails with when it is given up.
    fn failure(&self) -> Failure {
        if self.is_in_doubt() { Failure::Unknown } else { Failure::Unavailable }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: MemberId = MemberId { ordinal: 0, incarnation: 1 };
    const PEER: MemberId = MemberId { ordinal: 1, incarnation: 2 };
    const TIMEOUT: Duration = Duration::from_secs(5);

    fn requests() -> Requests {
        Requests::new(ME, 3, 3)
    }

    fn begin(requests: &mut Requests, id: u64) -> u64 {
        let request = Request::Execute { group: GroupId(0), key: None, command: Bytes::new() };
        requests.begin(Duration::ZERO, RequestId(id), TIMEOUT, request, 2).unwrap()
    }

    #[test]
    fn a_request_that_was_never_sent_certainly_did_nothing() {
        let mut requests = requests();
        let sequence = begin(&mut requests, 1);
        assert!(matches!(requests.route(Duration::ZERO, sequence, Leader::Unknown), Step::Wait));
        assert_eq!(requests.due(TIMEOUT).0, vec![(RequestId(1), Failure::Unavailable)]);
    }

    #[test]
    fn a_request_that_was_sent_has_an_unknown_outcome() {
        let mut requests = requests();
        let sequence = begin(&mut requests, 1);
        assert!(matches!(
            requests.route(Duration::ZERO, sequence, Leader::There(PEER)),
            Step::Forward { .. }
        ));
        assert_eq!(requests.due(TIMEOUT).0, vec![(RequestId(1), Failure::Unknown)]);
    }

    fn forward(requests: &mut Requests, sequence: u64) -> u64 {
        let step = requests.route(Duration::ZERO, sequence, Leader::There(PEER));
        let Step::Forward { message: PeerMessage::Forward { id, .. }, .. } = step else {
            panic!("not passed on");
        };
        id
    }

    #[test]
    fn a_request_whose_every_try_was_refused_certainly_did_nothing() {
        let mut requests = requests();
        let sequence = begin(&mut requests, 1);
        for _ in 0..2 {
            let id = forward(&mut requests, sequence);
            assert_eq!(requests.answered(Duration::ZERO, id, Err(Failure::Unavailable)), None);
        }
        assert_eq!(requests.due(TIMEOUT).0, vec![(RequestId(1), Failure::Unavailable)]);
        assert!(requests.forwards.is_empty());
    }

    #[test]
    fn a_refusal_of_one_try_says_nothing_of_another() {
        for failure in [Failure::Full, Failure::NoSpace, Failure::Unavailable] {
            let mut requests = requests();
            let sequence = begin(&mut requests, 1);
            let _lost = forward(&mut requests, sequence);
            let refused = forward(&mut requests, sequence);
            for _ in 0..2 {
                // The network may say it twice.
                assert_eq!(requests.answered(Duration::ZERO, refused, Err(failure)), None);
            }
            assert_eq!(requests.due(TIMEOUT).0, vec![(RequestId(1), Failure::Unknown)]);
            assert!(requests.forwards.is_empty());
        }
    }

    #[test]
    fn the_only_try_s_refusal_is_told() {
        let told = [
            (Failure::Full, Failure::Full),
            (Failure::NoSpace, Failure::NoSpace),
            (Failure::NotMember, Failure::Unavailable),
        ];
        for (failure, told) in told {
            let mut requests = requests();
            let sequence = begin(&mut requests, 1);
            let id = forward(&mut requests, sequence);
            let answer = requests.answered(Duration::ZERO, id, Err(failure));
            assert_eq!(answer, Some((RequestId(1), Err(told))));
        }
    }

    #[test]
    fn a_refused_request_is_soon_tried_again() {
        let mut requests = requests();
        let sequence = begin(&mut requests, 1);
        assert_eq!(requests.refused(Duration::ZERO, sequence, Failure::Unavailable), None);
        assert_eq!(requests.due(RESEND_FIRST / 10), (vec![], vec![sequence]));
    }

    #[test]
    fn a_leader_proposes_once_in_its_term_and_again_in_the_next() {
        let mut requests = requests();
        let sequence = begin(&mut requests, 1);
        let mut here = |term| requests.route(Duration::ZERO, sequence, Leader::Here(Term(term)));
        assert!(matches!(here(1), Step::Propose { .. }));
        assert!(matches!(here(1), Step::Wait));
        assert!(matches!(here(2), Step::Propose { .. }));
    }

    #[test]
    fn no_two_lives_of_a_member_number_requests_alike() {
        let mut lives = [Requests::new(ME, 3, 3), Requests::new(ME, 4, 4)];
        let [first, second] = lives.each_mut().map(|requests| begin(requests, 1));
        assert_ne!(first, second);
    }

    #[test]
    fn slots_are_used_again_under_a_larger_number() {
        let mut requests = requests();
        let first = begin(&mut requests, 1);
        assert!(requests.finish(first, Ok(Bytes::new())).is_some());
        let second = begin(&mut requests, 2);
        assert!(second > first);
        let Step::Propose { session, .. } = requests.route(Duration::ZERO, second, Leader::Here(Term(1)))
        else {
            panic!("not proposed");
        };
        assert_eq!((session.slot, session.sequence, session.boots), (0, second, 3));
    }

    #[test]
    fn too_many_requests_are_refused() {
        let mut requests = requests();
        begin(&mut requests, 1);
        begin(&mut requests, 2);
        let request = Request::Query { group: GroupId(0), query: Bytes::new() };
        assert_eq!(requests.begin(Duration::ZERO, RequestId(3), TIMEOUT, request, 2), None);
    }
}
