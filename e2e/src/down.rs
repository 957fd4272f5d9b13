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
            tools::ensure(paths, progress, tools::Need::Client).await?;
            for host in hosts::list().await?.iter().filter(|host| host.running) {
                hosts::shell(&host.name, RELEASE, &[]).await.ok();
            }
            // Where there is no such program, there are no such routes.
            routes::remove().await.ok();
            kind::delete(paths).await?;
            Ok(((), "removed; tools, images and build output are kept".to_owned()))
        })
        .await
}
