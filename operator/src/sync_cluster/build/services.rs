//! Services: one for clients, one headless for the members.

use k8s_openapi::api::core::v1::Service;
use quartet_client::admin;

use super::super::{CLIENT_PORT, PEER_PORT, validate::Valid};
use crate::children::services::{headless, port, service};

/// Any ready member serves any request.
pub fn clients(valid: &Valid) -> Service {
    let parent = &valid.parent;
    service(parent, parent.name.clone(), parent.selected(None), vec![port("http", CLIENT_PORT)])
}

pub fn members(valid: &Valid) -> Service {
    let ports = vec![port("peer", PEER_PORT), port("admin", admin::PORT)];
    headless(&valid.parent, valid.parent.selected(None), ports)
}
