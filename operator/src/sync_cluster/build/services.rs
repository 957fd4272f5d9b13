//! Services: one for clients, one headless for the members.

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};
use quartet_client::admin;

use super::{
    super::{CLIENT_PORT, LABEL, PEER_PORT, validate::Valid},
    metadata,
};
use crate::names;

/// Any ready member serves any request.
pub fn clients(valid: &Valid) -> Service {
    service(
        valid,
        valid.name.clone(),
        ServiceSpec { ports: Some(vec![port("http", CLIENT_PORT)]), ..spec(valid) },
    )
}

/// Names for the members, also before they are ready: they have to find each other to become so. No client Service
/// exposes the authenticated port.
pub fn members(valid: &Valid) -> Service {
    let headless = ServiceSpec {
        cluster_ip: Some("None".to_owned()),
        publish_not_ready_addresses: Some(true),
        ports: Some(vec![port("peer", PEER_PORT), port("admin", admin::PORT)]),
        ..spec(valid)
    };
    service(valid, names::members(&valid.name), headless)
}

fn spec(valid: &Valid) -> ServiceSpec {
    ServiceSpec { selector: Some(names::selector(LABEL, &valid.name)), ..ServiceSpec::default() }
}

fn service(valid: &Valid, name: String, spec: ServiceSpec) -> Service {
    Service { metadata: metadata(valid, name), spec: Some(spec), ..Service::default() }
}

fn port(name: &str, port: u16) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: i32::from(port),
        target_port: Some(IntOrString::Int(i32::from(port))),
        protocol: Some("TCP".to_owned()),
        ..ServicePort::default()
    }
}
