//! The seam between what is reached over HTTP and the replica under it.

use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use quartet_raft::MemberId;
use quartet_replica::GroupId;
use quartet_replica::engine::{CommandResult, MemberCommand, Report};
use quartet_replica::runtime::{Counted, Handle};
use quartet_replica::wire::{Failure, Key};

/// A running member of a cluster: what [`Handle`] does. Cheap to clone.
pub trait Member: Clone + Send + Sync + 'static {
    /// Answered once the command is committed, applied and settled. Dropping the future says that no answer is
    /// wanted any more; the command may be carried out all the same.
    fn execute(
        &self,
        group: GroupId,
        command: Bytes,
        key: Option<Key>,
        timeout: Duration,
    ) -> impl Future<Output = Result<Bytes, Failure>> + Send;

    /// Linearizable.
    fn query(
        &self,
        group: GroupId,
        query: Bytes,
        timeout: Duration,
    ) -> impl Future<Output = Result<Bytes, Failure>> + Send;

    /// Groups of the cluster that it belongs to: what names are placed by. None while it belongs to none.
    fn groups(&self) -> Option<u16>;

    fn report(&self) -> impl Future<Output = Report> + Send;

    fn command(&self, command: MemberCommand) -> impl Future<Output = CommandResult> + Send;

    /// Gives up all data of this incarnation, durably.
    fn reset(&self, incarnation: u128) -> impl Future<Output = Result<(), String>> + Send;

    fn counted(&self) -> Counted;

    /// Members to which there is a connection now.
    fn connected(&self) -> BTreeSet<MemberId>;

    /// Free and total bytes of the volume.
    fn disk_bytes(&self) -> io::Result<(u64, u64)>;
}

impl Member for Handle {
    async fn execute(
        &self,
        group: GroupId,
        command: Bytes,
        key: Option<Key>,
        timeout: Duration,
    ) -> Result<Bytes, Failure> {
        self.execute(group, command, key, timeout).await
    }

    async fn query(&self, group: GroupId, query: Bytes, timeout: Duration) -> Result<Bytes, Failure> {
        self.query(group, query, timeout).await
    }

    fn groups(&self) -> Option<u16> {
        let identity = self.identity();
        identity.cluster.map(|_| identity.groups)
    }

    async fn report(&self) -> Report {
        self.report().await
    }

    async fn command(&self, command: MemberCommand) -> CommandResult {
        self.command(command).await
    }

    async fn reset(&self, incarnation: u128) -> Result<(), String> {
        self.reset(incarnation).await
    }

    fn counted(&self) -> Counted {
        self.counted()
    }

    fn connected(&self) -> BTreeSet<MemberId> {
        self.connected()
    }

    fn disk_bytes(&self) -> io::Result<(u64, u64)> {
        self.disk_bytes()
    }
}
