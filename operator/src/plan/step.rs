//! One step: what a plan does beyond its children, and the operation that it acts for.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    Metadata,
    apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, Time},
};
use quartet_crds::{
    common::Operation,
    conditions::{self, Reason, Type},
};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Child, Deletion, Grounds, Object, ObjectKind, Plan, Record};

/// How soon to look again while something is under way.
const SOON: Duration = Duration::from_secs(1);
/// The same for what members or volumes do by themselves, of which watches tell too.
pub const WAITING: Duration = Duration::from_secs(2);
/// Nothing in Kubernetes tells of what members do among themselves, so an idle cluster is looked at again.
pub const IDLE: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, PartialEq)]
pub struct Step<Call> {
    pub reason: Reason,
    pub message: String,
    pub record: Option<Record>,
    pub calls: Vec<Call>,
    pub delete: Vec<Deletion>,
    pub recheck_after: Duration,
}

impl<Call> Step<Call> {
    /// Nothing to be done now, for a reason that the status tells.
    pub fn wait(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            record: None,
            calls: Vec::new(),
            delete: Vec::new(),
            recheck_after: SOON,
        }
    }

    /// Nothing is due.
    pub fn settled() -> Self {
        Self::wait(Reason::Settled, "Everything is as the spec asks.").after(IDLE)
    }

    #[must_use]
    pub fn after(self, recheck_after: Duration) -> Self {
        Self { recheck_after, ..self }
    }

    #[must_use]
    pub fn recording(self, record: Option<Record>) -> Self {
        Self { record, ..self }
    }

    #[must_use]
    pub fn calling(self, calls: Vec<Call>) -> Self {
        Self { calls, ..self }
    }

    #[must_use]
    pub fn deleting(self, delete: Vec<Deletion>) -> Self {
        Self { delete, ..self }
    }

    /// Only waits: watches tell of most that could end it.
    fn is_idle(&self) -> bool {
        self.record.is_none() && self.calls.is_empty() && self.delete.is_empty()
    }

    /// What only waits is looked at less often the longer the resource has not been Ready, at least this often.
    pub fn pace(&self, conditions: &[Condition], now: Timestamp, longest: Duration) -> Duration {
        if !self.is_idle() {
            return self.recheck_after;
        }
        let ready = conditions::find(conditions, Type::Ready).filter(|ready| ready.status == "False");
        let waited =
            ready.map_or(0, |ready| now.as_second().saturating_sub(ready.last_transition_time.0.as_second()));
        let longer = Duration::from_secs(u64::try_from(waited / 20).unwrap_or(0)).min(longest);
        self.recheck_after.max(longer)
    }

    /// The whole plan: the step, with the children and what the spec no longer asks for.
    pub fn plan(self, apply: Vec<Child>, obsolete: Vec<Deletion>, recheck_after: Duration) -> Plan<Call> {
        let mut plan = Plan {
            record: self.record,
            apply,
            delete: self.delete,
            calls: self.calls,
            reason: self.reason.as_str(),
            message: self.message,
            recheck_after: Some(recheck_after),
        };
        plan.delete.extend(obsolete);
        plan
    }
}

/// The open operation, with its id.
pub fn opened<Kind, Own>(live: Option<&Operation<Kind, Own>>) -> Option<(Uuid, &Operation<Kind, Own>)> {
    let live = live?;
    Some((live.id.parse().ok()?, live))
}

/// The id under which this intent is recorded: that of the open operation if it is the same intent, else a fresh one,
/// with the record that has to be written before anything is done.
pub fn open<Kind, Own>(
    live: Option<&Operation<Kind, Own>>,
    wanted: Operation<Kind, Own>,
    fresh: Uuid,
    now: Timestamp,
) -> (Uuid, Option<Record>)
where
    Operation<Kind, Own>: Clone + PartialEq + Serialize,
{
    let intent =
        |live: &Operation<Kind, Own>| Operation { id: String::new(), started_at: None, ..live.clone() };
    if let Some((id, live)) = opened(live)
        && intent(live) == intent(&wanted)
    {
        return (id, None);
    }
    // Plain data always has a Value; the members would refuse what is not recorded.
    let fields = |operation: &Operation<Kind, Own>| serde_json::to_value(operation).unwrap_or_default();
    let mut patch = fields(&Operation { id: fresh.to_string(), started_at: Some(Time(now)), ..wanted });
    // A merge patch keeps what it does not name: parts that only the operation before had are named as null.
    if let (Some(Value::Object(before)), Value::Object(patch)) = (live.map(fields), &mut patch) {
        for (key, _) in before {
            patch.entry(key).or_insert(Value::Null);
        }
    }
    (fresh, Some(Record { status: json!({"operation": patch}), operation: Some(fresh) }))
}

/// Closes the open operation.
pub fn close() -> Record {
    Record { status: json!({"operation": null}), operation: None }
}

impl Deletion {
    /// None for an object without the identity that a precondition needs.
    pub fn new(kind: ObjectKind, metadata: &ObjectMeta, grounds: Grounds) -> Option<Self> {
        Some(Self {
            kind,
            name: metadata.name.clone()?,
            uid: metadata.uid.clone()?,
            resource_version: metadata.resource_version.clone()?,
            grounds,
        })
    }
}

/// A child that the spec may do without: it, or the deletion of the one that there still is.
pub fn optional<K>(kind: ObjectKind, wanted: Option<K>, live: Option<&K>) -> (Option<Child>, Option<Deletion>)
where
    K: Into<Object> + Metadata<Ty = ObjectMeta>,
{
    match (wanted, live) {
        (Some(wanted), _) => (Some(Child::new(wanted)), None),
        (None, live) => (None, live.and_then(|live| Deletion::new(kind, live.metadata(), Grounds::Obsolete))),
    }
}

/// `0, 1 and 2`
pub fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    match items.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => String::new(),
    }
}
