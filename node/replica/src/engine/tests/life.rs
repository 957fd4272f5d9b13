//! Requests through elections, crashes, restarts and slow disks.

use super::*;

fn key(name: &str, digest: u8) -> Key {
    Key { name: name.into(), digest: [digest; 16] }
}

#[test]
fn any_member_takes_a_command_and_a_question() {
    let mut net = Net::founded(&[0, 1, 2]);
    for (count, ordinal) in [0, 1, 2].into_iter().enumerate() {
        assert_eq!(net.execute(member(ordinal), &format!("c{ordinal}")), Ok((count + 1).to_string()));
    }
    for ordinal in [0, 1, 2] {
        assert_eq!(net.query(member(ordinal)), Ok("c0,c1,c2".into()));
    }
    net.agree();
}

#[test]
fn a_lone_member_serves() {
    let mut net = Net::founded(&[0]);
    assert_eq!(net.execute(member(0), "a"), Ok("1".into()));
    assert_eq!(net.query(member(0)), Ok("a".into()));
}

#[test]
fn nothing_is_acknowledged_before_a_quorum_has_it_on_disk() {
    let mut net = Net::founded(&[0, 1, 2]);
    let leader = net.leader(G0).unwrap();
    net.stuck = net.nodes.keys().copied().collect();
    let id = net.begin(leader, "a");
    assert_eq!(net.answers.get(&id), None);
    net.stuck.remove(&leader);
    net.run();
    assert_eq!(net.answers.get(&id), None, "one disk of three");
    net.stuck.clear();
    assert_eq!(net.answer(id), Ok("1".into()));
}

#[test]
fn a_leaders_slow_disk_does_not_delay_what_the_others_hold() {
    let mut net = Net::founded(&[0, 1, 2]);
    let (leader, follower) = (net.leader(G0).unwrap(), net.follower(G0));
    net.stuck.insert(leader);
    let id = net.begin(follower, "a");
    net.until("the other two have applied it", |net| net.lines(follower) == ["a"]);
    assert_eq!(net.answer(id), Ok("1".into()));
}

#[test]
fn everything_acknowledged_survives_a_crash_of_all() {
    let mut net = Net::founded(&[0, 1, 2]);
    net.execute(member(0), "a").unwrap();
    net.execute(member(1), "b").unwrap();
    for ordinal in [0, 1, 2] {
        net.crash(member(ordinal));
    }
    for ordinal in [0, 1, 2] {
        net.restart(member(ordinal));
    }
    assert_eq!(net.query(member(2)), Ok("a,b".into()));
}

#[test]
fn a_request_outlives_the_leader_that_it_was_passed_to_and_is_applied_once() {
    let mut net = Net::founded(&[0, 1, 2]);
    let (leader, follower) = (net.leader(G0).unwrap(), net.follower(G0));
    // The leader replicates the command, and dies before it can say so.
    net.stuck = net.nodes.keys().copied().collect();
    let id = net.begin(follower, "a");
    net.crash(leader);
    net.stuck.clear();
    assert_eq!(net.answer(id), Ok("1".into()));
    assert_eq!(net.query(follower), Ok("a".into()));
}

#[test]
fn a_request_without_a_quorum_fails_as_certainly_not_applied_or_unknown() {
    let mut net = Net::founded(&[0, 1, 2]);
    let (leader, follower) = (net.leader(G0).unwrap(), net.follower(G0));
    let others: Vec<_> = net.nodes.keys().copied().filter(|id| *id != follower).collect();
    net.cut.extend(others);
    let sent = net.begin(follower, "sent");
    assert_eq!(net.answer(sent), Err(Failure::Unknown), "it may have reached the leader");
    let unsent = net.begin(follower, "unsent");
    assert_eq!(net.answer(unsent), Err(Failure::Unavailable), "nobody was known to lead");
    assert_eq!(net.query(follower), Err(Failure::Unavailable));
    net.cut.clear();
    net.until("a leader", |net| net.leader(G0).is_some());
    assert!(!net.query(leader).unwrap().contains("unsent"));
}

#[test]
fn an_idempotency_key_is_answered_by_any_member_with_its_first_outcome() {
    let mut net = Net::founded(&[0, 1, 2]);
    let first = net.begin_keyed(member(0), "a", Some(key("k", 1)));
    assert_eq!(net.answer(first), Ok("1".into()));
    let again = net.begin_keyed(member(1), "a", Some(key("k", 1)));
    assert_eq!(net.answer(again), Ok("1".into()));
    let other = net.begin_keyed(member(2), "b", Some(key("k", 2)));
    assert_eq!(net.answer(other), Err(Failure::KeyReused));
    assert_eq!(net.query(member(0)), Ok("a".into()));
}

#[test]
fn a_key_whose_command_still_waits_waits_too() {
    let mut net = Net::founded(&[0, 1, 2]);
    let first = net.begin_keyed(member(0), "wait:2000", Some(key("k", 1)));
    let again = net.begin_keyed(member(1), "wait:2000", Some(key("k", 1)));
    assert_eq!(net.answers.len(), 0);
    let answer = net.answer(first);
    assert!(answer.as_ref().unwrap().starts_with("woken"), "{answer:?}");
    assert_eq!(net.answer(again), answer);
}

#[test]
fn replicated_time_passes_at_the_leaders_pace_and_survives_it() {
    let mut net = Net::founded(&[0, 1, 2]);
    let (leader, follower) = (net.leader(G0).unwrap(), net.follower(G0));
    let start = net.now;
    let id = net.begin(follower, "wait:3000");
    net.until("half the time", |net| net.now > start + Duration::from_millis(1500));
    net.crash(leader);
    assert!(net.answer(id).is_ok());
    let waited = net.now.saturating_sub(start);
    assert!(waited >= Duration::from_secs(3), "{waited:?}: not early");
    assert!(waited < Duration::from_secs(8), "{waited:?}: an election more, not the whole time again");
}

#[test]
fn an_idle_cluster_writes_nothing() {
    let mut net = Net::founded(&[0, 1, 2]);
    net.execute(member(0), "a").unwrap();
    net.agree();
    let last = net.nodes[&member(0)].engine.raft(G0).unwrap().last();
    for _ in 0..200 {
        net.tick();
    }
    assert_eq!(net.nodes[&member(0)].engine.raft(G0).unwrap().last(), last);
}

#[test]
fn a_cancelled_request_has_no_answer_and_leaves_its_slot() {
    let mut net = Net::founded(&[0, 1, 2]);
    let follower = net.follower(G0);
    let id = net.begin(follower, "wait:1000");
    net.nodes.get_mut(&follower).unwrap().engine.handle(net.now, Event::Cancel { id });
    assert_eq!(net.execute(follower, "a"), Ok("1".into()));
    for _ in 0..100 {
        net.tick();
    }
    assert_eq!(net.answers.get(&id), None);
}

#[test]
fn however_many_wait_there_is_room_for_what_frees_something() {
    let mut net = Net::founded(&[0, 1, 2]);
    net.settings.requests_max = 4;
    let follower = net.follower(G0);
    net.crash(follower);
    net.restart(follower);
    net.cut.insert(follower);
    let mut begin = |command| {
        let id = net.begin(follower, command);
        net.answers.get(&id).cloned()
    };
    let full = Some(Err(Failure::Full));
    assert_eq!(["grow", "grow", "grow", "grow"].map(&mut begin), [None, None, None, full.clone()]);
    assert_eq!(["shrink", "shrink"].map(&mut begin), [None, full]);
}

#[test]
fn on_a_disk_that_is_almost_full_only_what_may_grow_is_refused() {
    let mut net = Net::founded(&[0, 1, 2]);
    net.short_of_space = true;
    net.execute(member(0), "a").unwrap();
    for ordinal in [0, 1, 2] {
        assert_eq!(net.execute(member(ordinal), "grow"), Err(Failure::NoSpace));
    }
    assert!(net.execute(member(0), "shrink").is_ok());
    net.short_of_space = false;
    net.execute(member(0), "b").unwrap();
    assert!(net.execute(member(0), "grow").is_ok());
}

#[test]
fn a_leader_whose_disk_hangs_leads_no_more_and_takes_nothing_in_until_it_gets_on() {
    let mut net = Net::founded(&[0, 1, 2]);
    let hung = net.leader(G0).unwrap();
    net.stuck.insert(hung);
    let id = net.begin(hung, "a");
    let begun = net.now;
    let patience = net.settings.disk_patience;
    net.until("its patience is over", |net| net.now.saturating_sub(begun) > patience);
    net.tick();
    for group in [G0, GroupId(1)] {
        assert_ne!(net.nodes[&hung].engine.raft(group).unwrap().standing().role, Role::Leader);
    }
    assert!(net.nodes[&hung].engine.report().trouble.is_some_and(|why| why.contains("disk")));
    let refused = net.begin(hung, "refused");
    assert_eq!(net.answers.get(&refused), Some(&Err(Failure::Unavailable)), "at once");
    assert!(net.command(hung, MemberCommand::Change { cluster: CLUSTER, groups: vec![] }).is_err());

    net.until("another leads", |net| net.leader(G0).is_some());
    let waits = net.nodes[&hung].batches.len();
    let other = net.leader(G0).unwrap();
    for count in 0..100 {
        net.execute(other, &format!("b{count}")).unwrap();
        net.tick();
    }
    assert_eq!(net.nodes[&hung].batches.len(), waits, "no more waits for the disk than did before");

    net.stuck.clear();
    net.agree();
    assert_eq!(net.nodes[&hung].engine.report().trouble, None);
    assert!(net.execute(hung, "c").is_ok());
    let lines = net.lines(hung);
    assert!(!lines.contains(&"refused".to_owned()), "{lines:?}");
    // Replicated before its disk hung, or at the latest when it got on.
    assert!(net.answers.contains_key(&id));
}

#[test]
fn a_disk_that_is_slow_but_gets_on_keeps_its_leader() {
    let mut net = Net::founded(&[0, 1, 2]);
    let (leader, patience) = (net.leader(G0).unwrap(), net.settings.disk_patience);
    let term = net.nodes[&leader].engine.raft(G0).unwrap().standing().term;
    for count in 0..3 {
        net.stuck.insert(leader);
        net.begin(leader, &format!("{count}"));
        let begun = net.now;
        net.until("most of its patience", |net| net.now.saturating_sub(begun) >= patience / 4 * 3);
        net.stuck.clear();
        net.run();
    }
    let standing = net.nodes[&leader].engine.raft(G0).unwrap().standing();
    assert_eq!((standing.role, standing.term), (Role::Leader, term));
}
