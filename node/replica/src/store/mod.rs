//! What a member keeps on disk: its identity, one log for all groups, and a snapshot per group.
//!
//! Writes go out in batches with ever larger numbers; everything up to a batch is durable once [`Store::sync`]
//! has returned after it. An error of either ends the process: what the disk holds is not known any more.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use quartet_raft::{Entry, HardState, MemberId, Recovered, SnapshotMeta};

use crate::GroupId;

mod log;
mod open;
mod record;
mod replay;
mod sealed;
mod segment;
#[cfg(test)]
mod tests;

pub use log::Store;
pub(crate) use sealed::{FoundingPlan, read_founding, remove_founding, write_founding};

/// Who this member is: kept on its volume from its first start on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub id: MemberId,
    /// The cluster it belongs to; none while it is empty.
    pub cluster: Option<u128>,
    /// Raft groups of that cluster; fixed at founding.
    pub groups: u16,
    /// How often this incarnation has started: orders its client sessions.
    pub boots: u64,
}

impl Identity {
    /// Of a volume that holds something but cannot be read: not an empty one.
    pub(crate) fn unknown(ordinal: u16) -> Self {
        Self { id: MemberId { ordinal, incarnation: 0 }, cluster: None, groups: 0, boots: 0 }
    }

    pub(crate) fn is_unknown(&self) -> bool {
        self.id.incarnation == 0
    }
}

/// One step's changes, to be written in this order.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub number: u64,
    pub identity: Option<Identity>,
    pub records: Vec<Record>,
}

#[derive(Clone, Debug)]
pub enum Record {
    HardState {
        group: GroupId,
        state: HardState,
    },
    /// Replaces whatever the group's log held from the first entry's index on.
    Entries {
        group: GroupId,
        entries: Vec<Entry>,
    },
    /// Replaces the group's older snapshot, and its log up to `meta.last`; the rest of the log stays only if it
    /// holds `meta.last` (Raft §7). Durable by itself before anything after it in the batch is written. Nothing
    /// happens if a newer one is there.
    Snapshot {
        group: GroupId,
        meta: SnapshotMeta,
        data: Bytes,
    },
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        self.identity.is_none() && self.records.is_empty()
    }
}

/// What was found on disk.
#[derive(Debug, Default)]
pub struct Opened {
    pub identity: Option<Identity>,
    /// None while the volume belongs to no cluster, whatever a founding that was cut off has written.
    pub groups: BTreeMap<GroupId, OpenedGroup>,
    /// Something durable is missing or changed: the member must not act on the rest.
    pub damage: Option<String>,
}

#[derive(Clone, Debug, Default)]
pub struct OpenedGroup {
    pub recovered: Recovered,
    /// The state that `recovered.snapshot` stands for; empty if there is none.
    pub snapshot: Bytes,
}

/// What the engine should know of the disk after a write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Groups whose oldest entries keep old segments from being freed: they should take a snapshot.
    pub pinning: Vec<GroupId>,
    /// Less room than the reserve: nothing that grows the state should be accepted.
    pub short_of_space: bool,
}

#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// Size of a segment of the log; at least [`StoreSettings::SEGMENT_BYTES_MIN`].
    pub segment_bytes: u64,
    /// Groups whose entries keep more segments than this should take a snapshot.
    pub segments_kept: usize,
    /// Room to keep for what must go on when the disk is almost full.
    pub reserve_bytes: u64,
}

impl StoreSettings {
    /// Room for the hard states of 64 groups, which every segment begins with.
    pub const SEGMENT_BYTES_MIN: u64 = 16 << 10;

    /// What suits a volume of this size.
    pub fn for_volume(total_bytes: u64) -> Self {
        let segment_bytes = (total_bytes / 64).clamp(1 << 20, 64 << 20);
        let reserve_bytes = (4 * segment_bytes).max((total_bytes / 20).min(512 << 20));
        Self { segment_bytes, segments_kept: 4, reserve_bytes }
    }
}

/// After one of these the store must not be used any more.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot {operation} {name}")]
    Io { operation: &'static str, name: String, source: io::Error },
    #[error("the disk is damaged, so nothing may be written: {0}")]
    Damaged(String),
}

impl StoreError {
    fn io(operation: &'static str, name: &str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { operation, name: name.to_owned(), source }
    }
}
