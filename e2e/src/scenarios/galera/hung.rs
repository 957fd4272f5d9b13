//! A server that stands still under a manager that lives: nobody proves it dead, and nobody may wait for it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mysql_async::prelude::Queryable;
use quartet_client::galera;
use quartet_crds::galera_cluster::MemberState;
use tokio::task::JoinSet;

use super::stand::{MEMBERS, SERVER, SOON, Stand};
use crate::faults::process;
use crate::load::bank::Account;
use crate::stage::Stage;
use crate::wait::{throughout, until};

/// Its manager takes it for dead after a minute only: it is to come back as it is.
const PAUSE: Duration = Duration::from_secs(20);
const REACHED_AT_MOST: Duration = Duration::from_secs(1);
/// Of clients that it did not hold.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// Its manager believes its last word for 5 s.
const SAID_SYNCED_MAX: Duration = Duration::from_secs(7);
/// From then on: the operator of a calm cluster looks every ten seconds.
const SHOWN_SYNCED_MAX: Duration = Duration::from_secs(15);

pub(super) async fn nobody_waits(stage: Stage) -> Result<()> {
    let stand = Stand::make(&stage).await?;
    for member in 0..MEMBERS {
        hangs(&stand, member).await.with_context(|| format!("the server of member {member} stopped"))?;
    }
    stand.end().await.map(drop)
}

async fn hangs(stand: &Stand, member: u16) -> Result<()> {
    let (cluster, lives) = (&stand.cluster, stand.cluster.member_lives().await?);
    let name = cluster.member(member);
    let readers = Readers::start(&cluster.account().await?);
    readers.reach(&name).await?;
    let pause = process::pause_named(&cluster.target(member).await?, SERVER).await?;
    let since = Instant::now();
    is_not_shown_as_synced(stand, member).await?;
    let left = PAUSE.saturating_sub(since.elapsed());
    throughout("it is not said to be Synced", left, async || says_not_synced(stand, member).await).await?;
    // Writers too are served by the others: the group has given up on it.
    stand.load.flows(SOON).await?;
    let healed = Instant::now();
    pause.heal().await?;
    stand.well_again().await?;
    ensure!(cluster.member_lives().await? == lives, "a pod was restarted: it did not come back by itself");

    let asked = readers.stop().await?;
    let held = asked.held(&name, since, healed).context("it held no client")?;
    let others = asked.longest_of_others(&name, since, healed);
    let writers = stand.load.look(|report| report.longest_wait(since, healed));
    println!(
        "    member {member} stood still: clients were held for {:.2} s; others waited for {:.2} s at most, \
         writers for {:.2} s",
        held.as_secs_f64(),
        others.as_secs_f64(),
        writers.as_secs_f64()
    );
    ensure!(held <= REACHED_AT_MOST, "a client could reach it {held:?} after it had stopped");
    ensure!(others <= WAIT_MAX, "a client that it did not hold waited for {others:?}");
    Ok(())
}

/// Neither by its manager nor in the resource's status.
async fn is_not_shown_as_synced(stand: &Stand, member: u16) -> Result<()> {
    until("its manager to notice", SAID_SYNCED_MAX, async || says_not_synced(stand, member).await).await?;
    let noticed = stand.cluster.wait_status("a member not Synced", SHOWN_SYNCED_MAX, |status| {
        let shown = status.members.iter().find(|shown| shown.ordinal == i32::from(member));
        let shown = shown.context("it is not among the members")?;
        let comment = shown.wsrep_local_state_comment.as_deref();
        let synced = shown.state == MemberState::Synced || shown.wsrep_ready || comment == Some("Synced");
        ensure!(!synced, "it is shown as {:?}, {comment:?}", shown.state);
        Ok(())
    });
    noticed.await.map(drop)
}

async fn says_not_synced(stand: &Stand, member: u16) -> Result<()> {
    let state = stand.cluster.peer(member).await?.state;
    ensure!(state != galera::MemberState::Synced, "its manager says Synced");
    Ok(())
}

/// A question to the database, from before its connection was made where it is the first one on it.
#[derive(Clone, Debug)]
struct Question {
    began: Instant,
    ended: Instant,
    /// Who was asked; None while that was not known yet.
    member: Option<String>,
}

#[derive(Clone, Debug, Default)]
struct Asked(Vec<Question>);

impl Asked {
    /// How long after it had stopped the last client was let go that waited for it.
    fn held(&self, member: &str, since: Instant, until: Instant) -> Option<Duration> {
        let its = self.during(since, until).filter(|question| question.member.as_deref() == Some(member));
        its.map(|question| question.ended.saturating_duration_since(since)).max()
    }

    /// Of those that asked somebody else, or whoever they were sent to.
    fn longest_of_others(&self, member: &str, since: Instant, until: Instant) -> Duration {
        let others = self.during(since, until).filter(|question| question.member.as_deref() != Some(member));
        others.map(|question| question.ended - question.began).max().unwrap_or_default()
    }

    fn during(&self, since: Instant, until: Instant) -> impl Iterator<Item = &Question> {
        self.0.iter().filter(move |question| question.ended > since && question.began < until)
    }
}

const CLIENTS: usize = 12;
const PACE: Duration = Duration::from_millis(10);
/// Longer than any pause: a question that is never answered is on record, too.
const PATIENCE: Duration = Duration::from_mins(1);
const STOP_DEADLINE: Duration = Duration::from_secs(75);
const QUESTIONS_MAX: usize = 1_000_000;

/// Clients that read, again and again on connections that they keep: no group has to agree on that.
struct Readers {
    asked: Arc<Mutex<Asked>>,
    stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Readers {
    fn start(account: &Account) -> Self {
        let (asked, stop) = (Arc::<Mutex<Asked>>::default(), Arc::new(AtomicBool::new(false)));
        let mut tasks = JoinSet::new();
        for _ in 0..CLIENTS {
            let (account, asked, stop) = (account.clone(), Arc::clone(&asked), Arc::clone(&stop));
            tasks.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    // Whatever ends it, it begins again.
                    read(&account, &asked, &stop).await.ok();
                    tokio::time::sleep(PACE).await;
                }
            });
        }
        Self { asked, stop, tasks }
    }

    /// Waits until some client has a connection to every member, this one among them.
    async fn reach(&self, member: &str) -> Result<()> {
        let since = Instant::now();
        until(&format!("clients of all members, {member} among them"), SOON, async || {
            let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let anew = asked.0.into_iter().filter(|question| question.began > since);
            let answered: BTreeSet<_> = anew.filter_map(|question| question.member).collect();
            let all = answered.contains(member) && answered.len() == usize::from(MEMBERS);
            ensure!(all, "answers came from {answered:?}");
            Ok(())
        })
        .await
    }

    /// Ends all once their present question has come to an end.
    async fn stop(mut self) -> Result<Asked> {
        self.stop.store(true, Ordering::Relaxed);
        let all = async {
            while let Some(ended) = self.tasks.join_next().await {
                ended.context("a reader")?;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(STOP_DEADLINE, all).await.context("the readers did not stop")??;
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
        ensure!(asked.0.len() < QUESTIONS_MAX, "the record of the readers is full");
        Ok(asked)
    }
}

async fn read(account: &Account, asked: &Mutex<Asked>, stop: &AtomicBool) -> Result<()> {
    let note = |began: Instant, member: Option<&str>| {
        let question = Question { began, ended: Instant::now(), member: member.map(str::to_owned) };
        let Asked(questions) = &mut *asked.lock().unwrap_or_else(PoisonError::into_inner);
        if questions.len() < QUESTIONS_MAX {
            questions.push(question);
        }
    };
    let began = Instant::now();
    let connected = patiently(async {
        let mut conn = account.connect().await?;
        let member = conn.query_first::<String, _>("SELECT @@wsrep_node_name").await?;
        Ok((conn, member.context("no name")?))
    });
    let connected = connected.await;
    note(began, None);
    let (mut conn, member) = connected?;
    let mut looks = tokio::time::interval(PACE);
    while !stop.load(Ordering::Relaxed) {
        looks.tick().await;
        let began = Instant::now();
        let answered = patiently(async { Ok(conn.query_drop("SELECT COUNT(*) FROM accounts").await?) }).await;
        note(began, Some(&member));
        answered?;
    }
    Ok(conn.disconnect().await?)
}

async fn patiently<T>(question: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(PATIENCE, question).await.context("no answer")?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whom_it_held_is_told_from_those_who_asked_others() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let question = |member: Option<&str>, (began, ended): (u64, u64)| Question {
            began: at(began),
            ended: at(ended),
            member: member.map(str::to_owned),
        };
        let asked = Asked(vec![
            question(Some("one"), (0, 90)),
            question(Some("one"), (95, 900)),
            question(Some("other"), (95, 120)),
            question(None, (150, 700)),
            question(Some("one"), (5000, 9000)),
        ]);
        let (since, until) = (at(100), at(4000));
        assert_eq!(asked.held("one", since, until), Some(Duration::from_millis(800)));
        assert_eq!(asked.longest_of_others("one", since, until), Duration::from_millis(550));
        assert_eq!(asked.held("none", since, until), None);
        // One that waits until it goes on has waited for all of it.
        assert_eq!(asked.held("one", since, at(5001)), Some(Duration::from_millis(8900)));
    }
}
