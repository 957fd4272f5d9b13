//! The disk seam: one flat directory of files, blocking. The real one, and one in memory that forgets what was not
//! synced, tears writes, flips bits and fills up.

use std::io;

mod memory;
mod real;

pub use memory::MemoryDisk;
pub use real::RealDisk;

pub trait Disk: Send + 'static {
    type File: DiskFile;

    fn list(&self) -> io::Result<Vec<String>>;
    /// Opens an existing file for reading and writing.
    fn open(&self, name: &str) -> io::Result<Self::File>;
    /// Makes a new file of zeros with its space allocated. Fails if the name exists.
    fn create(&self, name: &str, size_bytes: u64) -> io::Result<Self::File>;
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes creations, renames and removals so far durable.
    fn sync_names(&self) -> io::Result<()>;
    fn free_bytes(&self) -> io::Result<u64>;
    fn total_bytes(&self) -> io::Result<u64>;
}

// Nobody asks whether one is empty.
#[allow(clippy::len_without_is_empty)]
pub trait DiskFile: Send + 'static {
    fn len(&self) -> io::Result<u64>;
    /// Fails with UnexpectedEof when the file is shorter.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;
    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// Makes this file's data durable (fdatasync).
    fn sync(&mut self) -> io::Result<()>;
}
