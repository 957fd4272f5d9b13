//! The driver itself: what every reconciliation does, whatever the kind.

use std::{fmt::Write, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{api::core::v1::ObjectReference, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::{Resource, ResourceExt, api::DynamicObject, core::ApiResource};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Fault, Given, Kind, Outcome, Verdict, common, guard, in_force, plan};
use crate::{
    failure::{Class, Failure},
    kube::{
        Context, Refusal,
        accepted::{self, Accepted, Place},
        apply::{self, Applied, Standing},
        events::Tone,
        status, store,
    },
    names,
    plan::{Child, Grounds, ObjectKind, Plan},
};

/// Faults may be cured by something that is not watched (a StorageClass, an object of the user's): look again.
const RECHECK_FAULT: Duration = Duration::from_secs(30);
/// Of one child: the first say enough.
const MOST_FAULTS: usize = 4;

/// How a reconciliation ended.
#[derive(Debug, Default)]
pub struct Done {
    /// When to look again at the latest, also after a failure; None: the resync interval, or the failure's own.
    pub recheck_after: Option<Duration>,
    /// The present spec was refused.
    pub refused: bool,
    pub failure: Option<Failure>,
}

/// All that is known and decided before anything is done.
pub struct Situation<K: Kind> {
    live: DynamicObject,
    /// With the present spec, when that can be read at all; else with the last accepted one.
    obj: K::Resource,
    seen: K::Seen,
    kept: Vec<Accepted>,
    faults: Vec<Fault>,
    valid: Option<K::Valid>,
    pub plan: Plan<K::Call>,
    given: Given,
    owner: OwnerReference,
}

/// observe → validate → plan → execute → report.
pub async fn reconcile<K: Kind>(ctx: &Context, namespace: &str, name: &str) -> Result<Done, Failure> {
    let Some(mut situation) = look::<K>(ctx, namespace, name).await? else { return Ok(Done::default()) };
    let outcome = execute(ctx, &mut situation).await;
    report(ctx, situation, outcome).await
}

/// The first half, which changes nothing. None: the resource is gone or going; its children follow it by their
/// owner references.
pub async fn look<K: Kind>(
    ctx: &Context,
    namespace: &str,
    name: &str,
) -> Result<Option<Situation<K>>, Failure> {
    let resource = ApiResource::erase::<K::Resource>(&());
    let Some(live) = store::raw(ctx, &resource, namespace, name).await? else { return Ok(None) };
    if live.metadata.deletion_timestamp.is_some() {
        return Ok(None);
    }
    let owner = owner_of::<K>(&live);
    let kept = accepted::load(ctx, &place::<K>(namespace, name, &owner)).await?;
    let given = given(ctx);
    let mut faults = Vec::new();
    let obj = match parse::<K>(&live) {
        Ok(obj) => obj,
        Err(error) => {
            let fault = unreadable(&error);
            let Some(obj) = last_accepted::<K>(&live, &kept) else {
                let what = format!("{}: {}", fault.field, fault.message);
                ctx.events.tell(&about::<K>(&live), Tone::Warning, "Validate", fault.reason, &what).await;
                return Err(Failure::caused(Class::Invalid, format!("read {} {name}", K::LABEL), error));
            };
            faults.push(fault);
            obj
        }
    };
    let mut seen = K::observe(ctx, &obj).await?;
    let mut decided = None;
    match K::validate(&obj, &seen, &given) {
        Err(found) => faults.extend(found),
        Ok(_) if !faults.is_empty() => {}
        Ok(valid) => {
            let plan = plan::<K>(&obj, &valid, &seen, &given);
            if !common::<K>(&obj).paused && !accepted::is_kept(&kept, spec_of(&live)) {
                faults.extend(rehearse::<K>(ctx, &owner, namespace, &plan).await);
            }
            decided = faults.is_empty().then_some((valid, plan));
        }
    }
    if decided.is_none()
        && let Some(accepted) = last_accepted::<K>(&live, &kept)
    {
        let accepted = in_force::<K>(&obj, accepted);
        seen = K::observe(ctx, &accepted).await?;
        decided = K::restore(&accepted, &given).map(|valid| {
            let plan = plan::<K>(&accepted, &valid, &seen, &given);
            (valid, plan)
        });
    }
    let (valid, plan) = match decided {
        Some((valid, plan)) => (Some(valid), plan),
        None => (None, refused(&faults)),
    };
    Ok(Some(Situation { live, obj, seen, kept, faults, valid, plan, given, owner }))
}

/// What the API server would say to the children of a spec that is not in force yet: a spec that it refuses must not
/// become the accepted one. Whatever else goes wrong here, applying them will tell.
async fn rehearse<K: Kind>(
    ctx: &Context,
    owner: &OwnerReference,
    namespace: &str,
    plan: &Plan<K::Call>,
) -> Vec<Fault> {
    let mut faults = Vec::new();
    for child in &plan.apply {
        match apply::rehearse(ctx, owner, namespace, child).await {
            Err(failure) if failure.class == Class::Invalid => {
                faults.extend(impossible::<K>(child, &failure));
            }
            Ok(()) | Err(_) => {}
        }
    }
    faults
}

fn impossible<K: Kind>(child: &Child, failure: &Failure) -> Vec<Fault> {
    let (kind, name) = (child.object.kind(), child.name());
    let fault = |field: String, why: &str| Fault {
        field,
        reason: "SpecInvalid",
        message: format!("{kind} {name} would be refused: {why}"),
    };
    let fields = Refusal::of(failure).map_or(&[][..], |refusal| &refusal.fields);
    if fields.is_empty() {
        return vec![fault(K::field(kind, ""), &failure.chain())];
    }
    fields.iter().take(MOST_FAULTS).map(|(path, why)| fault(K::field(kind, path), why)).collect()
}

/// Carries out the plan in its order.
async fn execute<K: Kind>(ctx: &Context, situation: &mut Situation<K>) -> Outcome {
    let mut outcome = Outcome::default();
    if let Err(failure) = act(ctx, situation, &mut outcome).await {
        outcome.failure = Some(failure);
    }
    outcome
}

/// Nothing is done where the intent could not be recorded. After that, what fails keeps nothing else from being
/// done: a child that the API server refuses must not stop members from being healed.
async fn act<K: Kind>(
    ctx: &Context,
    situation: &mut Situation<K>,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    outcome.stuck = true;
    situation.plan.lint(guard::<K>(&situation.obj), K::is_disruptive).map_err(|breach| {
        Failure::caused(Class::Blocked, "refused to carry out a plan of ours: please report it", breach)
    })?;
    let count = |action| ctx.metrics.acted(K::LABEL, action);
    if let Some(record) = situation.plan.record.clone() {
        write_status(ctx, situation, record.status).await?;
        count("record");
    }
    let children = apply_children(ctx, situation, outcome).await;
    // The API server refused a child although the rehearsal passed: such a spec is not kept either.
    let refused = children.as_ref().is_err_and(|failure| failure.class == Class::Invalid);
    let kept = if refused { Ok(()) } else { keep(ctx, situation, outcome).await };
    let steps = take_steps(ctx, situation, children.is_ok()).await;
    outcome.stuck = steps.is_err();
    children.and(kept).and(steps)
}

/// The first failure of several; a refusal before any other.
async fn apply_children<K: Kind>(
    ctx: &Context,
    situation: &Situation<K>,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    let namespace = situation.live.metadata.namespace.as_deref().unwrap_or_default();
    let mut failed: Option<Failure> = None;
    for child in &situation.plan.apply {
        match apply::apply(ctx, &situation.owner, namespace, child).await {
            Ok(Applied::Unchanged) => {}
            Ok(Applied::Written) => {
                ctx.metrics.acted(K::LABEL, "apply");
                outcome.rolls |=
                    matches!(child.object.kind(), ObjectKind::StatefulSet | ObjectKind::Deployment);
            }
            Ok(Applied::Taken) => outcome.taken.push((child.object.kind(), child.name().to_owned())),
            Err(failure) => {
                let first = failed
                    .take()
                    .filter(|first| first.class == Class::Invalid || failure.class != Class::Invalid);
                failed = first.or(Some(failure));
            }
        }
    }
    failed.map_or(Ok(()), Err)
}

/// Keeps an accepted spec, to fall back to.
async fn keep<K: Kind>(
    ctx: &Context,
    situation: &Situation<K>,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    if !situation.faults.is_empty() || common::<K>(&situation.obj).paused {
        return Ok(());
    }
    let metadata = &situation.live.metadata;
    let (namespace, name) = (metadata.namespace.clone(), metadata.name.clone());
    let (namespace, name) = (namespace.unwrap_or_default(), name.unwrap_or_default());
    let generation = metadata.generation.unwrap_or(0);
    let revision = names::accepted(&situation.obj.name_any(), generation);
    let place = place::<K>(&namespace, &name, &situation.owner);
    let spec = spec_of(&situation.live);
    let kept = accepted::keep(ctx, &place, &situation.kept, &revision, generation, spec).await?;
    if kept == Applied::Taken {
        outcome.taken.push((ObjectKind::ControllerRevision, revision));
    }
    Ok(())
}

/// Deletions and commands. A pod is not restarted into settings that could not be written.
async fn take_steps<K: Kind>(
    ctx: &Context,
    situation: &Situation<K>,
    children_applied: bool,
) -> Result<(), Failure> {
    let namespace = situation.live.metadata.namespace.as_deref().unwrap_or_default();
    let mut result = Ok(());
    for deletion in &situation.plan.delete {
        if deletion.grounds == Grounds::Restart && !children_applied {
            continue;
        }
        let deleted = apply::delete(ctx, namespace, deletion).await;
        deleted.is_ok().then(|| ctx.metrics.acted(K::LABEL, "delete"));
        result = result.and(deleted);
    }
    for call in &situation.plan.calls {
        let called = K::call(ctx, &situation.obj, &situation.seen, call).await;
        called.is_ok().then(|| ctx.metrics.acted(K::LABEL, "call"));
        result = result.and(called);
    }
    result
}

/// The status, also after a failure; written only when it says something new.
async fn report<K: Kind>(
    ctx: &Context,
    mut situation: Situation<K>,
    outcome: Outcome,
) -> Result<Done, Failure> {
    tell(ctx, &situation, &outcome).await;
    if outcome.rolls {
        situation.plan.rolls();
    }
    let verdict =
        Verdict { faults: &situation.faults, valid: situation.valid.as_ref(), plan: &situation.plan };
    let next = K::status(&situation.obj, &situation.seen, &verdict, &outcome, &situation.given);
    let next = serde_json::to_value(next).map_err(|error| {
        Failure::caused(Class::Invalid, format!("form the status of a {}", K::LABEL), error)
    })?;
    let old = situation.live.data.get("status").cloned().unwrap_or_else(|| json!({}));
    let written = match status::merge_patch(&old, &next) {
        Some(patch) => write_status(ctx, &mut situation, patch).await,
        None => Ok(()),
    };
    let refused = !situation.faults.is_empty();
    let again = (refused || !outcome.taken.is_empty() || outcome.failure.is_some()).then_some(RECHECK_FAULT);
    // Steps that fail are tried again after ever longer times; others go on at their own pace, whatever child failed.
    let pace =
        situation.plan.recheck_after.filter(|_| outcome.failure.is_none() || situation.plan.has_steps());
    Ok(Done {
        recheck_after: pace.into_iter().chain(again).min().filter(|_| !outcome.stuck && written.is_ok()),
        refused,
        // The first failure is the one that matters.
        failure: outcome.failure.or(written.err()),
    })
}

async fn write_status<K: Kind>(
    ctx: &Context,
    situation: &mut Situation<K>,
    patch: Value,
) -> Result<(), Failure> {
    let resource = ApiResource::erase::<K::Resource>(&());
    situation.live = status::patch(ctx, &resource, &situation.live, patch).await?;
    ctx.metrics.acted(K::LABEL, "status");
    let readable = parse::<K>(&situation.live);
    if let Some(obj) = readable.ok().or_else(|| last_accepted::<K>(&situation.live, &situation.kept)) {
        situation.obj = obj;
    }
    Ok(())
}

async fn tell<K: Kind>(ctx: &Context, situation: &Situation<K>, outcome: &Outcome) {
    let about = about::<K>(&situation.live);
    let plan = &situation.plan;
    if plan.record.is_some() || !plan.delete.is_empty() || !plan.calls.is_empty() {
        tracing::info!(reason = plan.reason, message = plan.message, "acting");
        ctx.events.tell(&about, Tone::Normal, "Reconcile", plan.reason, &plan.message).await;
    }
    for fault in &situation.faults {
        let note = format!("{}: {}", fault.field, fault.message);
        ctx.events.tell(&about, Tone::Warning, "Validate", fault.reason, &note).await;
    }
    for (kind, name) in &outcome.taken {
        let note = format!("{kind} {name} exists and is not ours: it is left alone. Rename or delete it.");
        ctx.events.tell(&about, Tone::Warning, "Apply", "NameTaken", &note).await;
    }
    if let Some(failure) = outcome.failure.as_ref().filter(|failure| failure.class != Class::Conflict) {
        ctx.events.tell(&about, Tone::Warning, "Reconcile", failure.class.as_str(), &failure.chain()).await;
    }
}

fn refused<Call>(faults: &[Fault]) -> Plan<Call> {
    let message: Vec<_> = faults.iter().map(|fault| format!("{}: {}", fault.field, fault.message)).collect();
    Plan::idle(faults.first().map_or("SpecInvalid", |fault| fault.reason), message.join("; "))
}

fn unreadable(error: &serde_json::Error) -> Fault {
    Fault { field: "spec".into(), reason: "SpecInvalid", message: format!("cannot be read: {error}") }
}

fn parse<K: Kind>(live: &DynamicObject) -> Result<K::Resource, serde_json::Error> {
    serde_json::from_value(serde_json::to_value(live)?)
}

fn spec_of(live: &DynamicObject) -> &Value {
    live.data.get("spec").unwrap_or(&Value::Null)
}

/// The live object with the spec that was accepted last.
fn last_accepted<K: Kind>(live: &DynamicObject, kept: &[Accepted]) -> Option<K::Resource> {
    let mut object = live.clone();
    object.data.as_object_mut()?.insert("spec".into(), kept.first()?.spec.clone());
    parse::<K>(&object).ok()
}

fn owner_of<K: Kind>(live: &DynamicObject) -> OwnerReference {
    OwnerReference {
        api_version: K::Resource::api_version(&()).into_owned(),
        kind: K::Resource::kind(&()).into_owned(),
        name: live.metadata.name.clone().unwrap_or_default(),
        uid: live.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

fn about<K: Kind>(live: &DynamicObject) -> ObjectReference {
    ObjectReference {
        api_version: Some(K::Resource::api_version(&()).into_owned()),
        kind: Some(K::Resource::kind(&()).into_owned()),
        name: live.metadata.name.clone(),
        namespace: live.metadata.namespace.clone(),
        uid: live.metadata.uid.clone(),
        ..ObjectReference::default()
    }
}

fn place<'a, K: Kind>(namespace: &'a str, name: &'a str, owner: &'a OwnerReference) -> Place<'a> {
    Place { namespace, owner, kind: K::LABEL, name }
}

fn given(ctx: &Context) -> Given {
    Given {
        settings: ctx.settings.clone(),
        now: Timestamp::now(),
        ids: [Uuid::new_v4(), Uuid::new_v4()],
        secret: format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple()),
    }
}

impl<K: Kind> Situation<K> {
    /// What would be done, and why, without the contents of objects. Children that are as they shall be are left out.
    pub async fn describe(&self, ctx: &Context) -> Result<String, Failure> {
        let namespace = self.live.metadata.namespace.as_deref().unwrap_or_default();
        let mut text = String::new();
        // Writing to a String cannot fail.
        for fault in &self.faults {
            let _ = writeln!(text, "fault {} {}: {}", fault.reason, fault.field, fault.message);
        }
        let mut shown = self.plan.clone();
        let mut notes = Vec::new();
        for child in std::mem::take(&mut shown.apply) {
            match apply::standing(ctx, &self.owner, namespace, &child).await? {
                Standing::Same => {}
                standing => {
                    notes.push(format!("{}/{}: {standing}", child.object.kind(), child.name()));
                    shown.apply.push(child);
                }
            }
        }
        let _ = write!(text, "{shown}");
        for note in notes {
            let _ = write!(text, "\n{note}");
        }
        Ok(text)
    }
}
