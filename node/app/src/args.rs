//! The command line. Every option is also an environment variable.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Members of Quartet's data systems.
#[derive(Debug, Parser)]
#[command(name = "quartet-node", version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// How logs are written to standard error
    #[arg(long, env = "QUARTET_LOG_FORMAT", value_enum, default_value = "text", global = true)]
    pub(crate) log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// One member of a SyncCluster
    Sync(Sync),
    /// A whole SyncCluster in one process, to try it without Kubernetes
    Dev(Dev),
    /// The manager of one MariaDB server of a GaleraCluster: the first process of its pod
    Galera(Box<Galera>),
    /// The manager of one HAProxy of a GaleraCluster: the first process of its pod
    GaleraProxy(GaleraProxy),
    /// Copies this program into a folder
    Install {
        /// A folder that other containers of the pod mount
        folder: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Sync {
    /// This member's ordinal
    #[arg(long, env = "QUARTET_ID")]
    pub(crate) id: u16,
    /// Where members reach each other, this one's own address included: 0=HOST:PORT,1=HOST:PORT,…
    #[arg(long, env = "QUARTET_PEERS", value_parser = peers, required_unless_present = "admin", conflicts_with = "admin")]
    pub(crate) peers: Option<Peers>,
    /// Directory of this member's data
    #[arg(long, env = "QUARTET_DATA")]
    pub(crate) data: PathBuf,
    /// Where clients are served
    #[arg(long, env = "QUARTET_HTTP", default_value = "0.0.0.0:8100")]
    pub(crate) http: SocketAddr,
    /// Where other members are served [default: the port of its own entry in --peers, or 8101]
    #[arg(long, env = "QUARTET_LISTEN")]
    pub(crate) listen: Option<SocketAddr>,
    /// Where the operator is served; the member then waits for it to found the cluster or to add the member
    #[arg(long, env = "QUARTET_ADMIN", requires = "admin_token_file")]
    pub(crate) admin: Option<SocketAddr>,
    /// File with the operator's token
    #[arg(long, env = "QUARTET_ADMIN_TOKEN_FILE")]
    pub(crate) admin_token_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
    /// How long the member serves on at most once it is told to stop
    #[arg(long, env = "QUARTET_DRAIN_TIMEOUT", value_parser = duration, default_value = "30s")]
    pub(crate) drain_timeout: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct Dev {
    /// Number of members
    #[arg(long, env = "QUARTET_MEMBERS", default_value = "3", value_parser = members)]
    pub(crate) members: u16,
    /// Directory that keeps the members' data [default: a temporary one, removed at the end]
    #[arg(long, env = "QUARTET_DATA")]
    pub(crate) data: Option<PathBuf>,
    /// Port of the first member's HTTP on 127.0.0.1; the others follow
    #[arg(long, env = "QUARTET_HTTP_BASE", default_value_t = 8101)]
    pub(crate) http_base: u16,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
}

#[derive(Debug, Args)]
pub(crate) struct Galera {
    /// This member's ordinal
    #[arg(long, env = "QUARTET_ID")]
    pub(crate) id: u16,
    /// Where the other members reach this one
    #[arg(long, env = "QUARTET_POD_IP")]
    pub(crate) pod_ip: IpAddr,
    /// Directory of this member's volume
    #[arg(long, env = "QUARTET_DATA", default_value = "/data")]
    pub(crate) data: PathBuf,
    /// What the operator writes, as a file in a folder that is watched
    #[arg(long, env = "QUARTET_SETTINGS", default_value = "/etc/quartet/settings/settings.json")]
    pub(crate) settings: PathBuf,
    /// Folder with a file for the password of each user
    #[arg(long, env = "QUARTET_PASSWORDS", default_value = "/etc/quartet/passwords")]
    pub(crate) passwords: PathBuf,
    /// Folder for the server's socket and configuration
    #[arg(long, env = "QUARTET_RUN_DIR", default_value = "/run/mysqld")]
    pub(crate) run_dir: PathBuf,
    /// Where probes, proxies and the other members are served
    #[arg(long, env = "QUARTET_HTTP", default_value = "0.0.0.0:8200")]
    pub(crate) http: SocketAddr,
    /// Where the operator is served
    #[arg(long, env = "QUARTET_ADMIN", default_value = "0.0.0.0:8199")]
    pub(crate) admin: SocketAddr,
    /// File with the operator's token
    #[arg(long, env = "QUARTET_ADMIN_TOKEN_FILE", default_value = "/etc/quartet/admin/token")]
    pub(crate) admin_token_file: PathBuf,
    /// How long clients are served on at most once the member is told to stop
    #[arg(long, env = "QUARTET_DRAIN_TIMEOUT", value_parser = duration, default_value = "30s")]
    pub(crate) drain_timeout: Duration,
    /// Bytes kept for members that were away: within them nobody needs a transfer of everything
    #[arg(long, env = "QUARTET_GCACHE_SIZE", default_value_t = 128 << 20)]
    pub(crate) gcache_size: u64,
    /// Bytes of the storage engine's buffer pool
    #[arg(long, env = "QUARTET_BUFFER_POOL_SIZE", default_value_t = 128 << 20)]
    pub(crate) buffer_pool_size: u64,
    /// Whether a transaction that would overwrite what it has not seen is refused (innodb_snapshot_isolation)
    #[arg(long, env = "QUARTET_SNAPSHOT_ISOLATION", action = clap::ArgAction::Set, default_value_t = false)]
    pub(crate) snapshot_isolation: bool,
    /// A further setting of the server, NAME=VALUE; may be given several times
    #[arg(long = "server-option", env = "QUARTET_SERVER_OPTIONS", value_delimiter = ',', value_parser = server_option)]
    pub(crate) server_options: Vec<(String, String)>,
}

#[derive(Debug, Args)]
pub(crate) struct GaleraProxy {
    /// What the operator writes, as a file in a folder that is watched
    #[arg(long, env = "QUARTET_SETTINGS", default_value = "/etc/quartet/settings/settings.json")]
    pub(crate) settings: PathBuf,
    /// Folder with the files `username` and `password` of the statistics
    #[arg(long, env = "QUARTET_STATS_CREDENTIALS", default_value = "/etc/quartet/stats")]
    pub(crate) stats_credentials: PathBuf,
    /// Folder for HAProxy's configuration and sockets
    #[arg(long, env = "QUARTET_RUN_DIR", default_value = "/run/haproxy")]
    pub(crate) run_dir: PathBuf,
    /// The program
    #[arg(long, env = "QUARTET_HAPROXY", default_value = "/usr/sbin/haproxy")]
    pub(crate) haproxy: PathBuf,
    /// Where probes are served
    #[arg(long, env = "QUARTET_HTTP", default_value = "0.0.0.0:8200")]
    pub(crate) http: SocketAddr,
}

/// `NAME=VALUE`, as a line of the server's configuration takes it.
fn server_option(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not NAME=VALUE"))?;
    let named = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if !named || name.is_empty() || value.contains(['\n', '\r']) {
        return Err(format!("{text:?} is not NAME=VALUE on one line"));
    }
    Ok((name.to_owned(), value.trim().to_owned()))
}

#[derive(Debug, Args)]
pub(crate) struct Cluster {
    /// The cluster's name
    #[arg(long = "cluster", env = "QUARTET_CLUSTER", default_value = "sync")]
    pub(crate) name: String,
    /// Partitions of the cluster, 1 to 64; fixed once it is founded
    #[arg(long, env = "QUARTET_PARTITIONS", default_value = "8", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) partitions: u16,
    /// Lease of a lock that names none
    #[arg(long, env = "QUARTET_LOCK_DEFAULT_TTL", value_parser = ttl, default_value = "30s")]
    pub(crate) lock_default_ttl: Duration,
}

/// Addresses of member-to-member traffic, by ordinal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peers(pub(crate) BTreeMap<u16, String>);

fn peers(text: &str) -> Result<Peers, String> {
    let mut peers = BTreeMap::new();
    for entry in text.split(',') {
        let (id, address) = entry.split_once('=').ok_or_else(|| format!("{entry:?} is not ID=HOST:PORT"))?;
        let id: u16 = id.trim().parse().map_err(|_| format!("{id:?} is not an ordinal"))?;
        let address = address.trim();
        if port(address).is_none() {
            return Err(format!("{address:?} is not HOST:PORT"));
        }
        if peers.insert(id, address.to_owned()).is_some() {
            return Err(format!("member {id} is listed twice"));
        }
    }
    Ok(Peers(peers))
}

/// The port of `HOST:PORT`.
pub(crate) fn port(address: &str) -> Option<u16> {
    let (host, port) = address.rsplit_once(':')?;
    port.parse().ok().filter(|port| *port != 0 && !host.is_empty())
}

/// A number and its unit, as the resources of the operator have them: `250ms`, `30s`, `5m`, `1h`, `7d`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration such as 250ms, 30s, 5m or 1h");
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit_ms).map(Duration::from_millis).ok_or_else(wrong)
}

fn ttl(text: &str) -> Result<Duration, String> {
    let ttl = duration(text)?;
    let longest = Duration::from_millis(quartet_client::lock::TTL_MS_MAX);
    if ttl.is_zero() || ttl > longest {
        return Err(format!("{text:?} is not between 1ms and {}h", longest.as_secs() / 3600));
    }
    Ok(ttl)
}

fn members(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(members @ (1 | 3 | 5 | 7)) => Ok(members),
        _ => Err("a cluster has 1, 3, 5 or 7 members".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(arguments: &[&str]) -> String {
        let all = ["quartet-node"].iter().chain(arguments);
        Arguments::try_parse_from(all).unwrap_err().to_string()
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }

    #[test]
    fn durations_have_a_unit() {
        let read = ["250ms", "30s", "5m", "1h", "7d"].map(|text| duration(text).unwrap().as_millis());
        assert_eq!(read, [250, 30_000, 300_000, 3_600_000, 604_800_000]);
        for wrong in
            ["", "30", "s", "-1s", "1.5s", "30 s", "30x", "99999999999999999999s", "999999999999999999d"]
        {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn peers_are_ordinals_and_addresses() {
        let read = peers("0=a:1,1=b.c:2, 2=[::1]:3").unwrap().0;
        assert_eq!(read, BTreeMap::from([(0, "a:1".into()), (1, "b.c:2".into()), (2, "[::1]:3".into())]));
        for wrong in ["", "a:1", "0=a", "0=a:0", "0=:1", "x=a:1", "0=a:1,0=b:1"] {
            assert!(peers(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn options_of_the_server_are_one_line_each() {
        let option = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(server_option("max_connections=50"), Ok(option("max_connections", "50")));
        assert_eq!(server_option("sql_mode=A=B"), Ok(option("sql_mode", "A=B")));
        for wrong in ["", "a", "=1", "a b=1", "a=1\n[mysqld]"] {
            assert!(server_option(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn errors_name_the_option() {
        let member = ["sync", "--id", "0", "--data", "d"];
        for (more, named) in [
            (vec![], "--peers"),
            (vec!["--peers", "0=a"], "--peers"),
            (vec!["--admin", "127.0.0.1:1"], "--admin-token-file"),
            (vec!["--peers", "0=a:1", "--drain-timeout", "30"], "--drain-timeout"),
            (vec!["--peers", "0=a:1", "--lock-default-ttl", "25h"], "--lock-default-ttl"),
            (vec!["--peers", "0=a:1", "--partitions", "65"], "--partitions"),
        ] {
            let all: Vec<_> = member.into_iter().chain(more).collect();
            let error = refused(&all);
            assert!(error.contains(named), "{error}");
        }
        assert!(refused(&["dev", "--members", "2"]).contains("1, 3, 5 or 7"));
    }
}
