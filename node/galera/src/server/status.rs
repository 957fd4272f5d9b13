//! What the server says of itself, from `SHOW GLOBAL STATUS`.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use quartet_client::galera::{Position, ServerStatus};
use uuid::Uuid;

/// Names of the variables, without `wsrep_` where they have it, and their values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    variables: BTreeMap<String, String>,
}

pub const QUERY: &str =
    "SHOW GLOBAL STATUS WHERE Variable_name LIKE 'wsrep\\_%' OR Variable_name = 'Threads_connected'";

impl Status {
    pub fn new(rows: impl IntoIterator<Item = (String, String)>) -> Self {
        let short = |name: String| name.strip_prefix("wsrep_").map(str::to_owned).unwrap_or(name);
        Self { variables: rows.into_iter().map(|(name, value)| (short(name), value)).collect() }
    }

    fn text(&self, name: &str) -> &str {
        self.variables.get(name).map_or("", String::as_str)
    }

    pub fn number<T: FromStr>(&self, name: &str) -> Option<T> {
        self.text(name).parse().ok()
    }

    pub fn is_primary(&self) -> bool {
        self.text("cluster_status") == "Primary"
    }

    /// The provider has left the group for good.
    pub fn is_disconnected(&self) -> bool {
        self.text("cluster_status").eq_ignore_ascii_case("disconnected") || self.text("connected") == "OFF"
    }

    pub fn is_synced(&self) -> bool {
        self.is_primary() && self.number("local_state") == Some(4) && self.is_ready()
    }

    pub fn is_donor(&self) -> bool {
        self.is_primary() && self.number("local_state") == Some(2)
    }

    pub fn is_ready(&self) -> bool {
        self.text("ready") == "ON"
    }

    /// The last write set that this server has committed.
    pub fn position(&self) -> Option<Position> {
        let cluster: Uuid = self.number("local_state_uuid")?;
        (!cluster.is_nil()).then_some(Position { cluster, seqno: self.number("last_committed")? })
    }

    /// Everything that was received has been applied.
    pub fn is_settled(&self) -> bool {
        self.number("local_recv_queue") == Some(0_u64)
    }

    /// Servers were evicted, and the eviction is still in force.
    pub fn has_evicted(&self) -> bool {
        !self.text("evs_evict_list").is_empty()
    }

    /// Addresses of those whom the group counts as its members.
    pub fn members(&self) -> impl Iterator<Item = IpAddr> {
        let addresses = self.text("incoming_addresses").split(',');
        addresses.filter_map(|address| Some(address.trim().parse::<SocketAddr>().ok()?.ip()))
    }

    pub fn node(&self) -> Option<Uuid> {
        self.number("gcomm_uuid").filter(|node: &Uuid| !node.is_nil())
    }

    /// `others`: connections of the manager itself.
    pub fn report(&self, version: &str, others: u32) -> ServerStatus {
        ServerStatus {
            node: self.node().unwrap_or_default(),
            cluster_status: self.text("cluster_status").to_owned(),
            cluster_size: self.number("cluster_size").unwrap_or_default(),
            local_state_comment: self.text("local_state_comment").to_owned(),
            ready: self.is_ready(),
            flow_control_paused: self.number("flow_control_paused").unwrap_or_default(),
            connections: self.number::<u32>("Threads_connected").unwrap_or_default().saturating_sub(others),
            version: version.to_owned(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Of MariaDB 10.11.19 with Galera 26.4.23, founded a second ago.
    const FOUNDED: &[(&str, &str)] = &[
        ("wsrep_local_state_uuid", "7bec1de7-e5b2-11f1-8da7-aa0419e22e6c"),
        ("wsrep_last_committed", "1"),
        ("wsrep_local_recv_queue", "0"),
        ("wsrep_flow_control_paused", "0.25"),
        ("wsrep_local_state", "4"),
        ("wsrep_local_state_comment", "Synced"),
        ("wsrep_gcomm_uuid", "7bebd613-e5b2-11f1-af53-c25b723c5a58"),
        ("wsrep_cluster_size", "1"),
        ("wsrep_cluster_status", "Primary"),
        ("wsrep_connected", "ON"),
        ("wsrep_ready", "ON"),
        ("Threads_connected", "3"),
    ];

    pub(crate) fn status(changed: &[(&str, &str)]) -> Status {
        let rows = FOUNDED.iter().chain(changed);
        Status::new(rows.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn a_member_of_the_primary_component_is_read() {
        let status = status(&[]);
        assert!(status.is_primary() && status.is_synced() && status.is_settled() && !status.is_donor());
        assert_eq!(status.position().unwrap().to_string(), "7bec1de7-e5b2-11f1-8da7-aa0419e22e6c:1");
        let report = status.report("10.11.19", 1);
        assert_eq!((report.cluster_size, report.connections, report.ready), (1, 2, true));
        assert!((report.flow_control_paused - 0.25).abs() < f64::EPSILON);
        assert_eq!(Some(report.node), status.node());
    }

    #[test]
    fn synced_means_primary_and_ready_too() {
        for changed in [
            ("wsrep_cluster_status", "non-Primary"),
            ("wsrep_ready", "OFF"),
            ("wsrep_local_state", "2"),
            ("wsrep_local_state", "3"),
        ] {
            assert!(!status(&[changed]).is_synced(), "{changed:?}");
        }
        assert!(status(&[("wsrep_local_state", "2")]).is_donor());
    }

    #[test]
    fn members_and_evictions_are_read() {
        let group = ("wsrep_incoming_addresses", "10.0.0.7:3306,[fd00::1]:3306");
        let expected: [IpAddr; 2] = ["10.0.0.7".parse().unwrap(), "fd00::1".parse().unwrap()];
        assert_eq!(status(&[group]).members().collect::<Vec<_>>(), expected);
        assert!(!status(&[("wsrep_evs_evict_list", "")]).has_evicted());
        assert!(status(&[("wsrep_evs_evict_list", "7bebd613-e5b2-11f1-af53-c25b723c5a58")]).has_evicted());
    }

    #[test]
    fn no_history_is_no_position() {
        let none = status(&[("wsrep_local_state_uuid", "00000000-0000-0000-0000-000000000000")]);
        assert_eq!(none.position(), None);
        assert_eq!(status(&[("wsrep_last_committed", "-1")]).position(), None);
        assert_eq!(Status::default().position(), None);
    }

    #[test]
    fn a_lost_provider_is_disconnected() {
        assert!(status(&[("wsrep_cluster_status", "Disconnected")]).is_disconnected());
        assert!(!status(&[("wsrep_cluster_status", "non-Primary")]).is_disconnected());
        assert!(!status(&[]).is_disconnected());
    }
}
