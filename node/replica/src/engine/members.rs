//! Who this member is with: founding, joining, changing the members, handing over.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quartet_raft::{Configuration, Input, MemberId, Recovered};

use super::Engine;
use super::api::{GroupChange, MemberCommand, RequestId};
use crate::GroupId;
use crate::state_machine::{CorruptSnapshot, StateMachine};
use crate::store::Record;

/// A member on its way into a cluster. What its groups start from is on disk before the volume says that it
/// belongs to the cluster, and that is on disk before its groups begin: a crash in between leaves an empty member.
pub(super) struct Birth {
    cluster: u128,
    groups: u16,
    recovered: Recovered,
    command: Option<RequestId>,
    stage: Stage,
}

enum Stage {
    /// The batch that holds the beginning of the logs.
    Logs { batch: u64 },
    /// The batch that holds the identity.
    Identity { batch: u64 },
}

impl<S: StateMachine> Engine<S> {
    pub(super) fn command(&mut self, now: Duration, id: RequestId, command: MemberCommand) {
        let result = match command {
            MemberCommand::Found { cluster, members } => match self.found(id, cluster, members) {
                Ok(None) => return,
                Ok(Some(())) => Ok(Vec::new()),
                Err(why) => Err(why),
            },
            MemberCommand::Change { cluster, groups } => {
                self.of_cluster(cluster).map(|()| self.change(now, groups))
            }
            MemberCommand::Handover { cluster, except } => {
                self.of_cluster(cluster).map(|()| self.hand_over(now, &except))
            }
        };
        self.command_results.push((id, result));
    }

    fn of_cluster(&self, cluster: u128) -> Result<(), String> {
        match self.identity.cluster {
            Some(own) if own == cluster => Ok(()),
            Some(_) => Err("this member belongs to another cluster".into()),
            None => Err("this member belongs to no cluster yet".into()),
        }
    }

    /// None: the answer comes once the disk has it.
    fn found(
        &mut self,
        id: RequestId,
        cluster: u128,
        members: Vec<(MemberId, String)>,
    ) -> Result<Option<()>, String> {
        if self.birth.is_some() {
            return Err("this member is about to join a cluster".into());
        }
        if let Some(own) = self.identity.cluster {
            let known = if own == cluster { Ok(Some(())) } else { Err("this member is not empty".into()) };
            return known;
        }
        if !members.iter().any(|(member, _)| *member == self.identity.id) {
            return Err(format!("this member, {}, is not among the founders", self.identity.id));
        }
        let addresses: BTreeMap<_, _> = members.into_iter().collect();
        let voters = addresses.keys().copied().collect();
        let configuration = Configuration { voters, addresses, ..Configuration::default() };
        let recovered = quartet_raft::founding(configuration);
        for group in (0..self.settings.groups).map(GroupId) {
            let state = recovered.hard_state;
            self.outbox.records.push(Record::HardState { group, state });
            let entries = recovered.entries.clone();
            self.outbox.records.push(Record::Entries { group, entries });
        }
        self.belong(cluster, self.settings.groups, recovered, Some(id));
        Ok(None)
    }

    /// Addressed by a member of a cluster that counts on this one: an empty log, to be filled by whoever leads.
    pub(super) fn join(&mut self, cluster: u128, groups: u16) {
        if self.identity.cluster.is_none() && self.birth.is_none() {
            self.belong(cluster, groups, Recovered::default(), None);
        }
    }

    fn belong(&mut self, cluster: u128, groups: u16, recovered: Recovered, command: Option<RequestId>) {
        // Everything before the next batch is written when that one is, also if there is nothing to begin with.
        let stage = Stage::Logs { batch: self.next_batch.max(1) };
        self.identity_changed = true;
        self.birth = Some(Birth { cluster, groups, recovered, command, stage });
    }

    /// Batches up to this one are on disk.
    pub(super) fn be_born(&mut self, now: Duration, synced: u64) -> Result<(), CorruptSnapshot> {
        let Some(birth) = &mut self.birth else {
            return Ok(());
        };
        match birth.stage {
            Stage::Logs { batch } if batch <= synced => {
                self.identity.cluster = Some(birth.cluster);
                self.identity.groups = birth.groups;
                self.identity_changed = true;
                birth.stage = Stage::Identity { batch: self.next_batch };
            }
            Stage::Identity { batch } if batch <= synced => {
                if let Some(birth) = self.birth.take() {
                    for group in (0..birth.groups).map(GroupId) {
                        self.add_group(now, group, birth.recovered.clone())?;
                    }
                    self.command_results.extend(birth.command.map(|id| (id, Ok(Vec::new()))));
                }
            }
            Stage::Logs { .. } | Stage::Identity { .. } => {}
        }
        Ok(())
    }

    fn change(&mut self, now: Duration, changes: Vec<GroupChange>) -> Vec<(GroupId, Result<(), String>)> {
        let mut results = Vec::new();
        for change in changes {
            let Some(group) = self.groups.get_mut(&change.group).filter(|group| group.leads()) else {
                continue;
            };
            let target = Configuration {
                voters: change.voters.iter().map(|(member, _)| *member).collect(),
                outgoing: BTreeSet::new(),
                learners: change.learners.iter().map(|(member, _)| *member).collect(),
                addresses: change.voters.into_iter().chain(change.learners).collect(),
            };
            let input = Input::Change { expected: change.expected, target };
            let result = group.step(now, &self.settings, input, &mut self.outbox);
            results.push((change.group, result.map_err(|refusal| refusal.to_string())));
        }
        results
    }

    /// To the voter that is furthest among those heard from lately.
    fn hand_over(
        &mut self,
        now: Duration,
        except: &BTreeSet<MemberId>,
    ) -> Vec<(GroupId, Result<(), String>)> {
        let mut results = Vec::new();
        for group in self.groups.values_mut().filter(|group| group.leads()) {
            let voters = &group.raft.configuration().voters;
            let fit = |member: &MemberId, active: bool| {
                active && voters.contains(member) && !except.contains(member)
            };
            let progress = group.raft.progress();
            let best = progress
                .iter()
                .filter(|(member, progress)| fit(member, progress.active))
                .max_by_key(|(_, progress)| progress.matched)
                .map(|(member, _)| *member);
            let result = match best {
                None => Err("no other voter has been heard from lately".to_owned()),
                Some(to) => group
                    .step(now, &self.settings, Input::Transfer { to }, &mut self.outbox)
                    .map_err(|refusal| refusal.to_string()),
            };
            results.push((group.id, result));
        }
        results
    }
}
