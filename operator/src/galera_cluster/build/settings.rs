//! ConfigMap with what may change without a restart, read by managers and proxies.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use quartet_client::galera::{self, BegunFrom, Settings};
use quartet_crds::galera_cluster::{Balance, Sst};

use super::super::validate::Valid;
use crate::{children::hash, names};

const FILE: &str = "settings.json";

/// What a human's word has made of the cluster.
#[derive(Clone, Debug, Default)]
pub struct Word {
    /// What the history was begun from.
    pub begun_from: Option<BegunFrom>,
    /// Who has not been heard since.
    pub stepped_over: Vec<u16>,
}

/// `members`: how many there may be.
pub fn settings(valid: &Valid, members: u16, word: &Word) -> ConfigMap {
    ConfigMap {
        metadata: valid.parent.metadata(names::settings(&valid.parent.name)),
        data: Some(BTreeMap::from([(FILE.to_owned(), text(valid, members, word))])),
        ..ConfigMap::default()
    }
}

/// Plain data always has a text.
pub fn text(valid: &Valid, members: u16, word: &Word) -> String {
    serde_json::to_string_pretty(&of(valid, members, word)).unwrap_or_default()
}

fn of(valid: &Valid, members: u16, word: &Word) -> Settings {
    let (parent, spec) = (&valid.parent, &valid.spec);
    Settings {
        name: parent.name.clone(),
        namespace: parent.namespace.clone(),
        cluster_name: cluster_name(valid),
        members: (0..members).map(|ordinal| names::host(&parent.name, &parent.namespace, ordinal)).collect(),
        sst: match spec.sst {
            Sst::Mariabackup => galera::Sst::Mariabackup,
            Sst::Rsync => galera::Sst::Rsync,
        },
        schema: schema(valid),
        databases: databases(valid),
        users: users(valid),
        proxy: galera::Proxy {
            balance: match spec.proxy.balance {
                Balance::Roundrobin => galera::Balance::Roundrobin,
                Balance::Leastconn => galera::Balance::Leastconn,
            },
        },
        begun_from: word.begun_from,
        stepped_over: word.stepped_over.clone(),
    }
}

fn databases(valid: &Valid) -> Vec<galera::Database> {
    let databases = valid.spec.databases.iter();
    databases
        .map(|database| galera::Database { name: database.name.clone(), init_sql: database.init_sql.clone() })
        .collect()
}

fn users(valid: &Valid) -> Vec<galera::User> {
    let users = valid.spec.users.iter();
    users.map(|user| galera::User { name: user.name.clone(), database: user.database.clone() }).collect()
}

/// Changes exactly when databases or users do: members tell which they have applied.
pub fn schema(valid: &Valid) -> String {
    hash([
        serde_json::to_string(&databases(valid)).unwrap_or_default(),
        serde_json::to_string(&users(valid)).unwrap_or_default(),
    ])
}

/// No other cluster that ever was has it, so that a member whose address was another's before finds no peer there.
/// Galera takes 32 characters at most.
pub fn cluster_name(valid: &Valid) -> String {
    let parent = &valid.parent;
    let unique = hash([&parent.namespace, &parent.name, &parent.uid]);
    let readable: String = parent.name.chars().take(15).collect();
    format!("{readable}-{unique}")
}

/// Changes exactly when members have to be restarted for it.
pub fn restart_hash(valid: &Valid) -> String {
    hash(super::member::server(valid).into_iter().map(|(name, value)| format!("{name}={value}")))
}
