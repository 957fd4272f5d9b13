//! Commands, questions and answers as they travel and as they lie in the log: protobuf. A tag that was used once is
//! never given another meaning.

use prost::{Enumeration, Message, Oneof};

/// The zero is the stronger one: a message that lost the field never grants less protection than was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Enumeration)]
#[repr(i32)]
pub enum Mode {
    Exclusive = 0,
    Shared = 1,
}

#[derive(Clone, PartialEq, Message)]
pub struct Command {
    #[prost(oneof = "command::Kind", tags = "1, 2, 3, 4, 5")]
    pub kind: Option<command::Kind>,
}

impl Command {
    /// Everything but an acquisition frees room, or moves the end of what there is.
    pub fn may_grow(&self) -> bool {
        matches!(self.kind, None | Some(command::Kind::Acquire(_)))
    }
}

pub mod command {
    use super::{Acquire, CancelWait, Oneof, Release, ReleaseOwner, Renew};

    #[derive(Clone, PartialEq, Oneof)]
    pub enum Kind {
        #[prost(message, tag = "1")]
        Acquire(Acquire),
        #[prost(message, tag = "2")]
        Renew(Renew),
        #[prost(message, tag = "3")]
        Release(Release),
        #[prost(message, tag = "4")]
        ReleaseOwner(ReleaseOwner),
        #[prost(message, tag = "5")]
        CancelWait(CancelWait),
    }
}

#[derive(Clone, PartialEq, Message)]
pub struct Acquire {
    #[prost(string, tag = "1")]
    pub resource: String,
    #[prost(string, tag = "2")]
    pub owner: String,
    #[prost(enumeration = "Mode", tag = "3")]
    pub mode: i32,
    #[prost(uint64, tag = "4")]
    pub ttl_ms: u64,
    /// 0: answered at once.
    #[prost(uint64, tag = "5")]
    pub wait_ms: u64,
    /// Names this wait for a [`CancelWait`].
    #[prost(bytes = "vec", tag = "6")]
    pub request: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Renew {
    #[prost(string, tag = "1")]
    pub resource: String,
    #[prost(string, tag = "2")]
    pub owner: String,
    #[prost(uint64, tag = "3")]
    pub token: u64,
    #[prost(uint64, tag = "4")]
    pub ttl_ms: u64,
}

#[derive(Clone, PartialEq, Message)]
pub struct Release {
    #[prost(string, tag = "1")]
    pub resource: String,
    #[prost(string, tag = "2")]
    pub owner: String,
    /// None releases whatever grant the owner has.
    #[prost(uint64, optional, tag = "3")]
    pub token: Option<u64>,
}

/// Frees all that the owner holds and ends its waits.
#[derive(Clone, PartialEq, Message)]
pub struct ReleaseOwner {
    #[prost(string, tag = "1")]
    pub owner: String,
}

/// Whoever asked no longer waits. What has been granted already stays granted; what comes later is not granted any
/// more.
#[derive(Clone, PartialEq, Message)]
pub struct CancelWait {
    #[prost(string, tag = "1")]
    pub resource: String,
    #[prost(bytes = "vec", tag = "2")]
    pub request: Vec<u8>,
}

/// Who holds a resource and who waits for it.
#[derive(Clone, PartialEq, Message)]
pub struct Query {
    #[prost(string, tag = "1")]
    pub resource: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct Answer {
    #[prost(oneof = "answer::Kind", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12")]
    pub kind: Option<answer::Kind>,
}

pub mod answer {
    use super::{
        Cancelled, Deadlock, Done, Full, Granted, Held, Invalid, Lost, NotHeld, Oneof, OwnerReleased,
        Released, Status,
    };

    #[derive(Clone, PartialEq, Oneof)]
    pub enum Kind {
        /// To an Acquire or a Renew.
        #[prost(message, tag = "1")]
        Granted(Granted),
        #[prost(message, tag = "2")]
        Held(Held),
        #[prost(message, tag = "3")]
        Deadlock(Deadlock),
        #[prost(message, tag = "4")]
        Lost(Lost),
        #[prost(message, tag = "5")]
        Released(Released),
        #[prost(message, tag = "6")]
        NotHeld(NotHeld),
        #[prost(message, tag = "7")]
        OwnerReleased(OwnerReleased),
        #[prost(message, tag = "8")]
        Cancelled(Cancelled),
        #[prost(message, tag = "9")]
        Full(Full),
        #[prost(message, tag = "10")]
        Invalid(Invalid),
        #[prost(message, tag = "11")]
        Done(Done),
        #[prost(message, tag = "12")]
        Status(Status),
    }
}

impl Answer {
    /// Whether the command had its one effect. What decided nothing may be tried again under the same key.
    pub fn is_decided(&self) -> bool {
        !matches!(
            self.kind,
            Some(answer::Kind::Full(_) | answer::Kind::Cancelled(Cancelled { by_owner: false }))
        )
    }
}

impl From<answer::Kind> for Answer {
    fn from(kind: answer::Kind) -> Self {
        Self { kind: Some(kind) }
    }
}

impl From<command::Kind> for Command {
    fn from(kind: command::Kind) -> Self {
        Self { kind: Some(kind) }
    }
}

#[derive(Clone, PartialEq, Message)]
pub struct Granted {
    /// What is held, which may be more than what was asked for.
    #[prost(enumeration = "Mode", tag = "1")]
    pub mode: i32,
    #[prost(uint64, tag = "2")]
    pub token: u64,
    #[prost(uint64, tag = "3")]
    pub expires_in_ms: u64,
}

/// A grant as others see it.
#[derive(Clone, PartialEq, Message)]
pub struct Claim {
    #[prost(string, tag = "1")]
    pub owner: String,
    #[prost(enumeration = "Mode", tag = "2")]
    pub mode: i32,
    #[prost(uint64, tag = "3")]
    pub token: u64,
    #[prost(uint64, tag = "4")]
    pub expires_in_ms: u64,
}

#[derive(Clone, PartialEq, Message)]
pub struct Waiter {
    #[prost(string, tag = "1")]
    pub owner: String,
    #[prost(enumeration = "Mode", tag = "2")]
    pub mode: i32,
}

/// Not granted in time: by whom it is held, the oldest grant first. Empty when it was only promised to others.
#[derive(Clone, PartialEq, Message)]
pub struct Held {
    #[prost(message, repeated, tag = "1")]
    pub holders: Vec<Claim>,
}

/// Each waits for the next, the last for the first.
#[derive(Clone, PartialEq, Message)]
pub struct Deadlock {
    #[prost(string, repeated, tag = "1")]
    pub cycle: Vec<String>,
}

/// The lease ran out, or the lock was released.
#[derive(Clone, PartialEq, Message)]
pub struct Lost {}

#[derive(Clone, PartialEq, Message)]
pub struct Released {}

#[derive(Clone, PartialEq, Message)]
pub struct NotHeld {}

#[derive(Clone, PartialEq, Message)]
pub struct OwnerReleased {
    #[prost(uint64, tag = "1")]
    pub released: u64,
    #[prost(uint64, tag = "2")]
    pub cancelled: u64,
}

/// The wait was ended: by its owner's release, or because whoever asked had gone.
#[derive(Clone, PartialEq, Message)]
pub struct Cancelled {
    #[prost(bool, tag = "1")]
    pub by_owner: bool,
}

#[derive(Clone, PartialEq, Message)]
pub struct Full {
    #[prost(string, tag = "1")]
    pub message: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct Invalid {
    #[prost(string, tag = "1")]
    pub message: String,
}

/// To a CancelWait: whether there still was such a wait.
#[derive(Clone, PartialEq, Message)]
pub struct Done {
    #[prost(bool, tag = "1")]
    pub found: bool,
}

#[derive(Clone, PartialEq, Message)]
pub struct Status {
    /// The oldest grant first.
    #[prost(message, repeated, tag = "1")]
    pub holders: Vec<Claim>,
    /// In the order in which they will be served.
    #[prost(message, repeated, tag = "2")]
    pub waiters: Vec<Waiter>,
}
