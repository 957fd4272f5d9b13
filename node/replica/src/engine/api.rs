//! What goes into a member and what comes out of it.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use quartet_raft::{Configuration, Index, LogTime, MemberId, Position, Progress, Role, Standing, Term};

use crate::GroupId;
use crate::store::{Batch, Written};
use crate::wire::{Failure, Key, PeerMessage};

#[derive(Clone, Debug)]
pub struct EngineSettings {
    /// Groups to make when this member founds or joins a cluster.
    pub groups: u16,
    pub raft: quartet_raft::Settings,
    /// Length of a tick of the groups' clocks.
    pub tick: Duration,
    /// A group takes a snapshot when its log since the last one is longer than this.
    pub snapshot_after_bytes: u64,
    /// Entries kept before a snapshot, for followers that lag a little.
    pub keep_entries: u64,
    /// Requests under way on this member; those that may make the state grow get three quarters of it.
    pub requests_max: usize,
    /// Idempotency keys remembered per group.
    pub keys_max: usize,
    pub key_lifetime: Duration,
    /// The longest step that replicated time takes at once: a member that slept does not leap.
    pub time_step_max: Duration,
    /// A snapshot travels in pieces of this size.
    pub chunk_bytes: usize,
    /// When the disk has finished nothing for longer than this, and something waits for it, it counts as hanging:
    /// this member leads no more.
    pub disk_patience: Duration,
    #[cfg(feature = "broken-rules")]
    pub broken: Option<super::BrokenRule>,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            groups: 8,
            raft: quartet_raft::Settings::default(),
            tick: Duration::from_millis(50),
            snapshot_after_bytes: 8 << 20,
            keep_entries: 1024,
            requests_max: 16_384,
            keys_max: 65_536,
            key_lifetime: Duration::from_mins(10),
            time_step_max: Duration::from_secs(1),
            chunk_bytes: 256 << 10,
            // Longer than what volumes over a network do now and then (a failover of their server, a throttled
            // burst), shorter than the default lease of a lock (30 s), so that it can be renewed elsewhere in time.
            disk_patience: Duration::from_secs(10),
            #[cfg(feature = "broken-rules")]
            broken: None,
        }
    }
}

/// Chosen by the caller, unique among those under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

#[derive(Debug)]
pub enum Event {
    /// `EngineSettings::tick` has gone by.
    Tick,
    Message {
        from: MemberId,
        message: PeerMessage,
    },
    /// A connection to this member ended: what was forwarded to it may be lost.
    Disconnected {
        peer: MemberId,
    },
    /// Nothing listens any more where this member did, just after a connection to it ended: its process is gone, as
    /// far as can be seen from here.
    Gone {
        peer: MemberId,
    },
    /// An empty member was addressed by its exact id.
    Joined {
        cluster: u128,
        groups: u16,
    },
    /// All batches up to this one are durable.
    Synced {
        batch: u64,
        written: Written,
    },
    Request {
        id: RequestId,
        timeout: Duration,
        request: Request,
    },
    /// Whoever asked no longer waits: no answer is wanted.
    Cancel {
        id: RequestId,
    },
    Command {
        id: RequestId,
        command: MemberCommand,
    },
}

#[derive(Clone, Debug)]
pub enum Request {
    /// Answered once the command is committed, applied and settled.
    Execute { group: GroupId, key: Option<Key>, command: Bytes },
    /// Linearizable: answered from a state that holds everything acknowledged before the question.
    Query { group: GroupId, query: Bytes },
}

/// From the operator (or from founding without one).
#[derive(Clone, Debug)]
pub enum MemberCommand {
    Found {
        cluster: u128,
        members: Vec<(MemberId, String)>,
    },
    Change {
        cluster: u128,
        groups: Vec<GroupChange>,
    },
    /// Moves all leaderships away; answered at once, the report shows when it is done.
    Handover {
        cluster: u128,
        /// Members that leave as well: nothing is handed to them.
        except: BTreeSet<MemberId>,
    },
}

#[derive(Clone, Debug)]
pub struct GroupChange {
    pub group: GroupId,
    pub expected: Index,
    pub voters: Vec<(MemberId, String)>,
    pub learners: Vec<(MemberId, String)>,
}

/// Per group that was addressed and is led here; or why nothing was done at all.
pub type CommandResult = Result<Vec<(GroupId, Result<(), String>)>, String>;

/// What the runtime has to carry out. A batch is written in order; messages here may leave at once (the engine
/// holds back those that depend on the disk).
#[derive(Debug, Default)]
pub struct Output {
    pub batch: Option<Batch>,
    pub send: Vec<(MemberId, PeerMessage)>,
    pub answers: Vec<(RequestId, Result<Bytes, Failure>)>,
    pub command_results: Vec<(RequestId, CommandResult)>,
    /// Where members are reached, when a configuration changed.
    pub addresses: Option<Vec<(MemberId, String)>>,
    /// Groups whose role, term or known leader is another than it was.
    pub stood: Vec<(GroupId, Standing)>,
    /// The member must not go on: its process has to end.
    pub fatal: Option<String>,
}

/// What a member knows of itself.
#[derive(Clone, Debug)]
pub struct Report {
    pub id: MemberId,
    pub cluster: Option<u128>,
    pub damage: Option<String>,
    /// What keeps it from doing its part for now, and may pass.
    pub trouble: Option<String>,
    pub short_of_space: bool,
    pub groups: Vec<GroupReport>,
}

#[derive(Clone, Debug)]
pub struct GroupReport {
    pub group: GroupId,
    pub role: Role,
    pub term: Term,
    pub leader: Option<MemberId>,
    pub last: Position,
    pub committed: Index,
    pub applied: Index,
    pub time: LogTime,
    pub configuration: Configuration,
    pub configuration_index: Index,
    pub configuration_committed: bool,
    /// The leader's view of the others; empty elsewhere.
    pub progress: Vec<(MemberId, Progress)>,
}
