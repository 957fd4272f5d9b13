//! Makes a spec into one that can be built from without failing, or says what is wrong with it.
//!
//! What the schema already refuses is not repeated; here is what it cannot know: other objects, and grammar.

use quartet_crds::{
    conditions::Reason,
    sync_cluster::{SyncCluster, SyncClusterSpec},
};

use super::{LABEL, Seen};
use crate::{
    children::Parent,
    reconcile::{Fault, Given},
    spec::faults::{self, fault},
};

/// A spec that has passed every check, with what it is about.
#[derive(Clone, Debug, PartialEq)]
pub struct Valid {
    pub parent: Parent,
    pub replicas: u16,
    pub partitions: u16,
    pub image: String,
    pub pull_policy: String,
    pub spec: SyncClusterSpec,
}

pub fn validate(obj: &SyncCluster, seen: &Seen, given: &Given) -> Result<Valid, Vec<Fault>> {
    let spec = &obj.spec;
    let mut all = Vec::new();
    all.extend(faults::of_name(obj.metadata.name.as_deref().unwrap_or_default()));
    all.extend(faults::of_storage(&spec.storage, spec.replicas, &seen.members));
    all.extend(faults::of_resources("spec.resources", &spec.resources));
    all.extend(faults::of_image("spec.image", spec.image.as_deref()));
    all.extend(faults::of_pods(&spec.common));
    let Some(valid) = restore(obj, given) else {
        let allowed = "replicas must be 1, 3, 5 or 7, and partitions between 1 and 64";
        all.push(fault("spec.replicas", Reason::SpecInvalid, allowed));
        return Err(all);
    };
    if all.is_empty() { Ok(valid) } else { Err(all) }
}

/// Of a spec that was accepted before: what it refers to may have gone since, and its members live on.
pub fn restore(obj: &SyncCluster, given: &Given) -> Option<Valid> {
    let spec = &obj.spec;
    let replicas = faults::odd(spec.replicas)?;
    let partitions = u16::try_from(spec.partitions).ok().filter(|count| (1..=64).contains(count))?;
    Some(Valid {
        parent: Parent::of(obj, LABEL),
        replicas,
        partitions,
        image: spec.image.clone().unwrap_or_else(|| given.settings.node_image.clone()),
        pull_policy: given.settings.pull_policy(spec.common.image_pull_policy),
        spec: spec.clone(),
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
    use quartet_crds::{common::ResourceAmounts, quantity};

    use super::*;
    use crate::{fixture::storage_class, names, sync_cluster::fixture::cluster};

    /// Field and reason of every fault.
    fn faults(change: impl FnOnce(&mut SyncClusterSpec)) -> Vec<(String, &'static str)> {
        let cluster = cluster().with_spec(change);
        let faults = validate(&cluster.resource, &cluster.seen(), &cluster.given()).err().unwrap_or_default();
        faults.into_iter().map(|fault| (fault.field, fault.reason)).collect()
    }

    fn one(field: &str, reason: Reason) -> Vec<(String, &'static str)> {
        vec![(field.to_owned(), reason.as_str())]
    }

    fn amounts(cpu: &str, memory: &str) -> ResourceAmounts {
        ResourceAmounts { cpu: Some(Quantity(cpu.into())), memory: Some(Quantity(memory.into())) }
    }

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(faults(|_| {}), []);
    }

    #[test]
    fn an_unknown_storage_class_is_named() {
        let unknown = faults(|spec| spec.storage.storage_class_name = Some("nope".into()));
        assert_eq!(unknown, one("spec.storage.storageClassName", Reason::StorageClassNotFound));
    }

    #[test]
    fn without_a_default_class_one_must_be_named() {
        let mut cluster = cluster();
        cluster.classes = vec![storage_class("slow", false, false)];
        let faults = validate(&cluster.resource, &cluster.seen(), &cluster.given()).unwrap_err();
        assert_eq!(faults[0].reason, "StorageClassNotFound");
        cluster.resource.spec.storage.storage_class_name = Some("slow".into());
        assert!(validate(&cluster.resource, &cluster.seen(), &cluster.given()).is_ok());
    }

    #[test]
    fn a_volume_cannot_outgrow_its_class() {
        let mut cluster = cluster().three_members();
        cluster.resource.spec.storage.size = quantity::Bytes::new("2Gi");
        assert!(validate(&cluster.resource, &cluster.seen(), &cluster.given()).is_ok());
        cluster.classes = vec![storage_class("standard", false, true)];
        let faults = validate(&cluster.resource, &cluster.seen(), &cluster.given()).unwrap_err();
        assert_eq!(
            (faults[0].field.as_str(), faults[0].reason),
            ("spec.storage.size", "StorageNotExpandable")
        );
        assert!(faults[0].message.contains("\"standard\""), "{}", faults[0].message);
    }

    #[test]
    fn resources_above_their_limit_or_zero_are_impossible() {
        let above = faults(|spec| {
            spec.resources.requests = Some(amounts("2", "1Gi"));
            spec.resources.limits = Some(amounts("1500m", "1Gi"));
        });
        assert_eq!(above, one("spec.resources.requests.cpu", Reason::ResourcesImpossible));
        let zero = faults(|spec| spec.resources.limits = Some(amounts("1", "0")));
        assert_eq!(zero, one("spec.resources.limits.memory", Reason::ResourcesImpossible));
    }

    #[test]
    fn an_image_must_be_a_reference() {
        assert_eq!(faults(|spec| spec.image = Some("a b".into())), one("spec.image", Reason::ImageInvalid));
        assert_eq!(faults(|spec| spec.image = Some("localhost:5000/quartet/node:v1.2".into())), []);
    }

    #[test]
    fn a_name_must_leave_room_for_children() {
        let mut cluster = cluster();
        cluster.resource.metadata.name = Some("a".repeat(41));
        let faults = validate(&cluster.resource, &cluster.seen(), &cluster.given()).unwrap_err();
        assert_eq!((faults[0].field.as_str(), faults[0].reason), ("metadata.name", "NameInvalid"));
    }

    #[test]
    fn keys_that_the_operator_owns_are_reserved() {
        let with_label = |key: &'static str, value: &'static str| {
            faults(move |spec| {
                let metadata = spec.common.pod_template.metadata.get_or_insert_default();
                metadata.labels.insert(key.into(), value.into());
            })
        };
        assert_eq!(with_label("team", "a"), []);
        let field = "spec.podTemplate.metadata.labels";
        assert_eq!(with_label(names::NAME, "x"), one(field, Reason::ReservedKey));
        assert_eq!(with_label(names::REVISION, "x"), one(field, Reason::ReservedKey));
        assert_eq!(with_label("team", "not a value"), one(field, Reason::SpecInvalid));
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let both = faults(|spec| {
            spec.image = Some("/".into());
            spec.storage.storage_class_name = Some("nope".into());
        });
        assert_eq!(both.len(), 2);
    }
}
