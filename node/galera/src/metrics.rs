//! What Prometheus is told: what the server says of replication, and what the manager makes of it.

use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::{Registry, Unit};

use crate::manager::{Face, Route};

/// Variables of the server, without `wsrep_`.
const GAUGES: &[(&str, &str)] = &[
    ("cluster_size", "Members of the component, as this one sees it"),
    ("local_state", "1 joining, 2 donor, 3 joined, 4 synced"),
    ("local_recv_queue", "Write sets that wait to be applied"),
    ("local_send_queue", "Write sets that wait to be sent"),
    ("flow_control_paused", "Fraction of the time that replication was paused since the server started"),
    ("cert_deps_distance", "Write sets that could be applied in parallel"),
    ("open_transactions", "Transactions that are open"),
    ("last_committed", "Sequence number of the last write set committed"),
];
const COUNTERS: &[(&str, &str)] = &[
    ("replicated", "Write sets sent to others"),
    ("replicated_bytes", "Bytes sent to others"),
    ("received", "Write sets received"),
    ("received_bytes", "Bytes received"),
    ("local_commits", "Transactions of own clients committed"),
    ("local_cert_failures", "Transactions of own clients that others were faster than"),
    ("local_bf_aborts", "Transactions of own clients aborted by write sets of others"),
    ("flow_control_sent", "Times this member asked the others to pause"),
    ("flow_control_recv", "Times this member was asked to pause"),
];

pub(crate) fn registry(face: &Face) -> Registry {
    let mut registry = Registry::default();
    let states = Family::<[(&'static str, String); 1], Gauge>::default();
    states.get_or_create(&[("state", format!("{:?}", face.member.state))]).set(1);
    registry.register("galera_member_state", "1: the member's state", states);
    let flag = |value: bool| ConstGauge::new(i64::from(value));
    registry.register("galera_member_routable", "1: clients are sent here", flag(face.route == Route::Serve));
    registry.register("galera_member_draining", "1: clients are moved off", flag(face.member.draining));
    registry.register("galera_member_primary", "1: part of a Primary component", flag(face.peer.primary));
    let bytes = |bytes: u64| ConstGauge::new(i64::try_from(bytes).unwrap_or(i64::MAX));
    let free = bytes(face.member.disk_free_bytes);
    registry.register_with_unit("galera_volume_free", "Room left on the volume", Unit::Bytes, free);
    if let Some(status) = &face.status {
        for (name, help) in GAUGES {
            if let Some(value) = status.number::<f64>(name) {
                registry.register(format!("galera_{name}"), *help, ConstGauge::new(value));
            }
        }
        for (name, help) in COUNTERS {
            if let Some(value) = status.number::<u64>(name) {
                registry.register(format!("galera_{name}"), *help, ConstCounter::new(value));
            }
        }
    }
    registry
}
