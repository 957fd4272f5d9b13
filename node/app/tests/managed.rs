//! A member under an operator: it founds nothing by itself, and does what the authenticated port tells it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where its setting does not hold")]

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use quartet_client::SyncClient;
use quartet_client::admin::{
    Address, AdminClient, Found, MemberClient, MemberReport, MemberState, Peer, Reset,
};
use quartet_client::lock::{Acquire, Mode};
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_mins(1);

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "{what}: not in time");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn report(member: &MemberClient) -> MemberReport {
    until("a report", async || member.report().await.ok()).await
}

fn free_ports<const N: usize>() -> [u16; N] {
    let held = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    held.map(|port| port.local_addr().unwrap().port())
}

#[tokio::test]
async fn a_managed_member_is_founded_serves_and_is_reset_only_as_it_is_told() {
    let [http, listen, admin] = free_ports();
    let data = tempfile::tempdir().unwrap();
    let token = data.path().join("token");
    std::fs::write(&token, "secret\n").unwrap();
    let address = |port: u16| format!("127.0.0.1:{port}");
    let _member = Ended(
        Command::new(env!("CARGO_BIN_EXE_quartet-node"))
            .args(["sync", "--partitions", "2"])
            .env("QUARTET_ID", "0")
            .env("QUARTET_DATA", data.path().join("data"))
            .env("QUARTET_HTTP", address(http))
            .env("QUARTET_LISTEN", address(listen))
            .env("QUARTET_ADMIN", address(admin))
            .env("QUARTET_ADMIN_TOKEN_FILE", &token)
            .stdin(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let admin_address: SocketAddr = address(admin).parse().unwrap();
    let member = AdminClient::new(Duration::from_secs(5)).unwrap().member(admin_address, "secret");
    let client = SyncClient::new(&format!("http://{}", address(http))).unwrap();

    let empty = report(&member).await;
    assert_eq!((empty.state, empty.cluster), (MemberState::Empty, None));
    assert!(!client.is_ready().await.unwrap());
    assert!(empty.disk_free_bytes > 0);

    let peer = Peer { ordinal: 0, incarnation: empty.incarnation };
    let members = vec![Address { peer, address: address(listen) }];
    let cluster = Uuid::new_v4();
    let found = Found { operation: Uuid::new_v4(), cluster, members };
    member.found(&found).await.unwrap();
    until("readiness", async || client.is_ready().await.unwrap().then_some(())).await;
    member.found(&found).await.unwrap();
    let other = Found { cluster: Uuid::new_v4(), ..found };
    assert!(member.found(&other).await.unwrap_err().to_string().contains("409"));
    let serving = report(&member).await;
    assert_eq!(
        (serving.state, serving.cluster, serving.groups.len()),
        (MemberState::Serving, Some(cluster), 2)
    );

    let lock = Acquire {
        resource: "orders".into(),
        owner: "a".into(),
        mode: Mode::Exclusive,
        ttl_ms: None,
        wait_ms: None,
    };
    assert_eq!(client.acquire(&lock).await.unwrap().expires_in_ms, 30_000);

    let wrong = Reset { operation: Uuid::new_v4(), incarnation: Uuid::new_v4() };
    assert!(member.reset(&wrong).await.unwrap_err().to_string().contains("409"));
    assert_eq!(report(&member).await.incarnation, empty.incarnation);
    member.reset(&Reset { incarnation: empty.incarnation, ..wrong }).await.unwrap();
    let anew = until("a new incarnation", async || {
        Some(report(&member).await).filter(|report| report.incarnation != empty.incarnation)
    });
    assert_eq!(anew.await.state, MemberState::Empty);
    assert!(!client.is_ready().await.unwrap());
}
