//! A model of one GaleraCluster for tests: what managers and Galera do, on the surroundings that all kinds share. It
//! checks what must never happen: two Primary components, one that lacks what was acknowledged, and a member in one that
//! holds what the others do not.

mod galera;
mod history;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{
    api::{apps::v1::Deployment, core::v1::Secret},
    apimachinery::pkg::apis::meta::v1::Condition,
};
use quartet_client::galera::MemberReport;
use quartet_crds::galera_cluster::{Database, GaleraCluster, GaleraClusterSpec, GaleraClusterStatus, User};
use uuid::Uuid;

pub(crate) use history::Point;

use super::{Call, GaleraClusters, Seen, Valid, validate};
use crate::{
    fixture::{self, Model, Spec},
    names,
};

pub(crate) type Cluster = fixture::Cluster<Galera>;

pub(crate) struct Galera {
    /// Secrets of the user's.
    pub(crate) named: BTreeMap<String, Secret>,
    /// The last write set that any client was told of: what no Primary component may lack.
    pub(crate) acknowledged: Option<Point>,
    /// Where each branch went off from another one; none of those that were begun with nothing.
    branches: Vec<Option<Point>>,
    /// Decides how far disks lag behind what their servers have received.
    pub(crate) chance: u64,
    /// Clients of each member that stay for so many ticks after a drain began.
    pub(crate) slow_clients: u32,
    /// The operator is there before a manager goes on by itself.
    pub(crate) slow_managers: bool,
    /// Left of each volume of 2 GiB.
    pub(crate) free_bytes: u64,
    /// How often a Primary component was formed by leave.
    pub(crate) formed: u32,
}

pub(crate) struct Volume {
    pub(crate) incarnation: Uuid,
    pub(crate) data: Data,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Data {
    None,
    At(Point),
    /// A transfer was interrupted.
    Torn,
    /// Galera has marked it as inconsistent with the others'.
    GivenUp(Point),
}

/// A manager, and its server.
#[derive(Default)]
pub(crate) struct Process {
    /// One start of the manager.
    run: Uuid,
    server: Option<Server>,
    granted: Option<Uuid>,
    /// Its server starts, to begin a new history with this. Until then the volume says what it did before.
    begins: Option<Point>,
    /// Ticks since it was last told to drain.
    draining: Option<u32>,
    clients: u32,
}

/// A server that runs. `view`: the members that it counted when it last was part of a Primary component. `received`: so
/// far has come what it is going to write to its disk, unless it is killed before.
#[derive(Clone, Debug, PartialEq)]
struct Server {
    view: BTreeSet<u16>,
    primary: bool,
    received: Point,
}

/// A new resource that nobody has looked at yet: three members, a database and its user.
pub(crate) fn cluster() -> Cluster {
    let spec = GaleraClusterSpec {
        databases: vec![Database { name: "beauty".to_owned(), init_sql: None }],
        users: vec![User {
            name: "app".to_owned(),
            database: Some("beauty".to_owned()),
            password_secret_ref: None,
        }],
        ..GaleraClusterSpec::default()
    };
    let galera = Galera {
        named: BTreeMap::new(),
        acknowledged: None,
        branches: Vec::new(),
        chance: 0,
        slow_clients: 2,
        slow_managers: false,
        free_bytes: 1 << 30,
        formed: 0,
    };
    Cluster::new(GaleraCluster::new(Galera::NAME, spec), galera)
}

impl Cluster {
    /// Of the spec alone: what members report cannot depend on how it is judged beside what they report.
    fn valid_spec(&self) -> Valid {
        validate::restore(&self.resource, &self.given()).expect("a readable spec")
    }

    /// Ready as soon as there is somebody to lead to.
    fn proxy(&self) -> Option<Deployment> {
        let mut proxy = self.deployments.get(&names::proxy(Galera::NAME))?.clone();
        let ready =
            if self.primaries().is_empty() { 0 } else { proxy.spec.as_ref().unwrap().replicas.unwrap() };
        let status = proxy.status.get_or_insert_default();
        (status.ready_replicas, status.available_replicas) = (Some(ready), Some(ready));
        Some(proxy)
    }
}

impl Model for Galera {
    type Spec = GaleraClusterSpec;
    type Status = GaleraClusterStatus;
    type Kind = GaleraClusters;
    type Report = MemberReport;
    type Volume = Volume;
    type Process = Process;

    const NAME: &'static str = "shop";

    fn seen(cluster: &Cluster) -> Seen {
        Seen {
            members: cluster.members(),
            probes: cluster.probes(),
            proxy: cluster.proxy(),
            budget: cluster.budgets.get(Self::NAME).cloned(),
            proxy_budget: cluster.budgets.get(&names::proxy(Self::NAME)).cloned(),
            made: cluster.secrets.clone(),
            named: cluster.own.named.clone(),
            ..Seen::default()
        }
    }

    fn conditions(status: &GaleraClusterStatus) -> &[Condition] {
        &status.conditions
    }

    fn identity(status: &GaleraClusterStatus) -> Option<&str> {
        status.cluster.as_deref()
    }

    fn spec(spec: &mut GaleraClusterSpec) -> Spec<'_> {
        Spec { replicas: &mut spec.replicas, image: &mut spec.image, storage: &mut spec.storage }
    }

    fn volume(cluster: &mut Cluster) -> Volume {
        Volume { incarnation: cluster.fresh(), data: Data::None }
    }

    fn process(cluster: &mut Cluster) -> Process {
        Process { run: cluster.fresh(), ..Process::default() }
    }

    fn is_ready(cluster: &Cluster, ordinal: u16) -> bool {
        let member = &cluster.pods[&ordinal];
        member.runs
            && !member.terminating
            && member.process.draining.is_none()
            && member.process.server.as_ref().is_some_and(|server| server.primary)
    }

    fn report(cluster: &Cluster, ordinal: u16) -> MemberReport {
        cluster.report(ordinal)
    }

    fn call(cluster: &mut Cluster, call: &Call) {
        cluster.call(call);
    }

    /// Never takes a second member, nor clients along.
    fn restart(cluster: &mut Cluster, ordinal: u16) {
        let process = &cluster.pods[&ordinal].process;
        if process.server.as_ref().is_some_and(|server| server.primary) {
            assert_eq!(process.clients, 0, "{ordinal} is restarted under its clients");
            let others = cluster.pods.keys().filter(|other| **other != ordinal);
            let down: Vec<_> = others.filter(|other| !Self::is_ready(cluster, **other)).collect();
            assert!(down.is_empty(), "{ordinal} is restarted while {down:?} are not Synced");
        }
    }

    fn discard(cluster: &Cluster, ordinal: u16) {
        assert!(!cluster.pods.contains_key(&ordinal), "the volume of {ordinal} is deleted while it runs");
    }

    fn end(cluster: &mut Cluster, ordinal: u16) {
        cluster.leave(ordinal);
    }

    /// In one Primary component.
    fn is_made_of(cluster: &Cluster, members: usize) -> bool {
        cluster.primaries().len() == members
    }

    fn is_unbroken(cluster: &Cluster) -> bool {
        cluster.own.formed == 1
    }

    fn live(cluster: &mut Cluster) {
        cluster.live();
    }

    fn check(cluster: &Cluster) {
        cluster.check();
    }
}
