//! Founding, joining, changing the members, handing over.

use super::*;

fn change(net: &mut Net, voters: &[MemberId], learners: &[MemberId]) -> Result<(), String> {
    let leader = net.leader(G0).unwrap();
    let expected = net.nodes[&leader].engine.raft(G0).unwrap().configuration_index();
    let groups = vec![GroupChange {
        group: G0,
        expected,
        voters: voters.iter().map(|id| address(*id)).collect(),
        learners: learners.iter().map(|id| address(*id)).collect(),
    }];
    let result = net.command(leader, MemberCommand::Change { cluster: CLUSTER, groups })?;
    result.into_iter().next().unwrap().1
}

fn voters_are(net: &mut Net, voters: &[MemberId]) {
    let wanted: BTreeSet<_> = voters.iter().copied().collect();
    net.until("the voters are as wanted", |net| {
        net.leader(G0).is_some_and(|leader| {
            let raft = net.nodes[&leader].engine.raft(G0).unwrap();
            let configuration = raft.configuration();
            configuration.voters == wanted && !configuration.is_joint() && raft.configuration_committed()
        })
    });
}

#[test]
fn an_empty_member_serves_nothing_and_founds_nothing_by_itself() {
    let mut net = Net::empty(&[0]);
    assert_eq!(net.execute(member(0), "a"), Err(Failure::Unavailable));
    assert_eq!(net.nodes[&member(0)].engine.report().cluster, None);
}

#[test]
fn founding_is_refused_to_strangers_and_to_members_of_another_cluster() {
    let mut net = Net::empty(&[0]);
    let found = |cluster, ordinal| MemberCommand::Found { cluster, members: vec![address(member(ordinal))] };
    assert!(net.command(member(0), found(CLUSTER, 1)).is_err(), "not among the founders");
    assert_eq!(net.command(member(0), found(CLUSTER, 0)), Ok(vec![]));
    assert_eq!(net.command(member(0), found(CLUSTER, 0)), Ok(vec![]), "again: no harm");
    assert!(net.command(member(0), found(CLUSTER + 1, 0)).is_err());
}

#[test]
fn a_crash_in_the_middle_of_founding_leaves_an_empty_member_or_a_founder() {
    for syncs in 0..4 {
        let mut net = Net::empty(&[0]);
        net.stuck.insert(member(0));
        let found = MemberCommand::Found { cluster: CLUSTER, members: vec![address(member(0))] };
        let node = net.nodes.get_mut(&member(0)).unwrap();
        node.engine.handle(net.now, Event::Command { id: RequestId(0), command: found.clone() });
        for _ in 0..syncs {
            net.run();
            let node = net.nodes.get_mut(&member(0)).unwrap();
            if let Some(batch) = node.batches.pop_front() {
                node.disk.write(&batch);
                let written = Written::default();
                node.engine.handle(net.now, Event::Synced { batch: batch.number, written });
            }
        }
        net.crash(member(0));
        net.stuck.clear();
        net.restart(member(0));
        net.command(member(0), found).unwrap();
        assert_eq!(net.execute(member(0), "a"), Ok("1".into()), "after {syncs} syncs");
    }
}

#[test]
fn a_wiped_member_comes_back_as_a_learner_and_takes_the_place_of_its_old_self() {
    let mut net = Net::founded(&[0, 1, 2]);
    net.execute(member(0), "a").unwrap();
    let lost = net.follower(G0);
    net.crash(lost);
    let new = MemberId { ordinal: lost.ordinal, incarnation: 5000 };
    net.start(new, Disk::default());
    let old: Vec<_> = [0, 1, 2].map(member).to_vec();
    change(&mut net, &old, &[new]).unwrap();
    net.until("it has caught up", |net| {
        net.nodes[&new].engine.machine(G0).is_some_and(|journal| journal.lines == ["a"])
    });
    let kept: Vec<_> = old.into_iter().filter(|id| *id != lost).chain([new]).collect();
    change(&mut net, &kept, &[]).unwrap();
    voters_are(&mut net, &kept);
    assert_eq!(net.execute(new, "b"), Ok("2".into()));
}

#[test]
fn three_become_five_and_three_again_with_nothing_lost() {
    let mut net = Net::founded(&[0, 1, 2]);
    net.execute(member(0), "a").unwrap();
    net.start(member(3), Disk::default());
    net.start(member(4), Disk::default());
    let (three, five) = ([0, 1, 2].map(member), [0, 1, 2, 3, 4].map(member));
    change(&mut net, &three, &five[3..]).unwrap();
    net.until("the learners have caught up", |net| {
        five[3..]
            .iter()
            .all(|id| net.nodes[id].engine.machine(G0).is_some_and(|journal| journal.lines.len() == 1))
    });
    change(&mut net, &five, &[]).unwrap();
    voters_are(&mut net, &five);
    assert_eq!(net.execute(member(4), "b"), Ok("2".into()));
    change(&mut net, &three, &[]).unwrap();
    voters_are(&mut net, &three);
    assert_eq!(net.execute(member(1), "c"), Ok("3".into()));
}

#[test]
fn a_change_that_expects_another_configuration_is_refused() {
    let mut net = Net::founded(&[0, 1, 2]);
    let leader = net.leader(G0).unwrap();
    let voters: Vec<_> = [0, 1].map(|ordinal| address(member(ordinal))).to_vec();
    let groups = vec![GroupChange { group: G0, expected: Index(99), voters, learners: vec![] }];
    let result = net.command(leader, MemberCommand::Change { cluster: CLUSTER, groups: groups.clone() });
    assert!(result.unwrap()[0].1.is_err());
    let result = net.command(leader, MemberCommand::Change { cluster: CLUSTER + 1, groups });
    assert!(result.is_err(), "of another cluster");
}

#[test]
fn a_handover_moves_every_leadership_and_loses_no_request() {
    let mut net = Net::founded(&[0, 1, 2]);
    let leader = net.leader(G0).unwrap();
    let waiting = net.begin(leader, "wait:500");
    let except = BTreeSet::new();
    net.command(leader, MemberCommand::Handover { cluster: CLUSTER, except }).unwrap();
    leads_nothing(&mut net, leader);
    assert_eq!(net.execute(leader, "a"), Ok("1".into()));
    assert!(net.answer(waiting).is_ok());
}

fn leads_nothing(net: &mut Net, member: MemberId) {
    net.until("it leads nothing", |net| {
        net.nodes[&member].engine.report().groups.iter().all(|group| group.role != Role::Leader)
    });
}

#[test]
fn nothing_is_handed_to_members_that_leave_as_well() {
    let mut net = Net::founded(&[0, 1, 2]);
    let leader = net.leader(G0).unwrap();
    for stays in [0, 1, 2].map(member).into_iter().filter(|id| *id != leader) {
        let mut net = Net::founded(&[0, 1, 2]);
        let except = net.nodes.keys().copied().filter(|id| ![leader, stays].contains(id)).collect();
        net.command(leader, MemberCommand::Handover { cluster: CLUSTER, except }).unwrap();
        leads_nothing(&mut net, leader);
        assert_eq!(net.leader(G0), Some(stays));
    }
    let except = net.nodes.keys().copied().filter(|id| *id != leader).collect();
    let results = net.command(leader, MemberCommand::Handover { cluster: CLUSTER, except }).unwrap();
    assert!(results.iter().all(|(_, result)| result.is_err()), "{results:?}");
}

/// Asked in the very moment of its removal, whichever that is: it has been done, or certainly not.
#[test]
fn what_a_leaving_member_is_asked_is_answered_at_once_and_for_certain() {
    let mut refused = 0;
    for leaves in [0, 1, 2].map(member) {
        for steps in 0..30 {
            let mut net = Net::founded(&[0, 1, 2]);
            let leader = net.leader(G0).unwrap();
            let rest: Vec<_> = net.nodes.keys().copied().filter(|id| *id != leaves).collect();
            let expected = net.nodes[&leader].engine.raft(G0).unwrap().configuration_index();
            let voters = rest.iter().map(|id| address(*id)).collect();
            let groups = vec![GroupChange { group: G0, expected, voters, learners: vec![] }];
            let command = MemberCommand::Change { cluster: CLUSTER, groups };
            let event = Event::Command { id: RequestId(0), command };
            net.nodes.get_mut(&leader).unwrap().engine.handle(net.now, event);
            for _ in 0..steps {
                net.step();
            }
            let asked = net.now;
            match net.execute(leaves, "a") {
                Ok(_) => {}
                Err(Failure::Unavailable) => refused += 1,
                Err(failure) => panic!("{leaves} after {steps} steps: {failure}"),
            }
            let took = net.now.saturating_sub(asked);
            assert!(took < Duration::from_secs(1), "{leaves} after {steps} steps: {took:?}");
        }
    }
    assert!(refused > 0, "never was anything asked too late");
}

#[test]
fn a_removed_member_tells_its_clients_at_once_that_nothing_was_done() {
    let mut net = Net::founded(&[0, 1, 2]);
    let (leader, removed) = (net.leader(G0).unwrap(), net.follower(G0));
    let rest: Vec<_> = net.nodes.keys().copied().filter(|id| *id != removed).collect();
    change(&mut net, &rest, &[]).unwrap();
    voters_are(&mut net, &rest);
    let start = net.now;
    assert_eq!(net.execute(removed, "a"), Err(Failure::Unavailable));
    assert_eq!(net.query(removed), Err(Failure::Unavailable));
    assert!(net.now.saturating_sub(start) < Duration::from_secs(1), "{:?}", net.now.saturating_sub(start));
    assert_eq!(net.query(leader), Ok(String::new()));
}

#[test]
fn a_removed_learner_stops_counting_on_the_leader_that_it_had() {
    let mut net = Net::founded(&[0, 1, 2]);
    let voters: Vec<_> = net.nodes.keys().copied().collect();
    net.start(member(3), Disk::default());
    change(&mut net, &voters, &[member(3)]).unwrap();
    voters_are(&mut net, &voters);
    net.until("it learns", |net| net.query(member(3)).is_ok());
    change(&mut net, &voters, &[]).unwrap();
    voters_are(&mut net, &voters);
    net.until("it knows of no leader", |net| {
        net.nodes[&member(3)].engine.report().groups[0].leader.is_none()
    });
}
