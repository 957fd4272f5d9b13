//! HAProxy's own command socket: of the master, which passes commands on to its workers.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::config::{POOL_FRONTEND, WRITER_FRONTEND};
use super::state::{Routing, Server, Statistics};

const ANSWER_DEADLINE: Duration = Duration::from_secs(1);
/// More than all connections that HAProxy takes are listed in.
const ANSWER_BYTES_MAX: u64 = 4 << 20;
/// Sessions ended by one line of commands: HAProxy reads 16 KiB at most.
const SESSIONS_PER_COMMAND: usize = 100;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("HAProxy's socket")]
    Socket(#[source] io::Error),
    #[error("HAProxy did not answer in time")]
    Deadline,
    #[error("HAProxy's answer to {command:?} is not understood: {answer:?}")]
    Answer { command: String, answer: String },
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Processes {
    pub(super) current: Vec<u32>,
    pub(super) old: Vec<u32>,
}

#[derive(Clone, Debug)]
pub(super) struct Control {
    socket: PathBuf,
}

impl Control {
    pub(super) fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    pub(super) async fn processes(&self) -> Result<Processes, Error> {
        let answer = self.ask("show proc").await?;
        processes(&answer).ok_or_else(|| unclear("show proc", &answer))
    }

    pub(super) async fn statistics(&self) -> Result<Statistics, Error> {
        // Frontends (1) and servers (4) of all proxies.
        let command = "@1 show stat -1 5 -1";
        let answer = self.ask(command).await?;
        statistics(&answer).ok_or_else(|| unclear(command, &answer))
    }

    /// As HAProxy itself reads it back when it starts.
    pub(super) async fn server_states(&self) -> Result<String, Error> {
        let command = "@1 show servers state";
        let answer = self.ask(command).await?;
        if answer.starts_with('1') { Ok(answer) } else { Err(unclear(command, &answer)) }
    }

    pub(super) async fn set_address(&self, server: &str, address: std::net::IpAddr) -> Result<(), Error> {
        let command = format!("@1 set server {server} addr {address}");
        let answer = self.ask(&command).await?;
        let is_done = ["changed from", "no need to change"].iter().any(|said| answer.contains(said));
        if is_done { Ok(()) } else { Err(unclear(&command, &answer)) }
    }

    /// Ends the connections of a server, given as BACKEND/NAME, that the current worker has.
    pub(super) async fn close_sessions(&self, server: &str) -> Result<(), Error> {
        let command = format!("@1 shutdown sessions server {server}");
        let answer = self.ask(&command).await?;
        if answer.trim().is_empty() { Ok(()) } else { Err(unclear(&command, &answer)) }
    }

    /// Ends the connections of these servers that a worker of before a reload still has. Such a worker no longer
    /// takes commands about servers; it does about single sessions.
    pub(super) async fn close_old_sessions(&self, pid: u32, servers: &BTreeSet<String>) -> Result<(), Error> {
        let listed = self.ask(&format!("@!{pid} show sess")).await?;
        let sessions: Vec<_> = sessions_of(&listed, servers).collect();
        for some in sessions.chunks(SESSIONS_PER_COMMAND) {
            let shutdowns: Vec<_> = some.iter().map(|id| format!("shutdown session {id}")).collect();
            // Of sessions that have ended meanwhile it says so; they are what was wanted.
            self.ask(&format!("@!{pid};{}", shutdowns.join(";"))).await?;
        }
        Ok(())
    }

    async fn ask(&self, command: &str) -> Result<String, Error> {
        let asking = async {
            let mut stream = UnixStream::connect(&self.socket).await?;
            stream.write_all(format!("{command}\n").as_bytes()).await?;
            // It answers until the end of the commands.
            stream.shutdown().await?;
            let mut answer = String::new();
            stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).await?;
            Ok(answer)
        };
        let answered = tokio::time::timeout(ANSWER_DEADLINE, asking).await;
        answered.map_err(|_| Error::Deadline)?.map_err(Error::Socket)
    }
}

fn unclear(command: &str, answer: &str) -> Error {
    Error::Answer { command: command.to_owned(), answer: answer.chars().take(200).collect() }
}

fn processes(answer: &str) -> Option<Processes> {
    let mut found = Processes::default();
    let (mut master, mut is_old) = (false, false);
    for line in answer.lines() {
        if let Some(title) = line.strip_prefix('#') {
            is_old = title.contains("old workers");
            continue;
        }
        let mut words = line.split_whitespace();
        let (Some(pid), Some(kind)) = (words.next(), words.next()) else { continue };
        match kind {
            "master" => master = true,
            "worker" if is_old => found.old.push(pid.parse().ok()?),
            "worker" => found.current.push(pid.parse().ok()?),
            _ => {}
        }
    }
    master.then_some(found)
}

/// Comma-separated, with a header. Free text, which may be quoted, comes only in columns behind those read here.
fn statistics(answer: &str) -> Option<Statistics> {
    let mut lines = answer.lines();
    let header: Vec<_> = lines.next()?.strip_prefix("# ")?.split(',').collect();
    let column = |name: &str| header.iter().position(|column| *column == name);
    let (proxy, name) = (column("pxname")?, column("svname")?);
    let (now, ever) = (column("scur")?, column("stot")?);
    let (status, check) = (column("status")?, column("check_status")?);
    let mut found = Statistics::default();
    for line in lines.filter(|line| !line.is_empty()) {
        let values: Vec<_> = line.split(',').collect();
        let value = |at: usize| values.get(at).copied();
        let sessions: u64 = value(now)?.parse().ok()?;
        if value(name)? == "FRONTEND" {
            if [POOL_FRONTEND, WRITER_FRONTEND].contains(&value(proxy)?) {
                found.sessions += sessions;
                found.sessions_total += value(ever)?.parse::<u64>().ok()?;
            }
            continue;
        }
        found.servers.push(Server {
            backend: value(proxy)?.to_owned(),
            name: value(name)?.to_owned(),
            routing: routing(value(status)?),
            checked: is_checked(value(check)?),
            sessions,
        });
    }
    Some(found)
}

/// Ids of the sessions with these servers, given as BACKEND/NAME.
fn sessions_of<'a>(listed: &'a str, servers: &'a BTreeSet<String>) -> impl Iterator<Item = &'a str> {
    listed.lines().filter_map(|line| {
        let (id, rest) = line.split_once(": ")?;
        let word = |name: &str| rest.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        servers.contains(&format!("{}/{}", word("be")?, word("srv")?)).then_some(id)
    })
}

/// `UP 1/2` and the like go up or down; `NOLB` drains; `MAINT`, `DOWN` and what else there may be are down.
fn routing(status: &str) -> Routing {
    match status.split(' ').next() {
        Some("UP") => Routing::Up,
        Some("NOLB" | "DRAIN") => Routing::Draining,
        _ => Routing::Down,
    }
}

/// `INI`: none has come to a result yet; `* ` marks one that goes on while the last result stands.
fn is_checked(check: &str) -> bool {
    !matches!(check.trim_start_matches("* "), "" | "INI")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_told_apart() {
        let answer = "#<PID>          <type>          <reloads>       <uptime>        <version>      \n\
            1162            master          5 [failed: 0]   0d00h02m07s     2.6.12\n\
            # workers\n1271            worker          0               0d00h00m00s     2.6.12\n\
            # old workers\n1233            worker          3               0d00h00m43s     2.6.12\n\
            # programs\n\n";
        assert_eq!(processes(answer), Some(Processes { current: vec![1271], old: vec![1233] }));
        assert_eq!(processes("Unknown command\n"), None);
    }

    #[test]
    fn statistics_are_read_by_their_columns() {
        let answer = "# pxname,svname,qcur,qmax,scur,smax,slim,stot,status,check_status,last_chk,\n\
            members,shop-0,0,0,2,3,,9,UP,L7OK,,\nmembers,shop-1,0,0,0,0,,0,DOWN,L7STS,\"a, b\",\n\
            writer,shop-0,0,0,1,1,,4,UP,,,\npool,FRONTEND,,,2,3,4000,9,OPEN,,,\n\
            single-writer,FRONTEND,,,1,1,4000,4,OPEN,,,\nstatistics,FRONTEND,,,7,7,4000,70,OPEN,,,\n\n";
        let found = statistics(answer).unwrap();
        assert_eq!((found.sessions, found.sessions_total), (3, 13));
        let seen: Vec<_> =
            found.servers.iter().map(|s| (s.name.as_str(), s.routing, s.checked, s.sessions)).collect();
        let (up, down) = (Routing::Up, Routing::Down);
        assert_eq!(seen, [("shop-0", up, true, 2), ("shop-1", down, true, 0), ("shop-0", up, false, 1)]);
        assert_eq!(statistics("No such backend.\n"), None);
    }

    #[test]
    fn sessions_are_found_by_backend_and_server() {
        let listed = "0x55: proto=tcpv4 src=10.0.0.9:1 fe=pool be=members srv=shop-0 ts=00 age=44s calls=3\n\
            0x56: proto=tcpv4 src=10.0.0.9:2 fe=pool be=members srv=shop-1 ts=00 age=44s calls=3\n\
            0x57: proto=tcpv4 src=10.0.0.9:3 fe=single-writer be=writer srv=shop-0 ts=00 age=44s calls=3\n\
            0x58: proto=sockpair src=unix:2 fe=GLOBAL be=<NONE> srv=<none> ts=00 age=0s calls=1\n\n";
        let servers = BTreeSet::from(["members/shop-1".to_owned(), "writer/shop-0".to_owned()]);
        assert_eq!(sessions_of(listed, &servers).collect::<Vec<_>>(), ["0x56", "0x57"]);
    }

    #[test]
    fn a_status_says_whether_it_is_routed_to() {
        for (status, expected) in [
            ("UP", Routing::Up),
            ("UP 1/3", Routing::Up),
            ("NOLB", Routing::Draining),
            ("NOLB (via shop/shop-0)", Routing::Draining),
            ("DOWN", Routing::Down),
            ("DOWN 1/2", Routing::Down),
            ("MAINT", Routing::Down),
            ("no check", Routing::Down),
        ] {
            assert_eq!(routing(status), expected, "{status}");
        }
    }

    #[test]
    fn a_server_that_was_never_checked_is_told_from_one_that_was() {
        assert!(["L7OK", "L7STS", "L4CON", "* L7OK"].iter().all(|check| is_checked(check)));
        assert!(!["", "INI", "* INI"].iter().any(|check| is_checked(check)));
    }
}
