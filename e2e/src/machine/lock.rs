//! One run at a time: the cluster, its images and the tools belong to the machine, not to a checkout.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};

use anyhow::{Context, Result, bail};

use crate::paths::Paths;

/// Held until dropped; the kernel gives it back when the process dies.
#[derive(Debug)]
pub struct RunLock {
    _file: File,
}

impl RunLock {
    pub fn take(paths: &Paths) -> Result<Self> {
        std::fs::create_dir_all(paths.cache())
            .with_context(|| format!("make {}", paths.cache().display()))?;
        let path = paths.cache().join("e2e.lock");
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .with_context(|| format!("open {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder).ok();
                bail!(
                    "another `cargo e2e` is at work on this machine ({}): wait for it or stop it",
                    holder.trim()
                );
            }
            Err(TryLockError::Error(error)) => return Err(error).context("lock the run"),
        }
        file.set_len(0)?;
        write!(file, "process {} in {}", std::process::id(), paths.checkout().display())?;
        Ok(Self { _file: file })
    }
}
