//! What is compared: three members of each system as processes of this machine, on loopback, each with its data on
//! the same disk and synced before it is acknowledged.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use super::super::http::Connection;
use crate::wait::until;

const MEMBERS: u16 = 3;
const UP: Duration = Duration::from_secs(30);
/// Of /proc/PID/stat: ticks per second on every Linux of today.
const TICKS: f64 = 100.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum System {
    /// `POST /lock/acquire` and `/lock/release`.
    Quartet,
    /// etcd's lock service, `/v3/lock/lock` and `/unlock`, one lease per client.
    EtcdLock,
    /// etcd's key-value store used as a lock without waiting: a put under a lease if the key is absent, and a delete.
    /// Less than the lock service does, and the least that a lock on etcd costs.
    EtcdTxn,
}

impl System {
    pub(super) const ALL: [Self; 3] = [Self::Quartet, Self::EtcdLock, Self::EtcdTxn];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Quartet => "quartet",
            Self::EtcdLock => "etcd lock service",
            Self::EtcdTxn => "etcd put if absent",
        }
    }

    fn program(self) -> Program {
        match self {
            Self::Quartet => Program::Quartet,
            Self::EtcdLock | Self::EtcdTxn => Program::Etcd,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Program {
    Quartet,
    Etcd,
}

/// Where the programs are.
pub(super) struct Binaries {
    pub(super) quartet: PathBuf,
    pub(super) etcd: PathBuf,
}

/// Three processes; killed when dropped.
pub(super) struct Members {
    system: System,
    members: Vec<Member>,
}

struct Member {
    program: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
    client: SocketAddr,
    process: Child,
}

impl Members {
    /// On an empty folder of its own; waits until each serves.
    pub(super) async fn start(system: System, binaries: &Binaries, folder: &Path) -> Result<Self> {
        if folder.exists() {
            std::fs::remove_dir_all(folder).with_context(|| format!("empty {}", folder.display()))?;
        }
        std::fs::create_dir_all(folder)?;
        let ports = free_ports(2 * usize::from(MEMBERS))?;
        let (clients, peers) = ports.split_at(usize::from(MEMBERS));
        let mut members = Vec::new();
        for number in 0..usize::from(MEMBERS) {
            let data = folder.join(number.to_string()).display().to_string();
            let (program, arguments) = match system.program() {
                Program::Quartet => (&binaries.quartet, quartet(number, &data, clients, peers)),
                Program::Etcd => (&binaries.etcd, etcd(number, &data, clients, peers)),
            };
            let log = folder.join(format!("{number}.log"));
            let process = spawn(program, &arguments, &log)?;
            let (program, client) = (program.clone(), ([127, 0, 0, 1], clients[number]).into());
            members.push(Member { program, arguments, log, client, process });
        }
        let members = Self { system, members };
        for member in &members.members {
            until(&format!("{} serves at {}", system.name(), member.client), UP, async || {
                Client::open(system, member.client, "up").await?.lock_and_unlock().await
            })
            .await
            .with_context(|| format!("see {}", member.log.display()))?;
        }
        Ok(members)
    }

    pub(super) fn system(&self) -> System {
        self.system
    }

    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.members.iter().map(|member| member.client).collect()
    }

    /// Processor time that all members have used so far, in seconds.
    pub(super) fn cpu_seconds(&self) -> Result<f64> {
        let mut sum = 0.0;
        for member in &self.members {
            let pid = member.process.id().context("a member has ended")?;
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
            sum += cpu_ticks(&stat).context("read its processor time")? / TICKS;
        }
        Ok(sum)
    }

    /// Kills the member at this place as `kill -9` does.
    pub(super) async fn kill(&mut self, place: usize) -> Result<()> {
        self.members[place].process.kill().await.context("kill a member")
    }

    /// Starts it again on its data and waits until it serves.
    pub(super) async fn restart(&mut self, place: usize) -> Result<()> {
        let (system, member) = (self.system, &mut self.members[place]);
        member.process = spawn(&member.program, &member.arguments, &member.log)?;
        let client = member.client;
        until("the member serves again", UP, async || {
            Client::open(system, client, "up").await?.lock_and_unlock().await
        })
        .await
    }
}

fn spawn(program: &Path, arguments: &[String], log: &Path) -> Result<Child> {
    let output = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .kill_on_drop(true);
    command.spawn().with_context(|| format!("start {}", program.display()))
}

/// Asked for all at once, so that no two are the same; free again when this returns.
fn free_ports(count: usize) -> Result<Vec<u16>> {
    let listeners: Vec<_> =
        (0..count).map(|_| std::net::TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    Ok(listeners
        .iter()
        .map(std::net::TcpListener::local_addr)
        .collect::<Result<Vec<_>, _>>()?
        .iter()
        .map(SocketAddr::port)
        .collect())
}

fn quartet(number: usize, data: &str, clients: &[u16], peers: &[u16]) -> Vec<String> {
    let all: Vec<_> = peers.iter().enumerate().map(|(at, port)| format!("{at}=127.0.0.1:{port}")).collect();
    let http = format!("127.0.0.1:{}", clients[number]);
    let listen = format!("127.0.0.1:{}", peers[number]);
    let words = [
        "sync",
        "--id",
        &number.to_string(),
        "--data",
        data,
        "--peers",
        &all.join(","),
        "--http",
        &http,
        "--listen",
        &listen,
    ];
    words.map(str::to_owned).to_vec()
}

fn etcd(number: usize, data: &str, clients: &[u16], peers: &[u16]) -> Vec<String> {
    let all: Vec<_> =
        peers.iter().enumerate().map(|(at, port)| format!("m{at}=http://127.0.0.1:{port}")).collect();
    let (client, peer) =
        (format!("http://127.0.0.1:{}", clients[number]), format!("http://127.0.0.1:{}", peers[number]));
    let words = [
        "--name",
        &format!("m{number}"),
        "--data-dir",
        data,
        "--initial-cluster",
        &all.join(","),
        "--initial-advertise-peer-urls",
        &peer,
        "--listen-peer-urls",
        &peer,
        "--advertise-client-urls",
        &client,
        "--listen-client-urls",
        &client,
        "--log-level",
        "warn",
    ];
    words.map(str::to_owned).to_vec()
}

/// User and system time, after the program's name, which may hold anything.
fn cpu_ticks(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut times = fields.split(' ').skip(11).map(str::parse::<f64>);
    Some(times.next()?.ok()? + times.next()?.ok()?)
}

/// One client with a connection and a lock's name of its own.
pub(super) struct Client {
    system: System,
    connection: Connection,
    name: String,
    /// etcd's.
    lease: String,
}

impl Client {
    pub(super) async fn open(system: System, address: SocketAddr, name: &str) -> Result<Self> {
        let mut connection = Connection::open(address).await?;
        let lease = match system {
            System::Quartet => String::new(),
            System::EtcdLock | System::EtcdTxn => {
                let granted = ask(&mut connection, "/v3/lease/grant", json!({"TTL": 60})).await?;
                granted["ID"].as_str().context("a lease without an id")?.to_owned()
            }
        };
        Ok(Self { system, connection, name: name.to_owned(), lease })
    }

    /// Takes a lock that nobody else wants, for 60 s, and gives it back.
    pub(super) async fn lock_and_unlock(&mut self) -> Result<()> {
        match self.system {
            System::Quartet => self.quartet().await,
            System::EtcdLock => self.etcd_lock().await,
            System::EtcdTxn => self.etcd_txn().await,
        }
    }

    async fn quartet(&mut self) -> Result<()> {
        let name = &self.name;
        let acquire = json!({"resource": name, "owner": name, "mode": "exclusive", "ttl_ms": 60_000});
        let granted = ask(&mut self.connection, "/lock/acquire", acquire).await?;
        let release = json!({"resource": name, "owner": name, "fencing_token": granted["fencing_token"]});
        let released = ask(&mut self.connection, "/lock/release", release).await?;
        ensure!(released["released"] == true, "not released: {released}");
        Ok(())
    }

    async fn etcd_lock(&mut self) -> Result<()> {
        let lock = json!({"name": base64(self.name.as_bytes()), "lease": self.lease});
        let locked = ask(&mut self.connection, "/v3/lock/lock", lock).await?;
        ask(&mut self.connection, "/v3/lock/unlock", json!({"key": locked["key"]})).await.map(drop)
    }

    async fn etcd_txn(&mut self) -> Result<()> {
        let key = base64(self.name.as_bytes());
        let absent = json!([{"key": key, "target": "CREATE", "result": "EQUAL", "create_revision": "0"}]);
        let put = json!([{"request_put": {"key": key, "value": key, "lease": self.lease}}]);
        let done =
            ask(&mut self.connection, "/v3/kv/txn", json!({"compare": absent, "success": put})).await?;
        ensure!(done["succeeded"] == true, "not put: {done}");
        let gone = ask(&mut self.connection, "/v3/kv/deleterange", json!({"key": key})).await?;
        ensure!(gone["deleted"] == "1", "not deleted: {gone}");
        Ok(())
    }
}

async fn ask(connection: &mut Connection, path: &str, body: Value) -> Result<Value> {
    let (status, answer) = connection.post(path, &body.to_string()).await?;
    if status != 200 {
        bail!("{path} answers {status}: {}", String::from_utf8_lossy(&answer));
    }
    Ok(serde_json::from_slice(&answer)?)
}

/// As etcd's JSON wants its bytes.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let at = |place: usize| u32::from(group.get(place).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * place)) as usize & 63];
            text.push(if place <= group.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_pads() {
        assert_eq!(
            ["", "a", "ab", "abc", "abcd"].map(|text| base64(text.as_bytes())),
            ["", "YQ==", "YWI=", "YWJj", "YWJjZA=="]
        );
    }

    #[test]
    fn processor_time_is_read_past_any_name() {
        let stat = "7 (a) b) c) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 5 0 1000";
        assert_eq!(cpu_ticks(stat), Some(300.0));
    }
}
