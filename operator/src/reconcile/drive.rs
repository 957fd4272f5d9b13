//! The driver itself: what every reconciliation does, whatever the kind.

use std::{fmt, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{api::core::v1::ObjectReference, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::{Resource, api::DynamicObject, core::ApiResource};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Fault, Given, Kind, Outcome, Verdict};
use crate::{
    failure::{Class, Failure},
    kube::{
        Context,
        accepted::{self, Accepted, Place},
        apply::{self, Applied},
        events::Tone,
        store,
    },
    plan::{Guard, ObjectKind, Plan},
};

/// Faults may be cured by something that is not watched (a StorageClass, an object of the user's): look again.
const RECHECK_FAULT: Duration = Duration::from_secs(30);

/// How a reconciliation ended.
#[derive(Debug, Default)]
pub struct Done {
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
    let paused = K::paused(&obj);
    let mut basis = obj.clone();
    let mut valid = match K::validate(&obj, &seen, &given) {
        Ok(valid) => Some(valid),
        Err(found) => {
            faults.extend(found);
            None
        }
    };
    if valid.is_none()
        && let Some(accepted) = last_accepted::<K>(&live, &kept)
    {
        seen = K::observe(ctx, &accepted).await?;
        // What was accepted once may have become impossible since; then there is nothing to keep to.
        valid = K::validate(&accepted, &seen, &given).ok();
        basis = accepted;
    }
    let plan = match (&valid, paused) {
        (_, true) => Plan::idle("Paused", "paused is true: the operator does nothing but report"),
        (Some(valid), false) => K::plan(&basis, valid, &seen, &given),
        (None, false) => refused(&faults),
    };
    Ok(Some(Situation { live, obj, seen, kept, faults, valid, plan, given, owner }))
}

/// Carries out the plan in its order, stopping at the first failure.
async fn execute<K: Kind>(ctx: &Context, situation: &mut Situation<K>) -> Outcome {
    let mut outcome = Outcome::default();
    if let Err(failure) = act(ctx, situation, &mut outcome).await {
        outcome.failure = Some(failure);
    }
    outcome
}

async fn act<K: Kind>(
    ctx: &Context,
    situation: &mut Situation<K>,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    let guard = Guard { retain: K::retains(&situation.obj), open: K::operation(&situation.obj) };
    situation.plan.lint(guard, K::is_disruptive).map_err(|breach| {
        Failure::caused(Class::Blocked, "refused to carry out a plan of ours: please report it", breach)
    })?;
    let namespace = situation.live.metadata.namespace.clone().unwrap_or_default();
    let name = situation.live.metadata.name.clone().unwrap_or_default();
    let count = |action| ctx.metrics.acted(K::LABEL, action);

    if let Some(record) = situation.plan.record.clone() {
        write_status(ctx, situation, record.status).await?;
        count("record");
    }
    if situation.faults.is_empty() && !K::paused(&situation.obj) {
        let generation = situation.live.metadata.generation.unwrap_or(0);
        let revision = K::accepted_name(&situation.obj, generation);
        let place = place::<K>(&namespace, &name, &situation.owner);
        let spec = situation.live.data.get("spec").unwrap_or(&Value::Null);
        let kept = accepted::keep(ctx, &place, &situation.kept, &revision, generation, spec).await?;
        if kept == Applied::Taken {
            outcome.taken.push((ObjectKind::ControllerRevision, revision));
        }
    }
    // One child that cannot be applied keeps no other from being put back, but nothing further is done.
    let mut refused = None;
    for child in &situation.plan.apply {
        match apply::apply(ctx, &situation.owner, &namespace, child).await {
            Ok(Applied::Unchanged) => {}
            Ok(Applied::Written) => count("apply"),
            Ok(Applied::Taken) => outcome.taken.push((child.object.kind(), child.name().to_owned())),
            Err(failure) => refused = refused.or(Some(failure)),
        }
    }
    if let Some(failure) = refused {
        return Err(failure);
    }
    for deletion in &situation.plan.delete {
        apply::delete(ctx, &namespace, deletion).await?;
        count("delete");
    }
    for call in &situation.plan.calls {
        K::call(ctx, &situation.obj, &situation.seen, call).await?;
        count("call");
    }
    Ok(())
}

/// The status, also after a failure; written only when it says something new.
async fn report<K: Kind>(
    ctx: &Context,
    mut situation: Situation<K>,
    outcome: Outcome,
) -> Result<Done, Failure> {
    tell(ctx, &situation, &outcome).await;
    let verdict =
        Verdict { faults: &situation.faults, valid: situation.valid.as_ref(), plan: &situation.plan };
    let status = K::status(&situation.obj, &situation.seen, &verdict, &outcome, &situation.given);
    let status = serde_json::to_value(status).map_err(|error| {
        Failure::caused(Class::Invalid, format!("form the status of a {}", K::LABEL), error)
    })?;
    let old = situation.live.data.get("status").cloned().unwrap_or_else(|| json!({}));
    let written = match apply::merge_patch(&old, &status) {
        Some(patch) => write_status(ctx, &mut situation, patch).await,
        None => Ok(()),
    };
    let refused = !situation.faults.is_empty();
    let again = (refused || !outcome.taken.is_empty()).then_some(RECHECK_FAULT);
    Ok(Done {
        recheck_after: situation.plan.recheck_after.into_iter().chain(again).min(),
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
    situation.live = apply::patch_status(ctx, &resource, &situation.live, patch).await?;
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

/// What would be done, and why, without the contents of objects.
impl<K: Kind> fmt::Display for Situation<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in &self.faults {
            writeln!(f, "fault {} {}: {}", fault.reason, fault.field, fault.message)?;
        }
        write!(f, "{}", self.plan)
    }
}
