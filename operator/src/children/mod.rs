//! Builders of what every kind's children have in common. They cannot fail: validation did the work. What never lives
//! here: what only one kind has.

pub mod claim;
pub mod disruption_budget;
pub mod network;
pub mod pod;
pub mod secrets;
pub mod services;
pub mod stateful_set;

use std::{collections::BTreeMap, fmt::Write};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use sha2::{Digest, Sha256};

use crate::names;

/// The resource whose children they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    pub api_version: String,
    pub kind: String,
    /// Value of `app.kubernetes.io/name` on every child.
    pub label: &'static str,
    pub name: String,
    pub namespace: String,
    pub uid: String,
}

impl Parent {
    pub fn of<K: kube::Resource<DynamicType = ()>>(resource: &K, label: &'static str) -> Self {
        let metadata = resource.meta();
        Self {
            api_version: K::api_version(&()).into_owned(),
            kind: K::kind(&()).into_owned(),
            label,
            name: metadata.name.clone().unwrap_or_default(),
            namespace: metadata.namespace.clone().unwrap_or_default(),
            uid: metadata.uid.clone().unwrap_or_default(),
        }
    }

    /// Of a child.
    pub fn metadata(&self, name: impl Into<String>) -> ObjectMeta {
        ObjectMeta { name: Some(name.into()), labels: Some(self.labels(None)), ..ObjectMeta::default() }
    }

    /// On the pods of one component, where the kind has several.
    pub fn labels(&self, component: Option<&str>) -> BTreeMap<String, String> {
        let mut labels = self.selected(component);
        labels.insert(names::MANAGED_BY.to_owned(), names::QUARTET.to_owned());
        labels
    }

    /// Those of them that select.
    pub fn selected(&self, component: Option<&str>) -> BTreeMap<String, String> {
        let mut labels = names::selector(self.label, &self.name);
        labels.extend(component.map(|component| (names::COMPONENT.to_owned(), component.to_owned())));
        labels
    }

    pub fn selector(&self, component: Option<&str>) -> LabelSelector {
        LabelSelector { match_labels: Some(self.selected(component)), ..LabelSelector::default() }
    }

    /// The same as text.
    pub fn query(&self, component: Option<&str>) -> String {
        names::query(self.selected(component))
    }

    /// Not a controller reference: of what belongs to somebody else, and only goes with the resource.
    pub fn owner(&self) -> OwnerReference {
        OwnerReference {
            api_version: self.api_version.clone(),
            kind: self.kind.clone(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            ..OwnerReference::default()
        }
    }
}

/// Changes exactly when one of the texts does.
pub fn hash<T: AsRef<[u8]>>(texts: impl IntoIterator<Item = T>) -> String {
    let mut hasher = Sha256::new();
    for text in texts {
        hasher.update(text);
        hasher.update(b"\n");
    }
    hex(&hasher.finalize()[..8])
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
