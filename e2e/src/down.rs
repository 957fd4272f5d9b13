//! `cargo e2e down`.

use anyhow::Result;

use crate::cluster::{hosts, kind, routes};
use crate::command::Command;
use crate::machine::{lock::RunLock, tools};
use crate::paths::Paths;
use crate::progress::Progress;

/// Loop devices are the machine's: they would stay behind when the container that made them is removed.
const RELEASE: &str = "for m in $(grep -o ' /mnt/quartet-[^ ]*' /proc/mounts || true); do umount -l $m; done
for d in $(losetup -l -n -O NAME,BACK-FILE | grep /var/quartet- | cut -d' ' -f1); do losetup -d $d; done";

pub async fn run(paths: &Paths, progress: &Progress) -> Result<()> {
    let _lock = RunLock::take(paths)?;
    if !Command::new("docker").args(["info"]).succeeds().await {
        progress.finish("no Docker engine answers: there is nothing to remove");
        return Ok(());
    }
    progress
        .step("cluster", async {
            tools::ensure(paths, progress, tools::Need::Only("kind")).await?;
            let hosts = hosts::list().await?;
            for host in hosts.iter().filter(|host| host.running) {
                hosts::shell(&host.name, RELEASE, &[]).await.ok();
            }
            // Where there is no such program, there are no such routes.
            let routes = routes::remove().await.unwrap_or_default();
            kind::delete(paths).await?;
            let said = format!("{} hosts and {routes} routes removed", hosts.len());
            Ok(((), format!("{said}; tools, images and build output are kept")))
        })
        .await
}
