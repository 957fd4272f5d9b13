//! Whether this member can serve linearizable requests: it asks every partition.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::join_all;
use quartet_replica::GroupId;

use super::replicated::Replicated;
use crate::member::Member;

const TIMEOUT: Duration = Duration::from_secs(1);
/// Probes of several askers cost one round.
const FRESH: Duration = Duration::from_millis(250);

type Verdict = Result<(), String>;

#[derive(Debug, Default)]
pub(super) struct Readiness {
    last: Mutex<Option<(Instant, Verdict)>>,
}

impl Readiness {
    pub(super) async fn check<M: Member>(&self, replicated: &Replicated<M>) -> Verdict {
        let Ok(groups) = replicated.groups() else { return Err("the member belongs to no cluster".into()) };
        if let Some(verdict) = self.fresh() {
            return verdict;
        }
        let asked = Instant::now();
        let verdict = ask(replicated, groups).await;
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((asked, verdict.clone()));
        verdict
    }

    fn fresh(&self) -> Option<Verdict> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().filter(|(asked, _)| asked.elapsed() < FRESH).map(|(_, verdict)| verdict.clone())
    }
}

async fn ask<M: Member>(replicated: &Replicated<M>, groups: impl Iterator<Item = GroupId>) -> Verdict {
    let answers =
        join_all(groups.map(|group| async move { (group, replicated.confirm(group, TIMEOUT).await) }));
    let failed = answers.await.into_iter().find_map(|(group, answer)| Some((group, answer.err()?)));
    match failed {
        None => Ok(()),
        Some((group, failure)) => Err(format!("partition {}: {failure}", group.0)),
    }
}
