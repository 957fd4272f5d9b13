//! Linearizability: is there one order of the operations, each between its start and its end, that a model allows?
//!
//! Wing and Gong's search as Lowe improved it ("Testing for linearizability", 2017): the same set of operations
//! done with the same state is never tried twice. An operation of unknown outcome may take effect at any time after
//! its start, or never.

use std::collections::BTreeSet;

use crate::{Operation, Outcome};

/// A sequential object.
pub trait Model {
    type State: Clone + Ord;
    type Request;
    type Answer;

    /// The state after the request, if the answer (none: not known) is right.
    fn step(
        state: &Self::State,
        request: &Self::Request,
        answer: Option<&Self::Answer>,
    ) -> Option<Self::State>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Linearizable,
    NotLinearizable,
    /// The search was given up.
    Undecided,
}

/// Searches `states_max` states at most.
pub fn check<M: Model>(
    history: &[Operation<M::Request, M::Answer>],
    initial: M::State,
    states_max: usize,
) -> Verdict {
    let mut operations: Vec<_> = history.iter().filter(|op| !matches!(op.outcome, Outcome::Failed)).collect();
    operations.sort_by_key(|operation| operation.start_us);
    let must = operations.iter().filter(|operation| operation.answer().is_some()).count();
    let mut seen: BTreeSet<(Done, M::State)> = BTreeSet::new();
    let mut open = vec![(Done::new(operations.len()), 0_usize, initial)];
    while let Some((done, answered, state)) = open.pop() {
        if answered == must {
            return Verdict::Linearizable;
        }
        if seen.len() >= states_max {
            return Verdict::Undecided;
        }
        if !seen.insert((done.clone(), state.clone())) {
            continue;
        }
        // Whatever starts after another has been answered comes after it.
        let mut first_end_us = u64::MAX;
        for (at, operation) in operations.iter().enumerate().skip(done.prefix) {
            if operation.start_us > first_end_us {
                break;
            }
            if done.contains(at) {
                continue;
            }
            let answer = operation.answer();
            if answer.is_some() {
                first_end_us = first_end_us.min(operation.end_us.unwrap_or(u64::MAX));
            }
            if let Some(next) = M::step(&state, &operation.request, answer) {
                open.push((done.with(at), answered + usize::from(answer.is_some()), next));
            }
        }
    }
    Verdict::NotLinearizable
}

/// Which operations have taken effect: all before `prefix`, and those after it whose bit is set.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Done {
    prefix: usize,
    bits: Vec<u64>,
}

impl Done {
    fn new(operations: usize) -> Self {
        Self { prefix: 0, bits: vec![0; operations.div_ceil(64)] }
    }

    fn contains(&self, at: usize) -> bool {
        at < self.prefix || self.bits[at / 64] & (1 << (at % 64)) != 0
    }

    fn with(&self, at: usize) -> Self {
        let mut done = self.clone();
        done.bits[at / 64] |= 1 << (at % 64);
        while done.prefix < done.bits.len() * 64 && done.contains(done.prefix) {
            done.prefix += 1;
        }
        done
    }
}

/// A register: the simplest object whose stale reads show.
#[derive(Clone, Copy, Debug)]
pub enum Register {}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RegisterRequest {
    Write(u64),
    Read,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RegisterAnswer {
    /// To Write: what was there before.
    Replaced(u64),
    /// To Read.
    Value(u64),
}

pub type RegisterOperation = Operation<RegisterRequest, RegisterAnswer>;

impl Model for Register {
    type State = u64;
    type Request = RegisterRequest;
    type Answer = RegisterAnswer;

    fn step(state: &u64, request: &RegisterRequest, answer: Option<&RegisterAnswer>) -> Option<u64> {
        match (request, answer) {
            (RegisterRequest::Write(value), Some(RegisterAnswer::Replaced(before))) => {
                (before == state).then_some(*value)
            }
            (RegisterRequest::Write(value), None) => Some(*value),
            (RegisterRequest::Read, Some(RegisterAnswer::Value(value))) => (value == state).then_some(*state),
            (RegisterRequest::Read, None) => Some(*state),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(
        start_us: u64,
        end_us: u64,
        request: RegisterRequest,
        answer: RegisterAnswer,
    ) -> RegisterOperation {
        let outcome = Outcome::Answered(answer);
        Operation { client: 0, start_us, end_us: Some(end_us), request, outcome }
    }

    fn write(start_us: u64, end_us: u64, value: u64, before: u64) -> RegisterOperation {
        done(start_us, end_us, RegisterRequest::Write(value), RegisterAnswer::Replaced(before))
    }

    fn read(start_us: u64, end_us: u64, value: u64) -> RegisterOperation {
        done(start_us, end_us, RegisterRequest::Read, RegisterAnswer::Value(value))
    }

    fn unknown(start_us: u64, value: u64) -> RegisterOperation {
        let request = RegisterRequest::Write(value);
        Operation { client: 0, start_us, end_us: None, request, outcome: Outcome::Unknown }
    }

    fn verdict(history: &[RegisterOperation]) -> Verdict {
        check::<Register>(history, 0, 100_000)
    }

    #[test]
    fn concurrent_operations_may_take_either_order() {
        assert_eq!(verdict(&[write(0, 10, 1, 0), read(5, 15, 0)]), Verdict::Linearizable);
        assert_eq!(verdict(&[write(0, 10, 1, 0), read(5, 15, 1)]), Verdict::Linearizable);
    }

    #[test]
    fn a_stale_read_is_not_linearizable() {
        assert_eq!(verdict(&[write(0, 10, 1, 0), read(11, 15, 0)]), Verdict::NotLinearizable);
    }

    #[test]
    fn reads_do_not_go_back() {
        let history = [write(0, 100, 1, 0), read(10, 20, 1), read(30, 40, 0)];
        assert_eq!(verdict(&history), Verdict::NotLinearizable);
    }

    #[test]
    fn a_lost_write_is_not_linearizable() {
        let history = [write(0, 10, 1, 0), write(20, 30, 2, 0)];
        assert_eq!(verdict(&history), Verdict::NotLinearizable);
    }

    #[test]
    fn an_unknown_write_may_come_late_or_never() {
        assert_eq!(verdict(&[unknown(0, 1), read(10, 20, 0), read(30, 40, 1)]), Verdict::Linearizable);
        assert_eq!(verdict(&[unknown(0, 1), read(10, 20, 0)]), Verdict::Linearizable);
        assert_eq!(verdict(&[unknown(0, 1), read(10, 20, 1), read(30, 40, 0)]), Verdict::NotLinearizable);
    }

    #[test]
    fn a_write_that_certainly_failed_is_never_seen() {
        let mut failed = unknown(0, 1);
        failed.outcome = Outcome::Failed;
        failed.end_us = Some(5);
        assert_eq!(verdict(&[failed, read(10, 20, 1)]), Verdict::NotLinearizable);
    }

    #[test]
    fn a_search_that_is_too_long_is_given_up() {
        let history: Vec<_> = (0..20).map(|value| unknown(0, value)).chain([read(0, 1, 99)]).collect();
        assert_eq!(check::<Register>(&history, 0, 100), Verdict::Undecided);
    }
}
