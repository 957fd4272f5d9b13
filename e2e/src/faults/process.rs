//! Signals to the processes of a pod's container, sent from its host; found by the container's id in their cgroup, so
//! that nothing else of the same name is hit.

use anyhow::{Context, Result};

use super::{Fault, target::Target};
use crate::cluster::hosts::shell;

/// Of the container `$1`, all processes, or those of the name `$2`. What has ended by itself since it was found, as the
/// steps of a script do, needs no signal.
const FIND: &str = "pids=$(grep -ls -- \"$1\" /proc/[0-9]*/cgroup | cut -d/ -f3 || true)
if [ $# -gt 1 ]; then
  all=$pids pids=
  for pid in $all; do [ \"$(cat /proc/$pid/comm 2>/dev/null)\" != \"$2\" ] || pids=\"$pids $pid\"; done
fi
[ -n \"$pids\" ] || { echo 'no such process in that container' >&2; exit 1; }
signal() {
  for pid in $pids; do
    kill -s $1 $pid 2>/dev/null || [ ! -e /proc/$pid ] || { echo \"$pid takes no $1\" >&2; exit 1; }
  done
}";
const KILL: &str = "signal KILL";
/// A signal is taken by one thread, when it gets its turn on a processor; until then the others go on and answer: paused is
/// what stands still in every thread.
const STOP: &str = "signal STOP
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
    to_found(pod, KILL, &[]).await.with_context(|| format!("kill pod {}", pod.title()))
}

/// kill -9 of those of the container's processes that have this name; the others live on.
pub async fn kill_named(pod: &Target, name: &str) -> Result<()> {
    to_found(pod, KILL, &[name]).await.with_context(|| format!("kill {name} of pod {}", pod.title()))
}

/// Stops the container's processes where they are, connections open.
pub async fn pause(pod: &Target) -> Result<Fault> {
    stop(pod, &[], format!("pod {} paused", pod.title())).await
}

/// The same of those that have this name; the others go on.
pub async fn pause_named(pod: &Target, name: &str) -> Result<Fault> {
    stop(pod, &[name], format!("{name} of pod {} paused", pod.title())).await
}

async fn stop(pod: &Target, name: &[&str], what: String) -> Result<Fault> {
    let mut fault = Fault::new(what);
    fault.undo_in_host(&pod.host, CONTINUE, &[&pod.container_id]);
    to_found(pod, STOP, name).await?;
    Ok(fault)
}

async fn to_found(pod: &Target, act: &str, name: &[&str]) -> Result<()> {
    let arguments = [&[pod.container_id.as_str()], name].concat();
    shell(&pod.host, &format!("{FIND}\n{act}"), &arguments).await.map(drop)
}
