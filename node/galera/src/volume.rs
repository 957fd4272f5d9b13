//! The member's volume: the server's data in `mysql/`, what the manager has to remember in `manager/`.
//!
//! Markers say what was under way when everything ended at once. They are written, durably, before the first change
//! that they speak of, and removed after the last.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use quartet_client::galera::{Position, Sst};
use rustix::fs::{FlockOperation, flock, statvfs, syncfs};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {path}")]
    Write { path: PathBuf, source: io::Error },
    #[error("{path} is not what the manager has written")]
    Unreadable { path: PathBuf, source: serde_json::Error },
    #[error("another manager uses {path}")]
    Used { path: PathBuf },
}

/// One life of the data on this volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    pub incarnation: Uuid,
    /// There has been data in this life: should it be gone, another life begins.
    pub held_data: bool,
}

/// A server was started to join: what it had may have been replaced, in part or as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Joining {
    pub sst: Sst,
    /// What the data was worth before; none: nothing.
    pub from: Option<Position>,
    /// Names a folder in the data directory that goes before anything is replaced. None where there was nothing of worth.
    #[serde(default)]
    pub witness: Option<Uuid>,
    /// Of the host's kernel.
    #[serde(default)]
    pub boot: Option<Uuid>,
}

impl Joining {
    /// Nothing that was written since can have been lost again: the host has not been off.
    pub fn is_of_this_boot(&self) -> bool {
        self.boot.is_some_and(|since| boot() == Some(since))
    }
}

#[derive(Debug)]
pub struct Volume {
    data: PathBuf,
    manager: PathBuf,
    /// Held as long as the manager lives.
    _lock: File,
}

const IDENTITY: &str = "identity.json";
const FOUNDING: &str = "founding";
const JOINING: &str = "joining.json";
const HISTORY: &str = "history.json";
/// An empty folder that every transfer of everything removes first: mariabackup's script clears the data directory once it
/// has made the folder that it collects into, and rsync, whose first step removes the folders that the donor does not
/// have, begins with the last of them by name. So it tells a transfer from a join that only fetches what was missed, also
/// after the transfer's own traces have gone. With a name that no donor has: rsync brings the donor's folders along.
const WITNESS: &str = "~joining-";
/// Drawn whenever the host starts.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

impl Volume {
    pub fn open(root: &Path) -> Result<Self, VolumeError> {
        let (data, manager) = (root.join("mysql"), root.join("manager"));
        for path in [&data, &manager] {
            fs::create_dir_all(path).map_err(|source| VolumeError::Write { path: path.clone(), source })?;
        }
        let path = manager.join("lock");
        let lock = File::create(&path).map_err(|source| VolumeError::Write { path: path.clone(), source })?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| VolumeError::Used { path: root.to_owned() })?;
        Ok(Self { data, manager, _lock: lock })
    }

    /// The server's data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// There is nothing in the data directory but what a file system puts there.
    pub fn is_empty(&self) -> Result<bool, VolumeError> {
        let read = |source| VolumeError::Read { path: self.data.clone(), source };
        for entry in fs::read_dir(&self.data).map_err(read)? {
            if entry.map_err(read)?.file_name() != "lost+found" {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Who this volume is: drawn when it is seen for the first time, and again when its data has gone.
    pub fn identity(&self) -> Result<Identity, VolumeError> {
        // A founding that was cut off is begun again, by the same one.
        let holds_data = !self.is_empty()? && !self.is_founding();
        let known: Option<Identity> = self.read(IDENTITY)?;
        let identity = match known {
            Some(known) if known.held_data == holds_data => return Ok(known),
            Some(known) if holds_data => Identity { held_data: true, ..known },
            _ => Identity { incarnation: Uuid::new_v4(), held_data: holds_data },
        };
        self.write(IDENTITY, &identity)?;
        Ok(identity)
    }

    /// The first database is being made, or has not been part of a Primary component yet.
    pub fn is_founding(&self) -> bool {
        self.manager.join(FOUNDING).exists()
    }

    pub fn begin_founding(&self) -> Result<(), VolumeError> {
        self.write(FOUNDING, &())
    }

    pub fn end_founding(&self) -> Result<(), VolumeError> {
        self.remove(FOUNDING)
    }

    /// Of which history the data is, as far as that was ever known: for the day on which it cannot be read any more.
    pub fn history(&self) -> Result<Option<Uuid>, VolumeError> {
        self.read(HISTORY)
    }

    pub fn note_history(&self, history: Uuid) -> Result<(), VolumeError> {
        if self.history()? == Some(history) { Ok(()) } else { self.write(HISTORY, &history) }
    }

    pub fn forget_history(&self) -> Result<(), VolumeError> {
        self.remove(HISTORY)
    }

    pub fn joining(&self) -> Result<Option<Joining>, VolumeError> {
        self.read(JOINING)
    }

    /// From here on everything may be replaced; `from`: what it is worth now.
    pub fn begin_joining(&self, sst: Sst, from: Option<Position>) -> Result<(), VolumeError> {
        let witness = from.map(|_| Uuid::new_v4());
        if let Some(witness) = witness {
            let path = self.witness(witness);
            fs::create_dir(&path)
                .and_then(|()| File::open(&self.data)?.sync_all())
                .map_err(|source| VolumeError::Write { path, source })?;
        }
        self.write(JOINING, &Joining { sst, from, witness, boot: boot() })?;
        // Not before: the last join may have left one that speaks for the data.
        self.remove_witnesses(witness)
    }

    /// Nothing has been replaced yet, for all that the folder tells.
    pub fn has_witness(&self, joining: &Joining) -> bool {
        joining.witness.is_some_and(|witness| self.witness(witness).is_dir())
    }

    fn witness(&self, witness: Uuid) -> PathBuf {
        self.data.join(format!("{WITNESS}{witness}"))
    }

    fn remove_witnesses(&self, but: Option<Uuid>) -> Result<(), VolumeError> {
        let kept = but.map(|witness| self.witness(witness));
        let read = |source| VolumeError::Read { path: self.data.clone(), source };
        for entry in fs::read_dir(&self.data).map_err(read)? {
            let entry = entry.map_err(read)?;
            let path = entry.path();
            if entry.file_name().to_string_lossy().starts_with(WITNESS) && Some(&path) != kept.as_ref() {
                fs::remove_dir_all(&path).map_err(|source| VolumeError::Write { path, source })?;
            }
        }
        Ok(())
    }

    /// All that was transferred is made durable first.
    pub fn end_joining(&self) -> Result<(), VolumeError> {
        let path = &self.data;
        File::open(path)
            .and_then(|directory| Ok(syncfs(directory)?))
            .map_err(|source| VolumeError::Write { path: path.clone(), source })?;
        self.remove(JOINING)?;
        self.remove_witnesses(None)
    }

    /// Removes what an unfinished founding has left: nobody has ever been answered from it.
    pub fn clear(&self) -> Result<(), VolumeError> {
        let failed = |path: &Path, source| VolumeError::Write { path: path.to_owned(), source };
        for entry in fs::read_dir(&self.data).map_err(|source| failed(&self.data, source))? {
            let entry = entry.map_err(|source| failed(&self.data, source))?;
            let path = entry.path();
            let is_directory = entry.file_type().map_err(|source| failed(&path, source))?.is_dir();
            let removed = if is_directory { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(|source| failed(&path, source))?;
        }
        Ok(())
    }

    /// Free and total bytes.
    pub fn room(&self) -> io::Result<(u64, u64)> {
        let room = statvfs(&self.data)?;
        Ok((room.f_bavail * room.f_frsize, room.f_blocks * room.f_frsize))
    }

    /// Writes a file of the server's, whole or not at all.
    pub fn write_data(&self, name: &str, content: &str) -> Result<(), VolumeError> {
        write_whole(&self.data, name, content.as_bytes())
    }

    pub fn remove_data(&self, name: &str) -> Result<(), VolumeError> {
        remove(&self.data, name)
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, VolumeError> {
        let path = self.manager.join(name);
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .map(Some)
                .map_err(|source| VolumeError::Unreadable { path, source }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(VolumeError::Read { path, source }),
        }
    }

    fn write(&self, name: &str, value: &impl Serialize) -> Result<(), VolumeError> {
        let text = serde_json::to_vec(value)
            .map_err(|source| VolumeError::Unreadable { path: self.manager.join(name), source })?;
        write_whole(&self.manager, name, &text)
    }

    fn remove(&self, name: &str) -> Result<(), VolumeError> {
        remove(&self.manager, name)
    }
}

fn write_whole(directory: &Path, name: &str, content: &[u8]) -> Result<(), VolumeError> {
    let path = directory.join(name);
    let write = || {
        let temporary = directory.join(format!(".{name}.new"));
        let mut file = File::create(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        File::open(directory)?.sync_all()
    };
    write().map_err(|source| VolumeError::Write { path: path.clone(), source })
}

/// None: not known.
fn boot() -> Option<Uuid> {
    fs::read_to_string(BOOT).ok()?.trim().parse().ok()
}

fn remove(directory: &Path, name: &str) -> Result<(), VolumeError> {
    let path = directory.join(name);
    match fs::remove_file(&path).and_then(|()| File::open(directory)?.sync_all()) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(VolumeError::Write { path, source }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incarnation_lasts_as_long_as_the_data() {
        let root = tempfile::tempdir().unwrap();
        let volume = Volume::open(root.path()).unwrap();
        let empty = volume.identity().unwrap();
        assert_eq!(volume.identity().unwrap(), empty, "an empty volume stays who it is");
        volume.write_data("ibdata1", "").unwrap();
        let filled = volume.identity().unwrap();
        assert_eq!((filled.incarnation, filled.held_data), (empty.incarnation, true));
        volume.clear().unwrap();
        let wiped = volume.identity().unwrap();
        assert_ne!(wiped.incarnation, empty.incarnation);
        assert_eq!(volume.identity().unwrap(), wiped);
    }

    /// Its leave to found names this incarnation: another one would look as if the founder had lost its volume.
    #[test]
    fn a_founder_that_is_cut_off_stays_who_it_is() {
        let root = tempfile::tempdir().unwrap();
        let volume = Volume::open(root.path()).unwrap();
        let empty = volume.identity().unwrap();
        volume.begin_founding().unwrap();
        volume.write_data("ibdata1", "").unwrap();
        assert_eq!(volume.identity().unwrap(), empty);
        volume.clear().unwrap();
        volume.end_founding().unwrap();
        assert_eq!(volume.identity().unwrap(), empty);
        volume.begin_founding().unwrap();
        volume.write_data("ibdata1", "").unwrap();
        volume.end_founding().unwrap();
        assert!(volume.identity().unwrap().held_data);
    }

    #[test]
    fn data_without_an_identity_gets_one_and_keeps_it() {
        let root = tempfile::tempdir().unwrap();
        let volume = Volume::open(root.path()).unwrap();
        volume.write_data("ibdata1", "").unwrap();
        let identity = volume.identity().unwrap();
        assert!(identity.held_data);
        assert_eq!(volume.identity().unwrap(), identity);
    }

    #[test]
    fn markers_are_found_again_until_they_are_removed() {
        let root = tempfile::tempdir().unwrap();
        let volume = Volume::open(root.path()).unwrap();
        assert!(!volume.is_founding() && volume.joining().unwrap().is_none());
        volume.begin_founding().unwrap();
        let position = "6b1d3e2a-7c55-11f0-8de9-0242ac120002:7".parse().ok();
        volume.begin_joining(Sst::Rsync, position).unwrap();
        assert!(volume.is_founding());
        let joining = volume.joining().unwrap().unwrap();
        assert_eq!((joining.sst, joining.from), (Sst::Rsync, position));
        assert!(joining.is_of_this_boot() && volume.has_witness(&joining));
        assert!(!Joining { boot: None, ..joining }.is_of_this_boot());
        volume.end_founding().unwrap();
        volume.end_joining().unwrap();
        volume.end_joining().unwrap();
        assert!(!volume.is_founding() && volume.joining().unwrap().is_none());
        volume.begin_joining(Sst::Mariabackup, None).unwrap();
        assert!(volume.joining().unwrap().is_some());
        assert!(volume.is_empty().unwrap(), "markers are not data");
    }

    #[test]
    fn only_the_witness_of_the_last_join_stays_and_none_after_it() {
        let root = tempfile::tempdir().unwrap();
        let volume = Volume::open(root.path()).unwrap();
        let witnesses = || fs::read_dir(volume.data()).unwrap().count();
        let from = "6b1d3e2a-7c55-11f0-8de9-0242ac120002:7".parse().ok();
        volume.begin_joining(Sst::Mariabackup, from).unwrap();
        let first = volume.joining().unwrap().unwrap();
        // A donor's may come along, with what the copy puts into empty folders.
        fs::create_dir(volume.witness(Uuid::from_u128(5))).unwrap();
        fs::write(volume.witness(Uuid::from_u128(5)).join("db.opt"), "").unwrap();
        volume.begin_joining(Sst::Mariabackup, from).unwrap();
        let second = volume.joining().unwrap().unwrap();
        assert!(!volume.has_witness(&first) && volume.has_witness(&second));
        assert_eq!(witnesses(), 1);
        volume.end_joining().unwrap();
        assert_eq!(witnesses(), 0);
    }

    #[test]
    fn two_managers_never_have_one_volume() {
        let root = tempfile::tempdir().unwrap();
        let first = Volume::open(root.path()).unwrap();
        assert!(matches!(Volume::open(root.path()), Err(VolumeError::Used { .. })));
        drop(first);
        assert!(Volume::open(root.path()).is_ok());
    }
}
