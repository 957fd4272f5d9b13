//! The chart as helm renders it.

use std::{env, ffi::OsString, path::PathBuf, process::Command};

use serde::de::DeserializeOwned;
use serde_json::Value;

pub(crate) fn chart() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../charts/quartet")
}

/// On the path, or where `cargo e2e up` puts it. A test without helm fails: passing would say that it looked.
pub(crate) fn helm(arguments: &[&str]) -> Result<String, String> {
    let home = env::var_os("HOME").unwrap_or_default();
    let built = PathBuf::from(home).join(".cache/quartet/bin");
    let mut path = env::var_os("PATH").unwrap_or_default();
    path.push(OsString::from(":"));
    path.push(built);
    let output = Command::new("helm")
        .args(arguments)
        .env("PATH", &path)
        .output()
        .unwrap_or_else(|error| panic!("helm cannot be run ({error}): `cargo e2e up` installs it"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr) + &text(&output.stdout))
    }
}

/// What `helm template` makes of the chart in namespace quartet-system, or what it says against it.
pub(crate) fn try_render(set: &[&str]) -> Result<Chart, String> {
    let chart = chart();
    let mut arguments = vec!["template", "quartet", chart.to_str().unwrap(), "--namespace", "quartet-system"];
    for assignment in set {
        arguments.extend(["--set-json", assignment]);
    }
    Ok(Chart(documents(&helm(&arguments)?)))
}

pub(crate) fn render(set: &[&str]) -> Chart {
    try_render(set).unwrap_or_else(|error| panic!("helm template {set:?}: {error}"))
}

pub(crate) fn documents(yaml: &str) -> Vec<Value> {
    serde_norway::Deserializer::from_str(yaml)
        .map(|document| serde::Deserialize::deserialize(document).unwrap())
        .filter(|document: &Value| !document.is_null())
        .collect()
}

pub(crate) struct Chart(pub(crate) Vec<Value>);

impl Chart {
    pub(crate) fn of_kind(&self, kind: &str) -> Vec<&Value> {
        self.0.iter().filter(|document| document["kind"] == kind).collect()
    }

    pub(crate) fn named(&self, kind: &str, name: &str) -> Option<&Value> {
        self.of_kind(kind).into_iter().find(|document| document["metadata"]["name"] == name)
    }

    /// The one object of its kind, as its type.
    pub(crate) fn only<K: DeserializeOwned>(&self, kind: &str) -> K {
        match self.of_kind(kind).as_slice() {
            [one] => serde_json::from_value((*one).clone()).unwrap(),
            many => panic!("{} objects of kind {kind}", many.len()),
        }
    }
}
