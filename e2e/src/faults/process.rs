//! Signals to the processes of a pod's container, sent from its host; found by the container's id in their cgroup, so
//! that nothing else of the same name is hit.

use anyhow::{Context, Result};

use super::{Fault, target::Target};
use crate::cluster::hosts::shell;

/// `$1` signal, `$2` container id.
const SIGNAL: &str = "pids=$(grep -ls -- \"$2\" /proc/[0-9]*/cgroup | cut -d/ -f3 || true)
[ -n \"$pids\" ] || { echo 'no process of that container' >&2; exit 1; }
kill -s \"$1\" $pids";
/// `$1` container id, `$2` name.
const KILL_NAMED: &str = "pids=$(grep -ls -- \"$1\" /proc/[0-9]*/cgroup | cut -d/ -f3 || true)
named=
for pid in $pids; do [ \"$(cat /proc/$pid/comm 2>/dev/null)\" != \"$2\" ] || named=\"$named $pid\"; done
[ -n \"$named\" ] || { echo 'no process of that name in that container' >&2; exit 1; }
kill -s KILL $named";
/// `$1` container id. A signal is taken by one thread, when it gets its turn on a processor; until then the others go on
/// and answer: paused is what stands still in every thread.
const STOP: &str = "pids=$(grep -ls -- \"$1\" /proc/[0-9]*/cgroup | cut -d/ -f3 || true)
[ -n \"$pids\" ] || { echo 'no process of that container' >&2; exit 1; }
kill -s STOP $pids
for look in $(seq 600); do
  runs=
  for pid in $pids; do runs=\"$runs$(grep -ls '^State:[[:space:]]*[RSD]' /proc/$pid/task/*/status || true)\"; done
  [ -n \"$runs\" ] || exit 0
  sleep 0.05
done
echo \"goes on though it was told to stop: $runs\" >&2; exit 1";
/// A process that is gone by now needs no continuing.
const CONTINUE: &str = "pids=$(grep -ls -- \"$1\" /proc/[0-9]*/cgroup | cut -d/ -f3 || true); kill -s CONT $pids 2>/dev/null || true";
/// Ends all pauses of a host.
pub(super) const CONTINUE_ALL: &str =
    "for s in /proc/[0-9]*/stat; do case \"$(cut -d')' -f2- $s 2>/dev/null)\" in
' T '*) p=${s#/proc/}; kill -s CONT ${p%/stat} || true;; esac; done";

/// kill -9: no shutdown of any kind, writes that were not synced are the page cache's.
pub async fn kill(pod: &Target) -> Result<()> {
    shell(&pod.host, SIGNAL, &["KILL", &pod.container_id])
        .await
        .map(drop)
        .with_context(|| format!("kill pod {}", pod.title()))
}

/// kill -9 of those of the container's processes that have this name; the others live on.
pub async fn kill_named(pod: &Target, name: &str) -> Result<()> {
    shell(&pod.host, KILL_NAMED, &[&pod.container_id, name])
        .await
        .map(drop)
        .with_context(|| format!("kill {name} of pod {}", pod.title()))
}

/// Stops the process where it is, connections open.
pub async fn pause(pod: &Target) -> Result<Fault> {
    let mut fault = Fault::new(format!("pod {} paused", pod.title()));
    fault.undo_in_host(&pod.host, CONTINUE, &[&pod.container_id]);
    shell(&pod.host, STOP, &[&pod.container_id]).await?;
    Ok(fault)
}
