//! From a request to the partition that it belongs to, and back with its answer.

use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use quartet_client::partition_of;
use quartet_replica::GroupId;
use quartet_replica::wire::{Failure, Key};
use quartet_serve::Refusal;

use super::error::{failed, unreadable};
use crate::lock;
use crate::member::Member;
use crate::partition::{Answer, Command, Query, Reserve, answer, command, query};

/// How long a request may take, beyond what it waits for a lock: time for an election and one more try.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);

/// A member, and where in its cluster a name is.
#[derive(Clone, Debug)]
pub(super) struct Replicated<M> {
    pub(super) member: M,
}

impl<M: Member> Replicated<M> {
    /// By the number of partitions that the cluster was founded with, never by this member's own settings: members
    /// that place a name differently would each grant its lock.
    pub(super) fn group_of(&self, name: &str) -> Result<GroupId, NotExecuted> {
        Ok(GroupId(partition_of(name, self.partitions()?)))
    }

    pub(super) fn groups(&self) -> Result<impl Iterator<Item = GroupId> + use<M>, NotExecuted> {
        Ok((0..self.partitions()?).map(GroupId))
    }

    fn partitions(&self) -> Result<u16, NotExecuted> {
        self.member.groups().ok_or(NotExecuted::Failed(Failure::Unavailable))
    }

    /// Under a key, the key's own partition is asked first whether the key stands for this request, so that a key
    /// cannot be used again for a request that belongs to another partition.
    pub(super) async fn execute(
        &self,
        group: GroupId,
        command: impl Into<lock::Command>,
        key: Option<Key>,
        timeout: Duration,
    ) -> Result<lock::answer::Kind, NotExecuted> {
        let command = command.into();
        if let Some(key) = &key {
            self.reserve(key, group, Reserve { urgent: !command.may_grow() }).await?;
        }
        let command = encode(command::Kind::Lock(command));
        let answer = self.member.execute(group, command, key, timeout).await.map_err(NotExecuted::Failed)?;
        read(&answer)
    }

    async fn reserve(&self, key: &Key, group: GroupId, reserve: Reserve) -> Result<(), NotExecuted> {
        let home = self.group_of(&key.name)?;
        if home == group {
            return Ok(());
        }
        let reserve = encode(command::Kind::Reserve(reserve));
        let reserved = self.member.execute(home, reserve, Some(key.clone()), TIMEOUT).await;
        reserved.map(|_| ()).map_err(|failure| match failure {
            // The request itself was not begun.
            Failure::Unknown => NotExecuted::Failed(Failure::Unavailable),
            other => NotExecuted::Failed(other),
        })
    }

    pub(super) async fn query(
        &self,
        group: GroupId,
        query: lock::Query,
    ) -> Result<lock::answer::Kind, NotExecuted> {
        let query = Query { kind: Some(query::Kind::Lock(query)) }.encode_to_vec().into();
        // A read that got no answer changed nothing.
        let answer = self.member.query(group, query, TIMEOUT).await.map_err(|failure| match failure {
            Failure::Unknown => NotExecuted::Failed(Failure::Unavailable),
            other => NotExecuted::Failed(other),
        })?;
        read(&answer)
    }

    /// Whether the group serves linearizable requests.
    pub(super) async fn confirm(&self, group: GroupId, timeout: Duration) -> Result<(), Failure> {
        self.member.query(group, Bytes::new(), timeout).await.map(|_| ())
    }
}

/// Why there is no answer to a command.
#[derive(Clone, Debug)]
pub(super) enum NotExecuted {
    Failed(Failure),
    /// The partition's leader, of another version, did not know it; or its answer is not readable here.
    Unreadable(String),
}

impl NotExecuted {
    /// Whether the command may have been, or may yet be, carried out.
    pub(super) fn is_unknown(&self) -> bool {
        matches!(self, Self::Failed(Failure::Unknown) | Self::Unreadable(_))
    }
}

impl From<NotExecuted> for Refusal {
    fn from(why: NotExecuted) -> Self {
        match why {
            NotExecuted::Failed(failure) => failed(failure),
            NotExecuted::Unreadable(what) => unreadable(&what),
        }
    }
}

fn encode(kind: command::Kind) -> Bytes {
    Command { kind: Some(kind) }.encode_to_vec().into()
}

fn read(answer: &[u8]) -> Result<lock::answer::Kind, NotExecuted> {
    let kind = Answer::decode(answer).map_err(|error| NotExecuted::Unreadable(error.to_string()))?.kind;
    match kind {
        Some(answer::Kind::Lock(lock::Answer { kind: Some(kind) })) => Ok(kind),
        Some(answer::Kind::Unsupported(what)) => Err(NotExecuted::Unreadable(what)),
        Some(answer::Kind::Lock(lock::Answer { kind: None })) | None => {
            Err(NotExecuted::Unreadable("the answer is of a later version".into()))
        }
    }
}
