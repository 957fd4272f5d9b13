//! The real thing around the engine: the driver's thread, the disk's thread, connections, the clock.
//!
//! The driver owns the engine; everything reaches it over one bounded channel. The writer owns the store: it writes
//! all batches that have queued up and syncs once. An error of the disk ends the process, for nobody knows then
//! what the disk holds.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use quartet_raft::MemberId;
use rustix::fs::{FlockOperation, flock};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

mod counters;
mod driver;
mod founding;
mod handle;
#[cfg(test)]
mod tests;
mod transport;
mod writer;

pub use counters::{Counted, FSYNC_BUCKETS_US, FsyncTimes};
pub use handle::Handle;

use crate::disk::{Disk, RealDisk};
use crate::engine::EngineSettings;
use crate::store::{Batch, Identity, Opened, Store, StoreError, StoreSettings};
use crate::{GroupId, StateMachine};
use counters::Counters;
use driver::Driver;
use transport::{Listener, Peers};

/// Requests and messages that wait for the driver. Beyond it connections are not read and callers wait.
const INPUTS_MAX: usize = 4096;
const LOCK: &str = "lock";

#[derive(Clone, Debug)]
pub struct RuntimeSettings {
    /// Of the cluster, for the log.
    pub name: String,
    pub ordinal: u16,
    pub data: PathBuf,
    /// Where other members reach this one.
    pub listen: SocketAddr,
    /// Everyone's address, this member's own too: the cluster founds itself, without an operator.
    pub peers: Option<BTreeMap<u16, String>>,
    pub engine: EngineSettings,
    /// None: what suits the size of the volume.
    pub store: Option<StoreSettings>,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot open the data directory {path}")]
    Data { path: PathBuf, source: io::Error },
    #[error("the data directory {path} is in use by another process")]
    InUse { path: PathBuf },
    #[error("cannot open what the member keeps on disk")]
    Store(#[from] StoreError),
    #[error("the data directory {path} belongs to member {found}, not to {wanted}")]
    OtherOrdinal { path: PathBuf, found: u16, wanted: u16 },
    #[error("cannot listen for other members on {address}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("the list of peers does not have this member's own ordinal {ordinal}")]
    NotListed { ordinal: u16 },
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
}

/// Starts a member. `make` makes the empty state machine of each group.
pub async fn start<S: StateMachine>(
    settings: RuntimeSettings,
    make: impl Fn(GroupId) -> S + Send + 'static,
) -> Result<(Handle, Running), StartError> {
    if settings.peers.as_ref().is_some_and(|peers| !peers.contains_key(&settings.ordinal)) {
        return Err(StartError::NotListed { ordinal: settings.ordinal });
    }
    let disk = RealDisk::open(&settings.data)
        .map_err(|source| StartError::Data { path: settings.data.clone(), source })?;
    let found = open(&settings, disk)?;
    let listener = TcpListener::bind(settings.listen)
        .await
        .map_err(|source| StartError::Listen { address: settings.listen, source })?;
    launch(settings, found, listener, make)
}

fn launch<S: StateMachine, D: Disk>(
    mut settings: RuntimeSettings,
    found: Found<D>,
    listener: TcpListener,
    make: impl Fn(GroupId) -> S + Send + 'static,
) -> Result<(Handle, Running), StartError> {
    // Members that time out together split their votes.
    settings.engine.raft.seed = uuid::Uuid::new_v4().as_u64_pair().0;
    let Found { store, identity, opened, lock } = found;
    let (inputs, from_all) = mpsc::channel(INPUTS_MAX);
    let (known_identity, identity) = watch::channel(identity);
    let (synced, from_writer) = watch::channel(None);
    let (stop, ended) = (CancellationToken::new(), CancellationToken::new());
    let counters = Arc::new(Counters::default());
    let peers = Peers::new(inputs.clone(), identity.clone(), settings.engine.groups);
    let queue = Arc::new(writer::Queue::default());
    let writer = writer::spawn(store, lock, Arc::clone(&queue), synced, Arc::clone(&counters))
        .map_err(StartError::Thread)?;
    // The driver makes them again after a reset.
    let make = Arc::new(Mutex::new(make));
    let driver = Driver {
        settings: settings.clone(),
        make: Arc::new(move |group| make.lock().unwrap_or_else(PoisonError::into_inner)(group)),
        inputs: from_all,
        synced: from_writer,
        queue: Arc::clone(&queue),
        identity: known_identity,
        peers: peers.clone(),
        counters: Arc::clone(&counters),
        stop: stop.clone(),
    };
    let driver = driver.spawn(opened, ended.clone().drop_guard()).map_err(StartError::Thread)?;
    let serve = Listener {
        peers: peers.clone(),
        inputs: inputs.clone(),
        identity: identity.clone(),
        groups: settings.engine.groups,
        founds_itself: settings.peers.is_some(),
    };
    tokio::spawn(stop.clone().run_until_cancelled_owned(serve.run(listener)));
    if let Some(listed) = &settings.peers {
        let founding = founding::Founding {
            ordinal: settings.ordinal,
            peers: listed.clone(),
            groups: settings.engine.groups,
            data: settings.data.clone(),
            identity: identity.clone(),
            inputs: inputs.clone(),
        };
        tokio::spawn(stop.clone().run_until_cancelled_owned(founding.run()));
    }
    let handle = Handle::new(inputs, identity, counters, peers.clone(), settings.data);
    Ok((handle, Running { stop, ended, queue, peers, driver: Some(driver), writer: Some(writer) }))
}

/// A member that runs. Dropping it ends the member as a crash would, once the write under way is done: after that
/// nothing is written any more.
pub struct Running {
    stop: CancellationToken,
    ended: CancellationToken,
    queue: Arc<writer::Queue>,
    peers: Peers,
    driver: Option<JoinHandle<()>>,
    writer: Option<JoinHandle<()>>,
}

impl Running {
    /// Resolves when the member has ended, whatever the reason.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Takes no more requests, writes what was begun, and ends.
    pub async fn stop(mut self) {
        self.stop.cancel();
        self.ended.cancelled().await;
        self.queue.stop_after_all();
        self.join().await;
    }

    /// Ends at once, as a crash would.
    pub async fn kill(mut self) {
        self.queue.stop_now();
        self.stop.cancel();
        self.join().await;
    }

    async fn join(&mut self) {
        self.peers.clear();
        let threads = [self.driver.take(), self.writer.take()];
        let joined = tokio::task::spawn_blocking(move || {
            for thread in threads.into_iter().flatten() {
                if thread.join().is_err() {
                    tracing::error!("a thread of the member ended by a panic");
                }
            }
        });
        // Only a runtime that is shutting down cancels it.
        let _ = joined.await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
        self.queue.stop_now();
        self.peers.clear();
        // Whatever it ended with, it has been said.
        let _ = self.writer.take().map(JoinHandle::join);
    }
}

struct Found<D: Disk> {
    store: Store<D>,
    identity: Identity,
    opened: Opened,
    lock: File,
}

fn open<D: Disk>(settings: &RuntimeSettings, disk: D) -> Result<Found<D>, StartError> {
    let lock = lock(&settings.data)?;
    let (store, opened) = open_store(disk, settings)?;
    if let Some(found) = opened.identity.as_ref().map(|identity| identity.id.ordinal)
        && found != settings.ordinal
    {
        return Err(StartError::OtherOrdinal {
            path: settings.data.clone(),
            found,
            wanted: settings.ordinal,
        });
    }
    let (store, identity, opened) = be_somebody(store, opened, settings)?;
    Ok(Found { store, identity, opened, lock })
}

fn open_store<D: Disk>(disk: D, settings: &RuntimeSettings) -> Result<(Store<D>, Opened), StartError> {
    let total =
        disk.total_bytes().map_err(|source| StartError::Data { path: settings.data.clone(), source })?;
    let store = settings.store.clone().unwrap_or_else(|| StoreSettings::for_volume(total));
    Ok(Store::open(disk, store)?)
}

/// A new volume is a new member: its incarnation is durable before anybody hears of it.
fn be_somebody<D: Disk>(
    mut store: Store<D>,
    opened: Opened,
    settings: &RuntimeSettings,
) -> Result<(Store<D>, Identity, Opened), StartError> {
    if opened.damage.is_some() {
        let identity = opened.identity.clone().unwrap_or_else(|| Identity::unknown(settings.ordinal));
        return Ok((store, identity, opened));
    }
    if let Some(identity) = opened.identity.clone() {
        return Ok((store, identity, opened));
    }
    let identity = new_identity(settings.ordinal);
    persist(&mut store, &identity)?;
    Ok((store, identity, opened))
}

fn new_identity(ordinal: u16) -> Identity {
    let id = MemberId { ordinal, incarnation: uuid::Uuid::new_v4().as_u128() };
    Identity { id, cluster: None, groups: 0, boots: 0 }
}

fn persist<D: Disk>(store: &mut Store<D>, identity: &Identity) -> Result<(), StoreError> {
    store.write(&Batch { identity: Some(identity.clone()), ..Batch::default() })?;
    store.sync()
}

/// Two processes on one directory would each undo what the other wrote.
fn lock(data: &Path) -> Result<File, StartError> {
    let path = data.join(LOCK);
    let file = OpenOptions::new().create(true).write(true).truncate(false).open(&path);
    let file = file.map_err(|source| StartError::Data { path, source })?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StartError::InUse { path: data.to_owned() }),
        Err(errno) => Err(StartError::Data { path: data.to_owned(), source: errno.into() }),
    }
}
