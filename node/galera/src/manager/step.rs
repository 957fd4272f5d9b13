//! Steps: what takes time, and ends by itself.

use std::path::Path;
use std::sync::Arc;

use quartet_client::galera::Position;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::life::Life;
use crate::decide::Join;
use crate::examine::{self, ExamineError, Found, TRANSFER_FOLDER, saved};
use crate::inputs::Inputs;
use crate::options::Options;
use crate::server::config::{Config, cluster_address};
use crate::server::sql::Sql;
use crate::server::{self, Children, Ended, InstallError, Recovery, Server, SpawnError};
use crate::volume::{Identity, Volume, VolumeError};

#[derive(Debug, thiserror::Error)]
pub(super) enum StepError {
    #[error(transparent)]
    Volume(#[from] VolumeError),
    #[error(transparent)]
    Install(#[from] InstallError),
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    #[error("the start was cut off")]
    Cut,
}

/// How a server is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Start {
    Found,
    Bootstrap(Position),
    /// A new history, with the data that has come to this position of another one.
    Begin {
        history: Uuid,
        from: Position,
    },
    Join(Join),
}

const CONFIG: &str = "my.cnf";

fn config<'a>(
    volume: &'a Volume,
    options: &'a Options,
    inputs: &'a Inputs,
    node_name: &'a str,
    group_name: &'a str,
) -> Config<'a> {
    Config {
        data: volume.data(),
        run: &options.run_dir,
        address: options.address,
        cluster_name: group_name,
        node_name,
        sst: inputs.settings.sst,
        gcache_bytes: options.gcache_bytes,
        buffer_pool_bytes: options.buffer_pool_bytes,
        snapshot_isolation: options.snapshot_isolation,
        more: &options.server_options,
    }
}

/// As its pod is named.
pub(super) fn node_name(inputs: &Inputs, ordinal: u16) -> String {
    format!("{}-{ordinal}", inputs.settings.name)
}

/// Servers keep the name of their group as long as they run. The settings have another one once the resource was deleted
/// without its children and made again: whoever is started beside those who run on takes theirs.
fn group_name<'a>(start: &'a Start, inputs: &'a Inputs) -> &'a str {
    match start {
        Start::Join(Join { group: Some(group), .. }) => group,
        _ => &inputs.settings.cluster_name,
    }
}

fn write_config(
    volume: &Volume,
    options: &Options,
    inputs: &Inputs,
    group_name: &str,
) -> Result<(), VolumeError> {
    let name = node_name(inputs, options.ordinal);
    let config = config(volume, options, inputs, &name, group_name);
    let (path, files) = (options.run_dir.join(CONFIG), config.files());
    std::fs::create_dir_all(&files).map_err(|source| VolumeError::Write { path: files, source })?;
    std::fs::write(&path, config.render()).map_err(|source| VolumeError::Write { path, source })
}

pub(super) async fn examine(
    volume: &Arc<Volume>,
    children: Children,
    options: &Options,
    inputs: &Inputs,
) -> Result<(Identity, Found), ExamineError> {
    children.end_orphans().await;
    write_config(volume, options, inputs, &inputs.settings.cluster_name)?;
    let recovery = Recovery { children, config: options.run_dir.join(CONFIG), run: options.run_dir.clone() };
    let found = examine::examine(volume, &recovery).await?;
    remember(volume, &found)?;
    Ok((volume.identity()?, found))
}

fn remember(volume: &Volume, found: &Found) -> Result<(), VolumeError> {
    match found {
        Found::Empty => volume.forget_history(),
        Found::Data { position, .. } | Found::Unusable { position: Some(position), .. } => {
            volume.note_history(position.cluster)
        }
        Found::Unusable { position: None, .. } => Ok(()),
    }
}

pub(super) async fn start(
    volume: &Arc<Volume>,
    children: &Children,
    options: &Options,
    inputs: &Inputs,
    start: Start,
) -> Result<(Box<Life>, oneshot::Receiver<Ended>), StepError> {
    children.end_orphans().await;
    let group_name = group_name(&start, inputs);
    write_config(volume, options, inputs, group_name)?;
    if start == Start::Found {
        volume.begin_founding()?;
        server::install(children, volume.data(), &options.run_dir).await?;
    }
    let (prepared, wanted, sst) = (Arc::clone(volume), start.clone(), inputs.settings.sst);
    // Several syncs of files: not on a thread that answers others.
    tokio::task::spawn_blocking(move || prepare(&prepared, &wanted, sst))
        .await
        .map_err(|_| StepError::Cut)??;
    let mut arguments = arguments(&start);
    if let Start::Join(Join { donors, .. }) = &start {
        arguments.push(format!("--wsrep-sst-donor={}", donor_names(inputs, donors)));
    }
    let (server, ended) = Server::spawn(children, &options.run_dir.join(CONFIG), &arguments)?;
    let name = node_name(inputs, options.ordinal);
    let sql = Sql::new(&config(volume, options, inputs, &name, group_name).socket());
    Ok((Box::new(Life::new(server, sql, &start, group_name)), ended))
}

/// A name that ends with a comma: any other member may give its data where none of these can.
fn donor_names(inputs: &Inputs, donors: &[u16]) -> String {
    let names: Vec<String> = donors.iter().map(|ordinal| node_name(inputs, *ordinal)).collect();
    format!("{},", names.join(","))
}

/// Makes Galera's own records say what is to be believed, and nothing else.
fn prepare(volume: &Volume, start: &Start, sst: quartet_client::galera::Sst) -> Result<(), VolumeError> {
    // A remembered view must never form a Primary component; and an evicted server needs a new name.
    volume.remove_data("gvwstate.dat")?;
    match start {
        Start::Found => volume.end_joining(),
        Start::Bootstrap(position) => {
            volume.end_joining()?;
            volume.write_data(SAVED, &saved::write(position.cluster, true))
        }
        Start::Begin { history, .. } => {
            volume.end_joining()?;
            // Its write sets are another history's: nobody may be given them under the new one's name.
            volume.remove_data(CACHE)?;
            volume.write_data(SAVED, &saved::write(*history, true))
        }
        Start::Join(Join { from, .. }) => {
            // First of all: from here on the data may be replaced at any moment.
            volume.begin_joining(sst, *from)?;
            let Some(position) = from else {
                volume.forget_history()?;
                return volume.remove_data(SAVED);
            };
            volume.write_data(SAVED, &saved::write(position.cluster, false))
        }
    }
}

const SAVED: &str = "grastate.dat";
const CACHE: &str = "galera.cache";

fn arguments(start: &Start) -> Vec<String> {
    let from = |position: &Option<Position>| {
        let position =
            position.map_or_else(|| format!("{}:-1", Uuid::nil()), |position| position.to_string());
        format!("--wsrep-start-position={position}")
    };
    let new_cluster = |position: Position| {
        vec!["--wsrep-cluster-address=gcomm://".into(), "--wsrep-new-cluster".into(), from(&Some(position))]
    };
    match start {
        Start::Found => vec!["--wsrep-cluster-address=gcomm://".into(), "--wsrep-new-cluster".into()],
        Start::Bootstrap(position) => new_cluster(*position),
        // The storage engine takes the new history over with the first view that it notes: a crash before that leaves
        // what there was.
        Start::Begin { history, from } => new_cluster(Position { cluster: *history, ..*from }),
        Start::Join(join) => {
            vec![format!("--wsrep-cluster-address={}", cluster_address(&join.addresses)), from(&join.from)]
        }
    }
}

/// The server has its data, and has said so, and of which history: the markers go, and the volume is known to hold data.
pub(super) fn settle(volume: &Volume, history: Option<Uuid>) -> Result<Identity, VolumeError> {
    if let Some(history) = history {
        volume.note_history(history)?;
    }
    volume.end_joining()?;
    volume.end_founding()?;
    volume.identity()
}

const ENTRIES_MAX: usize = 100_000;

/// Bytes that a transfer has brought so far: mariabackup's in its folder, rsync's where they belong.
pub(super) fn transferred(volume: &Volume) -> u64 {
    let folder = volume.data().join(TRANSFER_FOLDER);
    let folder = if folder.exists() { folder } else { volume.data().to_owned() };
    let mut left = ENTRIES_MAX;
    bytes(&folder, &mut left)
}

fn bytes(folder: &Path, left: &mut usize) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let mut sum = 0;
    for entry in entries.flatten() {
        if *left == 0 {
            break;
        }
        *left -= 1;
        // Not followed where it is a link.
        let Ok(kind) = entry.metadata() else { continue };
        sum += if kind.is_dir() { bytes(&entry.path(), left) } else { kind.len() };
    }
    sum
}

#[cfg(test)]
mod tests {
    use quartet_client::galera::Sst;

    use super::*;

    fn position() -> Position {
        "6b1d3e2a-7c55-11f0-8de9-0242ac120002:7".parse().unwrap()
    }

    fn join(from: Option<Position>) -> Start {
        let addresses = vec!["10.0.0.7".parse().unwrap()];
        Start::Join(Join { addresses, donors: vec![2, 0], from, group: None })
    }

    #[test]
    fn who_joins_takes_the_name_of_the_group_and_who_begins_that_of_the_settings() {
        let inputs = crate::manager::Face::example_inputs();
        let Start::Join(joined) = join(Some(position())) else { panic!() };
        let theirs = Start::Join(Join { group: Some("shop-0".into()), ..joined });
        assert_eq!(group_name(&theirs, &inputs), "shop-0");
        for start in [join(None), Start::Found, Start::Bootstrap(position())] {
            assert_eq!(group_name(&start, &inputs), "shop-1");
        }
    }

    #[test]
    fn a_position_is_always_given_and_only_a_grant_makes_a_new_cluster() {
        let joined = arguments(&join(Some(position()))).join(" ");
        assert!(joined.contains("--wsrep-start-position=6b1d3e2a-7c55-11f0-8de9-0242ac120002:7"));
        assert!(joined.contains("gcomm://10.0.0.7:4567") && !joined.contains("new-cluster"));
        let everything = arguments(&join(None)).join(" ");
        assert!(everything.contains("--wsrep-start-position=00000000-0000-0000-0000-000000000000:-1"));
        let bootstrapped = arguments(&Start::Bootstrap(position())).join(" ");
        assert!(bootstrapped.contains("--wsrep-new-cluster") && bootstrapped.contains(":7"));
        let begun = arguments(&Start::Begin { history: Uuid::from_u128(5), from: position() }).join(" ");
        assert!(begun.contains("--wsrep-new-cluster"));
        assert!(begun.contains("--wsrep-start-position=00000000-0000-0000-0000-000000000005:7"));
    }

    #[test]
    fn a_new_history_takes_nothing_of_the_old_one_but_its_data() {
        let root = tempfile::tempdir().unwrap();
        let volume = Volume::open(root.path()).unwrap();
        let history = Uuid::from_u128(5);
        for file in ["ibdata1", "galera.cache", "gvwstate.dat"] {
            volume.write_data(file, "of the old one").unwrap();
        }
        prepare(&volume, &Start::Bootstrap(position()), Sst::Mariabackup).unwrap();
        assert!(volume.data().join("galera.cache").exists(), "who goes on gives others what they lack");
        prepare(&volume, &Start::Begin { history, from: position() }, Sst::Mariabackup).unwrap();
        let saved = std::fs::read_to_string(volume.data().join(SAVED)).unwrap();
        assert_eq!(saved, saved::write(history, true));
        assert!(!volume.data().join("galera.cache").exists() && !volume.data().join("gvwstate.dat").exists());
        assert!(volume.data().join("ibdata1").exists() && volume.joining().unwrap().is_none());
    }

    #[test]
    fn what_a_forged_record_claims_is_gone_before_the_start() {
        let root = tempfile::tempdir().unwrap();
        let volume = Volume::open(root.path()).unwrap();
        let read = |name: &str| std::fs::read_to_string(volume.data().join(name));
        volume.write_data(SAVED, "uuid: x\nseqno: 999").unwrap();
        volume.write_data("gvwstate.dat", "view").unwrap();
        prepare(&volume, &join(Some(position())), Sst::Mariabackup).unwrap();
        assert_eq!(read(SAVED).unwrap(), saved::write(position().cluster, false));
        assert!(read("gvwstate.dat").is_err());
        assert_eq!(volume.joining().unwrap().unwrap().from, Some(position()));
        prepare(&volume, &join(None), Sst::Mariabackup).unwrap();
        assert!(read(SAVED).is_err(), "everything is to be transferred");
        prepare(&volume, &Start::Bootstrap(position()), Sst::Mariabackup).unwrap();
        assert_eq!(read(SAVED).unwrap(), saved::write(position().cluster, true));
        assert_eq!(volume.joining().unwrap(), None);
        settle(&volume, None).unwrap();
        assert!(!volume.is_founding());
    }

    #[test]
    fn of_which_history_the_data_is_stays_beside_it_until_all_of_it_is_replaced() {
        let root = tempfile::tempdir().unwrap();
        let volume = Volume::open(root.path()).unwrap();
        let known = || volume.history().unwrap();
        let (ours, other) = (position().cluster, Uuid::from_u128(5));
        remember(&volume, &Found::Data { position: position(), doubt: None }).unwrap();
        prepare(&volume, &join(Some(position())), Sst::Mariabackup).unwrap();
        remember(&volume, &Found::Unusable { why: "torn".into(), position: None }).unwrap();
        assert_eq!(known(), Some(ours));
        prepare(&volume, &join(None), Sst::Mariabackup).unwrap();
        assert_eq!(known(), None, "nothing of it will be left");
        settle(&volume, Some(other)).unwrap();
        settle(&volume, None).unwrap();
        assert_eq!(known(), Some(other));
        remember(&volume, &Found::Unusable { why: "given up".into(), position: Some(position()) }).unwrap();
        assert_eq!(known(), Some(ours));
        remember(&volume, &Found::Empty).unwrap();
        assert_eq!(known(), None);
    }

    #[test]
    fn what_has_arrived_is_measured_where_it_arrives() {
        let root = tempfile::tempdir().unwrap();
        let volume = Volume::open(root.path()).unwrap();
        volume.write_data("ibdata1", "12345").unwrap();
        assert_eq!(transferred(&volume), 5);
        let folder = volume.data().join(TRANSFER_FOLDER);
        std::fs::create_dir_all(folder.join("shop")).unwrap();
        std::fs::write(folder.join("shop/a.ibd"), "123").unwrap();
        assert_eq!(transferred(&volume), 3);
    }
}
