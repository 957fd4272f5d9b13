//! Every branch of the plan, as sentences. Whole lives are in `life`.

use quartet_client::admin::{GroupChange, Peer};
use quartet_crds::{
    conditions::{Reason, Type},
    sync_cluster::OperationKind,
};

use crate::{
    names,
    plan::{ObjectKind, Plan},
    sync_cluster::{
        Call, Command,
        fixture::{Cluster, cluster},
    },
};

mod leaving;

const ALL: usize = usize::MAX;

/// With pods that run, and nothing else done.
fn started() -> Cluster {
    let mut cluster = cluster();
    cluster.reconcile(ALL);
    cluster.later()
}

fn recorded(plan: &Plan<Call>) -> Option<&str> {
    plan.record.as_ref()?.status["operation"]["kind"].as_str()
}

fn changes(plan: &Plan<Call>) -> Vec<&GroupChange> {
    plan.calls
        .iter()
        .flat_map(|call| match &call.command {
            Command::ChangeMembership(change) => change.groups.iter().collect(),
            _ => Vec::new(),
        })
        .collect()
}

/// The members that are told to drain, and all that leave with them.
fn drains(plan: &Plan<Call>) -> (Vec<u16>, Vec<u16>) {
    let mut told = (Vec::new(), Vec::new());
    for call in &plan.calls {
        if let Command::Drain(drain) = &call.command {
            told.0.push(call.ordinal);
            told.1 = drain.leaving.iter().map(|peer| peer.ordinal).collect();
        }
    }
    told
}

fn says(plan: &Plan<Call>, reason: Reason) {
    assert_eq!(plan.reason, reason.as_str(), "{plan}");
}

fn acts(plan: &Plan<Call>) -> bool {
    plan.record.is_some() || !plan.calls.is_empty() || !plan.delete.is_empty()
}

#[test]
fn a_new_resource_gets_its_children_before_anything_else() {
    let plan = cluster().plan();
    says(&plan, Reason::StartingMembers);
    assert!(!acts(&plan));
    let kinds: Vec<_> = plan.apply.iter().map(|child| child.object.kind()).collect();
    for kind in [
        ObjectKind::StatefulSet,
        ObjectKind::Service,
        ObjectKind::ConfigMap,
        ObjectKind::Secret,
        ObjectKind::PodDisruptionBudget,
        ObjectKind::NetworkPolicy,
    ] {
        assert!(kinds.contains(&kind), "{kind}");
    }
}

#[test]
fn a_paused_resource_is_left_alone() {
    let plan = cluster().three_members().with_spec(|spec| spec.common.paused = true).wiped(1).plan();
    says(&plan, Reason::Paused);
    assert!(plan.apply.is_empty() && !acts(&plan));
}

#[test]
fn nothing_is_founded_while_a_member_is_silent() {
    let plan = started().cut(2).plan();
    says(&plan, Reason::StartingMembers);
    assert!(!acts(&plan));
}

#[test]
fn a_founding_is_recorded_with_the_incarnations_that_were_seen() {
    let cluster = started();
    let plan = cluster.plan();
    says(&plan, Reason::Founding);
    assert_eq!(recorded(&plan), Some("Found"));
    assert_eq!(plan.calls.len(), 3);
    let record = plan.record.unwrap();
    for ordinal in 0..3_u16 {
        let incarnation = cluster.claims[&ordinal].volume.incarnation.to_string();
        assert_eq!(record.status["operation"]["members"][usize::from(ordinal)]["incarnation"], incarnation);
    }
}

#[test]
fn a_recorded_founding_goes_on_under_its_own_id() {
    let mut cluster = started();
    cluster.reconcile(1 + 1);
    let open = cluster.resource.status.clone().unwrap().operation.expect("recorded");
    assert!(cluster.own.clusters.is_empty());
    let plan = cluster.plan();
    assert!(plan.record.is_none());
    assert_eq!(plan.calls.len(), 3);
    for call in &plan.calls {
        let Command::Found(found) = &call.command else { panic!("{call}") };
        assert_eq!(Some(found.cluster.to_string()), open.own.cluster);
        assert_eq!(found.operation.to_string(), open.id);
    }
}

#[test]
fn a_founder_emptied_before_anybody_joined_makes_the_founding_begin_anew_in_time() {
    let mut cluster = started();
    cluster.reconcile(2);
    cluster.wipe(1);
    assert!(!acts(&cluster.plan()), "a stray command may still be under way");
    cluster.wait(31);
    assert_eq!(recorded(&cluster.plan()), Some("Found"));
    cluster.settle();
}

#[test]
fn founders_that_lost_their_volumes_where_some_may_have_served_are_a_loss() {
    let mut cluster = started();
    cluster.reconcile(2);
    cluster.wipe(1);
    cluster.wipe(2);
    cluster.wait(3600);
    let plan = cluster.plan();
    says(&plan, Reason::DataLost);
    assert!(!acts(&plan));
}

#[test]
fn a_founder_emptied_after_the_others_joined_is_taken_in_like_any_other() {
    let mut cluster = started();
    cluster.reconcile(ALL);
    cluster.wipe(2);
    cluster.settle();
    assert_eq!(cluster.condition(Type::Ready).0, "True");
}

#[test]
fn all_volumes_lost_is_told_and_nothing_is_done() {
    let cluster = cluster().three_members().wiped(0).wiped(1).wiped(2).later();
    let plan = cluster.plan();
    says(&plan, Reason::DataLost);
    assert!(!acts(&plan));
    assert_eq!(cluster.condition(Type::Degraded), ("True".to_owned(), "DataLost".to_owned()));
    assert_eq!(cluster.condition(Type::Available).0, "False");
    assert!(plan.message.contains("bring the volumes back"), "{}", plan.message);
}

#[test]
fn a_majority_of_volumes_lost_never_makes_empty_members_a_majority() {
    let mut cluster = cluster().three_members().wiped(0).wiped(2).later();
    let plan = cluster.plan();
    says(&plan, Reason::QuorumLost);
    assert!(!acts(&plan) && plan.message.contains("0 and 2"), "{plan}");
    for _ in 0..30 {
        assert!(!acts(&cluster.reconcile(ALL)));
        cluster.tick();
    }
    assert_eq!(cluster.condition(Type::Ready), ("False".to_owned(), "QuorumLost".to_owned()));
}

#[test]
fn a_member_that_lost_its_volume_first_learns_in_every_group() {
    let cluster = cluster().three_members().wiped(1).later();
    let plan = cluster.plan();
    says(&plan, Reason::ReplacingMember);
    assert_eq!(recorded(&plan), Some("Replace"));
    let changes = changes(&plan);
    assert_eq!(changes.len(), 3);
    let new = Peer { ordinal: 1, incarnation: cluster.claims[&1].volume.incarnation };
    for change in changes {
        assert!(change.voters.iter().all(|voter| voter.peer != new));
        assert_eq!(change.learners.iter().map(|learner| learner.peer).collect::<Vec<_>>(), [new]);
        let leader = cluster.own.clusters.values().next().unwrap()[usize::from(change.group)].clone();
        assert_eq!(change.expected_index, leader.configuration.index);
    }
}

#[test]
fn a_learner_that_caught_up_takes_the_place_of_its_old_incarnation_in_one_change() {
    let mut cluster = cluster().three_members().wiped(1).later();
    let promotion = (0..20).find_map(|_| {
        let plan = cluster.reconcile(ALL);
        cluster.tick();
        changes(&plan).iter().any(|change| change.learners.is_empty()).then_some(plan)
    });
    for change in changes(&promotion.expect("a promotion")) {
        assert_eq!(change.voters.len(), 3);
    }
}

#[test]
fn only_one_member_is_replaced_at_a_time() {
    let cluster = cluster().scaled(5).settled().wiped(1).wiped(3).later();
    let plan = cluster.plan();
    for change in changes(&plan) {
        assert_eq!(change.learners.iter().map(|learner| learner.peer.ordinal).collect::<Vec<_>>(), [1]);
    }
    assert!(acts(&plan));
}

#[test]
fn no_member_is_taken_in_while_a_group_has_no_leader() {
    let plan = cluster().three_members().wiped(1).cut(0).later().plan();
    says(&plan, Reason::ReplacingMember);
    assert!(!acts(&plan));
}

#[test]
fn a_damaged_member_is_reset_only_while_the_others_are_a_quorum() {
    let plan = cluster().three_members().damaged(1).later().plan();
    says(&plan, Reason::ResettingMember);
    assert_eq!((recorded(&plan), plan.calls.len()), (Some("Reset"), 1));
    let plan = cluster().three_members().damaged(1).cut(2).later().plan();
    says(&plan, Reason::MemberBlocked);
    assert!(!acts(&plan) && plan.message.contains("bring them back first"), "{plan}");
    let plan = cluster().scaled(1).settled().damaged(0).later().plan();
    says(&plan, Reason::MemberBlocked);
    assert!(!acts(&plan) && plan.message.contains("nobody else has it"), "{plan}");
}

#[test]
fn the_volume_of_a_removed_member_is_given_up_before_it_is_taken_in() {
    let mut cluster = cluster().scaled(5).settled();
    let old = cluster.claims[&3].volume.incarnation;
    let identity = cluster.claims[&3].volume.cluster;
    cluster.change(|spec| spec.replicas = 3);
    cluster.settle();
    cluster.change(|spec| spec.replicas = 5);
    cluster.rounds(1);
    let volume = &mut cluster.claims.get_mut(&3).unwrap().volume;
    (volume.incarnation, volume.cluster, volume.complete) = (old, identity, true);
    let plan = cluster.until(Reason::ResettingMember);
    assert_eq!(recorded(&plan), Some("Reset"));
    cluster.settle();
    assert!(!cluster.is_member_anywhere(old));
    assert_eq!(cluster.condition(Type::Ready).0, "True");
}

#[test]
fn new_members_become_voters_together() {
    let mut cluster = cluster().three_members().scaled(5);
    for _ in 0..30 {
        for change in changes(&cluster.reconcile(ALL)) {
            assert_ne!(change.voters.len(), 4);
        }
        cluster.tick();
        assert!(cluster.own.clusters.values().flatten().all(|group| group.configuration.voters.len() != 4));
    }
    cluster.settle();
}

#[test]
fn a_member_hands_over_before_it_restarts_and_the_busiest_goes_last() {
    let mut cluster =
        cluster().three_members().with_spec(|spec| spec.image = Some("quartet/node:2".to_owned()));
    for group in cluster.own.clusters.values_mut().flatten() {
        group.leader = group.configuration.voters.iter().copied().find(|peer| peer.ordinal == 1);
    }
    cluster.rounds(1);
    let mut deleted = Vec::new();
    for _ in 0..60 {
        let plan = cluster.plan();
        if let Some(deletion) = plan.delete.first() {
            let ordinal = names::ordinal("demo", &deletion.name).unwrap();
            let leads = cluster
                .own
                .clusters
                .values()
                .flatten()
                .any(|group| group.leader.is_some_and(|l| l.ordinal == ordinal));
            assert!(!leads, "{plan}");
            deleted.push(ordinal);
        }
        let (told, leaving) = drains(&plan);
        assert!(told.len() <= 1 && told == leaving, "{plan}");
        cluster.rounds(1);
    }
    assert_eq!(deleted, [2, 0, 1]);
}

#[test]
fn a_restart_is_recorded_with_the_pod_that_it_is_about() {
    let mut cluster =
        cluster().three_members().with_spec(|spec| spec.image = Some("quartet/node:2".to_owned()));
    cluster.rounds(1);
    let plan = cluster.plan();
    assert_eq!(recorded(&plan), Some("Restart"));
    cluster.reconcile(ALL);
    let open = cluster.resource.status.clone().unwrap().operation.unwrap();
    assert_eq!(open.kind, OperationKind::Restart);
    let ordinal = u16::try_from(open.members[0].ordinal).unwrap();
    assert_eq!(open.members[0].uid.as_ref(), Some(&cluster.pods[&ordinal].uid));
}

#[test]
fn nothing_is_restarted_while_a_member_is_away() {
    let mut cluster =
        cluster().three_members().cut(1).with_spec(|spec| spec.image = Some("quartet/node:2".to_owned()));
    cluster.reconcile(ALL);
    let cluster = cluster.later();
    let plan = cluster.plan();
    // The one that is away is the only one that may go: it costs nothing more.
    assert!(plan.delete.iter().all(|deletion| deletion.name == names::member("demo", 1)), "{plan}");
    let plan = { cluster }.cut(2).later().plan();
    assert!(!acts(&plan), "{plan}");
}

#[test]
fn one_member_has_no_disruption_budget() {
    let mut cluster = cluster().three_members();
    assert!(cluster.budgets.contains_key("demo"));
    cluster.change(|spec| spec.replicas = 1);
    cluster.settle();
    assert!(cluster.budgets.is_empty());
}

#[test]
fn a_token_is_made_once() {
    let mut cluster = cluster().three_members();
    let token = cluster.secrets["demo-admin"].data.clone();
    cluster.reconcile(ALL);
    assert_eq!(cluster.secrets["demo-admin"].data, token);
}

#[test]
fn a_member_that_does_not_answer_is_told() {
    let cluster = cluster().three_members().cut(2).later();
    says(&cluster.plan(), Reason::MembersUnready);
    assert_eq!(cluster.condition(Type::Degraded), ("True".to_owned(), "MembersUnready".to_owned()));
    assert_eq!(cluster.condition(Type::Available).0, "True");
    assert_eq!(cluster.condition(Type::Ready).0, "False");
}
