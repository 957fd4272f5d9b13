//! A disk that behaves as badly as disks may: after a crash, whatever was not synced is kept, lost or torn by
//! sectors, as a seed says.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, DiskFile};

const SECTOR_BYTES: usize = 512;

/// Clones share the same disk: a test keeps one while a store owns another.
#[derive(Clone, Debug)]
pub struct MemoryDisk(Arc<Mutex<State>>);

#[derive(Debug)]
pub struct MemoryFile {
    state: Arc<Mutex<State>>,
    inode: usize,
    /// Handles do not outlive a crash.
    life: u64,
}

#[derive(Debug, Default)]
struct State {
    capacity_bytes: u64,
    life: u64,
    /// Never shrinks but by `wipe`: handles may outlive names.
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    unsynced_names: Vec<NameChange>,
    sync_fails: bool,
    /// Operations until the power is gone.
    operations_left: Option<u64>,
}

#[derive(Debug, Default)]
struct Inode {
    data: Vec<u8>,
    /// What the disk holds under sectors written since the last sync.
    unsynced: BTreeMap<usize, Vec<u8>>,
    /// The same for sectors whose sync failed: the page cache calls them clean and shows the new data, and no later
    /// sync will write them.
    forgotten: BTreeMap<usize, Vec<u8>>,
}

#[derive(Clone, Debug)]
enum NameChange {
    Create(String, usize),
    Rename(String, String),
    Remove(String),
}

impl MemoryDisk {
    pub fn new(capacity_bytes: u64) -> Self {
        Self(Arc::new(Mutex::new(State { capacity_bytes, ..State::default() })))
    }

    /// The power goes and comes back. Open files are gone; what was not synced is kept, lost or torn.
    pub fn crash(&self, seed: u64) {
        let mut random = Random(seed);
        let mut state = self.state();
        state.life += 1;
        state.operations_left = None;
        state.sync_fails = false;
        state.crash_names(&mut random);
        for inode in &mut state.inodes {
            inode.crash(&mut random);
        }
    }

    /// All file systems' worst: everything is gone, as if the volume were new.
    pub fn wipe(&self) {
        let mut state = self.state();
        *state = State { capacity_bytes: state.capacity_bytes, life: state.life + 1, ..State::default() };
    }

    /// Flips one bit of what is stored. False when there is no such byte.
    pub fn flip(&self, name: &str, offset: u64, bit: u8) -> bool {
        let mut state = self.state();
        let Some(inode) = state.names.get(name).copied() else { return false };
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let Some(byte) = state.inodes[inode].data.get_mut(offset) else { return false };
        *byte ^= 1 << (bit % 8);
        true
    }

    /// The next sync fails, and what it should have written never will be.
    pub fn fail_sync(&self) {
        self.state().sync_fails = true;
    }

    pub fn set_capacity(&self, bytes: u64) {
        self.state().capacity_bytes = bytes;
    }

    /// Everything fails after so many more operations that change something, until `crash`.
    pub fn stop_after(&self, operations: u64) {
        self.state().operations_left = Some(operations);
    }

    pub fn file_bytes(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.state();
        state.names.get(name).map(|inode| state.inodes[*inode].data.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, inode: usize, life: u64) -> MemoryFile {
        MemoryFile { state: Arc::clone(&self.0), inode, life }
    }
}

impl Disk for MemoryDisk {
    type File = MemoryFile;

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state().names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<MemoryFile> {
        let state = self.state();
        let inode = *state.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.file(inode, state.life))
    }

    fn create(&self, name: &str, size_bytes: u64) -> io::Result<MemoryFile> {
        let mut state = self.state();
        state.operate()?;
        if state.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.take_room(size_bytes)?;
        let size = usize::try_from(size_bytes).map_err(|_| io::ErrorKind::StorageFull)?;
        let inode = state.inodes.len();
        state.inodes.push(Inode { data: vec![0; size], ..Inode::default() });
        state.names.insert(name.to_owned(), inode);
        state.unsynced_names.push(NameChange::Create(name.to_owned(), inode));
        Ok(self.file(inode, state.life))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.operate()?;
        let change = NameChange::Rename(from.to_owned(), to.to_owned());
        if !change.apply(&mut state.names) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.unsynced_names.push(change);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.operate()?;
        let change = NameChange::Remove(name.to_owned());
        if !change.apply(&mut state.names) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.unsynced_names.push(change);
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut state = self.state();
        state.operate()?;
        if std::mem::take(&mut state.sync_fails) {
            return Err(io::Error::other("injected: the directory could not be synced"));
        }
        state.durable_names = state.names.clone();
        state.unsynced_names.clear();
        state.drop_unnamed();
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let state = self.state();
        Ok(state.capacity_bytes.saturating_sub(state.used_bytes()))
    }

    fn total_bytes(&self) -> io::Result<u64> {
        Ok(self.state().capacity_bytes)
    }
}

impl DiskFile for MemoryFile {
    fn len(&self) -> io::Result<u64> {
        self.with(|inode| Ok(inode.data.len() as u64))
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.with(|inode| {
            let start = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
            let end = start.checked_add(into.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
            into.copy_from_slice(inode.data.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.lock()?;
        state.operate()?;
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::StorageFull)?;
        let end = start + data.len();
        let grows = end.saturating_sub(state.inodes[self.inode].data.len());
        state.take_room(grows as u64)?;
        state.inodes[self.inode].write(start, data);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.lock()?;
        state.operate()?;
        let fails = std::mem::take(&mut state.sync_fails);
        let inode = &mut state.inodes[self.inode];
        let unsynced = std::mem::take(&mut inode.unsynced);
        if fails {
            for (sector, old) in unsynced {
                inode.forgotten.entry(sector).or_insert(old);
            }
            return Err(io::Error::other("injected: the file could not be synced"));
        }
        Ok(())
    }
}

impl MemoryFile {
    fn lock(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.life != self.life {
            return Err(io::Error::other("the file was open when the disk crashed"));
        }
        Ok(state)
    }

    fn with<T>(&self, read: impl FnOnce(&Inode) -> io::Result<T>) -> io::Result<T> {
        read(&self.lock()?.inodes[self.inode])
    }
}

impl State {
    fn operate(&mut self) -> io::Result<()> {
        match &mut self.operations_left {
            Some(0) => Err(io::Error::other("injected: the power is gone")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn used_bytes(&self) -> u64 {
        self.names.values().map(|inode| self.inodes[*inode].data.len() as u64).sum()
    }

    fn take_room(&self, bytes: u64) -> io::Result<()> {
        if bytes > 0 && self.used_bytes() + bytes > self.capacity_bytes {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    /// Either the journal was written up to some change, or each change made it or not by itself.
    fn crash_names(&mut self, random: &mut Random) {
        let changes = std::mem::take(&mut self.unsynced_names);
        let in_order = random.chance(2);
        let upto = random.below(changes.len() + 1);
        for (at, change) in changes.iter().enumerate() {
            if if in_order { at < upto } else { random.chance(2) } {
                change.apply(&mut self.durable_names);
            }
        }
        self.names = self.durable_names.clone();
        self.drop_unnamed();
    }

    fn drop_unnamed(&mut self) {
        let named: Vec<usize> = self.names.values().chain(self.durable_names.values()).copied().collect();
        for (at, inode) in self.inodes.iter_mut().enumerate() {
            if !named.contains(&at) {
                *inode = Inode::default();
            }
        }
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, usize>) -> bool {
        match self {
            Self::Create(name, inode) => {
                names.insert(name.clone(), *inode);
                true
            }
            Self::Rename(from, to) => match names.remove(from) {
                Some(inode) => {
                    names.insert(to.clone(), inode);
                    true
                }
                None => false,
            },
            Self::Remove(name) => names.remove(name).is_some(),
        }
    }
}

impl Inode {
    fn write(&mut self, start: usize, data: &[u8]) {
        let end = start + data.len();
        if data.is_empty() {
            return;
        }
        if self.data.len() < end {
            self.data.resize(end, 0);
        }
        for sector in start / SECTOR_BYTES..=(end - 1) / SECTOR_BYTES {
            if self.unsynced.contains_key(&sector) {
                continue;
            }
            let old = self.forgotten.remove(&sector).unwrap_or_else(|| {
                let from = sector * SECTOR_BYTES;
                self.data[from..self.data.len().min(from + SECTOR_BYTES)].to_vec()
            });
            self.unsynced.insert(sector, old);
        }
        self.data[start..end].copy_from_slice(data);
    }

    fn crash(&mut self, random: &mut Random) {
        let mut doubtful = std::mem::take(&mut self.unsynced);
        for (sector, old) in std::mem::take(&mut self.forgotten) {
            doubtful.entry(sector).or_insert(old);
        }
        let sectors = doubtful.len();
        let fate = random.below(4);
        let upto = random.below(sectors + 1);
        for (at, (sector, old)) in doubtful.into_iter().enumerate() {
            let kept = match fate {
                0 => false,
                1 => true,
                2 => at < upto,
                _ => random.chance(2),
            };
            if !kept {
                let from = sector * SECTOR_BYTES;
                self.data[from..from + old.len()].copy_from_slice(&old);
            }
        }
    }
}

/// splitmix64: the same seed, the same fate.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap_or(0)
    }

    fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> MemoryDisk {
        MemoryDisk::new(1 << 20)
    }

    #[test]
    fn what_was_synced_survives_every_crash() {
        for seed in 0..200 {
            let disk = disk();
            let mut file = disk.create("a", 4096).unwrap();
            disk.sync_names().unwrap();
            file.write_at(100, b"kept").unwrap();
            file.sync().unwrap();
            file.write_at(2000, &[7; 2000]).unwrap();
            disk.crash(seed);
            let bytes = disk.file_bytes("a").unwrap();
            assert_eq!(&bytes[100..104], b"kept");
            assert!(file.write_at(0, b"x").is_err(), "a handle outlived the crash");
        }
    }

    #[test]
    fn what_was_not_synced_is_sometimes_kept_sometimes_lost_and_sometimes_torn() {
        let (mut kept, mut lost, mut torn) = (0, 0, 0);
        for seed in 0..200 {
            let disk = disk();
            let mut file = disk.create("a", 4096).unwrap();
            disk.sync_names().unwrap();
            file.write_at(0, &[7; 4096]).unwrap();
            disk.crash(seed);
            let bytes = disk.file_bytes("a").unwrap();
            match (bytes.contains(&7), bytes.contains(&0)) {
                (false, _) => lost += 1,
                (true, false) => kept += 1,
                (true, true) => torn += 1,
            }
        }
        assert!(kept > 20 && lost > 20 && torn > 20, "{kept} {lost} {torn}");
    }

    #[test]
    fn names_that_were_not_synced_may_be_lost_and_a_rename_is_whole() {
        let mut renamed = 0;
        for seed in 0..100 {
            let disk = disk();
            disk.create("a", 1).unwrap();
            disk.sync_names().unwrap();
            disk.rename("a", "b").unwrap();
            disk.crash(seed);
            let names = disk.list().unwrap();
            assert!(names == ["a"] || names == ["b"], "{names:?}");
            renamed += usize::from(names == ["b"]);
        }
        assert!((20..80).contains(&renamed), "{renamed}");
    }

    #[test]
    fn after_a_failed_sync_the_cache_shows_what_the_disk_may_never_hold() {
        let mut lost = 0;
        for seed in 0..100 {
            let disk = disk();
            let mut file = disk.create("a", 512).unwrap();
            disk.sync_names().unwrap();
            file.write_at(0, b"new").unwrap();
            disk.fail_sync();
            assert!(file.sync().is_err());
            file.sync().unwrap();
            assert_eq!(&disk.file_bytes("a").unwrap()[..3], b"new");
            disk.crash(seed);
            lost += usize::from(&disk.file_bytes("a").unwrap()[..3] != b"new");
        }
        assert!(lost > 20, "{lost}");
    }

    #[test]
    fn the_same_seed_has_the_same_fate_and_a_full_disk_refuses() {
        let fate = |seed| {
            let disk = disk();
            let mut file = disk.create("a", 8192).unwrap();
            disk.create("b", 1).unwrap();
            file.write_at(0, &[1; 8192]).unwrap();
            disk.crash(seed);
            (disk.list().unwrap(), disk.file_bytes("a"))
        };
        assert_eq!(fate(5), fate(5));
        let disk = disk();
        assert_eq!(disk.create("big", 2 << 20).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(disk.free_bytes().unwrap(), 1 << 20);
    }
}
