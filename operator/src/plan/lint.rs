//! What no plan may do, whoever wrote it: checked before a plan is carried out.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::{Grounds, ObjectKind, Plan};

/// What the lint has to know of the resource beside the plan.
#[derive(Clone, Copy, Debug)]
pub struct Guard {
    /// `deletionPolicy: Retain`.
    pub retain: bool,
    /// The operation that the status holds open.
    pub open: Option<Uuid>,
}

/// A rule that the plan would break: a bug of the planner, so nothing of the plan is done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    #[error("{0} disruptive steps in one plan, at most one is allowed")]
    Disruptive(usize),
    #[error("volume claim {0} would be deleted without the committed removal of its member")]
    Volume(String),
    #[error("deletion of {kind} {name} acts for operation {operation}, which is not recorded")]
    NotRecorded { kind: ObjectKind, name: String, operation: Uuid },
    #[error("deletion of {0} {1} has no precondition")]
    Unguarded(ObjectKind, String),
    #[error("deletion of {0} {1} as a restart, but only pods come back by themselves")]
    NotAPod(ObjectKind, String),
    #[error("{0} {1} appears twice")]
    Twice(ObjectKind, String),
    #[error("{0} {1} lacks the label by which the operator finds what is its own")]
    Unlabelled(ObjectKind, String),
}

impl<Call> Plan<Call> {
    /// `disruptive_call` says which calls take something out of service.
    pub fn lint(&self, guard: Guard, disruptive_call: impl Fn(&Call) -> bool) -> Result<(), Breach> {
        let pods = self.delete.iter().filter(|d| d.kind == ObjectKind::Pod).count();
        let disruptive = pods + self.calls.iter().filter(|call| disruptive_call(call)).count();
        if disruptive > 1 {
            return Err(Breach::Disruptive(disruptive));
        }
        self.lint_deletions(guard)?;
        self.lint_children()
    }

    fn lint_deletions(&self, guard: Guard) -> Result<(), Breach> {
        let recorded = self.record.as_ref().and_then(|record| record.operation).or(guard.open);
        for deletion in &self.delete {
            let name = || deletion.name.clone();
            if deletion.uid.is_empty() || deletion.resource_version.is_empty() {
                return Err(Breach::Unguarded(deletion.kind, name()));
            }
            match deletion.grounds {
                Grounds::Restart if deletion.kind != ObjectKind::Pod => {
                    return Err(Breach::NotAPod(deletion.kind, name()));
                }
                Grounds::MemberRemoved { operation } if recorded != Some(operation) => {
                    return Err(Breach::NotRecorded { kind: deletion.kind, name: name(), operation });
                }
                Grounds::Obsolete if deletion.kind == ObjectKind::PersistentVolumeClaim && guard.retain => {
                    return Err(Breach::Volume(name()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn lint_children(&self) -> Result<(), Breach> {
        let mut names = BTreeSet::new();
        for child in &self.apply {
            let kind = child.object.kind();
            if !names.insert((kind, child.name())) {
                return Err(Breach::Twice(kind, child.name().to_owned()));
            }
            let labels = child.object.metadata().labels.as_ref();
            let managed = labels.and_then(|labels| labels.get("app.kubernetes.io/managed-by"));
            // A foreign label on somebody else's object is not ours to demand.
            if child.existing.is_none() && managed.is_none_or(|by| by != "quartet") {
                return Err(Breach::Unlabelled(kind, child.name().to_owned()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{
        api::core::v1::{ConfigMap, PersistentVolumeClaim},
        apimachinery::pkg::apis::meta::v1::ObjectMeta,
    };
    use serde_json::json;

    use super::*;
    use crate::plan::{Child, Deletion, Record};

    const RETAIN: Guard = Guard { retain: true, open: None };

    fn plan() -> Plan<&'static str> {
        Plan::idle("Settled", "")
    }

    fn deletion(kind: ObjectKind, grounds: Grounds) -> Deletion {
        Deletion { kind, name: "demo-4".into(), uid: "uid".into(), resource_version: "7".into(), grounds }
    }

    fn child(labels: &[(&str, &str)]) -> ConfigMap {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let metadata =
            ObjectMeta { name: Some("demo".into()), labels: Some(labels), ..ObjectMeta::default() };
        ConfigMap { metadata, ..ConfigMap::default() }
    }

    fn lint(plan: &Plan<&'static str>, guard: Guard) -> Result<(), Breach> {
        plan.lint(guard, |call| *call == "reset")
    }

    #[test]
    fn one_disruptive_step_is_allowed_and_two_are_not() {
        let mut plan = plan();
        plan.delete.push(deletion(ObjectKind::Pod, Grounds::Restart));
        plan.calls.push("handover");
        assert_eq!(lint(&plan, RETAIN), Ok(()));
        plan.calls.push("reset");
        assert_eq!(lint(&plan, RETAIN), Err(Breach::Disruptive(2)));
        plan.calls.clear();
        plan.delete.push(deletion(ObjectKind::Pod, Grounds::Restart));
        assert_eq!(lint(&plan, RETAIN), Err(Breach::Disruptive(2)));
    }

    #[test]
    fn a_volume_goes_only_under_the_recorded_removal_of_its_member() {
        let operation = Uuid::from_u128(1);
        let mut plan = plan();
        plan.delete.push(deletion(ObjectKind::PersistentVolumeClaim, Grounds::MemberRemoved { operation }));
        assert!(matches!(lint(&plan, RETAIN), Err(Breach::NotRecorded { .. })));
        assert_eq!(lint(&plan, Guard { open: Some(operation), ..RETAIN }), Ok(()));
        assert!(matches!(
            lint(&plan, Guard { open: Some(Uuid::from_u128(2)), ..RETAIN }),
            Err(Breach::NotRecorded { .. })
        ));
        plan.record = Some(Record { status: json!({}), operation: Some(operation) });
        assert_eq!(lint(&plan, RETAIN), Ok(()));
    }

    #[test]
    fn a_retained_volume_is_never_merely_obsolete() {
        let mut plan = plan();
        plan.delete.push(deletion(ObjectKind::PersistentVolumeClaim, Grounds::Obsolete));
        assert_eq!(lint(&plan, RETAIN), Err(Breach::Volume("demo-4".into())));
        assert_eq!(lint(&plan, Guard { retain: false, open: None }), Ok(()));
        plan.delete = vec![deletion(ObjectKind::PodDisruptionBudget, Grounds::Obsolete)];
        assert_eq!(lint(&plan, RETAIN), Ok(()));
        // Nor does it come back by itself.
        plan.delete = vec![deletion(ObjectKind::PersistentVolumeClaim, Grounds::Restart)];
        assert!(matches!(lint(&plan, RETAIN), Err(Breach::NotAPod(..))));
    }

    #[test]
    fn a_deletion_names_the_very_object() {
        let mut plan = plan();
        plan.delete.push(Deletion { uid: String::new(), ..deletion(ObjectKind::Pod, Grounds::Restart) });
        assert!(matches!(lint(&plan, RETAIN), Err(Breach::Unguarded(..))));
        plan.delete =
            vec![Deletion { resource_version: String::new(), ..deletion(ObjectKind::Pod, Grounds::Restart) }];
        assert!(matches!(lint(&plan, RETAIN), Err(Breach::Unguarded(..))));
    }

    #[test]
    fn a_child_carries_the_label_that_finds_it_and_appears_once() {
        let labelled = child(&[("app.kubernetes.io/managed-by", "quartet")]);
        let mut plan = plan();
        plan.apply.push(Child::new(labelled.clone()));
        assert_eq!(lint(&plan, RETAIN), Ok(()));
        plan.apply.push(Child::new(labelled));
        assert!(matches!(lint(&plan, RETAIN), Err(Breach::Twice(..))));
        plan.apply = vec![Child::new(child(&[("app.kubernetes.io/managed-by", "Helm")]))];
        assert!(matches!(lint(&plan, RETAIN), Err(Breach::Unlabelled(..))));
        // A claim is the StatefulSet's: its labels are not demanded.
        plan.apply = vec![Child::existing(PersistentVolumeClaim::default(), "uid")];
        assert_eq!(lint(&plan, RETAIN), Ok(()));
    }
}
