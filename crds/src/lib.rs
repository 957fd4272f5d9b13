//! quartet-crds: the kinds of `quartet.dev` as Rust types, and the YAML that is generated from them.
//!
//! What users write and read, with its schema, defaults, rules and columns. What never lives here: IO, and what the
//! operator makes of a resource.

// kube's derive repeats our public types inside functions, where they cannot be reached.
#![allow(unreachable_pub)]

pub mod common;
pub mod conditions;
pub mod duration;
pub mod quantity;
pub mod sync_cluster;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

pub const GROUP: &str = "quartet.dev";
pub const VERSION: &str = "v1alpha1";

/// Every kind, with the name of the file that it is written to.
pub fn all() -> Vec<(&'static str, CustomResourceDefinition)> {
    vec![("synccluster.yaml", sync_cluster::SyncCluster::crd())]
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
