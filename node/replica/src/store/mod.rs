//! What a member keeps on disk: its identity, one log for all groups, and a snapshot per group.
//!
//! Writes go out in batches with ever larger numbers; everything up to a batch is durable once [`Store::sync`]
//! has returned after it. An error of either ends the process: what the disk holds is not known any more.

use std::collections::BTreeMap;

use bytes::Bytes;
use quartet_raft::{Entry, HardState, MemberId, Recovered, SnapshotMeta};

use crate::GroupId;

/// Who this member is: kept on its volume from its first start on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub id: MemberId,
    /// The cluster it belongs to; none while it is empty.
    pub cluster: Option<u128>,
    /// Raft groups of that cluster; fixed at founding.
    pub groups: u16,
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
    HardState { group: GroupId, state: HardState },
    /// Replaces whatever the group's log held from the first entry's index on.
    Entries { group: GroupId, entries: Vec<Entry> },
    /// Replaces the group's older snapshot, and its log up to `meta.last`; the rest of the log stays only if it
    /// holds `meta.last` (Raft §7). Durable by itself before anything after it in the batch is written.
    Snapshot { group: GroupId, meta: SnapshotMeta, data: Bytes, keep_entries: u64 },
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
