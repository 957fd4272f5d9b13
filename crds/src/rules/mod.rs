//! The rules of the schema, run as the API server would run them.

mod common;
mod galera_cluster;
mod sync_cluster;

use kube::{
    CustomResourceExt, Resource,
    core::cel::{validate_cel, validate_cel_update},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// What the API server says to resources of one kind, by name and spec: what is wrong, if anything is. With an old spec,
/// it is updated.
#[derive(Clone, Copy)]
struct Judge(fn(&str, &Value, Option<&Value>) -> Option<String>);

impl Judge {
    const fn of<K>() -> Self
    where
        K: Resource<DynamicType = ()> + CustomResourceExt + Serialize + DeserializeOwned,
    {
        Self(refusal::<K>)
    }

    fn accepts(self, spec: &Value) {
        assert_eq!((self.0)("demo", spec, None), None, "{spec}");
    }

    fn refuses(self, spec: &Value, why: &str) {
        self.refuses_named("demo", spec, why);
    }

    fn refuses_named(self, name: &str, spec: &Value, why: &str) {
        let refusal = (self.0)(name, spec, None);
        assert!(refusal.as_ref().is_some_and(|said| said.contains(why)), "{name} {spec}: {refusal:?}");
    }

    fn accepts_update(self, new: &Value, old: &Value) {
        assert_eq!((self.0)("demo", new, Some(old)), None, "{old} to {new}");
    }

    fn refuses_update(self, new: &Value, old: &Value, why: &str) {
        let refusal = (self.0)("demo", new, Some(old));
        assert!(refusal.as_ref().is_some_and(|said| said.contains(why)), "{old} to {new}: {refusal:?}");
    }
}

fn refusal<K>(name: &str, new: &Value, old: Option<&Value>) -> Option<String>
where
    K: Resource<DynamicType = ()> + CustomResourceExt + Serialize + DeserializeOwned,
{
    let new: K = resource(name, new);
    let judged = match old {
        None => validate_cel(&new),
        Some(old) => validate_cel_update(&new, &resource(name, old)),
    };
    judged.err().map(|errors| errors.to_string())
}

/// As an author writes it: what is left out takes its default.
fn resource<K: Resource<DynamicType = ()> + DeserializeOwned>(name: &str, spec: &Value) -> K {
    let object = json!({
        "apiVersion": K::api_version(&()), "kind": K::kind(&()), "metadata": {"name": name}, "spec": spec,
    });
    serde_json::from_value(object).unwrap()
}

/// Every list, map and text of a spec has a bound, or rules over it would exceed the API server's budget one day.
/// What Kubernetes itself defines (affinity and its like) is left to its own limits.
#[test]
fn every_list_map_and_text_of_ours_is_bounded() {
    for (file, crd) in crate::all() {
        let crd = serde_json::to_value(crd).unwrap();
        let spec = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        let mut unbounded = Vec::new();
        visit(spec, "spec", &mut unbounded);
        assert_eq!(unbounded, Vec::<String>::new(), "{file}");
    }
}

fn visit(schema: &Value, path: &str, unbounded: &mut Vec<String>) {
    const FOREIGN: [&str; 3] =
        ["spec.scheduling.affinity", "spec.scheduling.tolerations", "spec.scheduling.topologySpread"];
    let bounded = match schema["type"].as_str() {
        Some("array") => schema["maxItems"].is_u64(),
        Some("string") => schema["maxLength"].is_u64() || schema["enum"].is_array(),
        Some("object") if schema["additionalProperties"].is_object() => schema["maxProperties"].is_u64(),
        _ => true,
    };
    if !bounded && !FOREIGN[..1].contains(&path) {
        unbounded.push(path.to_owned());
    }
    if FOREIGN.contains(&path) {
        return;
    }
    if let Some(properties) = schema["properties"].as_object() {
        for (name, inner) in properties {
            visit(inner, &format!("{path}.{name}"), unbounded);
        }
    }
    for inner in [&schema["items"], &schema["additionalProperties"]] {
        if inner.is_object() {
            visit(inner, &format!("{path}[]"), unbounded);
        }
    }
}
