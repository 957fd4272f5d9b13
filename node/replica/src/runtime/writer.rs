//! The disk's thread: everything that has queued up is written, then synced once.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};

use super::counters::Counters;
use crate::disk::Disk;
use crate::store::{Batch, Identity, Opened, Store, StoreError, Written};

/// While there is little room, how often to look whether somebody has made more: what is refused for it writes nothing
/// that would tell.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

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
    /// Nothing came for as long as asked.
    Idle,
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

    /// Waits for work, and at most that long if anything is given.
    fn wait(&self, at_most: Option<Duration>) -> Work {
        let began = Instant::now();
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
            state = match at_most.map(|most| most.saturating_sub(began.elapsed())) {
                None => self.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => return Work::Idle,
                Some(left) => self.wake.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn spawn<D: Disk>(
    mut store: Store<D>,
    lock: File,
    queue: Arc<Queue>,
    synced: watch::Sender<Synced>,
    counters: Arc<Counters>,
) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("disk".to_owned()).spawn(move || {
        // Until this thread ends the directory is in use.
        let _lock = lock;
        let mut short_of_space = false;
        loop {
            match queue.wait(short_of_space.then_some(LOOK_AGAIN)) {
                Work::Stop => return,
                Work::Write(batches) => match write(&mut store, &batches, &counters) {
                    Ok(done) => {
                        short_of_space = done.as_ref().is_some_and(|(_, written)| written.short_of_space);
                        synced.send_replace(done);
                    }
                    Err(error) => end_process(&error),
                },
                Work::Idle => match store.keep_room() {
                    Ok(short) => {
                        short_of_space = short;
                        synced.send_if_modified(|done| tell_of_room(done, short));
                    }
                    Err(error) => end_process(&error),
                },
                Work::Reset(reset) => match wipe(store, &reset.identity) {
                    Ok((wiped, opened)) => {
                        store = wiped;
                        short_of_space = false;
                        // The driver may have ended meanwhile; the disk is reset all the same.
                        let _ = reset.done.send(opened);
                    }
                    Err(error) => end_process(&error),
                },
            }
        }
    })
}

/// Whether that is news.
fn tell_of_room(done: &mut Synced, short_of_space: bool) -> bool {
    done.as_mut().is_some_and(|(_, written)| {
        std::mem::replace(&mut written.short_of_space, short_of_space) != short_of_space
    })
}

fn write<D: Disk>(
    store: &mut Store<D>,
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

fn wipe<D: Disk>(store: Store<D>, identity: &Identity) -> Result<(Store<D>, Opened), StoreError> {
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

#[cfg(test)]
mod tests {
    use quartet_raft::{HardState, MemberId, Term};

    use super::*;
    use crate::GroupId;
    use crate::disk::MemoryDisk;
    use crate::store::{Record, StoreSettings};

    const SEGMENT: u64 = StoreSettings::SEGMENT_BYTES_MIN;

    fn batch(number: u64) -> Batch {
        let state = HardState { term: Term(number), vote: None };
        let id = MemberId { ordinal: 0, incarnation: 1 };
        Batch {
            number,
            identity: Some(Identity { id, cluster: None, groups: 1, boots: 1 }),
            records: vec![Record::HardState { group: GroupId(0), state }],
        }
    }

    #[tokio::test]
    async fn room_that_came_back_is_noticed_while_nothing_is_written() {
        let disk = MemoryDisk::new(100 * SEGMENT);
        let settings =
            StoreSettings { segment_bytes: SEGMENT, segments_kept: 2, reserve_bytes: 50 * SEGMENT };
        let (store, _) = Store::open(disk.clone(), settings).unwrap();
        let (queue, lock) = (Arc::new(Queue::default()), tempfile::tempfile().unwrap());
        let (synced, mut from_writer) = watch::channel(None);
        let thread = spawn(store, lock, Arc::clone(&queue), synced, Arc::default()).unwrap();
        let short = |done: &Synced| done.as_ref().map(|(number, written)| (*number, written.short_of_space));

        queue.push(batch(1));
        from_writer.wait_for(|done| short(done) == Some((1, false))).await.unwrap();
        disk.set_capacity(10 * SEGMENT);
        queue.push(batch(2));
        from_writer.wait_for(|done| short(done) == Some((2, true))).await.unwrap();
        disk.set_capacity(100 * SEGMENT);
        let noticed = from_writer.wait_for(|done| short(done) == Some((2, false)));
        tokio::time::timeout(Duration::from_secs(30), noticed).await.unwrap().unwrap();

        queue.stop_after_all();
        thread.join().unwrap();
    }
}
