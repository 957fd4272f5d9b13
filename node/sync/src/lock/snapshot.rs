//! The table as protobuf, for snapshots: what the rules cannot be derived from, in an order that depends on nothing
//! but the state. The indexes are built again.

use std::collections::BTreeMap;

use prost::Message;
use quartet_raft::{Index, LogTime};

use super::early::EarlyEnds;
use super::ledger::{Ledger, Name};
use super::message::Mode;
use super::resource::{Holder, Place, Resource, Wait};
use super::table::{Limits, Table};

#[derive(Clone, PartialEq, Message)]
pub struct Snapshot {
    #[prost(uint64, tag = "1")]
    now_ms: u64,
    #[prost(uint64, tag = "2")]
    granted: u64,
    #[prost(message, repeated, tag = "3")]
    resources: Vec<ResourceState>,
    #[prost(message, repeated, tag = "4")]
    early_ends: Vec<EarlyEndState>,
}

#[derive(Clone, PartialEq, Message)]
struct EarlyEndState {
    #[prost(uint64, tag = "1")]
    until_ms: u64,
    #[prost(bytes = "vec", tag = "2")]
    request: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceState {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(enumeration = "Mode", tag = "2")]
    mode: i32,
    #[prost(message, repeated, tag = "3")]
    holders: Vec<HolderState>,
    #[prost(message, repeated, tag = "4")]
    queue: Vec<PlaceState>,
}

#[derive(Clone, PartialEq, Message)]
struct HolderState {
    #[prost(string, tag = "1")]
    owner: String,
    #[prost(uint64, tag = "2")]
    token: u64,
    #[prost(uint64, tag = "3")]
    expires_ms: u64,
}

#[derive(Clone, PartialEq, Message)]
struct PlaceState {
    #[prost(string, tag = "1")]
    owner: String,
    #[prost(message, repeated, tag = "2")]
    waits: Vec<WaitState>,
}

#[derive(Clone, PartialEq, Message)]
struct WaitState {
    #[prost(uint64, tag = "1")]
    ticket: u64,
    #[prost(enumeration = "Mode", tag = "2")]
    mode: i32,
    #[prost(uint64, tag = "3")]
    ttl_ms: u64,
    #[prost(uint64, tag = "4")]
    deadline_ms: u64,
    #[prost(bytes = "vec", tag = "5")]
    request: Vec<u8>,
}

impl Table {
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            now_ms: self.ledger.now.0,
            granted: self.ledger.granted,
            resources: self.resources.values().map(resource_state).collect(),
            early_ends: self.early.iter().map(early_end_state).collect(),
        }
    }

    /// The table that a snapshot was taken of; or what is wrong with the snapshot.
    pub fn restored(limits: Limits, snapshot: Snapshot) -> Result<Self, String> {
        let mut ledger = Ledger::default();
        ledger.now = LogTime(snapshot.now_ms);
        ledger.granted = snapshot.granted;
        let mut resources = BTreeMap::new();
        for state in snapshot.resources {
            let resource = restored_resource(state, &mut ledger)?;
            resources.insert(resource.name.clone(), resource);
        }
        let mut early = EarlyEnds::default();
        for EarlyEndState { until_ms, request } in snapshot.early_ends {
            early.insert(LogTime(until_ms), request);
        }
        Ok(Self { limits, ledger, resources, early })
    }
}

fn early_end_state((until, request): &(LogTime, Vec<u8>)) -> EarlyEndState {
    EarlyEndState { until_ms: until.0, request: request.clone() }
}

fn resource_state(resource: &Resource) -> ResourceState {
    ResourceState {
        name: resource.name.to_string(),
        mode: resource.mode.into(),
        holders: resource
            .holders
            .iter()
            .map(|(owner, holder)| HolderState {
                owner: owner.to_string(),
                token: holder.token,
                expires_ms: holder.expires.0,
            })
            .collect(),
        queue: resource.queue.iter().map(place_state).collect(),
    }
}

fn place_state(place: &Place) -> PlaceState {
    let wait_state = |wait: &Wait| WaitState {
        ticket: wait.ticket.0,
        mode: wait.mode.into(),
        ttl_ms: wait.ttl_ms,
        deadline_ms: wait.deadline.0,
        request: wait.request.clone(),
    };
    PlaceState { owner: place.owner.to_string(), waits: place.waits.iter().map(wait_state).collect() }
}

fn restored_resource(state: ResourceState, ledger: &mut Ledger) -> Result<Resource, String> {
    let name: Name = state.name.into();
    let mut resource = Resource::new(name.clone());
    resource.mode = mode(state.mode)?;
    for HolderState { owner, token, expires_ms } in state.holders {
        let owner: Name = owner.into();
        let expires = LogTime(expires_ms);
        ledger.begin_lease(token, expires, &name, &owner);
        resource.holders.insert(owner, Holder { token, expires });
    }
    for PlaceState { owner, waits } in state.queue {
        let owner: Name = owner.into();
        let mut place = Place { owner: owner.clone(), waits: Vec::with_capacity(waits.len()) };
        for WaitState { ticket, mode: wanted, ttl_ms, deadline_ms, request } in waits {
            let (ticket, deadline) = (Index(ticket), LogTime(deadline_ms));
            ledger.begin_wait(ticket, deadline, &name, &owner);
            place.waits.push(Wait { ticket, mode: mode(wanted)?, ttl_ms, deadline, request });
        }
        resource.queue.push_back(place);
    }
    Ok(resource)
}

fn mode(number: i32) -> Result<Mode, String> {
    Mode::try_from(number).map_err(|_| format!("a lock has the unknown mode {number}"))
}
