//! What can be wrong with the parts of a spec that every kind has: what the schema cannot know of other objects, and
//! grammar.

use std::cmp::Ordering;

use k8s_openapi::{api::core::v1::PersistentVolumeClaim, apimachinery::pkg::api::resource::Quantity};
use quartet_crds::{
    common::{CommonSpec, ResourceAmounts, Resources, StorageSpec},
    conditions::Reason,
    quantity,
};

use super::grammar;
use crate::{
    members::{Members, volumes::requested},
    names,
    plan::ObjectKind,
    reconcile::Fault,
};

pub fn fault(field: impl Into<String>, reason: Reason, message: impl Into<String>) -> Fault {
    Fault { field: field.into(), reason: reason.as_str(), message: message.into() }
}

/// The schema says the same; a resource may be older than the schema.
pub fn of_name(name: &str) -> Option<Fault> {
    let wrong = name.len() > names::LONGEST || !grammar::is_dns_label(name);
    wrong.then(|| {
        let allowed = format!("must be a DNS label of at most {} characters", names::LONGEST);
        fault("metadata.name", Reason::NameInvalid, allowed)
    })
}

/// So many members of which each has a voice: the schema says the same.
pub fn odd(replicas: i32) -> Option<u16> {
    u16::try_from(replicas).ok().filter(|replicas| matches!(replicas, 1 | 3 | 5 | 7))
}

pub fn of_storage(storage: &StorageSpec, replicas: i32, members: &Members) -> Vec<Fault> {
    let mut faults = Vec::new();
    let all_claimed = (0..replicas).all(|k| u16::try_from(k).is_ok_and(|k| members.claims.contains_key(&k)));
    match &storage.storage_class_name {
        Some(name) if members.class(name).is_none() => faults.push(fault(
            "spec.storage.storageClassName",
            Reason::StorageClassNotFound,
            format!("there is no StorageClass \"{name}\"; `kubectl get storageclass` lists those that exist"),
        )),
        None if members.default_class().is_none() && !all_claimed => faults.push(fault(
            "spec.storage.storageClassName",
            Reason::StorageClassNotFound,
            "no StorageClass is named, and the cluster has no default one",
        )),
        _ => {}
    }
    faults.extend(members.claims.values().find_map(|claim| of_growth(storage, members, claim)));
    faults
}

/// A claim that would have to grow, and cannot.
fn of_growth(storage: &StorageSpec, members: &Members, claim: &PersistentVolumeClaim) -> Option<Fault> {
    let size = requested(claim)?;
    if quantity::compare(storage.size.as_str(), size) != Some(Ordering::Greater) {
        return None;
    }
    let class = claim.spec.as_ref()?.storage_class_name.as_deref().unwrap_or_default();
    let expands = members.class(class).and_then(|class| class.allow_volume_expansion).unwrap_or(false);
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

/// `field`: where in the resource they are, `spec.resources`.
pub fn of_resources(field: &str, resources: &Resources) -> Vec<Fault> {
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
                let field = format!("{field}.{part}.{resource}");
                faults.push(fault(field, Reason::ResourcesImpossible, message));
            }
        }
        if let (Some(request), Some(limit)) = (&request, &limit)
            && quantity::compare(&request.0, &limit.0) == Some(Ordering::Greater)
        {
            let message = format!("{} is more than the limit of {}", request.0, limit.0);
            let field = format!("{field}.requests.{resource}");
            faults.push(fault(field, Reason::ResourcesImpossible, message));
        }
    }
    faults
}

pub fn of_image(field: &str, image: Option<&str>) -> Option<Fault> {
    let image = image?;
    (!grammar::is_image(image)).then(|| {
        let message =
            format!("\"{image}\" is not an image reference like registry/name:tag or name@sha256:…");
        fault(field, Reason::ImageInvalid, message)
    })
}

pub fn of_pods(common: &CommonSpec) -> Vec<Fault> {
    let mut faults = Vec::new();
    let metadata = common.pod_template.metadata.clone().unwrap_or_default();
    for (field, pairs, labels) in [
        ("spec.podTemplate.metadata.labels", &metadata.labels, true),
        ("spec.podTemplate.metadata.annotations", &metadata.annotations, false),
        ("spec.scheduling.nodeSelector", &common.scheduling.node_selector, true),
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

/// Fields of the members' children and the fields of the spec that they are made of, in every kind.
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

/// Which field of the spec a field of one of the members' children is made of.
pub fn origin(child: ObjectKind, path: &str) -> String {
    if child == ObjectKind::PersistentVolumeClaim {
        return "spec.storage.size".to_owned();
    }
    let origin = ORIGINS.iter().find_map(|(theirs, ours)| Some((ours, path.strip_prefix(theirs)?)));
    origin.map_or_else(|| "spec".to_owned(), |(ours, rest)| format!("{ours}{rest}"))
}
