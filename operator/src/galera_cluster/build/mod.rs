//! Children of a GaleraCluster, one file per kind of object. Builders cannot fail: validation did the work.

#[cfg(test)]
mod tests;

pub mod disruption_budget;
pub mod member;
pub mod network_policy;
pub mod proxy;
pub mod secrets;
pub mod services;
pub mod settings;

use k8s_openapi::api::core::v1::{Container, Pod};
use quartet_crds::common::Resources;

use super::{Seen, validate::Valid};
use crate::{
    children::{hash, pod},
    names,
};

/// `mysql` and `haproxy` in their images.
const USER: i64 = 999;
/// The manager, copied in from its own image.
const NODE: &str = "/node";
const SETTINGS: &str = "/etc/quartet/settings";

/// Copies the manager to where the main container finds it.
fn installer(valid: &Valid) -> Container {
    Container {
        name: "install".to_owned(),
        image: Some(valid.node_image.clone()),
        image_pull_policy: pod::pull_policy(&valid.pull_policy),
        args: Some(vec!["install".to_owned(), NODE.to_owned()]),
        resources: Some(pod::resources(&Resources::default(), "10m", "16Mi")),
        security_context: Some(pod::restricted()),
        volume_mounts: Some(vec![pod::mount("node", NODE)]),
        ..Container::default()
    }
}

/// Every running pod, told what it has mounted: its host fetches that anew when it changes.
pub fn marks(valid: &Valid, seen: &Seen, settings: &str, passwords: &str) -> Vec<Pod> {
    let members = seen.members.pods.values().map(|pod| (super::MEMBER, hash([settings, passwords]), pod));
    let proxies = seen.proxy_pods.iter().map(|pod| (super::PROXY, hash([settings]), pod));
    members
        .chain(proxies)
        .filter_map(|(component, mounted, live)| {
            let annotations = [(names::MOUNTED_HASH.to_owned(), mounted)].into();
            pod::marked(valid.parent.labels(Some(component)), annotations, live)
        })
        .collect()
}
