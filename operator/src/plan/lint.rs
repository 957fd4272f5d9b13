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
    NotRecorded {
        kind: ObjectKind,
        name: String,
        operation: Uuid,
    },
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
        let recorded = self
            .record
            .as_ref()
            .and_then(|record| record.operation)
            .or(guard.open);
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
                    return Err(Breach::NotRecorded {
                        kind: deletion.kind,
                        name: name(),
                        operation,
                    });
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
