//! Services: for clients, for clients that want one writer, for the proxies' statistics, and headless for the members.

use k8s_openapi::api::core::v1::Service;
use quartet_client::{admin, galera::CHECK_PORT};

use super::super::{
    CLIENT_PORT, GROUP_PORT, INCREMENTAL_PORT, LEGACY_PORT, MEMBER, PROXY, STATS_PORT, TRANSFER_PORT,
    WRITER_PORT, validate::Valid,
};
use crate::{
    children::services::{headless, port, service, to},
    names,
};

pub fn clients(valid: &Valid) -> Service {
    let ports = vec![port("mysql", CLIENT_PORT), to("legacy", i32::from(LEGACY_PORT), CLIENT_PORT)];
    service(&valid.parent, valid.parent.name.clone(), valid.parent.selected(Some(PROXY)), ports)
}

pub fn writer(valid: &Valid) -> Service {
    let ports = vec![to("mysql", i32::from(CLIENT_PORT), WRITER_PORT)];
    service(&valid.parent, names::writer(&valid.parent.name), valid.parent.selected(Some(PROXY)), ports)
}

pub fn stats(valid: &Valid) -> Service {
    let ports = vec![to("http", valid.spec.proxy.stats.port, STATS_PORT)];
    service(&valid.parent, names::proxy_stats(&valid.parent.name), valid.parent.selected(Some(PROXY)), ports)
}

pub fn members(valid: &Valid) -> Service {
    let ports = vec![
        port("mysql", CLIENT_PORT),
        port("group", GROUP_PORT),
        port("incremental", INCREMENTAL_PORT),
        port("transfer", TRANSFER_PORT),
        port("checks", CHECK_PORT),
        port("admin", admin::PORT),
    ];
    headless(&valid.parent, valid.parent.selected(Some(MEMBER)), ports)
}
