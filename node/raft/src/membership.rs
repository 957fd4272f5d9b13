//! Who belongs: one change at a time, by joint consensus when voters change (§4.3).

use crate::broken::BrokenRule;
use crate::core::{Raft, State};
use crate::effects::Refusal;
use crate::message::Body;
use crate::types::{Configuration, Index, MemberId, Payload};

impl Raft {
    pub(crate) fn change(&mut self, expected: Index, target: Configuration) -> Result<(), Refusal> {
        let first = self.leading()?.first;
        if self.commit < first {
            // What is in force could still be rolled back by what a leader before committed.
            return Err(Refusal::NotEstablished);
        }
        let twice = target.voters.intersection(&target.learners).next().is_some();
        if target.voters.is_empty() || twice || target.is_joint() {
            return Err(Refusal::Malformed);
        }
        let current = self.log.configuration();
        let actual = self.log.configuration_index();
        if current.is_joint() || actual > self.commit {
            return Err(Refusal::ChangeUnderWay);
        }
        if actual != expected {
            return Err(Refusal::Unexpected { expected, actual });
        }
        if target == *current {
            return Ok(());
        }
        let next = if target.voters == current.voters || self.settings.breaks(BrokenRule::SkipJoint) {
            target
        } else {
            joint(current, target)
        };
        self.append_configuration(next);
        Ok(())
    }

    fn append_configuration(&mut self, configuration: Configuration) {
        self.append_own(self.log.last_time(), Payload::Configuration(configuration));
        self.sync_peers(self.log.last().index);
        self.replicate();
    }

    /// What a leader does by itself when the configuration in force is committed: ends a joint one, and leaves
    /// if it is no longer a voter (§4.2.2). A new leader that finds a joint one ends it likewise.
    pub(crate) fn advance_configuration(&mut self) {
        let State::Leader(lead) = &self.state else { return };
        if self.commit < lead.first || self.log.configuration_index() > self.commit {
            return;
        }
        let configuration = self.log.configuration();
        if configuration.is_joint() {
            if lead.handover.is_none() {
                self.append_configuration(settled(configuration));
            }
        } else if !configuration.voters.contains(&self.id) {
            self.leave();
        }
    }

    /// Wakes the voter that knows most, so that the group need not wait for a timeout.
    fn leave(&mut self) {
        let State::Leader(lead) = &self.state else { return };
        let matched = |id: &MemberId| lead.peers.get(id).map(|peer| peer.matched);
        // The first of equals.
        let heir = self.log.configuration().voters.iter().rev().copied().max_by_key(matched);
        if let Some(heir) = heir {
            self.send(heir, Body::TimeoutNow);
        }
        self.follow(self.hard.term, None);
    }
}

fn joint(current: &Configuration, target: Configuration) -> Configuration {
    let mut addresses = current.addresses.clone();
    addresses.extend(target.addresses.clone());
    let mut joint = Configuration { outgoing: current.voters.clone(), addresses, ..target };
    drop_foreign_addresses(&mut joint);
    joint
}

fn settled(joint: &Configuration) -> Configuration {
    let mut settled = Configuration { outgoing: std::collections::BTreeSet::new(), ..joint.clone() };
    drop_foreign_addresses(&mut settled);
    settled
}

fn drop_foreign_addresses(configuration: &mut Configuration) {
    let members = configuration.members();
    configuration.addresses.retain(|id, _| members.contains(id));
}
