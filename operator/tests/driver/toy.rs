//! The smallest kind with all that a kind can have: a child, a secret, a member, an operation, a spec that can be wrong.

use std::fmt;

use k8s_openapi::{
    api::core::v1::{ConfigMap, Secret},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{CustomResource, ResourceExt};
use quartet_crds::common::CommonSpec;
use quartet_operator::{
    children::{Parent, secrets},
    failure::{Class, Failure},
    kube::{Context, store},
    members::observe::owned,
    names,
    plan::{Child, ObjectKind, Plan, Record},
    reconcile::{Fault, Given, Kind, Outcome, Verdict},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

#[derive(CustomResource, Clone, Debug, Serialize, Deserialize)]
#[kube(
    group = "quartet.dev",
    version = "v1alpha1",
    kind = "Toy",
    namespaced,
    schema = "disabled",
    status = "ToyStatus"
)]
pub(crate) struct ToySpec {
    pub(crate) size: u32,
    #[serde(flatten)]
    pub(crate) common: CommonSpec,
}

impl AsRef<CommonSpec> for ToySpec {
    fn as_ref(&self) -> &CommonSpec {
        &self.common
    }
}

impl AsMut<CommonSpec> for ToySpec {
    fn as_mut(&mut self) -> &mut CommonSpec {
        &mut self.common
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ToyStatus {
    #[serde(default)]
    pub(crate) size: u32,
    #[serde(default)]
    pub(crate) reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) operation: Option<Resize>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Resize {
    pub(crate) id: Uuid,
    pub(crate) size: u32,
}

impl fmt::Display for Resize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "resize to {}", self.size)
    }
}

pub(crate) struct ToyKind;

pub(crate) struct Seen {
    member_size: u32,
    secret: Option<Secret>,
}

pub(crate) const LARGEST: u32 = 9;

impl Kind for ToyKind {
    type Resource = Toy;
    type Seen = Seen;
    type Valid = u32;
    type Call = Resize;
    type Status = ToyStatus;

    const LABEL: &'static str = "toy";

    async fn observe(ctx: &Context, obj: &Toy) -> Result<Seen, Failure> {
        let namespace = obj.namespace().unwrap_or_default();
        let member = store::get::<ConfigMap>(ctx, &namespace, "member").await?;
        let size = member.and_then(|member| member.data?.get("size")?.parse().ok());
        let parent = Parent::of(obj, Self::LABEL);
        let secret = owned::<Secret>(ctx, &parent, &names::admin(&parent.name)).await?;
        Ok(Seen { member_size: size.unwrap_or(0), secret })
    }

    fn validate(obj: &Toy, _: &Seen, _: &Given) -> Result<u32, Vec<Fault>> {
        if obj.spec.size <= LARGEST {
            return Ok(obj.spec.size);
        }
        let message = format!("at most {LARGEST}");
        Err(vec![Fault { field: "spec.size".into(), reason: "TooLarge", message }])
    }

    fn restore(accepted: &Toy, _: &Given) -> Option<u32> {
        Some(accepted.spec.size)
    }

    fn field(_: ObjectKind, path: &str) -> String {
        path.replace("data.", "spec.")
    }

    fn plan(obj: &Toy, size: &u32, seen: &Seen, given: &Given) -> Plan<Resize> {
        let mut plan = Plan::idle("Settled", "");
        plan.apply.push(Child::new(child(&obj.name_any(), *size)));
        let parent = Parent::of(obj, Self::LABEL);
        plan.apply.push(Child::new(secrets::admin(&parent, seen.secret.as_ref(), &given.secret)));
        let open = obj.status.as_ref().and_then(|status| status.operation.clone());
        match open {
            Some(open) if seen.member_size == open.size => {
                plan.record = Some(Record { status: json!({"operation": null}), operation: None });
            }
            Some(open) => plan.calls.push(open),
            None if seen.member_size != *size => {
                let resize = Resize { id: given.ids[0], size: *size };
                plan.record =
                    Some(Record { status: json!({"operation": resize}), operation: Some(resize.id) });
                plan.calls.push(resize);
            }
            None => {}
        }
        if plan.record.is_some() || !plan.calls.is_empty() {
            plan.reason = "Resizing";
        }
        plan
    }

    async fn call(ctx: &Context, obj: &Toy, _: &Seen, call: &Resize) -> Result<(), Failure> {
        let path = format!("/member/apis/quartet.dev/v1alpha1/namespaces/default/toys/{}", obj.name_any());
        let request = http::Request::post(path).body(serde_json::to_vec(call).unwrap()).unwrap();
        let answer = ctx.client.request::<serde_json::Value>(request).await;
        answer.map(|_| ()).map_err(|error| Failure::caused(Class::Transient, "resize", error))
    }

    fn status(
        obj: &Toy,
        seen: &Seen,
        verdict: &Verdict<'_, Self>,
        outcome: &Outcome,
        _: &Given,
    ) -> ToyStatus {
        let reason = match (verdict.faults.first(), outcome.taken.first()) {
            (Some(fault), _) if fault.reason == "SpecInvalid" => format!("SpecInvalid {}", fault.field),
            (Some(fault), _) => fault.reason.to_owned(),
            (None, Some((_, name))) => format!("NameTaken {name}"),
            (None, None) => verdict.plan.reason.to_owned(),
        };
        let operation = obj.status.as_ref().and_then(|status| status.operation.clone());
        ToyStatus { size: seen.member_size, reason, operation }
    }

    fn operation(obj: &Toy) -> Option<Uuid> {
        obj.status.as_ref()?.operation.as_ref().map(|operation| operation.id)
    }
}

fn child(name: &str, size: u32) -> ConfigMap {
    let labels = [
        ("app.kubernetes.io/managed-by", "quartet"),
        ("app.kubernetes.io/name", "toy"),
        ("app.kubernetes.io/instance", name),
    ];
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()),
            ..ObjectMeta::default()
        },
        data: Some([("size".to_owned(), size.to_string())].into()),
        ..ConfigMap::default()
    }
}
