//! What makes a command apply once: the sessions of members and the idempotency keys of clients. Replicated state,
//! part of every snapshot.
//!
//! A member passes a client's command on until it has an answer, through any change of leader; the log may then
//! hold it twice. Each try carries the member's slot and the slot's sequence number (as NFSv4.1's sessions do, RFC
//! 8881 §2.10.6.1), so that one answer per slot is all that has to be remembered.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quartet_raft::{Index, LogTime, MemberId};

use super::envelope::{Envelope, Session, decode_member, encode_member};
use crate::state_machine::{Answer, At, CorruptSnapshot};
use crate::wire::Failure;

pub(super) type Outcome = Result<Bytes, Failure>;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Begin {
    /// New: to be applied, with this place in the log as its ticket.
    Apply,
    /// Applied before, or refused for good: the outcome.
    Known(Outcome),
    /// Applied before and not yet settled.
    Pending,
    /// From an earlier life or try, or from a member that is none (a leader proposes nothing for those): nobody waits
    /// for it.
    Stale,
}

#[derive(Debug, Default)]
pub(super) struct Once {
    sessions: BTreeMap<MemberId, Sessions>,
    keys: BTreeMap<String, KeyState>,
    expiries: BTreeSet<(LogTime, String)>,
    /// Who waits for a ticket: derived from the above.
    waiting: BTreeMap<Index, Waiting>,
}

#[derive(Debug, Default)]
struct Sessions {
    boots: u64,
    slots: BTreeMap<u32, Slot>,
}

#[derive(Debug)]
struct Slot {
    sequence: u64,
    progress: Progress<Outcome>,
}

#[derive(Debug)]
struct KeyState {
    digest: [u8; 16],
    progress: Progress<(Bytes, LogTime)>,
}

#[derive(Clone, Debug)]
enum Progress<T> {
    Pending(Index),
    Done(T),
}

#[derive(Debug, Default)]
struct Waiting {
    sessions: Vec<Session>,
    key: Option<String>,
}

impl Once {
    /// Decides whether the command at `at` is new. `keys_max` bounds the keys remembered.
    pub(super) fn begin(&mut self, at: At, envelope: &Envelope, keys_max: usize) -> Begin {
        let session = envelope.session;
        let Some(sessions) = self.sessions.get_mut(&session.member) else {
            return Begin::Stale;
        };
        if session.boots < sessions.boots {
            return Begin::Stale;
        }
        if session.boots > sessions.boots {
            *sessions = Sessions { boots: session.boots, slots: BTreeMap::new() };
        }
        if let Some(slot) = sessions.slots.get(&session.slot) {
            if session.sequence < slot.sequence {
                return Begin::Stale;
            }
            if session.sequence == slot.sequence {
                return match &slot.progress {
                    Progress::Pending(_) => Begin::Pending,
                    Progress::Done(outcome) => Begin::Known(outcome.clone()),
                };
            }
        }
        let progress = self.claim_key(at, envelope, keys_max);
        let begin = match &progress {
            Progress::Pending(ticket) if *ticket == at.index => Begin::Apply,
            Progress::Pending(_) => Begin::Pending,
            Progress::Done(outcome) => Begin::Known(outcome.clone()),
        };
        if let Progress::Pending(ticket) = progress {
            self.waiting.entry(ticket).or_default().sessions.push(session);
        }
        if let Some(sessions) = self.sessions.get_mut(&session.member) {
            sessions.slots.insert(session.slot, Slot { sequence: session.sequence, progress });
        }
        begin
    }

    /// What the command's idempotency key says of it: pending on its own ticket when it is new.
    fn claim_key(&mut self, at: At, envelope: &Envelope, keys_max: usize) -> Progress<Outcome> {
        let Some(key) = &envelope.key else {
            return Progress::Pending(at.index);
        };
        self.forget_expired(at.time);
        if let Some(known) = self.keys.get(&key.name) {
            if known.digest != key.digest {
                return Progress::Done(Err(Failure::KeyReused));
            }
            return match &known.progress {
                Progress::Pending(ticket) => Progress::Pending(*ticket),
                Progress::Done((body, _)) => Progress::Done(Ok(body.clone())),
            };
        }
        if self.keys.len() >= keys_max {
            return Progress::Done(Err(Failure::Full));
        }
        let state = KeyState { digest: key.digest, progress: Progress::Pending(at.index) };
        self.keys.insert(key.name.clone(), state);
        self.waiting.entry(at.index).or_default().key = Some(key.name.clone());
        Progress::Pending(at.index)
    }

    /// The ticket's command has its answer, at `at`: who is to be told.
    pub(super) fn settle(
        &mut self,
        at: At,
        ticket: Index,
        answer: &Answer,
        key_lifetime_ms: u64,
    ) -> Vec<Session> {
        let Some(waiting) = self.waiting.remove(&ticket) else {
            return Vec::new();
        };
        for session in &waiting.sessions {
            if let Some(slot) = self.slot_of(session) {
                slot.progress = Progress::Done(Ok(answer.body.clone()));
            }
        }
        if let Some(name) = waiting.key {
            if answer.decided {
                let expires = LogTime(at.time.0.saturating_add(key_lifetime_ms));
                if let Some(key) = self.keys.get_mut(&name) {
                    key.progress = Progress::Done((answer.body.clone(), expires));
                    self.expiries.insert((expires, name));
                }
            } else {
                self.keys.remove(&name);
            }
        }
        waiting.sessions
    }

    /// Only members have sessions: those of the configuration that was just applied.
    pub(super) fn keep_members(&mut self, members: &BTreeSet<MemberId>) {
        self.sessions.retain(|member, _| members.contains(member));
        for member in members {
            self.sessions.entry(*member).or_default();
        }
    }

    fn slot_of(&mut self, session: &Session) -> Option<&mut Slot> {
        let sessions = self.sessions.get_mut(&session.member)?;
        if sessions.boots != session.boots {
            return None;
        }
        sessions.slots.get_mut(&session.slot).filter(|slot| slot.sequence == session.sequence)
    }

    fn forget_expired(&mut self, now: LogTime) {
        while let Some((expires, name)) = self.expiries.first() {
            if *expires > now {
                break;
            }
            self.keys.remove(name);
            self.expiries.pop_first();
        }
    }

    pub(super) fn encode(&self) -> OnceWire {
        let sessions = self.sessions.iter().map(|(member, sessions)| {
            let (ordinal, incarnation) = encode_member(*member);
            let slots = sessions.slots.iter().map(|(number, slot)| encode_slot(*number, slot)).collect();
            SessionsWire { ordinal, incarnation, boots: sessions.boots, slots }
        });
        let keys = self.keys.iter().map(|(name, key)| {
            let (ticket, body, expires_ms) = match &key.progress {
                Progress::Pending(ticket) => (ticket.0, Bytes::new(), 0),
                Progress::Done((body, expires)) => (0, body.clone(), expires.0),
            };
            KeyWire { name: name.clone(), digest: key.digest.to_vec(), ticket, body, expires_ms }
        });
        OnceWire { sessions: sessions.collect(), keys: keys.collect() }
    }

    pub(super) fn decode(wire: OnceWire) -> Result<Self, CorruptSnapshot> {
        let corrupt = |what: &str| CorruptSnapshot(format!("sessions: {what}"));
        let mut once = Self::default();
        for sessions in wire.sessions {
            let member = decode_member(sessions.ordinal, sessions.incarnation);
            let member = member.ok_or_else(|| corrupt("a member"))?;
            let mut slots = BTreeMap::new();
            for slot in sessions.slots {
                let session =
                    Session { member, boots: sessions.boots, slot: slot.number, sequence: slot.sequence };
                let progress = decode_progress(&slot).ok_or_else(|| corrupt("a failure"))?;
                if let Progress::Pending(ticket) = progress {
                    once.waiting.entry(ticket).or_default().sessions.push(session);
                }
                slots.insert(slot.number, Slot { sequence: slot.sequence, progress });
            }
            once.sessions.insert(member, Sessions { boots: sessions.boots, slots });
        }
        for key in wire.keys {
            let digest = key.digest.try_into().map_err(|_| corrupt("a digest"))?;
            let progress = if key.ticket > 0 {
                once.waiting.entry(Index(key.ticket)).or_default().key = Some(key.name.clone());
                Progress::Pending(Index(key.ticket))
            } else {
                once.expiries.insert((LogTime(key.expires_ms), key.name.clone()));
                Progress::Done((key.body, LogTime(key.expires_ms)))
            };
            once.keys.insert(key.name, KeyState { digest, progress });
        }
        Ok(once)
    }
}

const FAILED_KEY_REUSED: u32 = 1;
const FAILED_FULL: u32 = 2;

fn encode_slot(number: u32, slot: &Slot) -> SlotWire {
    let mut wire = SlotWire { number, sequence: slot.sequence, ..SlotWire::default() };
    match &slot.progress {
        Progress::Pending(ticket) => wire.ticket = ticket.0,
        Progress::Done(Ok(body)) => wire.body = body.clone(),
        Progress::Done(Err(Failure::KeyReused)) => wire.failure = FAILED_KEY_REUSED,
        Progress::Done(Err(_)) => wire.failure = FAILED_FULL,
    }
    wire
}

fn decode_progress(slot: &SlotWire) -> Option<Progress<Outcome>> {
    match (slot.ticket, slot.failure) {
        (0, 0) => Some(Progress::Done(Ok(slot.body.clone()))),
        (0, FAILED_KEY_REUSED) => Some(Progress::Done(Err(Failure::KeyReused))),
        (0, FAILED_FULL) => Some(Progress::Done(Err(Failure::Full))),
        (0, _) => None,
        (ticket, _) => Some(Progress::Pending(Index(ticket))),
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct OnceWire {
    #[prost(message, repeated, tag = "1")]
    sessions: Vec<SessionsWire>,
    #[prost(message, repeated, tag = "2")]
    keys: Vec<KeyWire>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SessionsWire {
    #[prost(uint32, tag = "1")]
    ordinal: u32,
    #[prost(bytes = "vec", tag = "2")]
    incarnation: Vec<u8>,
    #[prost(uint64, tag = "3")]
    boots: u64,
    #[prost(message, repeated, tag = "4")]
    slots: Vec<SlotWire>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SlotWire {
    #[prost(uint32, tag = "1")]
    number: u32,
    #[prost(uint64, tag = "2")]
    sequence: u64,
    /// The index that it waits for; 0 when it is done.
    #[prost(uint64, tag = "3")]
    ticket: u64,
    #[prost(bytes = "bytes", tag = "4")]
    body: Bytes,
    #[prost(uint32, tag = "5")]
    failure: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct KeyWire {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bytes = "vec", tag = "2")]
    digest: Vec<u8>,
    /// The index that it waits for; 0 when it is done.
    #[prost(uint64, tag = "3")]
    ticket: u64,
    #[prost(bytes = "bytes", tag = "4")]
    body: Bytes,
    #[prost(uint64, tag = "5")]
    expires_ms: u64,
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::wire::Key;

    const LIFETIME_MS: u64 = 1000;
    const KEYS_MAX: usize = 2;

    fn member(ordinal: u16) -> MemberId {
        MemberId { ordinal, incarnation: u128::from(ordinal) + 100 }
    }

    fn once() -> Once {
        let mut once = Once::default();
        once.keep_members(&[member(0), member(1)].into());
        once
    }

    fn at(index: u64) -> At {
        At { index: Index(index), time: LogTime(index) }
    }

    fn at_time(index: u64, time_ms: u64) -> At {
        At { index: Index(index), time: LogTime(time_ms) }
    }

    fn from(ordinal: u16, slot: u32, sequence: u64) -> Envelope {
        let session = Session { member: member(ordinal), boots: 1, slot, sequence };
        Envelope { session, key: None, command: Bytes::new() }
    }

    impl Envelope {
        fn keyed(mut self, name: &str, digest: u8) -> Self {
            self.key = Some(Key { name: name.into(), digest: [digest; 16] });
            self
        }

        fn in_life(mut self, boots: u64) -> Self {
            self.session.boots = boots;
            self
        }
    }

    fn answer(body: &'static str) -> Answer {
        Answer { body: Bytes::from_static(body.as_bytes()), decided: true }
    }

    fn known(body: &'static str) -> Begin {
        Begin::Known(Ok(Bytes::from_static(body.as_bytes())))
    }

    #[test]
    fn a_second_try_of_a_slot_gets_the_first_answer() {
        let mut once = once();
        let command = from(0, 0, 1);
        assert_eq!(once.begin(at(1), &command, KEYS_MAX), Begin::Apply);
        assert_eq!(once.begin(at(2), &command, KEYS_MAX), Begin::Pending);
        assert_eq!(once.settle(at(3), Index(1), &answer("done"), LIFETIME_MS), vec![command.session]);
        assert_eq!(once.begin(at(4), &command, KEYS_MAX), known("done"));
    }

    #[test]
    fn a_slot_moves_on_and_its_earlier_tries_are_stale() {
        let mut once = once();
        assert_eq!(once.begin(at(1), &from(0, 0, 5), KEYS_MAX), Begin::Apply);
        assert_eq!(once.begin(at(2), &from(0, 0, 9), KEYS_MAX), Begin::Apply);
        assert_eq!(once.begin(at(3), &from(0, 0, 5), KEYS_MAX), Begin::Stale);
        assert_eq!(once.begin(at(4), &from(0, 1, 5), KEYS_MAX), Begin::Apply, "slots are independent");
    }

    #[test]
    fn a_new_life_of_a_member_ends_the_tries_of_the_old_one() {
        let mut once = once();
        assert_eq!(once.begin(at(1), &from(0, 0, 7), KEYS_MAX), Begin::Apply);
        assert_eq!(once.begin(at(2), &from(0, 0, 1).in_life(2), KEYS_MAX), Begin::Apply);
        assert_eq!(once.begin(at(3), &from(0, 0, 8), KEYS_MAX), Begin::Stale);
    }

    #[test]
    fn who_is_no_member_has_no_session() {
        let mut once = once();
        assert_eq!(once.begin(at(1), &from(2, 0, 1), KEYS_MAX), Begin::Stale);
        once.keep_members(&[member(1), member(2)].into());
        assert_eq!(once.begin(at(2), &from(2, 0, 1), KEYS_MAX), Begin::Apply);
        assert_eq!(once.begin(at(3), &from(0, 0, 1), KEYS_MAX), Begin::Stale);
    }

    #[test]
    fn a_key_answers_any_session_with_its_first_outcome() {
        let mut once = once();
        assert_eq!(once.begin(at(1), &from(0, 0, 1).keyed("k", 1), KEYS_MAX), Begin::Apply);
        assert_eq!(once.begin(at(2), &from(1, 0, 1).keyed("k", 1), KEYS_MAX), Begin::Pending);
        let told = once.settle(at(3), Index(1), &answer("done"), LIFETIME_MS);
        assert_eq!(told, vec![from(0, 0, 1).session, from(1, 0, 1).session]);
        assert_eq!(once.begin(at(4), &from(1, 1, 2).keyed("k", 1), KEYS_MAX), known("done"));
    }

    #[test]
    fn a_key_with_another_request_is_refused() {
        let mut once = once();
        assert_eq!(once.begin(at(1), &from(0, 0, 1).keyed("k", 1), KEYS_MAX), Begin::Apply);
        let reused = Begin::Known(Err(Failure::KeyReused));
        assert_eq!(once.begin(at(2), &from(0, 1, 2).keyed("k", 2), KEYS_MAX), reused);
        assert_eq!(once.begin(at(3), &from(0, 1, 2).keyed("k", 2), KEYS_MAX), reused, "and again");
    }

    #[test]
    fn a_key_is_forgotten_after_its_lifetime_and_not_before() {
        let mut once = once();
        assert_eq!(once.begin(at_time(1, 0), &from(0, 0, 1).keyed("k", 1), KEYS_MAX), Begin::Apply);
        once.settle(at_time(1, 100), Index(1), &answer("first"), LIFETIME_MS);
        assert_eq!(once.begin(at_time(2, 1099), &from(0, 0, 2).keyed("k", 1), KEYS_MAX), known("first"));
        assert_eq!(once.begin(at_time(3, 1100), &from(0, 0, 3).keyed("k", 1), KEYS_MAX), Begin::Apply);
    }

    #[test]
    fn a_full_table_of_keys_refuses_new_ones() {
        let mut once = once();
        assert_eq!(once.begin(at(1), &from(0, 0, 1).keyed("a", 1), KEYS_MAX), Begin::Apply);
        assert_eq!(once.begin(at(2), &from(0, 1, 2).keyed("b", 1), KEYS_MAX), Begin::Apply);
        let full = Begin::Known(Err(Failure::Full));
        assert_eq!(once.begin(at(3), &from(0, 2, 3).keyed("c", 1), KEYS_MAX), full);
    }

    #[test]
    fn an_answer_that_decided_nothing_is_not_remembered_under_the_key() {
        let mut once = once();
        assert_eq!(once.begin(at(1), &from(0, 0, 1).keyed("k", 1), KEYS_MAX), Begin::Apply);
        let refusal = Answer { body: Bytes::from_static(b"full"), decided: false };
        once.settle(at(1), Index(1), &refusal, LIFETIME_MS);
        assert_eq!(once.begin(at(2), &from(0, 0, 2).keyed("k", 1), KEYS_MAX), Begin::Apply);
    }

    #[test]
    fn a_snapshot_keeps_what_is_pending_and_what_is_known() {
        let mut before = once();
        before.begin(at(1), &from(0, 0, 1).keyed("done", 1), KEYS_MAX);
        before.settle(at(1), Index(1), &answer("first"), LIFETIME_MS);
        before.begin(at(2), &from(0, 1, 2).keyed("pending", 2), KEYS_MAX);
        let mut after = Once::decode(OnceWire::decode(&*before.encode().encode_to_vec()).unwrap()).unwrap();
        assert_eq!(after.begin(at(3), &from(0, 0, 1).keyed("done", 1), KEYS_MAX), known("first"));
        assert_eq!(after.begin(at(4), &from(1, 0, 1).keyed("pending", 2), KEYS_MAX), Begin::Pending);
        let told = after.settle(at(5), Index(2), &answer("late"), LIFETIME_MS);
        assert_eq!(told, vec![from(0, 1, 2).session, from(1, 0, 1).session]);
        assert_eq!(after.encode().encode_to_vec(), {
            before.begin(at(3), &from(0, 0, 1).keyed("done", 1), KEYS_MAX);
            before.begin(at(4), &from(1, 0, 1).keyed("pending", 2), KEYS_MAX);
            before.settle(at(5), Index(2), &answer("late"), LIFETIME_MS);
            before.encode().encode_to_vec()
        });
    }
}
