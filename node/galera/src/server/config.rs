//! The server's configuration file. Pure.

use std::fmt::Write;
use std::net::IpAddr;
use std::path::Path;

use quartet_client::galera::Sst;

/// What decides over the configuration of one start.
#[derive(Clone, Debug)]
pub struct Config<'a> {
    pub data: &'a Path,
    /// Socket and process id.
    pub run: &'a Path,
    pub address: IpAddr,
    pub cluster_name: &'a str,
    /// As the pod is named.
    pub node_name: &'a str,
    pub sst: Sst,
    pub gcache_bytes: u64,
    pub buffer_pool_bytes: u64,
    pub snapshot_isolation: bool,
    /// Further settings of `[mysqld]`, which win.
    pub more: &'a [(String, String)],
}

/// Without TLS; the ports of members are for members only.
pub const PORT: u16 = 3306;
pub const GROUP_PORT: u16 = 4567;
const IST_PORT: u16 = 4568;
const SST_PORT: u16 = 4444;

/// All clients come from the proxies' addresses.
const CONNECTIONS_MAX: u16 = 1000;
/// A joiner that finds no Primary component ends, and its manager looks around again.
const WAIT_FOR_PRIMARY: &str = "PT10S";

/// How often members tell each other of a change of the group until all have agreed. Nobody can write meanwhile: with
/// Galera's own 1 s and 0.5 s a change takes up to 2.5 s (measured). How long somebody is waited for stays as it is.
const ROUND: &str = "PT0.2S";

/// Rows of other engines than InnoDB stay on the member that wrote them. With this mode MariaDB refuses statements that
/// define such tables (4165), by whatever sql_mode; temporary tables, system tables, Galera's own, transfers and
/// `mariadb-upgrade` go on (tried with 10.11.19). `enforce_storage_engine` would also stop `CREATE TABLE … ENGINE=MyISAM
/// SELECT`, which this does not; but it fails `OPTIMIZE TABLE`, `ALTER TABLE … FORCE` and `CREATE TABLE … LIKE` of
/// partitioned InnoDB tables, and temporary tables of other engines.
const MODE: &str = "STRICT_REPLICATION";

impl Config<'_> {
    pub fn socket(&self) -> std::path::PathBuf {
        self.run.join(SOCKET)
    }

    /// The only folder that SQL may read and write files in. Empty: what is mounted beside it, passwords among it, is
    /// nothing that a statement of a user's may load.
    pub fn files(&self) -> std::path::PathBuf {
        self.run.join("files")
    }

    pub fn render(&self) -> String {
        let Self { data, run, cluster_name, node_name, .. } = self;
        let host = host(self.address);
        let sst = match self.sst {
            Sst::Mariabackup => "mariabackup",
            Sst::Rsync => "rsync",
        };
        let snapshot_isolation = if self.snapshot_isolation { "ON" } else { "OFF" };
        let (gcache, buffer_pool) = (self.gcache_bytes, self.buffer_pool_bytes);
        let provider = [
            // A Primary component is formed by a grant alone, never from a remembered view.
            "pc.recovery=no".to_owned(),
            format!("pc.wait_prim_timeout={WAIT_FOR_PRIMARY}"),
            format!("evs.join_retrans_period={ROUND}"),
            format!("evs.inactive_check_period={ROUND}"),
            format!("gcache.size={gcache}"),
            "gcache.recover=yes".to_owned(),
            format!("gmcast.listen_addr=tcp://{}:{GROUP_PORT}", any(self.address)),
            format!("ist.recv_addr={host}:{IST_PORT}"),
        ]
        .join(";");
        let mut text = format!(
            "[client]\n\
             socket = {socket}\n\
             [mysqld]\n\
             datadir = {data}\n\
             socket = {socket}\n\
             pid_file = {run}/mysqld.pid\n\
             port = {PORT}\n\
             bind_address = *\n\
             skip_name_resolve = ON\n\
             max_connections = {CONNECTIONS_MAX}\n\
             max_connect_errors = 4294967295\n\
             local_infile = OFF\n\
             secure_file_priv = {files}\n\
             character_set_server = utf8mb4\n\
             default_storage_engine = InnoDB\n\
             binlog_format = ROW\n\
             innodb_autoinc_lock_mode = 2\n\
             innodb_flush_log_at_trx_commit = 1\n\
             innodb_buffer_pool_size = {buffer_pool}\n\
             innodb_snapshot_isolation = {snapshot_isolation}\n\
             wsrep_on = ON\n\
             wsrep_mode = {MODE}\n\
             wsrep_provider = {PROVIDER}\n\
             wsrep_provider_options = \"{provider}\"\n\
             wsrep_cluster_name = \"{cluster_name}\"\n\
             wsrep_node_name = {node_name}\n\
             wsrep_node_address = {host}:{GROUP_PORT}\n\
             wsrep_node_incoming_address = {host}:{PORT}\n\
             wsrep_sst_method = {sst}\n\
             wsrep_sst_auth = \"{SST_USER}:\"\n\
             wsrep_sst_receive_address = {host}:{SST_PORT}\n",
            data = data.display(),
            run = run.display(),
            files = self.files().display(),
            socket = self.socket().display(),
        );
        for (name, value) in self.more {
            // A String takes whatever is written to it.
            let _ = writeln!(text, "{name} = {value}");
        }
        text.push_str("[sst]\nstreamfmt = mbstream\ntransferfmt = socat\n");
        text
    }
}

pub const SOCKET: &str = "mysqld.sock";
/// The operating system's user that the server runs as: what it proves to the socket.
pub const SST_USER: &str = "mysql";
const PROVIDER: &str = "/usr/lib/galera/libgalera_smm.so";

/// As it stands before a port.
pub fn host(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// As the operator makes them, and nothing that could end a setting.
pub fn is_group_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=GROUP_NAME_MAX).contains(&name.len()) && name.bytes().all(allowed)
}

/// Galera takes no longer ones.
const GROUP_NAME_MAX: usize = 32;

fn any(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "0.0.0.0" } else { "[::]" }
}

/// `gcomm://A,B`: whom a joiner asks first.
pub fn cluster_address(addresses: &[IpAddr]) -> String {
    let hosts: Vec<String> =
        addresses.iter().map(|address| format!("{}:{GROUP_PORT}", host(*address))).collect();
    format!("gcomm://{}", hosts.join(","))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn config(more: &[(String, String)]) -> Config<'_> {
        Config {
            data: Path::new("/data/mysql"),
            run: Path::new("/run/mysqld"),
            address: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 7)),
            cluster_name: "default/shop-1",
            node_name: "shop-2",
            sst: Sst::Mariabackup,
            gcache_bytes: 1 << 27,
            buffer_pool_bytes: 1 << 28,
            snapshot_isolation: true,
            more,
        }
    }

    #[test]
    fn data_is_durable_and_no_primary_component_is_remembered() {
        let text = config(&[]).render();
        for line in [
            "innodb_flush_log_at_trx_commit = 1\n",
            "datadir = /data/mysql\n",
            "wsrep_cluster_name = \"default/shop-1\"\n",
            "wsrep_node_address = 10.0.0.7:4567\n",
            "innodb_snapshot_isolation = ON\n",
            "wsrep_mode = STRICT_REPLICATION\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        let options = text.lines().find(|line| line.starts_with("wsrep_provider_options")).unwrap();
        for option in ["pc.recovery=no", "gcache.size=134217728", "gcache.recover=yes", "tcp://0.0.0.0:4567"]
        {
            assert!(options.contains(option), "{option} in {options}");
        }
    }

    #[test]
    fn a_group_s_name_cannot_bring_a_setting_along() {
        assert!(is_group_name("shop-0a1b2c3d4e5f6071"));
        for name in ["", "a\"\nwsrep_on = OFF", "a b", "0123456789012345678901234567890123"] {
            assert!(!is_group_name(name), "{name:?}");
        }
    }

    #[test]
    fn further_settings_come_after_ours() {
        let more = [("max_connections".to_owned(), "50".to_owned())];
        let text = config(&more).render();
        let ours = text.find("max_connections = 1000").unwrap();
        assert!(text.find("max_connections = 50").unwrap() > ours);
        assert!(text.find("[sst]").unwrap() > ours);
    }

    #[test]
    fn a_joiner_is_told_all_who_are_primary() {
        let two = ["10.0.0.7".parse().unwrap(), "fd00::1".parse().unwrap()];
        assert_eq!(cluster_address(&two), "gcomm://10.0.0.7:4567,[fd00::1]:4567");
    }
}
