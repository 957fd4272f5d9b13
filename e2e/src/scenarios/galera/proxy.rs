//! No query reaches a member that has left the Primary component for more than a second, by whatever connection.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mysql_async::prelude::Queryable;
use tokio::task::JoinSet;

use super::stand::{MEMBERS, SOON, Stand};
use crate::faults::Fault;
use crate::faults::network::cut_between;
use crate::galera_cluster::Cluster;
use crate::load::bank::Account;
use crate::stage::Stage;
use crate::wait::until;

const REACHED_AT_MOST: Duration = Duration::from_secs(1);
const CLIENTS: usize = 12;
const PACE: Duration = Duration::from_millis(10);
/// Who refuses everything without telling its name.
const OUTSIDE: &str = "";
const LOOK: Duration = Duration::from_millis(20);

/// A member cut off from its peers, but not from the proxies: it is there, answers them, and must not be asked.
pub(super) async fn nobody_reaches_a_member_apart(stage: Stage) -> Result<()> {
    let stand = Stand::make(&stage).await?;
    let (cluster, account) = (&stand.cluster, stand.cluster.account().await?);
    for apart in 0..MEMBERS {
        let askers = Askers::start(&account);
        askers.reach(&cluster.member(apart)).await?;
        let cuts = cut_from_peers(cluster, apart).await?;
        let since = when_apart(cluster, apart).await?;
        stand.load.flows(SOON).await?;
        let last = askers.last_reached(&cluster.member(apart)).context("it was never asked")?;
        let after = last.saturating_duration_since(since);
        println!(
            "    member {apart} apart: the last query that reached it came {:.2} s later",
            after.as_secs_f64()
        );
        ensure!(
            after <= REACHED_AT_MOST,
            "a query reached it {after:?} after it had left the Primary component"
        );
        for cut in cuts {
            cut.heal().await?;
        }
        stand.well_again().await?;
    }
    stand.end().await.map(drop)
}

async fn cut_from_peers(cluster: &Cluster, apart: u16) -> Result<Vec<Fault>> {
    let one = cluster.target(apart).await?;
    let mut cuts = Vec::new();
    for other in (0..MEMBERS).filter(|other| *other != apart) {
        cuts.push(cut_between(&one, &cluster.target(other).await?).await?);
    }
    Ok(cuts)
}

/// Waits until it says itself that it is not part of a Primary component; the moment before it was seen.
async fn when_apart(cluster: &Cluster, apart: u16) -> Result<Instant> {
    let (started, mut looks) = (Instant::now(), tokio::time::interval(LOOK));
    while started.elapsed() < SOON {
        looks.tick().await;
        let at = Instant::now();
        if !cluster.peer(apart).await?.state.is_primary() {
            return Ok(at);
        }
    }
    anyhow::bail!("member {apart} is still part of the Primary component")
}

/// Clients that ask who answers, again and again on connections that they keep.
struct Askers {
    last: Arc<Mutex<BTreeMap<String, Instant>>>,
    _tasks: JoinSet<()>,
}

impl Askers {
    fn start(account: &Account) -> Self {
        let (last, mut tasks) = (Arc::<Mutex<BTreeMap<String, Instant>>>::default(), JoinSet::new());
        for _ in 0..CLIENTS {
            let (account, last) = (account.clone(), Arc::clone(&last));
            tasks.spawn(async move {
                loop {
                    // Whatever ends it, it begins again.
                    ask(&account, &last).await.ok();
                    tokio::time::sleep(PACE).await;
                }
            });
        }
        Self { last, _tasks: tasks }
    }

    fn last_answer(&self, member: &str) -> Option<Instant> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).get(member).copied()
    }

    /// The same of that member, which is the only one that may be outside of the Primary component.
    fn last_reached(&self, apart: &str) -> Option<Instant> {
        self.last_answer(apart).max(self.last_answer(OUTSIDE))
    }

    async fn reach(&self, member: &str) -> Result<()> {
        let since = Instant::now();
        until(&format!("a query that reaches {member}"), SOON, async || {
            ensure!(self.last_answer(member).is_some_and(|last| last > since), "none since then");
            Ok(())
        })
        .await
    }
}

/// An answer counts, and so does a refusal: both say that the query has reached a member.
async fn ask(account: &Account, last: &Mutex<BTreeMap<String, Instant>>) -> Result<()> {
    let note = |member: &str, sent| {
        last.lock().unwrap_or_else(PoisonError::into_inner).insert(member.to_owned(), sent);
    };
    let sent = Instant::now();
    let connected = account.connect().await;
    if is_outside(&connected) {
        note(OUTSIDE, sent);
    }
    let (mut conn, sent) = (connected?, Instant::now());
    let named = conn.query_first::<String, _>("SELECT @@wsrep_node_name").await;
    if is_outside(&named) {
        note(OUTSIDE, sent);
    }
    let member = named?.context("no name")?;
    let mut looks = tokio::time::interval(PACE);
    loop {
        looks.tick().await;
        let sent = Instant::now();
        let answered = conn.query_drop("SELECT COUNT(*) FROM accounts").await;
        if matches!(answered, Ok(()) | Err(mysql_async::Error::Server(_))) {
            note(&member, sent);
        }
        answered?;
    }
}

/// A member that is not part of a Primary component does not even tell its name.
fn is_outside<T>(answer: &Result<T, mysql_async::Error>) -> bool {
    const NOT_READY: u16 = 1047;
    matches!(answer, Err(mysql_async::Error::Server(error)) if error.code == NOT_READY)
}
