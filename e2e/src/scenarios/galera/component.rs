//! Whether there is one Primary component at most, look after look.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures::future::join_all;

use super::stand::{MEMBERS, Stand};
use crate::galera_cluster::Server;

/// Whoever was cut off says that it is Primary, in the view of before, until its own timers have run out (15 s). It commits
/// nothing in it, which the books prove.
const VIEWS_DIFFER_MAX: Duration = Duration::from_secs(20);

#[derive(Default)]
pub(super) struct OneComponent {
    differ_since: Option<Instant>,
}

impl OneComponent {
    /// Asks these members. Whoever cannot be asked, or has no server now, claims nothing; but somebody must answer.
    pub(super) async fn look(&mut self, stand: &Stand, members: &BTreeSet<u16>) -> Result<()> {
        let asked =
            members.iter().map(async |member| Some((*member, stand.cluster.server(*member).await.ok()?)));
        let answers: Vec<_> = join_all(asked).await.into_iter().flatten().collect();
        self.judge(&answers, Instant::now())
    }

    fn judge(&mut self, answers: &[(u16, Server)], now: Instant) -> Result<()> {
        ensure!(!answers.is_empty(), "no member answers");
        let primary: Vec<_> = answers.iter().filter(|(_, server)| server.is_primary()).collect();
        for (member, server) in &primary {
            let size: u16 = server.value("wsrep_cluster_size").parse().unwrap_or_default();
            ensure!(2 * size > MEMBERS, "member {member} is Primary with {size} members");
        }
        let histories: BTreeSet<_> =
            primary.iter().map(|(_, server)| server.value("wsrep_cluster_state_uuid")).collect();
        ensure!(histories.len() <= 1, "Primary components of several histories: {histories:?}");
        let views: BTreeSet<_> = primary.iter().map(|(_, server)| view(server)).collect();
        if views.len() <= 1 {
            self.differ_since = None;
            return Ok(());
        }
        let differ = now.saturating_duration_since(*self.differ_since.get_or_insert(now));
        ensure!(differ <= VIEWS_DIFFER_MAX, "Primary components of several views for {differ:?}: {views:?}");
        Ok(())
    }
}

/// Its number, and who is part of it.
fn view(server: &Server) -> (&str, BTreeSet<&str>) {
    let members = server.value("wsrep_incoming_addresses").split(',').collect();
    (server.value("wsrep_cluster_conf_id"), members)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(status: &str, history: &str, number: &str, members: &str) -> Server {
        let size = members.split(',').count().to_string();
        let values = [
            ("wsrep_cluster_status", status),
            ("wsrep_cluster_size", &size),
            ("wsrep_cluster_state_uuid", history),
            ("wsrep_cluster_conf_id", number),
            ("wsrep_incoming_addresses", members),
        ];
        values.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().collect()
    }

    fn primary(number: &str, members: &str) -> Server {
        says("Primary", "h", number, members)
    }

    fn judge(servers: [Server; 2]) -> Result<()> {
        let [one, other] = servers;
        OneComponent::default().judge(&[(0, one), (1, other)], Instant::now())
    }

    #[test]
    fn one_view_is_one_component_and_nobody_is_none() {
        assert!(judge([primary("3", "a,b,c"), primary("3", "c,b,a")]).is_ok());
        assert!(judge([primary("3", "a,b"), says("non-Primary", "h", "9", "c")]).is_ok());
        assert!(OneComponent::default().judge(&[], Instant::now()).is_err());
    }

    #[test]
    fn neither_a_minority_nor_another_history_is_primary() {
        assert!(judge([primary("3", "a,b"), primary("3", "c")]).is_err());
        assert!(judge([primary("3", "a,b"), says("Primary", "other", "3", "a,b")]).is_err());
    }

    #[test]
    fn views_may_differ_for_a_while_only() {
        let answers = [(0, primary("3", "a,b,c")), (1, primary("4", "b,c"))];
        let (start, mut component) = (Instant::now(), OneComponent::default());
        assert!(component.judge(&answers, start).is_ok());
        assert!(component.judge(&answers, start + VIEWS_DIFFER_MAX).is_ok());
        assert!(component.judge(&answers, start + 2 * VIEWS_DIFFER_MAX).is_err());
        assert!(component.judge(&answers[1..], start + 2 * VIEWS_DIFFER_MAX).is_ok());
        assert!(component.judge(&answers, start + 3 * VIEWS_DIFFER_MAX).is_ok());
    }
}
