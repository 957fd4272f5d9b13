//! One life of the server: from its start to its end.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use quartet_client::galera::Position;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use uuid::Uuid;

use super::evictions::Evictions;
use super::step::Start;
use crate::decide::Link;
use crate::server::Server;
use crate::server::sql::{Probe, Pulse, Sql};
use crate::server::status::Status;

/// How often the server is asked for its status.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// A server that has not answered for so long is not what it said last, for all that anybody can know.
pub(super) const UNHEARD: Duration = Duration::from_secs(5);
/// How often it is asked for a sign of life.
const PULSE_EVERY: Duration = Duration::from_millis(100);
/// What it said longer ago says nothing about now.
pub(super) const FRESH: Duration = Duration::from_secs(2);
/// New enough to be compared with what others say.
const LATELY: Duration = Duration::from_secs(1);
/// The group's own timers have run out by then.
const COME_BACK: Duration = Duration::from_secs(1);
const MEASURE_EVERY: Duration = Duration::from_secs(2);
/// Who has been asked less often may have stood still together with the manager.
const MISSED: u32 = 10;
/// What is transferred has not grown for so long: it stands still.
const STALLED: Duration = Duration::from_secs(10);

/// What the server said, and when.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) at: Instant,
    pub(super) status: Status,
    pub(super) version: String,
    /// How often it was asked since, and did not answer.
    pub(super) missed: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Starting,
    Primary,
    NonPrimary,
    Disconnected,
}

/// Of what was under way when the server was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Markers {
    There,
    Going,
    Gone,
}

pub(super) struct Life {
    pub(super) server: Server,
    pub(super) sql: Sql,
    pub(super) founding: bool,
    /// Of the group that it was started to be part of.
    pub(super) group_name: Option<String>,
    /// The history that it began, until the settings name it.
    pub(super) begun: Option<Uuid>,
    /// It was started to join, and not to form a Primary component.
    joins: bool,
    /// When a peer told of a Primary component last.
    pub(super) primary_told: Instant,
    said: watch::Receiver<Option<Said>>,
    /// When it gave a sign of life.
    pulse: watch::Receiver<Option<Instant>>,
    asking: Vec<AbortHandle>,
    standing: (Standing, Instant),
    pub(super) was_primary: bool,
    pub(super) was_synced: Option<Instant>,
    last_synced: Option<Instant>,
    pub(super) evictions: Evictions,
    primary_group: Option<PrimaryGroup>,
    /// When it last said something, and when it last began to again after a pause.
    heard: Option<(Instant, Option<Instant>)>,
    pub(super) markers: Markers,
    pub(super) told_to_end: Option<Instant>,
    transferred: Option<u64>,
    /// When that was seen to grow last.
    grew: Option<Instant>,
    measured: Option<Instant>,
}

impl Life {
    pub(super) fn new(server: Server, sql: Sql, start: &Start, group_name: &str) -> Self {
        let (tell, said) = watch::channel(None);
        let (felt, pulse) = watch::channel(None);
        let probing = tokio::spawn(probe(Probe::new(sql.clone()), tell)).abort_handle();
        let feeling = tokio::spawn(feel(Pulse::new(sql.clone()), felt)).abort_handle();
        let mut life = Self::hearing(server, sql, start, said, pulse);
        life.asking = vec![probing, feeling];
        life.group_name = Some(group_name.to_owned());
        life
    }

    /// What the server says comes from elsewhere.
    pub(super) fn hearing(
        server: Server,
        sql: Sql,
        start: &Start,
        said: watch::Receiver<Option<Said>>,
        pulse: watch::Receiver<Option<Instant>>,
    ) -> Self {
        Self {
            server,
            sql,
            founding: *start == Start::Found,
            group_name: None,
            begun: match start {
                Start::Begin { history, .. } => Some(*history),
                _ => None,
            },
            joins: matches!(start, Start::Join(_)),
            primary_told: Instant::now(),
            said,
            pulse,
            asking: Vec::new(),
            standing: (Standing::Starting, Instant::now()),
            was_primary: false,
            was_synced: None,
            last_synced: None,
            evictions: Evictions::default(),
            primary_group: None,
            heard: None,
            markers: Markers::There,
            told_to_end: None,
            transferred: None,
            grew: None,
            measured: None,
        }
    }

    /// It was started to form a Primary component, by leave, with data that there was.
    pub(super) fn is_granted(&self) -> bool {
        !self.founding && !self.joins
    }

    /// Nothing is under way any more that a crash would leave half done.
    pub(super) fn is_settled(&self) -> bool {
        self.markers == Markers::Gone
    }

    /// The last that it said, however long ago.
    pub(super) fn said(&self) -> Option<Said> {
        self.said.borrow().clone()
    }

    /// It has told its status before, and has not for so long that the last one says nothing any more.
    pub(super) fn is_unheard(&self, now: Instant) -> bool {
        self.said.borrow().as_ref().is_some_and(|said| now.saturating_duration_since(said.at) >= UNHEARD)
    }

    /// The same, for so long and although it was asked.
    pub(super) fn hangs(&self, now: Instant, limit: Duration) -> bool {
        self.said
            .borrow()
            .as_ref()
            .is_some_and(|said| said.missed >= MISSED && now.saturating_duration_since(said.at) >= limit)
    }

    /// The last that it told, however long ago.
    pub(super) fn last_position(&self) -> Option<Position> {
        self.said.borrow().as_ref()?.status.position()
    }

    pub(super) fn was_answered(&self) -> bool {
        self.said.borrow().is_some()
    }

    /// How long ago it answered anything.
    pub(super) fn silent_for(&self, now: Instant) -> Option<Duration> {
        let said = self.said.borrow().as_ref().map(|said| said.at);
        let last = said.max(*self.pulse.borrow());
        last.map(|at| now.saturating_duration_since(at))
    }

    /// Takes note of how it stands now.
    pub(super) fn look(&mut self, now: Instant) {
        let standing = match self.said.borrow().as_ref() {
            None => Standing::Starting,
            Some(said) if said.status.is_primary() => Standing::Primary,
            Some(said) if said.status.is_disconnected() => Standing::Disconnected,
            Some(_) => Standing::NonPrimary,
        };
        if standing != self.standing.0 {
            self.standing = (standing, now);
        }
        self.was_primary |= standing == Standing::Primary;
        let said = self.said.borrow();
        let status = said.as_ref().map(|said| &said.status);
        self.heard = said.as_ref().map(|said| (said.at, since(self.heard, said.at)));
        if status.is_some_and(Status::is_synced) {
            self.was_synced.get_or_insert(now);
            self.last_synced = said.as_ref().map(|said| said.at);
        }
        let counted =
            |address: &IpAddr| status.is_some_and(|it| it.members().any(|member| member == *address));
        self.evictions.look(now, status.is_some_and(Status::has_evicted), counted);
        self.primary_group =
            said.as_ref().and_then(|said| PrimaryGroup::told(self.primary_group.take(), said));
    }

    pub(super) fn link(&self, now: Instant) -> Link {
        let for_at_least = now - self.standing.1;
        let said = self.said.borrow();
        let status = said.as_ref().map(|said| &said.status);
        link(status, self.is_settled(), self.was_primary, for_at_least)
    }

    /// It was silent, and has not been heard for long enough since: one that stood still does not know yet that the
    /// others have gone on without it.
    pub(super) fn has_just_come_back(&self, now: Instant) -> bool {
        let since = self.heard.and_then(|(_, since)| since);
        since.is_some_and(|since| now - since < COME_BACK)
    }

    /// How long ago it last said that it is Synced.
    pub(super) fn unsynced_for(&self, now: Instant) -> Option<Duration> {
        self.last_synced.map(|at| now.saturating_duration_since(at))
    }

    /// Of one that is to join and has not been part of a Primary component yet: how long nobody has told of one.
    pub(super) fn alone_for(&self, now: Instant) -> Option<Duration> {
        (self.joins && !self.was_primary).then(|| now.saturating_duration_since(self.primary_told))
    }

    /// Addresses of those whom the group counts.
    pub(super) fn group(&self) -> Vec<IpAddr> {
        self.said.borrow().as_ref().map(|said| said.status.members().collect()).unwrap_or_default()
    }

    /// The same, where it is known for certain whom the Primary component consists of.
    pub(super) fn primary_group(&self) -> Option<&[IpAddr]> {
        self.primary_group.as_ref().filter(|group| group.twice).map(|group| group.members.as_slice())
    }

    /// The same as [`Self::group`], and of those who are not counted any more, and whose eviction is not over: who comes back too early makes
    /// the group wait for seconds (measured).
    pub(super) fn noticed(&self) -> Vec<IpAddr> {
        let mut all = self.group();
        all.extend(self.evictions.addresses().filter(|address| !self.counts(*address)));
        all
    }

    /// Whether the group counts somebody at this address as a member.
    pub(super) fn counts(&self, address: IpAddr) -> bool {
        self.said.borrow().as_ref().is_some_and(|said| said.status.members().any(|member| member == address))
    }

    pub(super) fn position(&self, now: Instant) -> Option<Position> {
        if self.is_unheard(now) {
            return None;
        }
        let said = self.said.borrow();
        let status = &said.as_ref()?.status;
        status.position().filter(|_| status.is_primary() || status.is_settled())
    }

    /// The same of a moment ago, when everything that it had received was applied.
    pub(super) fn settled_position(&self, now: Instant) -> Option<Position> {
        let said = self.said.borrow();
        let said = said.as_ref().filter(|said| self.was_primary && now - said.at <= LATELY)?;
        said.status.position().filter(|_| said.status.is_settled())
    }

    /// The server answers: its storage engine is up, so that nothing is transferred any more. A founder counts only
    /// once its cluster exists.
    pub(super) fn may_settle(&self) -> bool {
        let said = self.said.borrow();
        let Some(said) = said.as_ref() else { return false };
        let founded = said.status.is_primary() && said.status.position().is_some();
        self.markers == Markers::There && (!self.founding || founded)
    }

    pub(super) fn has_transferred(&mut self, now: Instant, bytes: u64) {
        if self.transferred.is_some_and(|before| bytes > before) {
            self.grew = Some(now);
        }
        self.transferred = Some(bytes);
    }

    pub(super) fn transferred(&self) -> Option<u64> {
        self.transferred
    }

    pub(super) fn transfer_moves(&self, now: Instant) -> bool {
        !self.was_answered() && self.grew.is_some_and(|at| now.saturating_duration_since(at) < STALLED)
    }

    pub(super) fn measures_transfer(&mut self, now: Instant) -> bool {
        let due = !self.was_answered() && self.measured.is_none_or(|at| now - at >= MEASURE_EVERY);
        if due {
            self.measured = Some(now);
        }
        due
    }
}

/// Whom the Primary component consists of that the server is part of.
#[derive(Debug)]
struct PrimaryGroup {
    members: Vec<IpAddr>,
    /// When it was told first.
    at: Instant,
    /// It was told once more since: a status is put together from several places, and may be read in the middle of a
    /// change.
    twice: bool,
}

impl PrimaryGroup {
    /// None where the server is not part of one, or somebody's address is missing.
    fn told(known: Option<Self>, said: &Said) -> Option<Self> {
        let members: Vec<IpAddr> = said.status.members().collect();
        let complete = said.status.number("cluster_size") == Some(members.len());
        if !(said.status.is_primary() && complete) {
            return None;
        }
        match known {
            Some(known) if known.members == members => {
                Some(Self { twice: known.twice || known.at != said.at, ..known })
            }
            _ => Some(Self { members, at: said.at, twice: false }),
        }
    }
}

/// When it was heard again after a pause. The first time is none: then it knows how it stands.
fn since(heard: Option<(Instant, Option<Instant>)>, at: Instant) -> Option<Instant> {
    match heard {
        Some((last, since)) if at - last <= FRESH => since,
        Some(_) => Some(at),
        None => None,
    }
}

fn link(status: Option<&Status>, settled: bool, was_primary: bool, for_at_least: Duration) -> Link {
    let Some(status) = status else { return Link::Starting };
    if status.is_primary() {
        Link::Primary { synced: status.is_synced() && settled }
    } else if status.is_disconnected() {
        Link::Disconnected { for_at_least }
    } else {
        // Of one that never was part of a Primary component it is not known what its data is worth.
        let position = status.position().filter(|_| status.is_settled() && was_primary);
        Link::NonPrimary { position, for_at_least }
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        for task in &self.asking {
            task.abort();
        }
    }
}

async fn probe(mut probe: Probe, tell: watch::Sender<Option<Said>>) {
    let mut ticks = tokio::time::interval(ASK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match probe.ask().await {
            Ok((status, version)) => {
                tell.send_replace(Some(Said { at: Instant::now(), status, version, missed: 0 }));
            }
            Err(error) => {
                tracing::debug!(%error, "the server does not tell its status");
                tell.send_modify(|said| {
                    if let Some(said) = said {
                        said.missed = said.missed.saturating_add(1);
                    }
                });
            }
        }
    }
}

async fn feel(mut pulse: Pulse, felt: watch::Sender<Option<Instant>>) {
    let mut ticks = tokio::time::interval(PULSE_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match pulse.beat().await {
            Ok(()) => {
                felt.send_replace(Some(Instant::now()));
            }
            Err(error) => tracing::debug!(%error, "the server gives no sign of life"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::status::tests::status;

    const AWHILE: Duration = Duration::from_secs(3);
    const NON_PRIMARY: (&str, &str) = ("wsrep_cluster_status", "non-Primary");

    #[test]
    fn a_server_is_synced_only_once_nothing_of_its_start_is_left_half_done() {
        let now = |settled| link(Some(&status(&[])), settled, true, AWHILE);
        assert_eq!(now(true), Link::Primary { synced: true });
        assert_eq!(now(false), Link::Primary { synced: false });
        assert_eq!(link(None, true, true, AWHILE), Link::Starting);
    }

    #[test]
    fn a_primary_group_is_known_once_it_was_told_twice_and_completely() {
        let start = Instant::now();
        let two = ("wsrep_incoming_addresses", "10.0.0.7:3306,10.0.0.8:3306");
        let said = |ms: u64, changed: &[(&str, &str)]| Said {
            at: start + Duration::from_millis(ms),
            status: status(changed),
            version: String::new(),
            missed: 0,
        };
        let sized = [two, ("wsrep_cluster_size", "2")];
        let once = PrimaryGroup::told(None, &said(0, &sized));
        let again = PrimaryGroup::told(once, &said(0, &sized));
        assert!(again.as_ref().is_some_and(|group| !group.twice), "the same word is not another one");
        let twice = PrimaryGroup::told(again, &said(100, &sized));
        assert!(twice.as_ref().is_some_and(|group| group.twice && group.members.len() == 2));
        let single = [("wsrep_incoming_addresses", "10.0.0.7:3306"), ("wsrep_cluster_size", "1")];
        let other = PrimaryGroup::told(twice, &said(200, &single));
        assert!(other.is_some_and(|group| !group.twice), "another group");
        for changed in [
            vec![two, ("wsrep_cluster_size", "3")],
            vec![("wsrep_incoming_addresses", "10.0.0.7:3306,AUTO"), ("wsrep_cluster_size", "2")],
            vec![two, ("wsrep_cluster_size", "2"), NON_PRIMARY],
        ] {
            let known = Some(PrimaryGroup { members: vec![], at: start, twice: true });
            assert!(PrimaryGroup::told(known, &said(100, &changed)).is_none(), "{changed:?}");
        }
    }

    #[test]
    fn whoever_was_silent_has_just_come_back_and_whoever_starts_has_not() {
        let start = Instant::now();
        let heard = since(None, start);
        assert_eq!(heard, None);
        assert_eq!(since(Some((start, heard)), start + FRESH), None, "no pause");
        let back = start + FRESH * 3;
        assert_eq!(since(Some((start, None)), back), Some(back));
        assert_eq!(since(Some((back, Some(back))), back + FRESH), Some(back));
    }

    #[test]
    fn outside_of_a_primary_component_a_position_is_told_when_all_that_was_received_is_applied() {
        let position = |changed: &[(&str, &str)], was_primary| {
            let link = link(Some(&status(changed)), true, was_primary, AWHILE);
            let Link::NonPrimary { position, for_at_least: AWHILE } = link else { panic!("{link:?}") };
            position.map(|position| position.seqno)
        };
        assert_eq!(position(&[NON_PRIMARY], true), Some(1));
        assert_eq!(position(&[NON_PRIMARY, ("wsrep_local_recv_queue", "2")], true), None);
        assert_eq!(position(&[NON_PRIMARY], false), None, "it never was part of one");
        let lost = status(&[("wsrep_cluster_status", "Disconnected")]);
        assert_eq!(link(Some(&lost), true, true, AWHILE), Link::Disconnected { for_at_least: AWHILE });
    }
}
