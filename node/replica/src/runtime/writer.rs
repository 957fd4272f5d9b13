//! The disk's thread: everything that has queued up is written, then synced once.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use tokio::sync::{oneshot, watch};

use super::counters::Counters;
use crate::disk::RealDisk;
use crate::store::{Batch, Identity, Opened, Store, StoreError, Written};

/// The last batch that is durable, and all before it.
pub(super) type Synced = Option<(u64, Written)>;

/// Batches on their way to the disk. Bounded by the driver, which takes no more work while many wait.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    batches: VecDeque<Batch>,
    reset: Option<Reset>,
    stop: Stop,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Stop {
    #[default]
    No,
    AfterAll,
    Now,
}

/// Everything is removed; the member that this volume is from now on.
struct Reset {
    identity: Identity,
    done: oneshot::Sender<Opened>,
}

enum Work {
    Write(VecDeque<Batch>),
    Reset(Reset),
    Stop,
}

impl Queue {
    pub(super) fn push(&self, batch: Batch) {
        self.state().batches.push_back(batch);
        self.wake.notify_one();
    }

    pub(super) fn len(&self) -> usize {
        self.state().batches.len()
    }

    /// What was queued and not yet written never will be.
    pub(super) fn reset(&self, identity: Identity) -> oneshot::Receiver<Opened> {
        let (done, wait) = oneshot::channel();
        let mut state = self.state();
        state.batches.clear();
        state.reset = Some(Reset { identity, done });
        self.wake.notify_one();
        wait
    }

    pub(super) fn stop_after_all(&self) {
        self.stop(Stop::AfterAll);
    }

    pub(super) fn stop_now(&self) {
        self.stop(Stop::Now);
    }

    fn stop(&self, stop: Stop) {
        let mut state = self.state();
        if state.stop == Stop::No {
            state.stop = stop;
        }
        self.wake.notify_one();
    }

    fn wait(&self) -> Work {
        let mut state = self.state();
        loop {
            if state.stop == Stop::Now {
                return Work::Stop;
            }
            if let Some(reset) = state.reset.take() {
                return Work::Reset(reset);
            }
            if !state.batches.is_empty() {
                return Work::Write(std::mem::take(&mut state.batches));
            }
            if state.stop == Stop::AfterAll {
                return Work::Stop;
            }
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn spawn(
    mut store: Store<RealDisk>,
    lock: File,
    queue: Arc<Queue>,
    synced: watch::Sender<Synced>,
    counters: Arc<Counters>,
) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("disk".to_owned()).spawn(move || {
        // Until this thread ends the directory is in use.
        let _lock = lock;
        loop {
            match queue.wait() {
                Work::Stop => return,
                Work::Write(batches) => match write(&mut store, &batches, &counters) {
                    Ok(done) => _ = synced.send_replace(done),
                    Err(error) => end_process(&error),
                },
                Work::Reset(reset) => match wipe(store, &reset.identity) {
                    Ok((wiped, opened)) => {
                        store = wiped;
                        // The driver may have ended meanwhile; the disk is reset all the same.
                        let _ = reset.done.send(opened);
                    }
                    Err(error) => end_process(&error),
                },
            }
        }
    })
}

fn write(
    store: &mut Store<RealDisk>,
    batches: &VecDeque<Batch>,
    counters: &Counters,
) -> Result<Synced, StoreError> {
    let mut done = None;
    for batch in batches {
        done = Some((batch.number, store.write(batch)?));
    }
    let began = Instant::now();
    store.sync()?;
    counters.synced(batches.len(), began.elapsed());
    Ok(done)
}

fn wipe(store: Store<RealDisk>, identity: &Identity) -> Result<(Store<RealDisk>, Opened), StoreError> {
    let settings = store.settings().clone();
    let disk = store.into_disk();
    Store::wipe(&disk)?;
    let (mut store, opened) = Store::open(disk, settings)?;
    store.write(&Batch { identity: Some(identity.clone()), ..Batch::default() })?;
    store.sync()?;
    Ok((store, opened))
}

/// After a failed write or sync nobody knows what the disk holds: what is in memory must not be acted on, and a
/// second try may seem to succeed without having written anything.
fn end_process(error: &StoreError) -> ! {
    let cause = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    tracing::error!("the disk failed, the process ends: {error}{cause}");
    eprintln!("the disk failed, the process ends: {error}{cause}");
    std::process::abort()
}
