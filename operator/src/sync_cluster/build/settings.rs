//! ConfigMap with the members' settings, as their environment.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;

use super::super::validate::Valid;
use crate::{children, names};

pub fn settings(valid: &Valid) -> ConfigMap {
    ConfigMap {
        metadata: valid.parent.metadata(names::settings(&valid.parent.name)),
        data: Some(data(valid)),
        ..ConfigMap::default()
    }
}

/// Changes exactly when a setting does. On the pod template, so that a change of settings rolls the members.
pub fn hash(valid: &Valid) -> String {
    children::hash(data(valid).into_iter().map(|(key, value)| format!("{key}={value}")))
}

fn data(valid: &Valid) -> BTreeMap<String, String> {
    let spec = &valid.spec;
    [
        ("QUARTET_CLUSTER", valid.parent.name.clone()),
        ("QUARTET_PARTITIONS", valid.partitions.to_string()),
        ("QUARTET_LOCK_DEFAULT_TTL", spec.lock.default_ttl.to_string()),
        ("QUARTET_QUEUE_VISIBILITY_TIMEOUT", spec.queue.visibility_timeout.to_string()),
        ("QUARTET_QUEUE_MAX_DELIVERIES", spec.queue.max_deliveries.to_string()),
        ("QUARTET_QUEUE_MAX_BYTES", spec.queue.max_bytes.to_string()),
        ("QUARTET_CACHE_MAX_BYTES", spec.cache.max_bytes.to_string()),
        ("QUARTET_CACHE_LEASE_DURATION", spec.cache.lease_duration.to_string()),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect()
}
