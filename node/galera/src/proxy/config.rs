//! HAProxy's settings, rendered.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use quartet_client::galera::{Balance, CHECK_PORT, Settings};

use super::{POOL_PORT, STATS_PORT, WRITER_PORT};

pub(super) const POOL: &str = "members";
pub(super) const WRITER: &str = "writer";
pub(super) const POOL_FRONTEND: &str = "pool";
pub(super) const WRITER_FRONTEND: &str = "single-writer";

const MYSQL_PORT: u16 = 3306;
const MEMBERS_MAX: usize = 16;
/// Old workers live until their last connection ends. So many reloads later they are ended.
const RELOADS_OUTLIVED_MAX: u32 = 8;
/// Of a member whose address is not known: TEST-NET-1 (RFC 5737), where nobody answers. Never 0.0.0.0, which HAProxy
/// takes for the address that the client had connected to: itself.
const NOWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) username: String,
    pub(super) password: String,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("{0:?} cannot be the name of a cluster")]
    Name(String),
    #[error("a proxy has 1 to {MEMBERS_MAX} members, not {0}")]
    Members(usize),
    #[error("{0} of the statistics is empty, too long or has characters that cannot be typed")]
    Credentials(&'static str),
}

/// All that HAProxy's settings depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Config<'a> {
    /// Checked by [`fit`].
    pub(super) settings: &'a Settings,
    /// Of the members, by ordinal.
    pub(super) addresses: &'a [Option<IpAddr>],
    /// Without them there is no page of statistics.
    pub(super) credentials: Option<&'a Credentials>,
    pub(super) run_dir: &'a Path,
    pub(super) threads: usize,
    /// Of clients.
    pub(super) connections_max: u64,
    /// Whether clients are served. HAProxy takes a member for well until its first check has failed: it listens only
    /// once all have been checked.
    pub(super) listens: bool,
}

/// What a setting is made of can end neither the word nor the line that it is put into.
pub(super) fn fit(settings: &Settings) -> Result<(), Unfit> {
    let plain = |text: &str| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._/".contains(c);
        !text.is_empty() && text.len() <= 253 && text.chars().all(is_plain)
    };
    for name in [&settings.name, &settings.cluster_name] {
        if !plain(name) {
            return Err(Unfit::Name(name.clone()));
        }
    }
    match settings.members.len() {
        1..=MEMBERS_MAX => Ok(()),
        members => Err(Unfit::Members(members)),
    }
}

impl Credentials {
    pub(super) fn fit(&self) -> Result<(), Unfit> {
        for (what, text) in [("the username", &self.username), ("the password", &self.password)] {
            if text.is_empty() || text.len() > 256 || text.chars().any(char::is_control) {
                return Err(Unfit::Credentials(what));
            }
        }
        Ok(())
    }
}

/// As HAProxy's checks and its commands name the member.
pub(super) fn server_name(settings: &Settings, ordinal: usize) -> String {
    format!("{}-{ordinal}", settings.name)
}

pub(super) fn server_address(address: Option<IpAddr>) -> IpAddr {
    address.unwrap_or(NOWHERE)
}

impl Config<'_> {
    pub(super) fn render(&self) -> String {
        let mut text = self.head();
        text += &self.pool();
        text += &self.writer();
        if self.listens {
            text += &frontend(POOL_FRONTEND, POOL_PORT, POOL);
            text += &frontend(WRITER_FRONTEND, WRITER_PORT, WRITER);
            text += &self.credentials.map(statistics).unwrap_or_default();
        }
        text
    }

    fn head(&self) -> String {
        format!(
            "# Written by quartet-node galera-proxy: what is changed here is lost.
global
    stats socket {run_dir}/worker.sock mode 600 level admin expose-fd listeners
    server-state-file {run_dir}/servers
    maxconn {connections}
    nbthread {threads}
    mworker-max-reloads {RELOADS_OUTLIVED_MAX}

defaults
    mode tcp
    load-server-state-from-file global
    timeout connect 1s
    timeout client 8h
    timeout server 8h
    timeout check 800ms
    option clitcpka
    option srvtcpka
    option redispatch 1
    retries 3
",
            run_dir = self.run_dir.display(),
            connections = self.connections_max,
            threads = self.threads,
        )
    }

    fn pool(&self) -> String {
        let balance = match self.settings.proxy.balance {
            Balance::Roundrobin => "roundrobin",
            Balance::Leastconn => "leastconn",
        };
        // The check names whom it means: an address may have gone to another pod.
        let mut text = format!(
            "
backend {POOL}
    balance {balance}
    option httpchk
    http-check send meth GET uri-lf \"/proxy?cluster={cluster}&member=%[srv_name]\" ver HTTP/1.1 hdr Host quartet
    http-check disable-on-404
    default-server check port {CHECK_PORT} inter 200ms fastinter 100ms downinter 200ms fall 1 rise 1
    default-server on-marked-down shutdown-sessions
",
            cluster = self.settings.cluster_name,
        );
        for (name, address) in self.servers() {
            line(&mut text, format_args!("server {name} {address}"));
        }
        text
    }

    /// Its servers are as well as those of the pool; HAProxy wants both to mean the same by an answer.
    fn writer(&self) -> String {
        let mut text = format!(
            "
backend {WRITER}
    option httpchk
    http-check disable-on-404
    default-server on-marked-down shutdown-sessions
"
        );
        for (ordinal, (name, address)) in self.servers().enumerate() {
            let place = if ordinal == 0 { "on-marked-up shutdown-backup-sessions" } else { "backup" };
            line(&mut text, format_args!("server {name} {address} track {POOL}/{name} {place}"));
        }
        text
    }

    fn servers(&self) -> impl Iterator<Item = (String, SocketAddr)> {
        (0..self.settings.members.len()).map(|ordinal| {
            let address = server_address(self.addresses.get(ordinal).copied().flatten());
            (server_name(self.settings, ordinal), SocketAddr::new(address, MYSQL_PORT))
        })
    }
}

fn frontend(name: &str, port: u16, backend: &str) -> String {
    format!("\nfrontend {name}\n    bind :{port}\n    default_backend {backend}\n")
}

fn statistics(credentials: &Credentials) -> String {
    format!(
        "
userlist statistics
    user {username} insecure-password {password}

frontend statistics
    bind :{STATS_PORT}
    mode http
    timeout client 30s
    timeout http-request 5s
    http-request auth realm quartet unless {{ http_auth(statistics) }}
    http-request use-service prometheus-exporter if {{ path /metrics }}
    stats enable
    stats uri /
    stats refresh 5s
    stats hide-version
",
        username = quoted(&credentials.username),
        password = quoted(&credentials.password),
    )
}

/// Within single quotes nothing has a meaning but the closing one.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn line(text: &mut String, words: std::fmt::Arguments<'_>) {
    // A String takes everything.
    let _ = writeln!(text, "    {words}");
}

#[cfg(test)]
mod tests {
    use quartet_client::galera::{Proxy, Sst};

    use super::*;

    fn settings(members: usize) -> Settings {
        Settings {
            name: "shop".into(),
            namespace: "default".into(),
            cluster_name: "default/shop/6b1d3e2a".into(),
            members: (0..members).map(|n| format!("shop-{n}.shop-members.default.svc")).collect(),
            sst: Sst::Mariabackup,
            schema: "a".into(),
            databases: Vec::new(),
            users: Vec::new(),
            proxy: Proxy { balance: Balance::Roundrobin },
            begun_from: None,
            stepped_over: vec![],
        }
    }

    fn credentials() -> Credentials {
        Credentials { username: "stats".into(), password: "se cret".into() }
    }

    fn render(settings: &Settings, change: impl FnOnce(&mut Config<'_>)) -> String {
        let addresses: Vec<_> =
            (1..=settings.members.len()).map(|n| format!("10.0.0.{n}").parse().ok()).collect();
        let credentials = credentials();
        let run_dir = Path::new("/run/haproxy");
        let mut config = Config {
            settings,
            addresses: &addresses,
            credentials: Some(&credentials),
            run_dir,
            threads: 2,
            connections_max: 4000,
            listens: true,
        };
        change(&mut config);
        config.render()
    }

    fn lines<'a>(text: &'a str, starts_with: &'a str) -> Vec<&'a str> {
        text.lines().map(str::trim).filter(|line| line.starts_with(starts_with)).collect()
    }

    #[test]
    fn every_member_is_in_both_backends_and_checked_once() {
        let text = render(&settings(3), |_| ());
        assert_eq!(
            lines(&text, "server "),
            [
                "server shop-0 10.0.0.1:3306",
                "server shop-1 10.0.0.2:3306",
                "server shop-2 10.0.0.3:3306",
                "server shop-0 10.0.0.1:3306 track members/shop-0 on-marked-up shutdown-backup-sessions",
                "server shop-1 10.0.0.2:3306 track members/shop-1 backup",
                "server shop-2 10.0.0.3:3306 track members/shop-2 backup",
            ]
        );
    }

    #[test]
    fn a_check_names_the_cluster_and_the_member() {
        let text = render(&settings(3), |_| ());
        assert!(text.contains("\"/proxy?cluster=default/shop/6b1d3e2a&member=%[srv_name]\""), "{text}");
    }

    #[test]
    fn nobody_is_served_before_the_members_have_been_checked() {
        let text = render(&settings(3), |config| config.listens = false);
        assert!(lines(&text, "bind").is_empty(), "{text}");
        assert_eq!(lines(&text, "server ").len(), 6);
        let text = render(&settings(3), |_| ());
        assert_eq!(lines(&text, "bind"), ["bind :3306", "bind :3307", "bind :8404"]);
    }

    #[test]
    fn a_member_that_is_not_found_is_nowhere_and_not_here() {
        let text = render(&settings(2), |config| config.addresses = &[None]);
        assert_eq!(lines(&text, "server shop-0")[0], "server shop-0 192.0.2.1:3306");
        assert_eq!(lines(&text, "server shop-1")[0], "server shop-1 192.0.2.1:3306");
    }

    #[test]
    fn balance_and_ipv6_are_written_as_haproxy_reads_them() {
        let mut settings = settings(1);
        settings.proxy.balance = Balance::Leastconn;
        let text =
            render(&settings, |config| config.addresses = &[Some(IpAddr::V6(std::net::Ipv6Addr::LOCALHOST))]);
        assert_eq!(lines(&text, "balance"), ["balance leastconn"]);
        assert_eq!(lines(&text, "server ")[0], "server shop-0 [::1]:3306");
    }

    #[test]
    fn without_credentials_there_is_no_page() {
        let text = render(&settings(3), |config| config.credentials = None);
        assert_eq!(lines(&text, "bind"), ["bind :3306", "bind :3307"]);
    }

    #[test]
    fn a_password_stays_one_word_whatever_is_in_it() {
        assert_eq!(quoted("a b#\"$HOME\\"), r#"'a b#"$HOME\'"#);
        assert_eq!(quoted("it's"), r"'it'\''s'");
        let text = render(&settings(3), |_| ());
        assert_eq!(lines(&text, "user "), ["user 'stats' insecure-password 'se cret'"]);
    }

    #[test]
    fn what_could_end_a_line_or_a_word_is_unfit() {
        assert_eq!(fit(&settings(3)), Ok(()));
        for name in ["", "a b", "a\nb", "a\"b", "a%b", "a'b"] {
            let settings = Settings { cluster_name: name.into(), ..settings(3) };
            assert_eq!(fit(&settings), Err(Unfit::Name(name.into())));
        }
        assert_eq!(fit(&settings(0)), Err(Unfit::Members(0)));
        assert_eq!(fit(&settings(17)), Err(Unfit::Members(17)));
        assert_eq!(credentials().fit(), Ok(()));
        for password in ["", "a\nb", "a\0b"] {
            let credentials = Credentials { password: password.into(), ..credentials() };
            assert_eq!(credentials.fit(), Err(Unfit::Credentials("the password")));
        }
    }
}
