//! Real processes on loopback: what holds when members are killed, stopped and started again.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where its setting does not hold")]

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use quartet_client::lock::{Acquire, Mode, Release, Renew};
use quartet_client::{ClientError, SyncClient};

const PATIENCE: Duration = Duration::from_mins(1);
const MEMBERS: usize = 3;

struct Cluster {
    data: tempfile::TempDir,
    peers: String,
    http: Vec<u16>,
    members: Vec<Option<Child>>,
}

impl Cluster {
    async fn start() -> Self {
        let ports = free_ports(2 * MEMBERS);
        let (http, listen) = ports.split_at(MEMBERS);
        let peers: Vec<_> =
            listen.iter().enumerate().map(|(id, port)| format!("{id}=127.0.0.1:{port}")).collect();
        let mut cluster = Self {
            data: tempfile::tempdir().unwrap(),
            peers: peers.join(","),
            http: http.to_vec(),
            members: (0..MEMBERS).map(|_| None).collect(),
        };
        for member in 0..MEMBERS {
            cluster.start_member(member);
        }
        cluster.all_ready().await;
        cluster
    }

    fn start_member(&mut self, member: usize) {
        let data: PathBuf = self.data.path().join(member.to_string());
        std::fs::create_dir_all(&data).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_quartet-node"))
            .args(["sync", "--id", &member.to_string(), "--peers", &self.peers, "--partitions", "4"])
            .args(["--http", &format!("127.0.0.1:{}", self.http[member]), "--data"])
            .arg(data)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        self.members[member] = Some(child);
    }

    fn client(&self, member: usize) -> SyncClient {
        SyncClient::new(&format!("http://127.0.0.1:{}", self.http[member])).unwrap()
    }

    /// As the kernel does it: nothing is flushed, nobody is told.
    fn kill(&mut self, member: usize) {
        let mut child = self.members[member].take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn terminate(&self, member: usize) {
        let pid = self.members[member].as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    async fn ended(&mut self, member: usize) -> ExitStatus {
        let child = self.members[member].as_mut().unwrap();
        let began = Instant::now();
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                self.members[member] = None;
                return status;
            }
            assert!(began.elapsed() < PATIENCE, "member {member} does not end");
            pause().await;
        }
    }

    async fn ready(&self, member: usize) {
        let client = self.client(member);
        let began = Instant::now();
        while !client.is_ready().await.unwrap_or(false) {
            assert!(began.elapsed() < PATIENCE, "member {member} does not get ready");
            pause().await;
        }
    }

    async fn all_ready(&self) {
        for member in (0..MEMBERS).filter(|member| self.members[*member].is_some()) {
            self.ready(member).await;
        }
    }

    async fn leader_of(&self, resource: &str) -> usize {
        let partition = quartet_client::partition_of(resource, 4);
        let status = self.client(0).status().await.unwrap();
        usize::from(status.partitions[usize::from(partition)].leader.unwrap())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.members.iter_mut().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn free_ports(count: usize) -> Vec<u16> {
    let held: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    held.iter().map(|port| port.local_addr().unwrap().port()).collect()
}

/// Between two looks at a condition.
async fn pause() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}

fn acquire(resource: &str, owner: &str, ttl_ms: u64, wait_ms: u64) -> Acquire {
    Acquire {
        resource: resource.into(),
        owner: owner.into(),
        mode: Mode::Exclusive,
        ttl_ms: Some(ttl_ms),
        wait_ms: Some(wait_ms),
    }
}

fn renew(resource: &str, owner: &str, fencing_token: u64) -> Renew {
    Renew { resource: resource.into(), owner: owner.into(), fencing_token, ttl_ms: Some(60_000) }
}

/// Repeats what may be repeated, as a client would.
async fn retried<T>(mut ask: impl AsyncFnMut() -> Result<T, ClientError>) -> T {
    let began = Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) if error.is_retryable() && began.elapsed() < PATIENCE => pause().await,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn a_lock_outlives_its_leader_and_then_all_members() {
    let mut cluster = Cluster::start().await;
    let held = cluster.client(0).acquire(&acquire("orders", "a", 60_000, 0)).await.unwrap();
    for member in 0..MEMBERS {
        let refused = cluster.client(member).acquire(&acquire("orders", "b", 60_000, 0)).await.unwrap_err();
        assert_eq!(refused.code(), Some("held"), "through member {member}");
        let shown = cluster.client(member).lock("orders").await.unwrap();
        assert_eq!(shown.holders[0].fencing_token, held.fencing_token);
    }

    let leader = cluster.leader_of("orders").await;
    let other = (leader + 1) % MEMBERS;
    cluster.kill(leader);
    let client = cluster.client(other);
    let renewed = retried(async || client.renew(&renew("orders", "a", held.fencing_token)).await).await;
    assert_eq!(renewed.fencing_token, held.fencing_token);
    cluster.start_member(leader);
    cluster.ready(leader).await;

    for member in 0..MEMBERS {
        cluster.kill(member);
    }
    for member in 0..MEMBERS {
        cluster.start_member(member);
    }
    cluster.all_ready().await;
    let refused = cluster.client(0).acquire(&acquire("orders", "b", 60_000, 0)).await.unwrap_err();
    assert_eq!(refused.code(), Some("held"));
    let renewed = cluster.client(1).renew(&renew("orders", "a", held.fencing_token)).await.unwrap();
    assert_eq!(renewed.fencing_token, held.fencing_token);
    let release = Release { resource: "orders".into(), owner: "a".into(), fencing_token: None };
    cluster.client(2).release(&release).await.unwrap();
    let next = cluster.client(0).acquire(&acquire("orders", "b", 60_000, 0)).await.unwrap();
    assert!(next.fencing_token > held.fencing_token);
}

#[tokio::test]
async fn a_waiter_gets_the_lock_when_the_lease_of_the_dead_runs_out() {
    let cluster = Cluster::start().await;
    let asked = Instant::now();
    let dead = cluster.client(0).acquire(&acquire("orders", "dead", 1500, 0)).await.unwrap();
    let next = cluster.client(1).acquire(&acquire("orders", "next", 1500, 30_000)).await.unwrap();
    assert!(next.fencing_token > dead.fencing_token);
    assert!(asked.elapsed() >= Duration::from_millis(1500), "the lease was cut short");
}

#[tokio::test]
async fn a_waiter_whose_connection_has_gone_leaves_the_queue() {
    let cluster = Cluster::start().await;
    let client = cluster.client(0);
    client.acquire(&acquire("orders", "a", 60_000, 0)).await.unwrap();
    // A client of its own: dropping the request closes its connection.
    let waiter = cluster.client(1);
    let waiting = tokio::spawn(async move { waiter.acquire(&acquire("orders", "b", 60_000, 60_000)).await });
    let waiters = async |count: usize| {
        let began = Instant::now();
        while client.lock("orders").await.unwrap().waiters.len() != count {
            assert!(began.elapsed() < PATIENCE, "there are not {count} waiters");
            pause().await;
        }
    };
    waiters(1).await;
    waiting.abort();
    waiters(0).await;
}

#[tokio::test]
async fn a_member_told_to_stop_ends_by_itself_and_its_clients_see_nothing_but_retryable_refusals() {
    let mut cluster = Cluster::start().await;
    let leader = cluster.leader_of("orders").await;
    let leaving = cluster.client(leader);
    let held = leaving.acquire(&acquire("orders", "a", 60_000, 0)).await.unwrap();
    let waiter = leaving.clone();
    let waiting = tokio::spawn(async move { waiter.acquire(&acquire("orders", "b", 60_000, 60_000)).await });
    while leaving.lock("orders").await.unwrap().waiters.is_empty() {
        pause().await;
    }

    cluster.terminate(leader);
    let ended = waiting.await.unwrap().unwrap_err();
    assert_eq!((ended.status(), ended.is_retryable()), (Some(503), true), "{ended}");
    let other = cluster.client((leader + 1) % MEMBERS);
    let mut renewals = 0;
    while cluster.members[leader].as_mut().unwrap().try_wait().unwrap().is_none() {
        let renewed = other.renew(&renew("orders", "a", held.fencing_token)).await;
        match renewed {
            Ok(_) => renewals += 1,
            Err(error) => assert_eq!(error.status(), Some(503), "{error}"),
        }
        pause().await;
    }
    assert!(renewals > 0);
    assert!(cluster.ended(leader).await.success());
    assert_ne!(retried(async || other.status().await).await.partitions[0].leader, u16::try_from(leader).ok());
}

#[tokio::test]
async fn a_second_signal_ends_the_member_at_once() {
    let mut cluster = Cluster::start().await;
    // As long as clients come it would serve on, for 30 s.
    let busy = cluster.client(0);
    let traffic = tokio::spawn(async move {
        loop {
            let _ = busy.lock("orders").await;
            pause().await;
        }
    });
    let began = Instant::now();
    cluster.terminate(0);
    let client = cluster.client(0);
    while client.is_ready().await.unwrap() {
        pause().await;
    }
    cluster.terminate(0);
    assert!(cluster.ended(0).await.success());
    assert!(began.elapsed() < Duration::from_secs(20), "it was not at once");
    traffic.abort();
}

#[tokio::test]
async fn dev_is_a_whole_cluster_whose_data_outlives_it() {
    let data = tempfile::tempdir().unwrap();
    let mut token = 0;
    for _ in 0..2 {
        // Neighbours of a free port are not sure to be free; one member needs none.
        let port = free_ports(1)[0];
        let mut dev = Command::new(env!("CARGO_BIN_EXE_quartet-node"))
            .args(["dev", "--members", "1", "--http-base", &port.to_string(), "--data"])
            .arg(data.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let client = SyncClient::new(&format!("http://127.0.0.1:{port}")).unwrap();
        let granted = retried(async || client.acquire(&acquire("orders", "a", 60_000, 0)).await).await;
        if token == 0 {
            token = granted.fencing_token;
        }
        assert_eq!(granted.fencing_token, token, "the grant is still there");
        dev.kill().unwrap();
        dev.wait().unwrap();
    }
}
