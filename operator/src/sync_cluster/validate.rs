//! Makes a spec into one that can be built from without failing, or says what is wrong with it.
//!
//! What the schema already refuses is not repeated; here is what it cannot know: other objects, and grammar.

mod grammar;

use std::cmp::Ordering;

use k8s_openapi::{api::core::v1::PersistentVolumeClaim, apimachinery::pkg::api::resource::Quantity};
use quartet_crds::{
    common::{ResourceAmounts, Resources},
    conditions::Reason,
    quantity,
    sync_cluster::{SyncCluster, SyncClusterSpec},
};

use super::Seen;
use crate::{
    names,
    plan::ObjectKind,
    reconcile::{Fault, Given},
};

/// A spec that has passed every check, with what it is about.
#[derive(Clone, Debug, PartialEq)]
pub struct Valid {
    pub name: String,
    pub namespace: String,
    pub uid: String,
    pub replicas: u16,
    pub partitions: u16,
    pub image: String,
    pub pull_policy: String,
    pub spec: SyncClusterSpec,
}

pub fn validate(obj: &SyncCluster, seen: &Seen, given: &Given) -> Result<Valid, Vec<Fault>> {
    let name = obj.metadata.name.clone().unwrap_or_default();
    let spec = &obj.spec;
    let mut faults = Vec::new();
    faults.extend(name_fault(&name));
    faults.extend(storage_faults(spec, seen));
    faults.extend(resource_faults(&spec.resources));
    faults.extend(image_fault(spec));
    faults.extend(template_faults(spec));
    let Some(valid) = restore(obj, given) else {
        let allowed = "replicas must be 1, 3, 5 or 7, and partitions between 1 and 64";
        faults.push(fault("spec.replicas", Reason::SpecInvalid, allowed));
        return Err(faults);
    };
    if faults.is_empty() { Ok(valid) } else { Err(faults) }
}

/// Of a spec that was accepted before: what it refers to may have gone since, and its members live on.
pub fn restore(obj: &SyncCluster, given: &Given) -> Option<Valid> {
    let spec = &obj.spec;
    let (replicas, partitions) = (u16::try_from(spec.replicas).ok()?, u16::try_from(spec.partitions).ok()?);
    (matches!(replicas, 1 | 3 | 5 | 7) && (1..=64).contains(&partitions)).then(|| Valid {
        name: obj.metadata.name.clone().unwrap_or_default(),
        namespace: obj.metadata.namespace.clone().unwrap_or_default(),
        uid: obj.metadata.uid.clone().unwrap_or_default(),
        replicas,
        partitions,
        image: spec.image.clone().unwrap_or_else(|| given.settings.node_image.clone()),
        pull_policy: spec
            .image_pull_policy
            .map_or_else(|| given.settings.image_pull_policy.clone(), |policy| policy.as_str().to_owned()),
        spec: spec.clone(),
    })
}

/// Fields of children and the fields of the spec that they are made of.
const ORIGINS: [(&str, &str); 9] = [
    ("spec.template.spec.tolerations", "spec.scheduling.tolerations"),
    ("spec.template.spec.affinity", "spec.scheduling.affinity"),
    ("spec.template.spec.topologySpreadConstraints", "spec.scheduling.topologySpread"),
    ("spec.template.spec.nodeSelector", "spec.scheduling.nodeSelector"),
    ("spec.template.spec.imagePullSecrets", "spec.imagePullSecrets"),
    ("spec.template.spec.containers[0].resources", "spec.resources"),
    ("spec.template.spec.containers[0].image", "spec.image"),
    ("spec.template.metadata", "spec.podTemplate.metadata"),
    ("spec.volumeClaimTemplates", "spec.storage"),
];

/// Which field of the spec a field of a child is made of.
pub fn field(child: ObjectKind, path: &str) -> String {
    if child == ObjectKind::PersistentVolumeClaim {
        return "spec.storage.size".to_owned();
    }
    let origin = ORIGINS.iter().find_map(|(theirs, ours)| Some((ours, path.strip_prefix(theirs)?)));
    origin.map_or_else(|| "spec".to_owned(), |(ours, rest)| format!("{ours}{rest}"))
}

fn fault(field: impl Into<String>, reason: Reason, message: impl Into<String>) -> Fault {
    Fault { field: field.into(), reason: reason.as_str(), message: message.into() }
}

/// The schema says the same; a resource may be older than the schema.
fn name_fault(name: &str) -> Option<Fault> {
    let wrong = name.len() > names::LONGEST || !grammar::is_dns_label(name);
    wrong.then(|| {
        let allowed = format!("must be a DNS label of at most {} characters", names::LONGEST);
        fault("metadata.name", Reason::NameInvalid, allowed)
    })
}

fn storage_faults(spec: &SyncClusterSpec, seen: &Seen) -> Vec<Fault> {
    let mut faults = Vec::new();
    let all_claimed =
        (0..spec.replicas).all(|k| u16::try_from(k).is_ok_and(|k| seen.claims.contains_key(&k)));
    match &spec.storage.storage_class_name {
        Some(name) if seen.class(name).is_none() => faults.push(fault(
            "spec.storage.storageClassName",
            Reason::StorageClassNotFound,
            format!("there is no StorageClass \"{name}\"; `kubectl get storageclass` lists those that exist"),
        )),
        None if seen.default_class().is_none() && !all_claimed => faults.push(fault(
            "spec.storage.storageClassName",
            Reason::StorageClassNotFound,
            "no StorageClass is named, and the cluster has no default one",
        )),
        _ => {}
    }
    faults.extend(seen.claims.values().find_map(|claim| growth_fault(spec, seen, claim)));
    faults
}

/// A claim that would have to grow, and cannot.
fn growth_fault(spec: &SyncClusterSpec, seen: &Seen, claim: &PersistentVolumeClaim) -> Option<Fault> {
    let size = requested(claim)?;
    if quantity::compare(spec.storage.size.as_str(), size) != Some(Ordering::Greater) {
        return None;
    }
    let class = claim.spec.as_ref()?.storage_class_name.as_deref().unwrap_or_default();
    let expands = seen.class(class).and_then(|class| class.allow_volume_expansion).unwrap_or(false);
    (!expands).then(|| {
        fault(
            "spec.storage.size",
            Reason::StorageNotExpandable,
            format!(
                "the volumes have {size}, and StorageClass \"{class}\" does not allow expansion; set it back to {size}"
            ),
        )
    })
}

/// The size that a claim asks for.
pub(super) fn requested(claim: &PersistentVolumeClaim) -> Option<&str> {
    let resources = claim.spec.as_ref()?.resources.as_ref()?;
    resources.requests.as_ref()?.get("storage").map(|size| size.0.as_str())
}

fn resource_faults(resources: &Resources) -> Vec<Fault> {
    let pick = |amounts: &Option<ResourceAmounts>, memory: bool| -> Option<Quantity> {
        let amounts = amounts.as_ref()?;
        if memory { amounts.memory.clone() } else { amounts.cpu.clone() }
    };
    let mut faults = Vec::new();
    for (resource, memory) in [("cpu", false), ("memory", true)] {
        let request = pick(&resources.requests, memory);
        let limit = pick(&resources.limits, memory);
        for (part, amount) in [("requests", &request), ("limits", &limit)] {
            let Some(amount) = amount else { continue };
            if quantity::milli(&amount.0).is_none_or(|milli| milli == 0) {
                let message = format!("\"{}\" is not a quantity above zero", amount.0);
                let field = format!("spec.resources.{part}.{resource}");
                faults.push(fault(field, Reason::ResourcesImpossible, message));
            }
        }
        if let (Some(request), Some(limit)) = (&request, &limit)
            && quantity::compare(&request.0, &limit.0) == Some(Ordering::Greater)
        {
            let message = format!("{} is more than the limit of {}", request.0, limit.0);
            let field = format!("spec.resources.requests.{resource}");
            faults.push(fault(field, Reason::ResourcesImpossible, message));
        }
    }
    faults
}

fn image_fault(spec: &SyncClusterSpec) -> Option<Fault> {
    let image = spec.image.as_deref()?;
    (!grammar::is_image(image)).then(|| {
        let message =
            format!("\"{image}\" is not an image reference like registry/name:tag or name@sha256:…");
        fault("spec.image", Reason::ImageInvalid, message)
    })
}

fn template_faults(spec: &SyncClusterSpec) -> Vec<Fault> {
    let mut faults = Vec::new();
    let metadata = spec.pod_template.metadata.clone().unwrap_or_default();
    for (field, pairs, labels) in [
        ("spec.podTemplate.metadata.labels", &metadata.labels, true),
        ("spec.podTemplate.metadata.annotations", &metadata.annotations, false),
        ("spec.scheduling.nodeSelector", &spec.scheduling.node_selector, true),
    ] {
        let ours = field.starts_with("spec.podTemplate");
        for (key, value) in pairs {
            if ours
                && (names::RESERVED.iter().any(|prefix| key.starts_with(prefix)) || key == names::REVISION)
            {
                let message = format!("\"{key}\" is set by the operator or by Kubernetes: use another key");
                faults.push(fault(field, Reason::ReservedKey, message));
            } else if !grammar::is_qualified_name(key) || (labels && !grammar::is_label_value(value)) {
                let message = format!("\"{key}: {value}\" is not a valid pair of key and value");
                faults.push(fault(field, Reason::SpecInvalid, message));
            }
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync_cluster::fixture::{cluster, storage_class};

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
                let metadata = spec.pod_template.metadata.get_or_insert_default();
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
