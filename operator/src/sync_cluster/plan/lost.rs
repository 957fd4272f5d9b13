//! Data that is gone: told to a human, never papered over with empty members.

use std::{collections::BTreeSet, time::Duration};

use quartet_client::admin::Peer;
use quartet_crds::conditions::Reason;

use super::{Step, World};
use crate::{plan::list, sync_cluster::build::quorum};

const LOST: Duration = Duration::from_secs(10);

pub(super) fn step(world: &World<'_>) -> Option<Step> {
    let cluster = world.cluster?;
    let foreign: Vec<u16> = world
        .seen
        .reports()
        .filter(|report| report.cluster.is_some_and(|other| other != cluster))
        .map(|report| report.ordinal)
        .collect();
    all_empty(world).or_else(|| quorum_lost(world)).or_else(|| {
        (!foreign.is_empty() && !world.all_led()).then(|| {
            let message = format!(
                "The volumes of members {} belong to another cluster than {cluster}: bring the right ones back.",
                list(&foreign)
            );
            Step::wait(Reason::ForeignMember, message).after(LOST)
        })
    })
}

fn all_empty(world: &World<'_>) -> Option<Step> {
    let members = world.pods_wanted();
    (0..members).all(|ordinal| world.seen.is_empty(ordinal)).then(|| {
        let message = format!(
            "All {members} members answer that their volumes are empty. Nothing is founded in the place of cluster {}: \
             bring the volumes back, or delete the resource and create it anew to begin without data.",
            world.cluster.unwrap_or_default()
        );
        Step::wait(Reason::DataLost, message).after(LOST)
    })
}

/// A group without a leader whose voters' volumes are gone, proven by another incarnation in their place, so that
/// those that are left are no quorum.
fn quorum_lost(world: &World<'_>) -> Option<Step> {
    let gone = |peer: &&Peer| world.seen.incarnation(peer.ordinal).is_some_and(|now| now != peer.incarnation);
    let mut groups = Vec::new();
    let mut members = BTreeSet::new();
    for group in world.groups.iter().filter(|group| group.leader.is_none()) {
        let Some(configuration) = group.configuration else { continue };
        for voters in [&configuration.voters, &configuration.outgoing] {
            let lost: Vec<u16> = voters.iter().filter(gone).map(|peer| peer.ordinal).collect();
            let left = voters.len() - lost.len();
            let needed = usize::from(quorum(u16::try_from(voters.len()).unwrap_or(u16::MAX)));
            if !voters.is_empty() && left < needed {
                members.extend(lost);
                groups.push(group.id);
            }
        }
    }
    groups.dedup();
    (!groups.is_empty()).then(|| {
        let message = format!(
            "Members {} lost their volumes, a majority of {} of {} partitions: what only they had acknowledged is gone. \
             Bring their volumes back, or save what the others still hold, delete the resource and create it anew.",
            list(&members),
            groups.len(),
            world.groups.len()
        );
        Step::wait(Reason::QuorumLost, message).after(LOST)
    })
}
