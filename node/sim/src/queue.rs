//! What is going to happen, by virtual time; at the same time, in the order in which it was planned.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Microseconds since the run began.
pub(crate) type Micros = u64;

pub(crate) struct Queue<E> {
    heap: BinaryHeap<Reverse<Planned<E>>>,
    planned: u64,
}

struct Planned<E> {
    at: (Micros, u64),
    event: E,
}

impl<E> Queue<E> {
    pub(crate) fn new() -> Self {
        Self { heap: BinaryHeap::new(), planned: 0 }
    }

    pub(crate) fn push(&mut self, at: Micros, event: E) {
        self.planned += 1;
        self.heap.push(Reverse(Planned { at: (at, self.planned), event }));
    }

    pub(crate) fn pop(&mut self) -> Option<(Micros, E)> {
        self.heap.pop().map(|Reverse(planned)| (planned.at.0, planned.event))
    }
}

impl<E> PartialEq for Planned<E> {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl<E> Eq for Planned<E> {}

impl<E> PartialOrd for Planned<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Planned<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}
