//! Writes to the API server, counted in its audit log. Only kind clusters made by `up` keep one.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::Deserialize;

use crate::cluster::hosts;
use crate::command::Command;

/// What wrote what: its user, the verb, the resource (with its subresource behind a slash).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Write {
    pub user: String,
    pub verb: String,
    pub resource: String,
    pub namespace: String,
    pub name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    stage: String,
    verb: String,
    user: User,
    object_ref: Option<ObjectRef>,
    request_received_timestamp: Timestamp,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ObjectRef {
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

/// All writes received after that moment, with how often each was made.
pub async fn writes_since(since: Timestamp) -> Result<BTreeMap<Write, usize>> {
    let hosts = hosts::list().await?;
    let control_plane = hosts.iter().find(|host| host.is_control_plane()).context("no control plane")?;
    let read = Command::new("docker").args(["exec", &control_plane.name, "sh", "-c"]);
    // The older file first; without rotation there is none.
    let log = read.arg(
        "cat /var/log/kubernetes/audit/audit-*.log 2>/dev/null; cat /var/log/kubernetes/audit/audit.log",
    );
    let log = log.deadline(Duration::from_mins(1)).text().await.context("read the API server's audit log")?;
    Ok(count(&log, since))
}

fn count(log: &str, since: Timestamp) -> BTreeMap<Write, usize> {
    let mut counted = BTreeMap::new();
    for line in log.lines() {
        // The last line may be half written.
        let Ok(event) = serde_json::from_str::<Event>(line) else { continue };
        if event.stage != "ResponseComplete" || event.request_received_timestamp < since {
            continue;
        }
        let object = event.object_ref.unwrap_or_default();
        let resource = match object.subresource.as_str() {
            "" => object.resource,
            subresource => format!("{}/{subresource}", object.resource),
        };
        let write = Write {
            user: event.user.username,
            verb: event.verb,
            resource,
            namespace: object.namespace,
            name: object.name,
        };
        *counted.entry(write).or_default() += 1;
    }
    counted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(stage: &str, at: &str) -> String {
        format!(
            r#"{{"stage":"{stage}","verb":"patch","user":{{"username":"me"}},"objectRef":{{"resource":"pods","subresource":"status","namespace":"n","name":"p"}},"requestReceivedTimestamp":"{at}"}}"#
        )
    }

    #[test]
    fn finished_writes_after_the_moment_are_counted() {
        let log = [
            line("ResponseComplete", "2026-01-01T00:00:01.000000Z"),
            line("ResponseComplete", "2026-01-01T00:00:03.000000Z"),
            line("ResponseStarted", "2026-01-01T00:00:03.000000Z"),
            line("ResponseComplete", "2026-01-01T00:00:04.000000Z"),
            "{\"stage\":\"Resp".to_owned(),
        ];
        let counted = count(&log.join("\n"), "2026-01-01T00:00:02Z".parse().unwrap());
        let (write, times) = counted.into_iter().next().unwrap();
        assert_eq!((write.resource.as_str(), times), ("pods/status", 2));
    }
}
