//! `galera` and `galera-proxy`: what runs in the pods of a GaleraCluster. `install`: how it comes into them.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Context;
use quartet_galera::proxy;

use crate::args::{Galera, GaleraProxy};
use crate::stops::stops;

pub(crate) async fn run(galera: Galera) -> anyhow::Result<()> {
    let options = quartet_galera::Options {
        ordinal: galera.id,
        address: galera.pod_ip,
        data: galera.data,
        settings: galera.settings,
        passwords: galera.passwords,
        run_dir: galera.run_dir,
        http: galera.http,
        admin: galera.admin,
        admin_token_file: galera.admin_token_file,
        drain_timeout: galera.drain_timeout,
        gcache_bytes: galera.gcache_size,
        buffer_pool_bytes: galera.buffer_pool_size,
        snapshot_isolation: galera.snapshot_isolation,
        server_options: galera.server_options,
    };
    Ok(quartet_galera::run(options, stops()?).await?)
}

pub(crate) async fn run_proxy(proxy: GaleraProxy) -> anyhow::Result<()> {
    let options = proxy::Options {
        settings: proxy.settings,
        credentials: proxy.stats_credentials,
        run_dir: proxy.run_dir,
        haproxy: proxy.haproxy,
        http: proxy.http,
    };
    Ok(proxy::run(options, stops()?).await?)
}

/// Copies this program into a folder, under its own name: images of databases come without it.
pub(crate) fn install(folder: &Path) -> anyhow::Result<()> {
    let own = std::env::current_exe().context("cannot find this program")?;
    let target = folder.join("quartet-node");
    // Whole or not at all: a pod that starts beside must not find half of it.
    let partial = folder.join(".quartet-node.new");
    std::fs::copy(&own, &partial).with_context(|| format!("cannot write {}", partial.display()))?;
    std::fs::set_permissions(&partial, std::fs::Permissions::from_mode(0o755))
        .and_then(|()| std::fs::rename(&partial, &target))
        .with_context(|| format!("cannot write {}", target.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_installed_whole_and_may_be_run() {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            install(folder.path()).unwrap();
        }
        let installed = std::fs::metadata(folder.path().join("quartet-node")).unwrap();
        let own = std::fs::metadata(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(installed.len(), own.len());
        assert_eq!(installed.permissions().mode() & 0o777, 0o755);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
