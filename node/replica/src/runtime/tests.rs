//! Real members on loopback and real files.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use quartet_raft::{LogTime, MemberId, Role};
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::engine::{GroupChange, MemberCommand, Report};
use crate::wire::Failure;
use crate::{At, CorruptSnapshot, Settled};

mod hanging;

const GROUPS: u16 = 2;
const LONG: Duration = Duration::from_mins(1);
const SHORT: Duration = Duration::from_secs(1);

/// Remembers all commands; a query answers with them, joined.
#[derive(Debug, Default)]
struct Words(Vec<Vec<u8>>);

impl StateMachine for Words {
    fn advance(&mut self, _: At, _: &mut Settled) {}

    fn apply(&mut self, at: At, command: &[u8], settled: &mut Settled) {
        self.0.push(command.to_vec());
        settled.settle(at.index, command.to_vec());
    }

    fn query(&self, _: &[u8]) -> Bytes {
        self.0.join(&b' ').into()
    }

    fn deadline(&self) -> Option<LogTime> {
        None
    }

    fn snapshot(&self) -> Vec<u8> {
        self.0.join(&b' ')
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), CorruptSnapshot> {
        let words = snapshot.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
        self.0 = words.map(<[u8]>::to_vec).collect();
        Ok(())
    }
}

struct Member {
    settings: RuntimeSettings,
    handle: Handle,
    running: Running,
}

impl Member {
    async fn start(settings: RuntimeSettings) -> Self {
        let (handle, running) = start(settings.clone(), |_| Words::default()).await.unwrap();
        Self { settings, handle, running }
    }

    async fn kill(self) -> RuntimeSettings {
        self.running.kill().await;
        self.settings
    }

    fn id(&self) -> MemberId {
        self.handle.identity().id
    }

    async fn says(&self, group: u16, word: &str) -> Result<Bytes, Failure> {
        self.handle.execute(GroupId(group), Bytes::copy_from_slice(word.as_bytes()), None, SHORT).await
    }

    async fn words(&self, group: u16) -> Result<Vec<String>, Failure> {
        let answer = self.handle.query(GroupId(group), Bytes::new(), SHORT).await?;
        Ok(String::from_utf8_lossy(&answer).split_whitespace().map(str::to_owned).collect())
    }

    async fn leads(&self, group: u16) -> bool {
        self.handle
            .report()
            .await
            .groups
            .iter()
            .any(|found| found.group.0 == group && found.role == Role::Leader)
    }
}

fn address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn cluster_settings(members: u16, data: &Path) -> Vec<RuntimeSettings> {
    let addresses: Vec<SocketAddr> = (0..members).map(|_| address()).collect();
    let peers: BTreeMap<u16, String> = (0..).zip(addresses.iter().map(ToString::to_string)).collect();
    let engine =
        EngineSettings { groups: GROUPS, tick: Duration::from_millis(20), ..EngineSettings::default() };
    let each = (0..members).zip(addresses).map(|(ordinal, listen)| RuntimeSettings {
        name: "test".to_owned(),
        ordinal,
        data: data.join(ordinal.to_string()),
        listen,
        peers: Some(peers.clone()),
        engine: engine.clone(),
        store: Some(StoreSettings { segment_bytes: 1 << 16, segments_kept: 4, reserve_bytes: 0 }),
    });
    each.collect()
}

async fn start_all(settings: impl IntoIterator<Item = RuntimeSettings>) -> Vec<Member> {
    let mut members = Vec::new();
    for settings in settings {
        members.push(Member::start(settings).await);
    }
    members
}

/// A bounded wait for a condition.
async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut condition: impl FnMut() -> F) -> T {
    let tries = async {
        loop {
            if let Some(value) = condition().await {
                return value;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(LONG, tries).await.unwrap_or_else(|_| panic!("never happened: {what}"))
}

async fn serves(member: &Member) {
    for group in 0..GROUPS {
        eventually("every member answers", || async { member.words(group).await.ok() }).await;
    }
}

async fn leader(members: &[Member], group: u16) -> &Member {
    eventually("somebody leads", || async {
        for member in members {
            if member.leads(group).await {
                return Some(member);
            }
        }
        None
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_members_found_a_cluster_and_what_they_acknowledged_outlives_all_of_them() {
    let data = TempDir::new().unwrap();
    let mut members = start_all(cluster_settings(3, data.path())).await;
    let mut acknowledged = Vec::new();
    for life in 0..3 {
        for member in &members {
            serves(member).await;
            let word = format!("{life}-by-{}", member.settings.ordinal);
            for group in 0..GROUPS {
                // A refusal says that nothing was done; anything else would end the test.
                eventually("a command is carried out", || async {
                    match member.says(group, &word).await {
                        Ok(answer) => Some(answer),
                        Err(Failure::Unavailable) => None,
                        Err(failure) => panic!("{failure}"),
                    }
                })
                .await;
            }
            acknowledged.push(word);
        }
        let mut settings = Vec::new();
        for member in members {
            settings.push(member.kill().await);
        }
        members = start_all(settings).await;
    }
    for member in &members {
        serves(member).await;
        for group in 0..GROUPS {
            assert_eq!(member.words(group).await.unwrap(), acknowledged);
        }
    }
    let counted = members[0].handle.counted();
    assert!(counted.fsync.count > 0 && counted.batches >= counted.fsync.count, "{counted:?}");
    for member in members {
        timeout(LONG, member.running.stop()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_member_founds_nothing_and_comes_back_as_a_learner_then_a_voter() {
    let data = TempDir::new().unwrap();
    let mut settings = cluster_settings(3, data.path());
    // So that it gets a snapshot, in pieces, over the connection for bulk.
    for settings in &mut settings {
        settings.engine.snapshot_after_bytes = 1000;
        settings.engine.keep_entries = 0;
        settings.engine.chunk_bytes = 32;
    }
    let mut members = start_all(settings).await;
    for member in &members {
        serves(member).await;
    }
    let cluster = members[1].handle.identity().cluster;
    for group in 0..GROUPS {
        for _ in 0..30 {
            eventually("a word is kept", || async { members[1].says(group, "before").await.ok() }).await;
        }
    }
    for (member, group) in members.iter().flat_map(|member| (0..GROUPS).map(move |group| (member, group))) {
        eventually("the log's beginning is gone", || async { snapshot_on_disk(member, group).then_some(()) })
            .await;
    }
    // The lowest ordinal: the one that founds.
    let old = members[0].id();
    let settings = members.remove(0).kill().await;
    std::fs::remove_dir_all(&settings.data).unwrap();
    let wiped = Member::start(settings).await;
    assert_ne!(wiped.id(), old);
    for member in &members {
        serves(member).await;
    }
    assert_eq!(wiped.handle.report().await.cluster, None);

    let listed = |member: &Member| (member.id(), member.settings.listen.to_string());
    let rest: Vec<_> = members.iter().map(listed).collect();
    let everybody = [rest.clone(), vec![listed(&wiped)]].concat();
    for group in 0..GROUPS {
        change(&members, group, rest.clone(), vec![listed(&wiped)]).await;
        change(&members, group, everybody.clone(), Vec::new()).await;
    }
    serves(&wiped).await;
    assert_eq!(wiped.handle.report().await.cluster, cluster);
    for group in 0..GROUPS {
        let words = wiped.words(group).await.unwrap();
        assert!(words.len() >= 30 && words.iter().all(|word| word == "before"), "{words:?}");
    }
    // It counts: with it and without another one there is a quorum.
    members.remove(1).kill().await;
    for group in 0..GROUPS {
        eventually("two of three go on", || async { wiped.says(group, "after").await.ok() }).await;
    }
}

fn snapshot_on_disk(member: &Member, group: u16) -> bool {
    let names = std::fs::read_dir(&member.settings.data).unwrap().map(|file| file.unwrap().file_name());
    names.into_iter().any(|name| name.to_string_lossy().starts_with(&format!("snapshot-{group:05}-")))
}

/// Until the committed configuration has these members, and the learners all that there is.
async fn change(
    members: &[Member],
    group: u16,
    voters: Vec<(MemberId, String)>,
    learners: Vec<(MemberId, String)>,
) {
    eventually("the members change", || async {
        let leader = leader(members, group).await;
        let report: Report = leader.handle.report().await;
        let found = report.groups.iter().find(|found| found.group.0 == group)?;
        let has = |ids: &[(MemberId, String)], set: &std::collections::BTreeSet<MemberId>| {
            ids.len() == set.len() && ids.iter().all(|(id, _)| set.contains(id))
        };
        let now = &found.configuration;
        if found.configuration_committed
            && has(&voters, &now.voters)
            && has(&learners, &now.learners)
            && !now.is_joint()
        {
            let caught_up = |id: &MemberId| {
                found.progress.iter().any(|(of, progress)| of == id && progress.matched >= found.committed)
            };
            return learners.iter().all(|(id, _)| caught_up(id)).then_some(());
        }
        let wanted = GroupChange {
            group: GroupId(group),
            expected: found.configuration_index,
            voters: voters.clone(),
            learners: learners.clone(),
        };
        let command = MemberCommand::Change { cluster: report.cluster?, groups: vec![wanted] };
        // Refused while another change is under way: asked for again.
        let _ = leader.handle.command(command).await;
        None
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_directory_is_used_once_and_by_its_own_member() {
    let data = TempDir::new().unwrap();
    let settings = cluster_settings(1, data.path()).remove(0);
    let member = Member::start(settings.clone()).await;
    serves(&member).await;
    let other = RuntimeSettings { listen: address(), ..settings.clone() };
    let again = start(other.clone(), |_| Words::default()).await.err().unwrap();
    assert!(matches!(again, StartError::InUse { .. }), "{again}");
    member.kill().await;
    let peers = Some(BTreeMap::from([(4, other.listen.to_string())]));
    let foreign =
        start(RuntimeSettings { ordinal: 4, peers, ..other }, |_| Words::default()).await.err().unwrap();
    assert!(matches!(foreign, StartError::OtherOrdinal { found: 0, wanted: 4, .. }), "{foreign}");
    let unlisted =
        start(RuntimeSettings { ordinal: 4, ..settings }, |_| Words::default()).await.err().unwrap();
    assert!(matches!(unlisted, StartError::NotListed { ordinal: 4 }), "{unlisted}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_member_says_so_does_nothing_and_is_empty_after_a_reset() {
    let data = TempDir::new().unwrap();
    let settings = cluster_settings(1, data.path()).remove(0);
    let member = Member::start(settings).await;
    serves(&member).await;
    let old = member.id();
    // Managed from here on, so that it does not found again by itself.
    let settings = RuntimeSettings { peers: None, ..member.kill().await };
    let name = "identity";
    let mut bytes = std::fs::read(settings.data.join(name)).unwrap();
    bytes[30] ^= 1;
    std::fs::write(settings.data.join(name), bytes).unwrap();

    let member = Member::start(settings).await;
    let report = member.handle.report().await;
    assert!(report.damage.is_some_and(|why| why.contains(name)));
    let somebody = new_identity(9);
    let address = member.settings.listen.to_string();
    assert!(
        transport::ask(&address, &somebody, GROUPS).await.is_err(),
        "it does not pass for an empty member"
    );
    assert_eq!(member.says(0, "no").await, Err(Failure::Unavailable));
    assert!(member.handle.reset(old.incarnation).await.is_err(), "its incarnation is not known any more");
    member.handle.reset(0).await.unwrap();
    assert!(transport::ask(&address, &somebody, GROUPS).await.is_ok());
    let report = member.handle.report().await;
    assert_eq!((report.damage, report.cluster), (None, None));
    assert_ne!(report.id, old);
    let found =
        |cluster| MemberCommand::Found { cluster, members: vec![(report.id, "127.0.0.1:1".to_owned())] };
    member.handle.command(found(7)).await.unwrap();
    serves(&member).await;
    assert!(member.words(0).await.unwrap().is_empty());
    // Once more, while it works; and the new one is there after a restart.
    member.handle.reset(report.id.incarnation).await.unwrap();
    let third = member.id();
    let member = Member::start(member.kill().await).await;
    assert_eq!((member.id(), member.handle.identity().cluster), (third, None));
}

/// Its connections end and new ones are refused: that it is gone need not be waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_process_ends_is_replaced_before_any_election_timeout() {
    let data = TempDir::new().unwrap();
    let mut settings = cluster_settings(3, data.path());
    for each in &mut settings {
        each.engine.raft.election_ticks = 250;
    }
    let election_timeout = settings[0].engine.tick * settings[0].engine.raft.election_ticks;
    let mut members = start_all(settings).await;
    for member in &members {
        serves(member).await;
    }
    let leader = leader(&members, 0).await.id();
    let place = members.iter().position(|member| member.id() == leader).unwrap();
    members.remove(place).kill().await;
    let killed = Instant::now();
    eventually("another leads", || async { members[0].says(0, "after").await.ok() }).await;
    assert!(killed.elapsed() < election_timeout, "{:?}", killed.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_quorum_a_request_is_answered_in_time_and_one_that_nobody_waits_for_is_forgotten() {
    let data = TempDir::new().unwrap();
    let mut members = start_all(cluster_settings(3, data.path())).await;
    for member in &members {
        serves(member).await;
    }
    members.remove(2).kill().await;
    members.remove(1).kill().await;
    let member = &members[0];
    let answer = timeout(LONG, member.says(0, "never")).await.expect("it is answered in time");
    assert!(matches!(answer, Err(Failure::Unavailable | Failure::Unknown)), "{answer:?}");
    let waits = member.handle.execute(GroupId(0), Bytes::from_static(b"dropped"), None, LONG);
    assert!(timeout(Duration::from_millis(50), waits).await.is_err());
    timeout(LONG, members.remove(0).running.stop()).await.expect("it stops");
}

const DATA_OF_CHILD: &str = "QUARTET_TEST_DATA_OF_CHILD";

#[test]
fn an_error_of_the_disk_ends_the_process() {
    use std::os::unix::process::ExitStatusExt;

    if let Some(data) = std::env::var_os(DATA_OF_CHILD) {
        return live_on_a_disk_that_fails(Path::new(&data));
    }
    let data = TempDir::new().unwrap();
    let name = "runtime::tests::an_error_of_the_disk_ends_the_process";
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(DATA_OF_CHILD, data.path())
        .output()
        .unwrap();
    assert_eq!(child.status.signal(), Some(6), "SIGABRT: {child:?}");
    assert!(String::from_utf8_lossy(&child.stderr).contains("the disk failed"), "{child:?}");
}

/// In a process of its own. Comes back only if the member goes on all the same.
fn live_on_a_disk_that_fails(data: &Path) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let settings = RuntimeSettings { peers: None, ..cluster_settings(1, data).remove(0) };
        let disk = RealDisk::open(&settings.data).unwrap();
        let found = open(&settings, disk).unwrap();
        std::fs::remove_dir_all(&settings.data).unwrap();
        let listener = TcpListener::bind(settings.listen).await.unwrap();
        let (handle, _running) = launch(settings, found, listener, |_| Words::default()).unwrap();
        let _ = handle.execute(GroupId(0), Bytes::new(), None, LONG).await;
    });
}
