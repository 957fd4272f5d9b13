//! How the rest of the process talks to its member.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use quartet_raft::MemberId;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::counters::{Counted, Counters};
use super::driver::Input;
use super::transport::Peers;
use crate::GroupId;
use crate::disk::{Disk, RealDisk};
use crate::engine::{CommandResult, MemberCommand, Report, Request, RequestId};
use crate::store::Identity;
use crate::wire::{Failure, Key};

#[derive(Clone)]
pub struct Handle {
    inputs: mpsc::Sender<Input>,
    next_request: Arc<AtomicU64>,
    identity: watch::Receiver<Identity>,
    counters: Arc<Counters>,
    peers: Peers,
    data: PathBuf,
}

impl Handle {
    pub(super) fn new(
        inputs: mpsc::Sender<Input>,
        identity: watch::Receiver<Identity>,
        counters: Arc<Counters>,
        peers: Peers,
        data: PathBuf,
    ) -> Self {
        Self { inputs, next_request: Arc::default(), identity, counters, peers, data }
    }

    /// Carries out a command once, here or on the member that leads the group. Dropping the future gives up the
    /// answer, not the command.
    pub async fn execute(
        &self,
        group: GroupId,
        command: Bytes,
        key: Option<Key>,
        timeout: Duration,
    ) -> Result<Bytes, Failure> {
        self.request(Request::Execute { group, key, command }, timeout, Failure::Unknown).await
    }

    /// Linearizable.
    pub async fn query(&self, group: GroupId, query: Bytes, timeout: Duration) -> Result<Bytes, Failure> {
        self.request(Request::Query { group, query }, timeout, Failure::Unavailable).await
    }

    /// What the member knows of itself. Of a member that has ended: who it was.
    pub async fn report(&self) -> Report {
        let (answer, wait) = oneshot::channel();
        if self.inputs.send(Input::Report { answer }).await.is_ok()
            && let Ok(report) = wait.await
        {
            return report;
        }
        let identity = self.identity.borrow();
        Report {
            id: identity.id,
            cluster: identity.cluster,
            damage: None,
            trouble: None,
            short_of_space: false,
            groups: Vec::new(),
        }
    }

    pub async fn command(&self, command: MemberCommand) -> CommandResult {
        let ended = || Err("the member has ended".to_owned());
        let (answer, wait) = oneshot::channel();
        if self.inputs.send(Input::Command { command, answer }).await.is_err() {
            return ended();
        }
        wait.await.unwrap_or_else(|_| ended())
    }

    /// Gives up all data, durably, and goes on as an empty member with a new incarnation, in place. `incarnation`
    /// is the one that is given up (0 if the volume is so damaged that it is not known).
    pub async fn reset(&self, incarnation: u128) -> Result<(), String> {
        let ended = || Err("the member has ended".to_owned());
        let (answer, wait) = oneshot::channel();
        if self.inputs.send(Input::Reset { incarnation, answer }).await.is_err() {
            return ended();
        }
        wait.await.unwrap_or_else(|_| ended())
    }

    /// Who this is, as its disk has it.
    pub fn identity(&self) -> Identity {
        self.identity.borrow().clone()
    }

    pub fn counted(&self) -> Counted {
        self.counters.read()
    }

    /// Members to which there is a connection now, in either direction.
    pub fn connected(&self) -> BTreeSet<MemberId> {
        self.peers.connected()
    }

    /// Free and total bytes of the volume.
    pub fn disk_bytes(&self) -> io::Result<(u64, u64)> {
        let disk = RealDisk::open(&self.data)?;
        Ok((disk.free_bytes()?, disk.total_bytes()?))
    }

    /// `if_lost`: the answer when the member ends in between.
    async fn request(&self, request: Request, timeout: Duration, if_lost: Failure) -> Result<Bytes, Failure> {
        let deadline = Instant::now() + timeout;
        let place = tokio::time::timeout_at(deadline, self.inputs.reserve()).await;
        let Ok(Ok(place)) = place else { return Err(Failure::Unavailable) };
        let id = RequestId(self.next_request.fetch_add(1, Ordering::Relaxed));
        let (answer, wait) = oneshot::channel();
        let timeout = deadline.saturating_duration_since(Instant::now());
        place.send(Input::Request { id, timeout, request, answer });
        let cancel = CancelOnDrop { inputs: &self.inputs, id };
        // The member answers by the deadline, unless it hangs (on its disk, say): then it may still do it.
        let answered = tokio::time::timeout_at(deadline + OVERDUE, wait).await;
        let Ok(answer) = answered else { return Err(if_lost) };
        std::mem::forget(cancel);
        answer.unwrap_or(Err(if_lost))
    }
}

/// How much later than it should a member may answer.
const OVERDUE: Duration = Duration::from_secs(1);

/// Whoever drops the future no longer waits.
struct CancelOnDrop<'a> {
    inputs: &'a mpsc::Sender<Input>,
    id: RequestId,
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        // If there is no room the driver notices by itself, at a tick, that nobody waits.
        let _ = self.inputs.try_send(Input::Cancel { id: self.id });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_member_that_hangs_keeps_nobody_waiting() {
        let (inputs, _nobody_reads) = mpsc::channel(1);
        let (_, identity) = watch::channel(Identity::unknown(0));
        let peers = Peers::new(inputs.clone(), identity.clone(), 1);
        let handle = Handle::new(inputs, identity, Arc::default(), peers, PathBuf::new());
        let soon = Duration::from_millis(1);
        let (group, nothing) = (GroupId(0), Bytes::new());
        let answered = handle.execute(group, nothing.clone(), None, soon);
        assert_eq!(answered.await, Err(Failure::Unknown), "it lies there and may be done yet");
        assert_eq!(handle.query(group, nothing, soon).await, Err(Failure::Unavailable), "no room");
    }
}
