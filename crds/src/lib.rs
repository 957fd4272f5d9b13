//! quartet-crds: the kinds of `quartet.dev` as Rust types, and the YAML that is generated from them.
//!
//! What users write and read, with its schema, defaults, rules and columns. What never lives here: IO, and what the
//! operator makes of a resource.

// kube's derive repeats our public types inside functions, where they cannot be reached.
#![allow(unreachable_pub)]

pub mod common;
pub mod conditions;
pub mod duration;
pub mod galera_cluster;
pub mod quantity;
pub mod sync_cluster;

use conditions::{Observation, Type};
use k8s_openapi::{
    apiextensions_apiserver::pkg::apis::apiextensions::v1::{
        CustomResourceColumnDefinition, CustomResourceDefinition, JSON,
    },
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::Timestamp,
};
use kube::CustomResourceExt;
use serde_json::json;

pub const GROUP: &str = "quartet.dev";
pub const VERSION: &str = "v1alpha1";

/// Every kind, with the name of the file that it is written to.
pub fn all() -> Vec<(&'static str, CustomResourceDefinition)> {
    let sync_cluster = complete(sync_cluster::SyncCluster::crd(), &sync_cluster::CONDITIONS);
    let galera_cluster = complete(galera_cluster::GaleraCluster::crd(), &galera_cluster::CONDITIONS);
    vec![("synccluster.yaml", sync_cluster), ("galeracluster.yaml", galera_cluster)]
}

/// With what is the same in every kind. Until the operator has looked, also where none runs, every condition is there and
/// Unknown.
fn complete(mut crd: CustomResourceDefinition, types: &[Type]) -> CustomResourceDefinition {
    let observed: Vec<_> = types.iter().copied().map(Observation::unknown).collect();
    let conditions = conditions::update(&[], &observed, None, &Time(Timestamp::UNIX_EPOCH));
    for version in &mut crd.spec.versions {
        let own = version.additional_printer_columns.take().unwrap_or_default();
        version.additional_printer_columns = Some(columns(own));
        let schema = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut());
        let properties = schema.and_then(|schema| schema.properties.as_mut());
        if let Some(status) = properties.and_then(|properties| properties.get_mut("status")) {
            status.default = Some(JSON(json!({"conditions": conditions})));
        }
    }
    crd
}

/// What `kubectl get` shows: the kind's own columns among those of every kind.
fn columns(own: Vec<CustomResourceColumnDefinition>) -> Vec<CustomResourceColumnDefinition> {
    let column = |name: &str, r#type: &str, json_path: &str| CustomResourceColumnDefinition {
        name: name.to_owned(),
        type_: r#type.to_owned(),
        json_path: json_path.to_owned(),
        ..CustomResourceColumnDefinition::default()
    };
    let ready =
        |name, field| column(name, "string", &format!(".status.conditions[?(@.type==\"Ready\")].{field}"));
    let mut all = vec![
        ready("READY", "status"),
        ready("REASON", "reason"),
        column("MEMBERS", "string", ".status.memberSummary"),
    ];
    all.extend(own);
    all.push(column("VERSION", "string", ".status.version"));
    all.push(column("AGE", "date", ".metadata.creationTimestamp"));
    all.push(CustomResourceColumnDefinition { priority: Some(1), ..ready("MESSAGE", "message") });
    all
}

/// A definition as the file beside the types holds it.
pub fn yaml(crd: &CustomResourceDefinition) -> Result<String, serde_norway::Error> {
    let body = serde_norway::to_string(crd)?;
    Ok(format!("# Generated from the types in crds/src by `quartet-operator crds`: edit those.\n{body}"))
}

#[cfg(test)]
mod rules;

#[cfg(test)]
mod tests {
    use std::{env, fs, path::Path};

    /// `QUARTET_WRITE_CRDS=1 cargo test -p quartet-crds` writes the files instead of comparing them.
    #[test]
    fn a_resource_that_nobody_has_looked_at_yet_says_so() {
        let crd = serde_json::to_value(&super::all()[0].1).unwrap();
        let status = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"];
        let conditions = status["default"]["conditions"].as_array().unwrap();
        assert_eq!(conditions.len(), 7);
        for condition in conditions {
            assert_eq!(
                (&condition["status"], &condition["reason"]),
                (&"Unknown".into(), &"Unobserved".into())
            );
            for field in status["properties"]["conditions"]["items"]["required"].as_array().unwrap() {
                assert!(!condition[field.as_str().unwrap()].is_null(), "{field}");
            }
        }
    }

    #[test]
    fn the_files_are_what_the_types_say() {
        for (name, crd) in super::all() {
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
            let wanted = super::yaml(&crd).unwrap();
            if env::var_os("QUARTET_WRITE_CRDS").is_some() {
                fs::write(&file, &wanted).unwrap();
            }
            assert_eq!(
                fs::read_to_string(&file).unwrap(),
                wanted,
                "{name} differs from the types: write it anew"
            );
        }
    }
}
