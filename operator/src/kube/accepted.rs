//! The last accepted spec, kept in a ControllerRevision: a bad spec must not stop healing.
//!
//! The API server lets nobody change the data of a ControllerRevision, so every newly accepted spec is a new one,
//! named by its generation; the newest counts and the older ones are removed.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::{
    api::apps::v1::ControllerRevision,
    apimachinery::pkg::{
        apis::meta::v1::{ObjectMeta, OwnerReference},
        runtime::RawExtension,
    },
};
use kube::{Api, api::PostParams};
use serde_json::{Value, json};

use super::{
    Context, FIELD_MANAGER,
    apply::{self, Applied, Claim},
    request, store,
};
use crate::{
    failure::{Class, Failure},
    names,
    plan::{Deletion, Grounds, ObjectKind},
};

/// Marks our revisions. They must not have the labels of pods: a StatefulSet would adopt one without an owner, and
/// its own revisions carry the labels of its pods and even its annotations.
const ROLE: (&str, &str) = ("quartet.dev/role", "accepted-spec");
/// Instead of `app.kubernetes.io/name`.
pub const KIND: &str = "quartet.dev/kind";

/// A spec that was once found valid.
#[derive(Clone, Debug, PartialEq)]
pub struct Accepted {
    pub name: String,
    pub uid: String,
    pub resource_version: String,
    pub generation: i64,
    pub spec: Value,
}

/// Where the revisions of one resource are and what they carry.
pub struct Place<'a> {
    pub namespace: &'a str,
    pub owner: &'a OwnerReference,
    /// The kind's label, and the resource's name.
    pub kind: &'a str,
    pub name: &'a str,
}

impl Place<'_> {
    fn labels(&self) -> BTreeMap<String, String> {
        let labels =
            [(names::MANAGED_BY, names::QUARTET), (names::INSTANCE, self.name), (KIND, self.kind), ROLE];
        labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    fn selector(&self) -> String {
        names::query(self.labels())
    }
}

/// All accepted specs that are kept, the newest first.
pub async fn load(ctx: &Context, place: &Place<'_>) -> Result<Vec<Accepted>, Failure> {
    let found = store::list::<ControllerRevision>(ctx, place.namespace, &place.selector()).await?;
    Ok(newest_first(found, &place.owner.uid))
}

fn newest_first(found: Vec<ControllerRevision>, owner_uid: &str) -> Vec<Accepted> {
    let mut accepted: Vec<_> = found
        .into_iter()
        .filter(|revision| is_ours(&revision.metadata, owner_uid))
        .filter(|revision| revision.metadata.deletion_timestamp.is_none())
        .filter_map(|revision| {
            Some(Accepted {
                name: revision.metadata.name?,
                uid: revision.metadata.uid?,
                resource_version: revision.metadata.resource_version?,
                generation: revision.revision,
                spec: revision.data?.0.get("spec")?.clone(),
            })
        })
        .collect();
    accepted.sort_by_key(|revision| std::cmp::Reverse(revision.generation));
    accepted
}

fn is_ours(metadata: &ObjectMeta, owner_uid: &str) -> bool {
    let marked =
        metadata.labels.as_ref().and_then(|labels| labels.get(ROLE.0)).is_some_and(|role| role == ROLE.1);
    // Without the reference it would not go with its owner: it is made anew.
    marked && apply::is_referenced(metadata, owner_uid)
}

pub fn is_kept(kept: &[Accepted], spec: &Value) -> bool {
    kept.first().is_some_and(|newest| newest.spec == *spec)
}

/// What has to be written so that `spec` is the newest accepted one.
#[derive(Debug, PartialEq)]
pub struct Change {
    pub create: bool,
    pub delete: Vec<Deletion>,
}

pub fn change(kept: &[Accepted], spec: &Value) -> Change {
    let create = !is_kept(kept, spec);
    // The new one is made before the old ones go: never none.
    let old = if create { kept } else { kept.get(1..).unwrap_or_default() };
    let delete = old
        .iter()
        .map(|revision| Deletion {
            kind: ObjectKind::ControllerRevision,
            name: revision.name.clone(),
            uid: revision.uid.clone(),
            resource_version: revision.resource_version.clone(),
            grounds: Grounds::Obsolete,
        })
        .collect();
    Change { create, delete }
}

/// Keeps `spec`, accepted at `generation`, under `name`. Writes nothing when it is kept already.
pub async fn keep(
    ctx: &Context,
    place: &Place<'_>,
    kept: &[Accepted],
    name: &str,
    generation: i64,
    spec: &Value,
) -> Result<Applied, Failure> {
    let mut change = change(kept, spec);
    if change.create {
        if let Some(index) = change.delete.iter().position(|old| old.name == name) {
            // The same generation with another spec: a new version of the schema fills in another default.
            apply::delete(ctx, place.namespace, &change.delete.swap_remove(index)).await?;
        }
        if create(ctx, place, name, generation, spec).await? == Applied::Taken {
            return Ok(Applied::Taken);
        }
    }
    for old in &change.delete {
        apply::delete(ctx, place.namespace, old).await?;
    }
    Ok(if change.create { Applied::Written } else { Applied::Unchanged })
}

async fn create(
    ctx: &Context,
    place: &Place<'_>,
    name: &str,
    generation: i64,
    spec: &Value,
) -> Result<Applied, Failure> {
    let revision = ControllerRevision {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(place.namespace.to_owned()),
            labels: Some(place.labels()),
            annotations: Some([apply::owner_annotation(&place.owner.uid)].into()),
            owner_references: Some(vec![place.owner.clone()]),
            ..ObjectMeta::default()
        },
        data: Some(RawExtension(json!({"spec": spec}))),
        revision: generation,
    };
    let api = Api::<ControllerRevision>::namespaced(ctx.client.clone(), place.namespace);
    let params = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
    let created = request(
        format!("keep the accepted spec as ControllerRevision {name}"),
        api.create(&params, &revision),
    );
    match created.await {
        Err(failure) if failure.class == Class::Conflict => free_name(ctx, place, name, failure).await,
        created => created.map(|_| Applied::Written),
    }
}

/// The name exists but wasn't found by its labels: ours with edited labels is made anew, a stranger's is left.
async fn free_name(
    ctx: &Context,
    place: &Place<'_>,
    name: &str,
    failure: Failure,
) -> Result<Applied, Failure> {
    let Some(live) = store::get::<ControllerRevision>(ctx, place.namespace, name).await? else {
        return Err(failure);
    };
    match apply::claim(Some(&live.metadata), place.owner, None, Timestamp::now()) {
        Claim::Taken => return Ok(Applied::Taken),
        Claim::LeftOver => return Err(apply::left_over(ObjectKind::ControllerRevision, name)),
        _ => {}
    }
    let deletion = Deletion {
        kind: ObjectKind::ControllerRevision,
        name: name.to_owned(),
        uid: live.metadata.uid.unwrap_or_default(),
        resource_version: live.metadata.resource_version.unwrap_or_default(),
        grounds: Grounds::Obsolete,
    };
    apply::delete(ctx, place.namespace, &deletion).await?;
    Err(failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision(name: &str, owner: &str, generation: i64, spec: &Value) -> ControllerRevision {
        ControllerRevision {
            metadata: ObjectMeta {
                name: Some(name.into()),
                uid: Some(format!("uid of {name}")),
                resource_version: Some("7".into()),
                labels: Some([(ROLE.0.to_owned(), ROLE.1.to_owned())].into()),
                owner_references: Some(vec![OwnerReference {
                    uid: owner.into(),
                    ..OwnerReference::default()
                }]),
                ..ObjectMeta::default()
            },
            data: Some(RawExtension(json!({"spec": spec}))),
            revision: generation,
        }
    }

    fn kept(revisions: Vec<ControllerRevision>) -> Vec<Accepted> {
        newest_first(revisions, "ours")
    }

    #[test]
    fn the_newest_of_ours_counts() {
        let three = json!({"replicas": 3});
        let five = json!({"replicas": 5});
        let found = kept(vec![
            revision("demo-1", "ours", 1, &three),
            revision("demo-9", "the StatefulSet", 9, &json!({})),
            revision("demo-2", "ours", 2, &five),
        ]);
        assert_eq!(found.iter().map(|kept| kept.generation).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(found[0].spec, five);
    }

    #[test]
    fn a_revision_of_the_stateful_set_is_never_taken_for_a_spec() {
        // It inherits annotations from its StatefulSet, and loses its owner when that is deleted without its pods.
        let mut foreign = revision("demo-76cfbf7c47", "the StatefulSet", 9, &json!({"template": {}}));
        foreign.metadata.labels =
            Some([("app.kubernetes.io/managed-by".to_owned(), "quartet".to_owned())].into());
        foreign.metadata.annotations = Some([apply::owner_annotation("ours")].into());
        foreign.metadata.owner_references = None;
        assert_eq!(kept(vec![foreign]), vec![]);
    }

    #[test]
    fn no_stateful_set_can_adopt_a_kept_spec() {
        let owner = OwnerReference::default();
        let place = Place { namespace: "default", owner: &owner, kind: "synccluster", name: "demo" };
        let labels = place.labels();
        assert!(
            names::selector("synccluster", "demo").iter().any(|(key, value)| labels.get(key) != Some(value))
        );
    }

    #[test]
    fn an_accepted_spec_is_written_once() {
        let spec = json!({"replicas": 3});
        assert_eq!(change(&[], &spec), Change { create: true, delete: vec![] });
        let found = kept(vec![revision("demo-1", "ours", 1, &spec)]);
        assert_eq!(change(&found, &spec), Change { create: false, delete: vec![] });
    }

    #[test]
    fn a_new_spec_replaces_the_old_one_and_a_crash_between_leaves_only_the_newest() {
        let (old, new) = (json!({"replicas": 3}), json!({"replicas": 5}));
        let next = change(&kept(vec![revision("demo-1", "ours", 1, &old)]), &new);
        assert!(next.create);
        assert_eq!(next.delete[0].name, "demo-1");

        let after_crash =
            kept(vec![revision("demo-1", "ours", 1, &old), revision("demo-2", "ours", 2, &new)]);
        let next = change(&after_crash, &new);
        assert!(!next.create);
        assert_eq!(next.delete.iter().map(|gone| gone.name.as_str()).collect::<Vec<_>>(), ["demo-1"]);
    }

    #[test]
    fn going_back_to_an_older_spec_makes_it_the_newest_again() {
        let (old, new) = (json!({"replicas": 3}), json!({"replicas": 5}));
        let found = kept(vec![revision("demo-1", "ours", 1, &old), revision("demo-2", "ours", 2, &new)]);
        assert!(change(&found, &old).create);
    }
}
