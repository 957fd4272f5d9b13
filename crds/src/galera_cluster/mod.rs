//! GaleraCluster: multi-master MariaDB behind HAProxy. What users write, with its rules.

mod status;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    common::{self, CommonSpec, Resources, StorageSpec},
    quantity::Bytes,
};
pub use status::{
    CONDITIONS, GaleraClusterStatus, Grant, MemberState, MemberStatus, Operation, OperationKind, SteppedOver,
};

/// Members of MariaDB that replicate to each other, and proxies in front of them.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "quartet.dev",
    version = "v1alpha1",
    kind = "GaleraCluster",
    namespaced,
    status = "GaleraClusterStatus",
    derive = "PartialEq",
    doc = "Multi-master MariaDB with Galera, behind HAProxy.",
    shortname = "galera",
    category = "quartet",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "PRIMARY",
        type_ = "string",
        json_path = ".status.primary",
        description = "The member that the Service for a single writer leads to."
    ),
    validation = common::name_leaves_room(),
    validation = common::name_is_a_label(),
    validation = common::size_never_shrinks(),
)]
#[cfg_attr(test, kube(cel))]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = common::sleep_waits_for_pause(),
    validation = Rule::new("quantity(self.storage.size).compareTo(quantity('512Mi')) >= 0")
        .message("storage.size must be at least 512Mi: MariaDB's own files take a good part of less"),
    validation = Rule::new(
        "!has(self.users) || self.users.all(u, !has(u.database) || \
         (has(self.databases) && self.databases.exists(d, d.name == u.database)))"
    ).message("users: database must be one of databases"),
    validation = Rule::new(
        "quantity(self.storage.size).compareTo(quantity(self.server.gcacheSize).add(quantity('256Mi'))) >= 0"
    ).message("server.gcacheSize must leave at least 256Mi of storage.size to the data"),
)]
pub struct GaleraClusterSpec {
    /// Number of members: 1, 3, 5 or 7.
    #[serde(default = "default_replicas")]
    #[schemars(range(min = 1, max = 7))]
    #[x_kube(validation = Rule::new("self in [1, 3, 5, 7]").message("replicas must be 1, 3, 5 or 7"))]
    pub replicas: i32,
    /// Version of MariaDB: `10.11`.
    #[serde(default = "default_version")]
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(validation = Rule::new("self == '10.11'").message("version must be \"10.11\": no other is supported yet"))]
    pub version: String,
    #[serde(default)]
    pub storage: StorageSpec,
    #[serde(default)]
    pub proxy: ProxySpec,
    #[serde(default)]
    pub server: ServerSpec,
    /// Databases that shall exist. One that is taken off this list stays where it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_owned()]))]
    pub databases: Vec<Database>,
    /// Users that shall exist. One that was made from this list and is taken off it is dropped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_owned()]))]
    pub users: Vec<User>,
    /// How a member without usable data gets all of it from another one.
    #[serde(default)]
    pub sst: Sst,
    #[serde(default)]
    pub recovery: RecoverySpec,
    /// Image of MariaDB, repository with tag or digest; the one that the operator was installed with when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,
    /// Of each member.
    #[serde(default)]
    pub resources: Resources,
    #[serde(flatten)]
    pub common: CommonSpec,
}

fn default_replicas() -> i32 {
    3
}

fn default_version() -> String {
    "10.11".to_owned()
}

impl Default for GaleraClusterSpec {
    fn default() -> Self {
        Self {
            replicas: default_replicas(),
            version: default_version(),
            storage: StorageSpec::default(),
            proxy: ProxySpec::default(),
            server: ServerSpec::default(),
            databases: Vec::new(),
            users: Vec::new(),
            sst: Sst::default(),
            recovery: RecoverySpec::default(),
            image: None,
            resources: Resources::default(),
            common: CommonSpec::default(),
        }
    }
}

impl AsRef<CommonSpec> for GaleraClusterSpec {
    fn as_ref(&self) -> &CommonSpec {
        &self.common
    }
}

impl AsMut<CommonSpec> for GaleraClusterSpec {
    fn as_mut(&mut self) -> &mut CommonSpec {
        &mut self.common
    }
}

/// HAProxy in front of the members.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProxySpec {
    /// Number of proxies, 1 to 8.
    #[serde(default = "default_proxies")]
    #[schemars(range(min = 1, max = 8))]
    #[x_kube(validation = Rule::new("self >= 1 && self <= 8").message("proxy.replicas must be between 1 and 8"))]
    pub replicas: i32,
    /// How connections are spread over the members.
    #[serde(default)]
    pub balance: Balance,
    #[serde(default)]
    pub stats: StatsSpec,
    /// Image of HAProxy; the one that the operator was installed with when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,
    /// Of each proxy.
    #[serde(default)]
    pub resources: Resources,
}

fn default_proxies() -> i32 {
    2
}

impl Default for ProxySpec {
    fn default() -> Self {
        Self {
            replicas: default_proxies(),
            balance: Balance::default(),
            stats: StatsSpec::default(),
            image: None,
            resources: Resources::default(),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Balance {
    /// In turn.
    #[default]
    Roundrobin,
    /// To the member with the fewest connections.
    Leastconn,
}

/// HAProxy's own page of statistics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, x_kube(cel))]
pub struct StatsSpec {
    /// Port of its Service, 1 to 65535.
    #[serde(default = "default_stats_port")]
    #[schemars(range(min = 1, max = 65535))]
    #[x_kube(validation = Rule::new("self >= 1 && self <= 65535").message("proxy.stats.port must be between 1 and 65535"))]
    pub port: i32,
    /// A Secret with keys `username` and `password`; one is generated when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<SecretRef>,
}

fn default_stats_port() -> i32 {
    8404
}

impl Default for StatsSpec {
    fn default() -> Self {
        Self { port: default_stats_port(), credentials_secret_ref: None }
    }
}

/// A Secret of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// One key of a Secret of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    #[serde(default = "default_password_key")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

fn default_password_key() -> String {
    "password".to_owned()
}

/// Settings of MariaDB; a change restarts the members one at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, x_kube(cel))]
pub struct ServerSpec {
    /// Write sets that each member keeps on its volume, at least 16Mi: one that was away for no longer than they last
    /// fetches only what it missed.
    #[serde(default = "default_cache")]
    #[x_kube(validation = Rule::new("quantity(self).compareTo(quantity('16Mi')) >= 0")
        .message("server.gcacheSize must be at least 16Mi"))]
    pub gcache_size: Bytes,
    /// InnoDB's buffer pool, at least 32Mi.
    #[serde(default = "default_cache")]
    #[x_kube(validation = Rule::new("quantity(self).compareTo(quantity('32Mi')) >= 0")
        .message("server.bufferPoolSize must be at least 32Mi"))]
    pub buffer_pool_size: Bytes,
    /// `innodb_snapshot_isolation`: a transaction that would write over what it could not see fails instead.
    #[serde(default)]
    pub snapshot_isolation: bool,
}

fn default_cache() -> Bytes {
    Bytes::new("128Mi")
}

impl Default for ServerSpec {
    fn default() -> Self {
        Self { gcache_size: default_cache(), buffer_pool_size: default_cache(), snapshot_isolation: false }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, x_kube(cel))]
pub struct Database {
    /// Letters, digits and `_`.
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(
        validation = Rule::new("self.matches('^[A-Za-z][A-Za-z0-9_]*$')")
            .message("databases: name must be letters, digits and '_', beginning with a letter"),
        validation = Rule::new("!self.matches('^(?i)(mysql|sys|quartet|information_schema|performance_schema)$')")
            .message("databases: name must not be mysql, sys, quartet, information_schema or performance_schema"),
    )]
    pub name: String,
    /// Statements that are run once, in this database, after it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32768))]
    pub init_sql: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, x_kube(cel))]
pub struct User {
    /// Lower-case letters, digits and `_`: part of the name of the Secret that is generated for it.
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(
        validation = Rule::new("self.matches('^[a-z]([a-z0-9_]*[a-z0-9])?$')")
            .message("users: name must be lower-case letters, digits and '_', beginning with a letter and not ending with '_'"),
        validation = Rule::new("!(self in ['root', 'mysql', 'mariadb', 'quartet', 'public'])")
            .message("users: name must not be root, mysql, mariadb, quartet or public"),
    )]
    pub name: String,
    /// It has all privileges on this database, and none on any other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub database: Option<String>,
    /// Where its password is; one is generated into the Secret `NAME-user-USER` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_secret_ref: Option<SecretKeyRef>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Sst {
    /// A hot backup: the donor serves on.
    #[default]
    Mariabackup,
    /// A copy of the files: the donor stands still meanwhile.
    Rsync,
}

/// What a human decides where the operator may not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecoverySpec {
    /// Begin a new history with what this member holds, whatever the others hold. What only they hold is lost: a member
    /// that holds more than the position stays out of the cluster until its claim and pod are deleted; one that holds no
    /// more is brought back by itself. Servers that run without a Primary component are ended first. A member that does
    /// not answer must be off: it could still be serving.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootstrap_from: Option<BootstrapFrom>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, x_kube(cel))]
pub struct BootstrapFrom {
    /// Name of the member, `shop-1`.
    #[schemars(length(min = 1, max = 63))]
    pub member: String,
    /// Exactly the position that the member has now, `UUID:SEQNO` as the status shows it: it is in force once only, since
    /// the new history has another UUID.
    #[schemars(length(min = 38, max = 64))]
    #[x_kube(validation = Rule::new(
        "self.matches('^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}:[0-9]{1,19}$')"
    ).message("recovery.bootstrapFrom.position must be UUID:SEQNO, as the member's status has it"))]
    pub position: String,
}
