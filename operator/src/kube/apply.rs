//! Writes of children: what is missing is created, what differs is applied, and deletes are guarded.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{
    Api,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions},
};
use serde_json::{Value, json};

use super::{Context, FIELD_MANAGER, Refusal, differ, owners, request, request_optional, store};
use crate::{
    failure::{Class, Failure},
    plan::{Child, Deletion, ObjectKind},
};

/// Hash of all that we last applied: when it changes, a field may have to be removed.
const APPLIED: &str = "quartet.dev/applied";
/// Our owner's UID once more: a foreign hand that strips the owner reference doesn't make the object a stranger.
const OWNER: &str = "quartet.dev/owner-uid";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    Unchanged,
    Written,
    /// The name belongs to an object that isn't ours; it was not touched.
    Taken,
}

/// Whose is the object that has a child's name?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Nobody's: there is none.
    Free,
    Ours,
    /// Ours, and already on its way out: wait until it is gone.
    Leaving,
    /// Not ours, and about to go by itself: the name is soon free.
    LeftOver,
    Taken,
    /// An existing object was meant, and this is not it any more.
    Replaced,
}

/// What is deleted and not gone after so long is held by something, and worth a word to a human.
const LEFT_OVER_MAX: SignedDuration = SignedDuration::from_mins(1);

pub fn claim(
    live: Option<&ObjectMeta>,
    owner: &OwnerReference,
    existing: Option<&str>,
    now: Timestamp,
) -> Claim {
    let Some(live) = live else { return if existing.is_some() { Claim::Replaced } else { Claim::Free } };
    let ours = match existing {
        Some(uid) if live.uid.as_deref() != Some(uid) => return Claim::Replaced,
        Some(_) => true,
        None => is_owned(live, &owner.uid),
    };
    match (ours, &live.deletion_timestamp) {
        (true, Some(_)) => Claim::Leaving,
        (true, None) => Claim::Ours,
        (false, Some(since)) if now.duration_since(since.0) < LEFT_OVER_MAX => Claim::LeftOver,
        (false, None) if is_of_earlier(live, owner) => Claim::LeftOver,
        (false, _) => Claim::Taken,
    }
}

/// A child of an earlier resource of our owner's name, which is therefore gone: the garbage collector takes it.
pub fn is_of_earlier(live: &ObjectMeta, owner: &OwnerReference) -> bool {
    let group =
        |reference: &OwnerReference| reference.api_version.split_once('/').map(|(group, _)| group.to_owned());
    live.owner_references.iter().flatten().any(|reference| {
        reference.uid != owner.uid
            && (&reference.kind, &reference.name, group(reference))
                == (&owner.kind, &owner.name, group(owner))
    })
}

pub fn is_owned(live: &ObjectMeta, owner_uid: &str) -> bool {
    let annotated =
        live.annotations.as_ref().and_then(|all| all.get(OWNER)).is_some_and(|uid| uid == owner_uid);
    is_referenced(live, owner_uid) || annotated
}

pub fn is_referenced(live: &ObjectMeta, owner_uid: &str) -> bool {
    live.owner_references.iter().flatten().any(|reference| reference.uid == owner_uid)
}

pub fn owner_annotation(uid: &str) -> (String, String) {
    (OWNER.to_owned(), uid.to_owned())
}

/// How a child stands to the live object of its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    Same,
    Missing,
    /// In this field first.
    Differs(String),
    /// Ours, and already on its way out.
    Leaving,
    /// Not ours, and about to go.
    LeftOver,
    Taken,
    /// An existing object was meant, and this is not it any more.
    Replaced,
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Same => f.write_str("as it shall be"),
            Self::Missing => f.write_str("missing"),
            Self::Differs(field) => write!(f, "differs in {field}"),
            Self::Leaving => f.write_str("being deleted"),
            Self::LeftOver => f.write_str("the name is still held by an object that is being deleted"),
            Self::Taken => f.write_str("the name is taken by an object that is not ours"),
            Self::Replaced => f.write_str("another object by now"),
        }
    }
}

/// Compares a child with the live object, and changes nothing.
pub async fn standing(
    ctx: &Context,
    owner: &OwnerReference,
    namespace: &str,
    child: &Child,
) -> Result<Standing, Failure> {
    Ok(compare(ctx, owner, namespace, child).await?.standing)
}

/// Applies a child if it is ours and differs from the live one in a field that we set.
pub async fn apply(
    ctx: &Context,
    owner: &OwnerReference,
    namespace: &str,
    child: &Child,
) -> Result<Applied, Failure> {
    let compared = compare(ctx, owner, namespace, child).await?;
    let (kind, name) = (child.object.kind(), child.name());
    match (&compared.standing, compared.live) {
        (Standing::Same | Standing::Leaving, _) => return Ok(Applied::Unchanged),
        (Standing::Taken, _) => return Ok(Applied::Taken),
        (Standing::LeftOver, _) => return Err(left_over(kind, name)),
        (Standing::Replaced, _) => return Err(replaced(kind.as_str(), name)),
        (Standing::Differs(field), Some(mut live)) => {
            tracing::info!(%kind, name, namespace, field, "the live object differs");
            if let Some(owned) = owners::as_applied(&live.metadata) {
                live = owners::write(&compared.api, &live, owned).await?;
            }
            match change(&compared.api, name, &live, &compared.desired, false).await {
                Err(refused) if refused.class == Class::Invalid => {
                    owners::repair(&compared.api, name, &live, &compared.desired)
                        .await
                        .map_err(|_| refused)?;
                }
                Err(failure) => return Err(failure),
                // An entry of a list that somebody else added is theirs: no apply of ours takes it away.
                Ok(changed) if differing(&compared.desired, &changed)?.is_some() => {
                    owners::repair(&compared.api, name, &changed, &compared.desired).await?;
                }
                Ok(_) => {}
            }
        }
        (Standing::Missing | Standing::Differs(_), _) => {
            tracing::info!(%kind, name, namespace, "missing");
            create(&compared.api, name, compared.desired, false).await?;
        }
    }
    Ok(Applied::Written)
}

/// Looked at again soon, and nothing for the status to tell of.
pub fn left_over(kind: ObjectKind, name: &str) -> Failure {
    Failure::new(
        Class::Conflict,
        format!("create {kind} {name}: another of this name is still being deleted"),
    )
}

/// Nothing was written: what it was to be written to is gone, or another object has its name. The next look tells.
fn replaced(kind: &str, name: &str) -> Failure {
    Failure::new(Class::Conflict, format!("apply {kind} {name}: another object by now"))
}

/// Asks the API server what it would say to this child, and changes nothing.
pub async fn rehearse(
    ctx: &Context,
    owner: &OwnerReference,
    namespace: &str,
    child: &Child,
) -> Result<(), Failure> {
    let compared = compare(ctx, owner, namespace, child).await?;
    match (compared.standing, &compared.live) {
        (Standing::Missing, _) => create(&compared.api, child.name(), compared.desired, true).await,
        (Standing::Differs(_), Some(live)) => {
            change(&compared.api, child.name(), live, &compared.desired, true).await.map(drop)
        }
        _ => Ok(()),
    }
}

struct Compared {
    api: Api<DynamicObject>,
    live: Option<DynamicObject>,
    desired: Value,
    standing: Standing,
}

async fn compare(
    ctx: &Context,
    owner: &OwnerReference,
    namespace: &str,
    child: &Child,
) -> Result<Compared, Failure> {
    let unwritable = |error| {
        Failure::caused(Class::Invalid, format!("form {} {}", child.object.kind(), child.name()), error)
    };
    let resource = store::api_resource(child.object.kind());
    let live = store::raw(ctx, &resource, namespace, child.name()).await?;
    let object = child.object.to_value().map_err(unwritable)?;
    let desired = complete(object, owner, namespace, child.existing.as_deref());
    let metadata = live.as_ref().map(|live| &live.metadata);
    let claim = match child.object.metadata().uid.as_deref() {
        Some(uid) if metadata.and_then(|live| live.uid.as_deref()) != Some(uid) => Claim::Replaced,
        _ => claim(metadata, owner, child.existing.as_deref(), Timestamp::now()),
    };
    let standing = match (claim, &live) {
        (Claim::Ours, Some(live)) => differing(&desired, live)?.map_or(Standing::Same, Standing::Differs),
        (Claim::Free | Claim::Ours, _) => Standing::Missing,
        (Claim::Leaving, _) => Standing::Leaving,
        (Claim::LeftOver, _) => Standing::LeftOver,
        (Claim::Taken, _) => Standing::Taken,
        (Claim::Replaced, _) => Standing::Replaced,
    };
    let api = Api::<DynamicObject>::namespaced_with(ctx.client.clone(), namespace, &resource);
    Ok(Compared { api, live, desired, standing })
}

/// A true create and no apply: should the name be taken in this very moment, the other's object is not touched.
async fn create(api: &Api<DynamicObject>, name: &str, desired: Value, dry_run: bool) -> Result<(), Failure> {
    let what = format!("create {} {name}", kind_of(&desired));
    let object: DynamicObject = serde_json::from_value(desired)
        .map_err(|error| Failure::caused(Class::Invalid, what.clone(), error))?;
    let params = PostParams { dry_run, field_manager: Some(FIELD_MANAGER.into()) };
    request(what, api.create(&params, &object)).await.map(drop)
}

/// By force, but only while it is the very object that was compared.
pub(super) async fn change(
    api: &Api<DynamicObject>,
    name: &str,
    live: &DynamicObject,
    desired: &Value,
    dry_run: bool,
) -> Result<DynamicObject, Failure> {
    let mut guarded = desired.clone();
    if let Some(metadata) = guarded.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("uid".into(), json!(live.metadata.uid));
    }
    let params = PatchParams { dry_run, ..PatchParams::apply(FIELD_MANAGER).force() };
    let kind = kind_of(desired);
    let what = format!("apply {kind} {name}");
    let answer = request(what, api.patch(name, &params, &Patch::Apply(&guarded))).await;
    answer.map_err(|failure| if is_of_another(&failure) { replaced(kind, name) } else { failure })
}

/// The API server answers an apply that names a UID with a conflict where there is no object, and calls the UID
/// immutable where there is another one.
fn is_of_another(failure: &Failure) -> bool {
    Refusal::of(failure)
        .is_some_and(|refusal| refusal.fields.iter().any(|(field, _)| field == "metadata.uid"))
}

fn differing(desired: &Value, live: &DynamicObject) -> Result<Option<String>, Failure> {
    let live = serde_json::to_value(live).map_err(|error| {
        Failure::caused(Class::Invalid, format!("read {} as it is", kind_of(desired)), error)
    })?;
    Ok(differ::difference(desired, &live))
}

fn kind_of(object: &Value) -> &str {
    object.get("kind").and_then(Value::as_str).unwrap_or_default()
}

/// What the frame adds to every child.
fn complete(mut object: Value, owner: &OwnerReference, namespace: &str, existing: Option<&str>) -> Value {
    // Whose it is was compared already: the one that is created and the one that is kept say the same.
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("uid");
    }
    let hash = differ::hash(&object);
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return object };
    metadata.insert("namespace".into(), json!(namespace));
    if let Some(uid) = existing {
        // A precondition of the apply: never another object of this name, and never a new one.
        metadata.insert("uid".into(), json!(uid));
    } else {
        metadata.insert("ownerReferences".into(), json!([owner]));
    }
    if let Some(annotations) = metadata.entry("annotations").or_insert_with(|| json!({})).as_object_mut() {
        annotations.insert(APPLIED.into(), json!(hash));
        if existing.is_none() {
            annotations.insert(OWNER.into(), json!(owner.uid));
        }
    }
    object
}

/// Deletes this very object in this very version. One that is gone is as good as deleted.
pub async fn delete(ctx: &Context, namespace: &str, deletion: &Deletion) -> Result<(), Failure> {
    let resource = store::api_resource(deletion.kind);
    let api = Api::<DynamicObject>::namespaced_with(ctx.client.clone(), namespace, &resource);
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: Some(deletion.uid.clone()),
            resource_version: Some(deletion.resource_version.clone()),
        }),
        ..DeleteParams::background()
    };
    let what = format!("delete {} {}", deletion.kind, deletion.name);
    request_optional(what, api.delete(&deletion.name, &params)).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::Time};

    use super::*;

    fn owner() -> OwnerReference {
        referring("owner")
    }

    fn referring(uid: &str) -> OwnerReference {
        OwnerReference {
            api_version: "quartet.dev/v1alpha1".into(),
            kind: "SyncCluster".into(),
            name: "demo".into(),
            uid: uid.into(),
            ..OwnerReference::default()
        }
    }

    fn owned_by(reference: OwnerReference) -> ObjectMeta {
        ObjectMeta {
            uid: Some("child".into()),
            owner_references: Some(vec![reference]),
            ..ObjectMeta::default()
        }
    }

    fn deleted(mut live: ObjectMeta) -> ObjectMeta {
        live.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        live
    }

    fn claimed(live: Option<&ObjectMeta>, existing: Option<&str>) -> Claim {
        claim(live, &owner(), existing, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn an_object_with_a_childs_name_and_another_owner_is_taken() {
        let another = OwnerReference { name: "another".into(), ..referring("another") };
        assert_eq!(claimed(None, None), Claim::Free);
        assert_eq!(claimed(Some(&owned_by(owner())), None), Claim::Ours);
        assert_eq!(claimed(Some(&owned_by(another)), None), Claim::Taken);
        assert_eq!(claimed(Some(&ObjectMeta::default()), None), Claim::Taken);
    }

    #[test]
    fn a_stripped_owner_reference_makes_no_stranger_of_a_child() {
        let annotations = [(OWNER.to_owned(), "owner".to_owned())].into();
        let live = ObjectMeta { annotations: Some(annotations), ..ObjectMeta::default() };
        assert_eq!(claimed(Some(&live), None), Claim::Ours);
        let next = referring("the next of this name");
        assert_eq!(claim(Some(&live), &next, None, Timestamp::UNIX_EPOCH), Claim::Taken);
    }

    #[test]
    fn a_child_on_its_way_out_is_waited_for() {
        assert_eq!(claimed(Some(&deleted(owned_by(owner()))), None), Claim::Leaving);
    }

    #[test]
    fn what_an_earlier_resource_of_the_name_left_is_about_to_go() {
        let earlier = owned_by(referring("earlier"));
        assert_eq!(claimed(Some(&earlier), None), Claim::LeftOver);
        assert_eq!(claimed(Some(&deleted(earlier)), None), Claim::LeftOver);
        let other_kind = OwnerReference { kind: "ShardedDatabase".into(), ..referring("another") };
        assert_eq!(claimed(Some(&owned_by(other_kind)), None), Claim::Taken);
        let other_group = OwnerReference { api_version: "example.org/v1".into(), ..referring("another") };
        assert_eq!(claimed(Some(&owned_by(other_group)), None), Claim::Taken);
    }

    #[test]
    fn a_strangers_object_that_is_deleted_and_stays_is_told_of() {
        let live = deleted(ObjectMeta::default());
        let after = |seconds| claim(Some(&live), &owner(), None, Timestamp::from_second(seconds).unwrap());
        assert_eq!(after(59), Claim::LeftOver);
        assert_eq!(after(60), Claim::Taken);
    }

    #[test]
    fn an_existing_object_is_changed_only_while_it_is_that_object() {
        let live = owned_by(referring("the StatefulSet, or nobody"));
        assert_eq!(claimed(Some(&live), Some("child")), Claim::Ours);
        assert_eq!(claimed(Some(&live), Some("the one before")), Claim::Replaced);
        assert_eq!(claimed(None, Some("child")), Claim::Replaced);
    }

    #[test]
    fn a_desired_child_is_no_different_from_itself_applied() {
        let object = ConfigMap {
            metadata: ObjectMeta { name: Some("demo".into()), ..ObjectMeta::default() },
            data: Some([("a".to_owned(), "b".to_owned())].into()),
            ..ConfigMap::default()
        };
        let value = |object: &ConfigMap| serde_json::to_value(object).unwrap();
        let applied = complete(value(&object), &owner(), "default", None);
        assert_eq!(differ::difference(&applied, &applied), None);
        assert_eq!(applied.pointer("/metadata/ownerReferences/0/uid"), Some(&json!("owner")));

        // A removed field shows in the hash alone.
        let less = ConfigMap { data: None, ..object };
        let next = complete(value(&less), &owner(), "default", None);
        assert_eq!(
            differ::difference(&next, &applied),
            Some("metadata.annotations.quartet.dev/applied".into())
        );
    }
}
