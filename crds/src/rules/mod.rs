//! The rules of the schema, run as the API server would run them.

mod galera_cluster;
mod sync_cluster;

use serde_json::Value;

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
