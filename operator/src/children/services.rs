//! Services.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::Parent;
use crate::names;

/// In front of the ready pods that `selector` selects.
pub fn service(
    parent: &Parent,
    name: impl Into<String>,
    selector: BTreeMap<String, String>,
    ports: Vec<ServicePort>,
) -> Service {
    Service {
        metadata: parent.metadata(name),
        spec: Some(ServiceSpec { selector: Some(selector), ports: Some(ports), ..ServiceSpec::default() }),
        ..Service::default()
    }
}

/// Names for the members, also before they are ready: they have to find each other to become so. No client Service
/// exposes the authenticated port.
pub fn headless(parent: &Parent, selector: BTreeMap<String, String>, ports: Vec<ServicePort>) -> Service {
    let mut service = service(parent, names::members(&parent.name), selector, ports);
    if let Some(spec) = &mut service.spec {
        spec.cluster_ip = Some("None".to_owned());
        spec.publish_not_ready_addresses = Some(true);
    }
    service
}

pub fn port(name: &str, port: u16) -> ServicePort {
    to(name, i32::from(port), port)
}

/// A port that leads to another one of the pods.
pub fn to(name: &str, port: i32, target: u16) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port,
        target_port: Some(IntOrString::Int(i32::from(target))),
        protocol: Some("TCP".to_owned()),
        ..ServicePort::default()
    }
}
