//! A directory of the file system.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, fdatasync, statvfs};
use rustix::io::Errno;

use super::{Disk, DiskFile};

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

#[derive(Debug)]
pub struct RealDisk {
    path: PathBuf,
    /// Open all the time: syncing it makes names durable.
    directory: File,
}

impl RealDisk {
    /// Makes the directory if it is not there.
    pub fn open(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        Ok(Self { path: path.to_owned(), directory: File::open(path)? })
    }
}

impl Disk for RealDisk {
    type File = RealFile;

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            // A fresh volume may hold directories (lost+found) that are none of ours.
            if entry.file_type()?.is_file()
                && let Ok(name) = entry.file_name().into_string()
            {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<RealFile> {
        Ok(RealFile(OpenOptions::new().read(true).write(true).open(self.path.join(name))?))
    }

    fn create(&self, name: &str, size_bytes: u64) -> io::Result<RealFile> {
        let path = self.path.join(name);
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        match allocate(&file, size_bytes) {
            Ok(()) => Ok(RealFile(file)),
            Err(error) => {
                // Half a file must not keep the room that was too little.
                fs::remove_file(&path)?;
                Err(error)
            }
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        self.directory.sync_all()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let volume = statvfs(&self.path)?;
        Ok(volume.f_bavail.saturating_mul(volume.f_frsize))
    }

    fn total_bytes(&self) -> io::Result<u64> {
        let volume = statvfs(&self.path)?;
        Ok(volume.f_blocks.saturating_mul(volume.f_frsize))
    }
}

/// Not every file system can allocate without writing.
fn allocate(file: &File, size_bytes: u64) -> io::Result<()> {
    if size_bytes == 0 {
        return Ok(());
    }
    match fallocate(file, FallocateFlags::empty(), 0, size_bytes) {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
            let mut offset = 0;
            while offset < size_bytes {
                let left = usize::try_from(size_bytes - offset).unwrap_or(usize::MAX);
                let piece = &ZEROS[..left.min(ZEROS.len())];
                file.write_all_at(piece, offset)?;
                offset += piece.len() as u64;
            }
            Ok(())
        }
        Err(errno) => Err(errno.into()),
    }
}

#[derive(Debug)]
pub struct RealFile(File);

impl DiskFile for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(into, offset)
    }

    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(fdatasync(&self.0)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_created_file_is_zeros_of_the_asked_size_and_a_name_is_taken_once() {
        let directory = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(&directory.path().join("data")).unwrap();
        let mut file = disk.create("a", 100_000).unwrap();
        assert_eq!(file.len().unwrap(), 100_000);
        let mut read = vec![1; 100_000];
        file.read_at(0, &mut read).unwrap();
        assert!(read.iter().all(|byte| *byte == 0));
        assert_eq!(file.read_at(99_999, &mut [0; 2]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(disk.create("a", 1).unwrap_err().kind(), io::ErrorKind::AlreadyExists);

        file.write_at(7, b"seven").unwrap();
        file.sync().unwrap();
        disk.rename("a", "b").unwrap();
        disk.sync_names().unwrap();
        assert_eq!(disk.list().unwrap(), ["b"]);
        let mut read = [0; 5];
        disk.open("b").unwrap().read_at(7, &mut read).unwrap();
        assert_eq!(&read, b"seven");
        assert!(disk.free_bytes().unwrap() <= disk.total_bytes().unwrap());
        disk.remove("b").unwrap();
        assert!(disk.list().unwrap().is_empty());
    }
}
