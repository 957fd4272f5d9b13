//! Where things lie: the checkout, and the cache that all checkouts of a machine share.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

#[derive(Clone, Debug)]
pub struct Paths {
    checkout: PathBuf,
    cache: PathBuf,
}

impl Paths {
    pub fn find() -> Result<Self> {
        // Cargo sets it when it runs us; a binary in a shared target directory may have been built elsewhere.
        let package = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let checkout = package.parent().context("the package has a folder above it")?.to_path_buf();
        let cache = match std::env::var_os("QUARTET_CACHE") {
            Some(dir) => PathBuf::from(dir),
            None => std::env::home_dir().context("no home directory")?.join(".cache/quartet"),
        };
        Ok(Self { checkout, cache })
    }

    pub fn checkout(&self) -> &Path {
        &self.checkout
    }

    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// Tools that the harness compiled.
    pub fn bin(&self) -> PathBuf {
        self.cache.join("bin")
    }

    /// Go modules that name what to compile.
    pub fn go_modules(&self) -> PathBuf {
        self.cache.join("src")
    }

    /// Cargo's build output, shared between checkouts so that a clean one is not a cold build.
    pub fn cargo_target(&self) -> PathBuf {
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| self.cache.join("target"), PathBuf::from)
    }

    /// Output of this checkout's runs.
    pub fn output(&self) -> PathBuf {
        self.checkout.join("target/e2e")
    }

    pub fn logs(&self) -> PathBuf {
        self.output().join("logs")
    }

    pub fn failures(&self) -> PathBuf {
        self.output().join("failures")
    }

    /// Files of the harness that are not Rust.
    pub fn kind_files(&self) -> PathBuf {
        self.checkout.join("e2e/kind")
    }
}
