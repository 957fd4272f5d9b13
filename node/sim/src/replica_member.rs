//! quartet-replica's engine and store as a member and its volume.

use std::time::Duration;

use quartet_replica::disk::{Disk, MemoryDisk};
use quartet_replica::engine::{Engine, EngineSettings, Event, Output, Report};
use quartet_replica::store::{Batch, Identity, Opened, Store, StoreSettings, Written};
use quartet_replica::{GroupId, StateMachine};
use xxhash_rust::xxh3::xxh3_64;

use crate::rng::Rng;
use crate::seam::{Eye, Member, Volume, Watched};

pub(crate) fn member<S: StateMachine>(
    settings: EngineSettings,
    identity: Identity,
    opened: Opened,
    eye: Eye,
    make: fn() -> S,
    now: Duration,
) -> Result<Box<dyn Member>, String> {
    let make = move |group| Watched::new(make(), group, eye.clone());
    let engine = Engine::new(settings, identity, opened, make, now).map_err(|error| error.to_string())?;
    Ok(Box::new(engine))
}

impl<S: StateMachine> Member for Engine<S> {
    fn handle(&mut self, now: Duration, event: Event) {
        Engine::handle(self, now, event);
    }

    fn take_output(&mut self, now: Duration) -> Output {
        Engine::take_output(self, now)
    }

    fn report(&self) -> Report {
        Engine::report(self)
    }

    fn state(&self, group: GroupId) -> Option<u64> {
        self.encode_state(group).map(|state| xxh3_64(&state))
    }
}

pub(crate) struct StoreVolume {
    disk: MemoryDisk,
    settings: StoreSettings,
    store: Option<Store<MemoryDisk>>,
}

impl StoreVolume {
    pub(crate) fn new(settings: StoreSettings) -> Self {
        Self { disk: MemoryDisk::new(PLENTY_BYTES), settings, store: None }
    }

    fn store(&mut self) -> Result<&mut Store<MemoryDisk>, String> {
        self.store.as_mut().ok_or_else(|| "the volume is not open".to_owned())
    }
}

const PLENTY_BYTES: u64 = 1 << 30;

impl Volume for StoreVolume {
    fn open(&mut self) -> Result<Opened, String> {
        let (store, opened) =
            Store::open(self.disk.clone(), self.settings.clone()).map_err(|error| error.to_string())?;
        self.store = Some(store);
        Ok(opened)
    }

    fn write(&mut self, batch: &Batch) -> Result<Written, String> {
        self.store()?.write(batch).map_err(|error| error.to_string())
    }

    fn sync(&mut self) -> Result<(), String> {
        self.store()?.sync().map_err(|error| error.to_string())
    }

    fn crash(&mut self, rng: &mut Rng) {
        self.store = None;
        self.disk.crash(rng.next());
    }

    fn close(&mut self) {
        self.store = None;
    }

    fn fail_sync(&mut self) -> bool {
        self.disk.fail_sync();
        true
    }

    fn stop_after(&mut self, changes: u64) -> bool {
        self.disk.stop_after(changes);
        true
    }

    fn set_room(&mut self, free: Option<u64>) -> bool {
        let (Ok(total), Ok(before)) = (self.disk.total_bytes(), self.disk.free_bytes()) else { return false };
        self.disk.set_capacity(free.map_or(PLENTY_BYTES, |free| total - before + free));
        true
    }

    fn look_for_room(&mut self) -> Option<bool> {
        let free = self.disk.free_bytes().ok()?;
        Some(free < self.settings.reserve_bytes)
    }

    fn rot(&mut self, rng: &mut Rng) -> Option<String> {
        let names = self.disk.list().ok()?;
        let name = rng.pick(&names)?.clone();
        // What was never written holds nothing that could be lost.
        let end = self.disk.file_bytes(&name)?.iter().rposition(|byte| *byte != 0)? as u64;
        let (offset, bit) = (rng.below(end + 1), rng.below(8));
        self.disk.flip(&name, offset, u8::try_from(bit).ok()?).then(|| format!("{name} at {offset}"))
    }

    fn wipe(&mut self) -> Result<(), String> {
        self.store = None;
        Store::wipe(&self.disk).map_err(|error| error.to_string())
    }
}
