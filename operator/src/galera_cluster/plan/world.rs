//! What the members' reports say together.

use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::Time};
use quartet_client::galera::{BegunFrom, MemberReport, MemberState};
use quartet_crds::galera_cluster::{
    GaleraCluster, GaleraClusterStatus, Operation, OperationKind, SteppedOver,
};
use uuid::Uuid;

use super::{
    drain,
    recover::decision::{Account, Evidence, Told},
};
use crate::{
    galera_cluster::{Seen, build::settings::Word, validate::Valid},
    members::{hibernate, pods, volumes},
    names,
    plan::{Record, open, opened},
    reconcile::Given,
};

pub struct World<'a> {
    pub valid: &'a Valid,
    pub seen: &'a Seen,
    pub given: &'a Given,
    pub status: GaleraClusterStatus,
    /// When the resource was created.
    pub born: Option<Time>,
    /// The history that the status records.
    pub cluster: Option<Uuid>,
}

impl<'a> World<'a> {
    pub fn new(obj: &GaleraCluster, valid: &'a Valid, seen: &'a Seen, given: &'a Given) -> Self {
        let status = obj.status.clone().unwrap_or_default();
        let cluster = status.cluster.as_deref().and_then(|cluster| cluster.parse().ok());
        Self { valid, seen, given, status, born: obj.metadata.creation_timestamp.clone(), cluster }
    }

    /// The open operation, with its id.
    pub fn operation(&self) -> Option<(Uuid, &Operation)> {
        opened(self.status.operation.as_ref())
    }

    /// The same, if it is of this kind.
    pub fn operation_of(&self, kind: OperationKind) -> Option<(Uuid, &Operation)> {
        self.operation().filter(|(_, operation)| operation.kind == kind)
    }

    /// The id under which this is recorded, with the record, unless it is open already.
    pub fn open(&self, wanted: Operation) -> (Uuid, Option<Record>) {
        open(self.status.operation.as_ref(), wanted, self.given.ids[0], self.given.now)
    }

    pub fn name(&self, ordinal: u16) -> String {
        names::member(&self.valid.parent.name, ordinal)
    }

    /// What these have to say themselves, as sentences; empty when it is nothing.
    pub fn said(&self, ordinals: &[u16]) -> String {
        let said = ordinals.iter().filter_map(|ordinal| {
            let message = self.seen.report(*ordinal)?.message.as_deref()?;
            Some(format!(" {} says: {message}.", self.name(*ordinal)))
        });
        said.collect()
    }

    /// What the recorded history was begun from, when it was by a human's word.
    pub fn begun_from(&self) -> Option<BegunFrom> {
        let position = self.status.begun_from.as_ref()?.parse().ok()?;
        Some(BegunFrom { history: self.cluster?, position })
    }

    /// What managers are told of a human's word, as it is recorded: whoever is off the record may join.
    pub fn word(&self) -> Word {
        let stepped_over = self.status.stepped_over.iter();
        Word {
            begun_from: self.begun_from(),
            stepped_over: stepped_over.filter_map(|one| u16::try_from(one.ordinal).ok()).collect(),
        }
    }

    /// Those that the recorded history would go on without, were it begun now by what this member holds.
    pub fn stepped_over_by(&self, begins: u16) -> Vec<SteppedOver> {
        let silent = |ordinal: &u16| *ordinal != begins && self.seen.report(*ordinal).is_none();
        let claimed = |ordinal: u16| {
            Some(SteppedOver { ordinal: i32::from(ordinal), claim: self.claim(ordinal)?.to_owned() })
        };
        (0..self.may_hold_data()).filter(silent).filter_map(claimed).collect()
    }

    pub fn is_silent(&self, ordinal: i32) -> bool {
        u16::try_from(ordinal).is_ok_and(|ordinal| self.seen.report(ordinal).is_none())
    }

    /// Its volume is still the one that the recorded history was begun without.
    fn is_stepped_over(&self, ordinal: u16) -> bool {
        let is_it = |one: &SteppedOver| {
            one.ordinal == i32::from(ordinal) && self.claim(ordinal) == Some(one.claim.as_str())
        };
        self.begun_from().is_some() && self.status.stepped_over.iter().any(is_it)
    }

    /// UID of its claim.
    fn claim(&self, ordinal: u16) -> Option<&'a str> {
        self.seen.members.claims.get(&ordinal)?.metadata.uid.as_deref()
    }

    /// It holds what the recorded history lacks. Who holds no more of the history before than this one was begun from
    /// does not, and joins by itself.
    pub fn is_foreign(&self, report: &MemberReport) -> bool {
        let Some(held) = report.position else { return false };
        let is_part =
            |begun: BegunFrom| held.cluster == begun.position.cluster && held.seqno <= begun.position.seqno;
        Some(held.cluster) != self.cluster && !self.begun_from().is_some_and(is_part)
    }

    pub fn pod(&self, ordinal: u16) -> Option<&'a Pod> {
        self.seen.members.pods.get(&ordinal)
    }

    /// Of a pod of a member or of a proxy.
    pub fn uid_of_pod(&self, name: &str) -> Option<String> {
        let mut pods = self.seen.members.pods.values().chain(&self.seen.proxy_pods);
        pods.find(|pod| pod.metadata.name.as_deref() == Some(name))?.metadata.uid.clone()
    }

    /// Part of a Primary component, in its own words or its server's.
    pub fn in_primary(report: &MemberReport) -> bool {
        report.state.is_primary()
            || report.server.as_ref().is_some_and(|server| server.cluster_status == "Primary")
    }

    pub fn is_quorate(&self) -> bool {
        self.seen.reports().any(Self::in_primary)
    }

    /// Part of the Primary component, caught up with it, and its pod is ready.
    pub fn is_synced(&self, ordinal: u16) -> bool {
        let state = self.seen.report(ordinal).map(|report| report.state);
        state == Some(MemberState::Synced) && self.pod(ordinal).is_some_and(pods::is_ready)
    }

    /// Those of the first so many that are not.
    pub fn unsynced(&self, members: u16) -> Vec<u16> {
        (0..members).filter(|ordinal| !self.is_synced(*ordinal)).collect()
    }

    /// Of the first so many, one may go: all are Synced, or only that one is not. (Kubernetes counts those that are not
    /// ready as missing already, so that another one is not let go instead.)
    pub fn spares_one(&self, members: u16) -> bool {
        match self.unsynced(members)[..] {
            [] => true,
            [one] => !self.pod(one).is_some_and(pods::is_ready),
            _ => false,
        }
    }

    /// The member that the single writer's Service leads to: the lowest that may be led to.
    pub fn writer(&self) -> Option<u16> {
        self.seen.members.pods.keys().copied().find(|ordinal| self.is_synced(*ordinal))
    }

    /// How many members there are, as the status records it: more come and go one at a time.
    pub fn known(&self) -> u16 {
        let recorded = u16::try_from(self.status.members.len()).ok().filter(|recorded| *recorded > 0);
        let known = recorded.or_else(|| self.seen.members.asked_for().filter(|live| *live > 0));
        known.unwrap_or(self.valid.replicas)
    }

    /// How many pods there shall be now.
    pub fn pods_wanted(&self) -> u16 {
        if self.valid.spec.common.hibernated {
            return hibernate::replicas(&self.seen.members);
        }
        if self.cluster.is_none() {
            return self.valid.replicas;
        }
        if let Some((_, shrink)) = self.operation_of(OperationKind::Shrink)
            && let Some(leaving) = self.leaving()
        {
            return if drain::may_stop(self, shrink, leaving) { leaving } else { leaving + 1 };
        }
        let known = self.known();
        let grows = known < self.valid.replicas && self.unsynced(known).is_empty();
        if grows { known + 1 } else { known }
    }

    /// How many ordinals may have a volume with data.
    pub fn may_hold_data(&self) -> u16 {
        if self.cluster.is_none() {
            return self.pods_wanted();
        }
        let with_volume = self.seen.members.claims.last_key_value().map_or(0, |(ordinal, _)| ordinal + 1);
        let leaving = self.leaving().map_or(0, |leaving| with_volume.min(leaving + 1));
        // One that was added may have begun before it was recorded.
        let asked_for = self.seen.members.asked_for().unwrap_or(0);
        self.pods_wanted().max(self.known()).max(leaving).max(asked_for)
    }

    /// The member that a shrink under way takes out.
    pub fn leaving(&self) -> Option<u16> {
        let (_, shrink) = self.operation_of(OperationKind::Shrink)?;
        shrink.to.and_then(|leaving| u16::try_from(leaving).ok())
    }

    pub(crate) fn evidence(&self) -> Evidence<'_> {
        Evidence {
            name: &self.valid.parent.name,
            accounts: (0..self.may_hold_data()).map(|ordinal| self.account(ordinal)).collect(),
            recorded: self.cluster,
            highest: self.status.highest_seqno.and_then(|seqno| u64::try_from(seqno).ok()),
            order: self.valid.order,
        }
    }

    fn account(&self, ordinal: u16) -> Account {
        if let Some(report) = self.seen.report(ordinal) {
            return Account::Told(Told {
                state: report.state,
                position: report.position,
                in_primary: Self::in_primary(report),
                sees: report.server.as_ref().map(|server| server.cluster_size),
                message: report.message.clone(),
            });
        }
        let claim = self.seen.members.claims.get(&ordinal);
        if claim.is_some_and(|claim| claim.metadata.deletion_timestamp.is_none() && !volumes::is_bound(claim))
        {
            return Account::NoVolume;
        }
        if self.is_stepped_over(ordinal) {
            return Account::SteppedOver;
        }
        let why = pods::trouble(self.pod(ordinal)).map(|why| format!("{}: {why}.", self.name(ordinal)));
        Account::Silent(why.unwrap_or_default())
    }
}
