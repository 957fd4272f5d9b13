//! quartet-replica's engine and store as a member and its volume.

use std::time::Duration;

use quartet_replica::disk::MemoryDisk;
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
        Self { disk: MemoryDisk::new(1 << 30), settings, store: None }
    }

    fn store(&mut self) -> Result<&mut Store<MemoryDisk>, String> {
        self.store.as_mut().ok_or_else(|| "the volume is not open".to_owned())
    }
}

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
}
