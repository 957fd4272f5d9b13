//! What the instance managers of a GaleraCluster say: to the operator on the authenticated port, and to each other.
//!
//! | request | port | |
//! |---|---|---|
//! | `GET /v1/member` | 8199, token | [`MemberReport`] |
//! | `POST /v1/bootstrap` [`Bootstrap`] | 8199, token | this member forms a new Primary component from exactly this position |
//! | `POST /v1/drain` [`Drain`] | 8199, token | clients are moved off this member; lapses unless repeated |
//! | `GET /peer` | 8200 | [`PeerReport`] |

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Checks of probes, proxies and the other managers.
pub const CHECK_PORT: u16 = 8200;

/// How far a member's data has come: the write set `seqno` of the history `cluster` is its last. Written
/// `UUID:SEQNO`, as MariaDB does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    pub cluster: Uuid,
    pub seqno: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a position: UUID:SEQNO with a UUID that is not zero and a seqno of at least 0 is")]
pub struct NotAPosition(String);

impl FromStr for Position {
    type Err = NotAPosition;

    fn from_str(text: &str) -> Result<Self, NotAPosition> {
        let parse = || {
            let (cluster, seqno) = text.split_once(':')?;
            Some(Self { cluster: cluster.parse().ok()?, seqno: seqno.parse().ok()? })
        };
        parse().filter(|position| !position.cluster.is_nil()).ok_or_else(|| NotAPosition(text.to_owned()))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.cluster, self.seqno)
    }
}

impl Serialize for Position {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemberState {
    /// The volume holds no data: waits to found the cluster or to join it.
    Empty,
    /// Finds out what the volume holds.
    Examining,
    /// No server runs; the position is known. Waits for a Primary component to join, or for a grant.
    Waiting,
    /// No server runs, and the data counts for nothing: an interrupted transfer, no history, or one that Galera has marked
    /// as inconsistent. It is replaced by a transfer from a member that is Synced. A position is told only of the last
    /// kind, whose files are whole: a human's word may begin a new history with it.
    Unusable,
    /// Makes the first database.
    Initialising,
    /// The server runs and catches up, by a transfer of what it lacks or of everything.
    Joining,
    /// Part of the Primary component, and has caught up with it.
    Synced,
    /// Part of the Primary component, and gives a joiner its data.
    Donor,
    /// The server runs outside of any Primary component: it answers no queries. Or it has not answered its manager for
    /// seconds, so that nobody knows what it is part of: then neither its position nor its status is told.
    NonPrimary,
    /// Told to stop.
    Stopping,
    /// The server ends by itself again and again, or its data cannot be recovered.
    Failed,
}

impl MemberState {
    /// Part of a Primary component.
    pub fn is_primary(self) -> bool {
        matches!(self, Self::Synced | Self::Donor)
    }
}

/// What the server says of itself (`SHOW STATUS LIKE 'wsrep_%'`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerStatus {
    /// `wsrep_gcomm_uuid`: of this start of the server; what an eviction names.
    pub node: Uuid,
    /// `wsrep_cluster_status`: Primary, non-Primary or Disconnected.
    pub cluster_status: String,
    /// `wsrep_cluster_size`, as this member sees it.
    pub cluster_size: u32,
    /// `wsrep_local_state_comment`.
    pub local_state_comment: String,
    /// `wsrep_ready`.
    pub ready: bool,
    /// `wsrep_flow_control_paused`: the fraction of time that replication was paused since the server started.
    pub flow_control_paused: f64,
    /// Connections of clients.
    pub connections: u32,
    pub version: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberReport {
    /// Name of the cluster, as its resource is named.
    pub name: String,
    /// Of the manager.
    pub version: String,
    pub ordinal: u16,
    /// One life of the volume.
    pub incarnation: Uuid,
    /// One life of a server at most: drawn at every start of the manager, and again whenever it has seen its server
    /// end. A new one proves that the server of the one before is dead.
    pub run: Uuid,
    pub state: MemberState,
    /// For a human: why it is Unusable or Failed, what was found and not believed, what it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Recovered from the data when no server runs; the last committed one of the server that does. None while
    /// there is no data that anything could be begun with, or it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerStatus>,
    /// Bytes that a transfer under way has moved so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transferred_bytes: Option<u64>,
    pub draining: bool,
    /// The operation whose grant this run has acted upon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted: Option<Uuid>,
    /// Databases and users, as far as this member has applied them; none when that is another member's task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<SchemaReport>,
    pub disk_free_bytes: u64,
    pub disk_total_bytes: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SchemaReport {
    /// Hash of the settings that were applied, as the operator gave it.
    pub settings: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<SchemaFault>,
}

/// A statement that the server refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SchemaFault {
    /// Path in the resource: `spec.databases[0].initSql`.
    pub field: String,
    /// The statement, shortened; never one with a password.
    pub statement: String,
    /// The server's own error, with its number.
    pub error: String,
}

/// What managers tell each other. No secrets: it is not authenticated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each looked at by itself")]
pub struct PeerReport {
    /// Unique for each GaleraCluster that ever was, as the settings have it now; another one's is not a peer.
    pub cluster_name: String,
    /// `wsrep_cluster_name` that its server was started with: it is another one where the resource has been made anew
    /// beside servers that run on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_name: Option<String>,
    pub ordinal: u16,
    /// As in [`MemberReport`].
    pub run: Uuid,
    pub state: MemberState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// The server that runs now ([`ServerStatus::node`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Uuid>,
    /// A server process runs, whatever its state.
    pub server_runs: bool,
    /// Clients are sent here, and the server has just given a sign of life.
    #[serde(default)]
    pub serves: bool,
    /// It is applying databases and users at this moment.
    #[serde(default)]
    pub applies_schema: bool,
    /// The server is part of a Primary component, whatever else the member does: also while it stops or catches up.
    pub primary: bool,
    /// The history that a human's word began, and that it is part of, as far as it knows of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun: Option<Uuid>,
    /// Addresses of those whom the group counts as its members: somebody who has died is among them until the others
    /// have noticed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<IpAddr>,
}

/// Leave to form a new Primary component, for what is named here and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bootstrap {
    /// As recorded by the operator before it was given.
    pub operation: Uuid,
    pub incarnation: Uuid,
    pub run: Uuid,
    /// None: the volume is empty, and the cluster is founded on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// By a human's word, whatever other volumes hold: the operation's id becomes the UUID of a new history, which goes
    /// on from this position's seqno. Whoever holds the old one is foreign to it. Only with a position.
    #[serde(default)]
    pub new_history: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Drain {
    pub operation: Uuid,
    pub run: Uuid,
}

/// `settings.json`, written by the operator and watched by managers and proxies: what may change without a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    /// Name of the resource.
    pub name: String,
    pub namespace: String,
    /// `wsrep_cluster_name`: unique for each GaleraCluster that ever was.
    pub cluster_name: String,
    /// Host names of the members, by ordinal.
    pub members: Vec<String>,
    pub sst: Sst,
    /// Hash of databases and users: told back when they are applied.
    pub schema: String,
    pub databases: Vec<Database>,
    pub users: Vec<User>,
    pub proxy: Proxy,
    /// What the cluster's history was begun from, when it was by a human's word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun_from: Option<BegunFrom>,
    /// Ordinals of members that did not answer when that history was begun, and have not since: it is known that they hold
    /// nothing of it, which stays so until they are taken off this list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stepped_over: Vec<u16>,
}

/// The history `history` goes on from `position` of another one: whoever holds that one and is not beyond the position
/// holds nothing that the new one lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BegunFrom {
    pub history: Uuid,
    pub position: Position,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sst {
    Mariabackup,
    Rsync,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Database {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_sql: Option<String>,
}

/// Its password is the file `passwords/NAME` beside the settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct User {
    pub name: String,
    /// All privileges on this database; none on anything when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Proxy {
    pub balance: Balance,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Balance {
    Roundrobin,
    Leastconn,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_written_as_mariadb_does_and_read_back() {
        let text = "6b1d3e2a-7c55-11f0-8de9-0242ac120002:1984";
        let position: Position = text.parse().unwrap();
        assert_eq!(position.seqno, 1984);
        assert_eq!(position.to_string(), text);
        let json = serde_json::to_string(&position).unwrap();
        assert_eq!(serde_json::from_str::<Position>(&json).unwrap(), position);
    }

    #[test]
    fn what_stands_for_no_position_is_none() {
        for text in [
            "00000000-0000-0000-0000-000000000000:-1",
            "00000000-0000-0000-0000-000000000000:5",
            "6b1d3e2a-7c55-11f0-8de9-0242ac120002:-1",
            "6b1d3e2a-7c55-11f0-8de9-0242ac120002",
            "",
        ] {
            assert!(text.parse::<Position>().is_err(), "{text}");
        }
    }
}
