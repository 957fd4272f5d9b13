//! How long a partition does not serve: each is asked at a steady pace, whatever becomes of earlier requests.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use quartet_client::SyncClient;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::sync_cluster::{exclusive, name_in};
use crate::wait::until;

/// Requests of a partition under way; beyond it no more are sent until one ends.
const UNDER_WAY_MAX: usize = 512;
const ANSWERS_MAX: usize = 5_000_000;
const ATTEMPT_DEADLINE: Duration = Duration::from_secs(10);
const TTL: Duration = Duration::from_mins(10);

#[derive(Clone, Copy, Debug)]
struct Answer {
    partition: u16,
    sent: Instant,
    answered: Instant,
}

/// Ends when dropped.
#[derive(Debug)]
pub struct Prober {
    partitions: u16,
    answers: Arc<Mutex<Vec<Answer>>>,
    _tasks: JoinSet<()>,
}

impl Prober {
    /// Asks these members in turn, each partition once per `pace`. An operation is a lock taken again by its owner:
    /// replicated and durable before it is answered, like any other.
    pub fn start(urls: &[String], partitions: u16, pace: Duration) -> Result<Self> {
        ensure!(!urls.is_empty(), "nobody to ask");
        let clients = urls.iter().map(|url| Ok(SyncClient::new(url)?.timeout(ATTEMPT_DEADLINE)));
        let clients = clients.collect::<Result<Vec<_>>>()?;
        Ok(Self::with(partitions, pace, move |partition, turn| {
            let client = clients[turn % clients.len()].clone();
            async move {
                let acquire = exclusive(&name_in(partition, partitions, "probe"), "prober", TTL);
                client.acquire(&acquire).await.is_ok()
            }
        }))
    }

    /// With a question of another kind: whether the partition has carried out an operation, asked for the n-th time.
    pub fn with<F: Future<Output = bool> + Send + 'static>(
        partitions: u16,
        pace: Duration,
        ask: impl Fn(u16, usize) -> F + Clone + Send + 'static,
    ) -> Self {
        let (answers, mut tasks) = (Arc::default(), JoinSet::new());
        for partition in 0..partitions {
            tasks.spawn(probe(partition, ask.clone(), pace, Arc::clone(&answers)));
        }
        Self { partitions, answers, _tasks: tasks }
    }

    /// Waits until every partition has answered a request that was sent from now on.
    pub async fn all_answer(&self, deadline: Duration) -> Result<()> {
        let since = Instant::now();
        until("an answer of every partition", deadline, async || {
            let recent: BTreeSet<u16> =
                lock(&self.answers).iter().filter(|a| a.sent >= since).map(|a| a.partition).collect();
            ensure!(recent.len() == usize::from(self.partitions), "answered: {recent:?}");
            Ok(())
        })
        .await
    }

    /// The longest time since then that each partition went without an answer.
    pub fn silences(&self, since: Instant) -> BTreeMap<u16, Duration> {
        let mut answers = lock(&self.answers).clone();
        answers.sort_by_key(|answer| answer.answered);
        silences(&answers, self.partitions, since, Instant::now())
    }
}

fn silences(answers: &[Answer], partitions: u16, since: Instant, until: Instant) -> BTreeMap<u16, Duration> {
    let longest = |partition| {
        let times = answers.iter().filter(|a| a.partition == partition && a.answered >= since);
        let times = std::iter::once(since).chain(times.map(|a| a.answered)).chain([until]);
        let times: Vec<_> = times.collect();
        times.windows(2).map(|pair| pair[1].saturating_duration_since(pair[0])).max().unwrap_or_default()
    };
    (0..partitions).map(|partition| (partition, longest(partition))).collect()
}

async fn probe<F: Future<Output = bool> + Send>(
    partition: u16,
    ask: impl Fn(u16, usize) -> F + Send,
    pace: Duration,
    answers: Arc<Mutex<Vec<Answer>>>,
) {
    let mut ticks = tokio::time::interval(pace);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut under_way = FuturesUnordered::new();
    let mut turn = 0;
    loop {
        tokio::select! {
            _ = ticks.tick(), if under_way.len() < UNDER_WAY_MAX => {
                let (sent, asked) = (Instant::now(), ask(partition, turn));
                turn += 1;
                under_way.push(async move { (sent, asked.await) });
            }
            Some((sent, done)) = under_way.next() => {
                let mut kept = lock(&answers);
                if done && kept.len() < ANSWERS_MAX {
                    kept.push(Answer { partition, sent, answered: Instant::now() });
                }
            }
        }
    }
}

fn lock(answers: &Mutex<Vec<Answer>>) -> MutexGuard<'_, Vec<Answer>> {
    answers.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_is_measured_between_answers_and_to_both_ends() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let answer = |ms| Answer { partition: 0, sent: at(ms), answered: at(ms) };
        let longest = |answers: &[Answer]| silences(answers, 1, at(100), at(1000))[&0].as_millis();
        assert_eq!(longest(&[]), 900);
        assert_eq!(longest(&[answer(50), answer(150), answer(500), answer(900)]), 400);
        assert_eq!(longest(&[answer(150), answer(300)]), 700);
    }
}
