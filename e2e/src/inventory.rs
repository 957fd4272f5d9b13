//! Everything that is in a namespace, of whatever kind the API server knows.

use std::collections::BTreeSet;
use std::fmt;

use anyhow::{Context, Result};
use kube::api::{DynamicObject, ListParams};
use kube::discovery::{Discovery, Scope, verbs};
use kube::{Api, ResourceExt};

use crate::stage::Stage;

/// One object: its kind and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Thing {
    pub kind: String,
    pub name: String,
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// All objects of the scenario's namespace but events, which outlive what they tell of.
pub async fn inventory(stage: &Stage) -> Result<BTreeSet<Thing>> {
    let discovery = Discovery::new(stage.client.clone()).run().await.context("ask what kinds there are")?;
    let mut things = BTreeSet::new();
    for group in discovery.groups() {
        for (resource, capabilities) in group.recommended_resources() {
            let listed =
                capabilities.scope == Scope::Namespaced && capabilities.supports_operation(verbs::LIST);
            if !listed || resource.kind == "Event" {
                continue;
            }
            let api =
                Api::<DynamicObject>::namespaced_with(stage.client.clone(), &stage.namespace, &resource);
            let found = api.list(&ListParams::default()).await;
            let found = found.with_context(|| format!("list {}", resource.plural))?;
            things.extend(
                found
                    .items
                    .iter()
                    .map(|object| Thing { kind: resource.kind.clone(), name: object.name_any() }),
            );
        }
    }
    Ok(things)
}
