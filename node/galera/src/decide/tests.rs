//! Rules, over every combination of a small state space: three members, and all that may be known of each.

use std::collections::BTreeSet;

use super::*;

const OURS: Uuid = Uuid::from_u128(7);
const OTHERS: Uuid = Uuid::from_u128(8);
const DEAD: Dead = Dead { node: Uuid::from_u128(99), proof: Proof::Word, address: None };
const REFUSES: Dead = Dead { node: Uuid::from_u128(98), proof: Proof::Refusal, address: None };
/// A history that was begun from ours, at 5.
const NEW: Uuid = Uuid::from_u128(6);
const BEGUN: BegunFrom = BegunFrom { history: NEW, position: Position { cluster: OURS, seqno: 5 } };
const LONG: Duration = Duration::from_hours(1);

fn at(cluster: Uuid, seqno: u64) -> Position {
    Position { cluster, seqno }
}

fn address(ordinal: u16) -> IpAddr {
    IpAddr::from([10, 0, 0, u8::try_from(ordinal).unwrap()])
}

fn report(ordinal: u16, state: MemberState, primary: bool, position: Option<Position>) -> PeerReport {
    let still = [MemberState::Empty, MemberState::Waiting, MemberState::Unusable];
    PeerReport {
        cluster_name: "shop".into(),
        group_name: None,
        ordinal,
        run: Uuid::from_u128(1),
        state,
        position,
        node: None,
        server_runs: !still.contains(&state),
        serves: false,
        applies_schema: false,
        primary,
        begun: None,
        members: vec![],
    }
}

/// All that may be known of one peer.
fn peers_of(ordinal: u16) -> Vec<Peer> {
    let known = [
        None,
        Some(report(ordinal, MemberState::Empty, false, None)),
        Some(report(ordinal, MemberState::Unusable, false, None)),
        Some(report(ordinal, MemberState::Unusable, false, Some(at(OURS, 9)))),
        Some(report(ordinal, MemberState::Waiting, false, Some(at(OURS, 5)))),
        Some(report(ordinal, MemberState::Waiting, false, Some(at(OURS, 9)))),
        Some(report(ordinal, MemberState::Waiting, false, Some(at(OTHERS, 3)))),
        Some(report(ordinal, MemberState::NonPrimary, false, Some(at(OURS, 9)))),
        Some(report(ordinal, MemberState::Stopping, true, Some(at(OURS, 9)))),
        Some(report(ordinal, MemberState::Joining, true, Some(at(OURS, 3)))),
        Some(report(ordinal, MemberState::Donor, true, Some(at(OURS, 9)))),
        Some(report(ordinal, MemberState::Synced, true, Some(at(OURS, 9)))),
        Some(report(ordinal, MemberState::Synced, true, Some(at(OTHERS, 9)))),
        Some(report(ordinal, MemberState::Synced, true, Some(at(NEW, 9)))),
        // It joins, or its server has not answered for long.
        Some(report(ordinal, MemberState::NonPrimary, true, None)),
    ];
    let mut all = Vec::new();
    for report in known {
        for dead in [vec![], vec![DEAD], vec![REFUSES]] {
            all.push(Peer { ordinal, address: Some(address(ordinal)), report: report.clone(), dead });
        }
    }
    let synced = report(ordinal, MemberState::Synced, true, Some(at(OURS, 9)));
    for report in [None, Some(synced)] {
        all.push(Peer { ordinal, address: None, report, dead: vec![] });
    }
    all
}

fn phases() -> Vec<Phase> {
    let links = [
        Link::Starting,
        Link::Primary { synced: false },
        Link::Primary { synced: true },
        Link::NonPrimary { position: None, for_at_least: Duration::ZERO },
        Link::NonPrimary { position: Some(at(OURS, 5)), for_at_least: Duration::ZERO },
        Link::NonPrimary { position: Some(at(OURS, 5)), for_at_least: LONG },
        Link::Disconnected { for_at_least: Duration::ZERO },
        Link::Disconnected { for_at_least: LONG },
    ];
    let held = [at(OURS, 5), at(OURS, 6), at(OTHERS, 5)];
    let stopped = held.map(Phase::Stopped);
    let unreadable = held.map(|held| Phase::Unreadable(Some(held)));
    let unusable = held.map(|held| Phase::Unusable(Some(held)));
    // Of one whose manager was started anew it is not known how far it had come.
    let unreadable = unreadable.into_iter().chain([Phase::Unreadable(Some(at(OURS, u64::MAX)))]);
    let still =
        [Phase::Unexamined, Phase::Unreadable(None), Phase::Busy, Phase::Empty, Phase::Unusable(None)];
    let held = stopped.into_iter().chain(unreadable).chain(unusable);
    still.into_iter().chain(held).chain(links.map(Phase::Running)).collect()
}

/// What a server in that phase may have on its disk of what it has received.
fn positions(phase: Phase) -> Vec<Option<Position>> {
    match phase {
        Phase::Running(Link::Primary { .. }) => vec![None, Some(at(OURS, 5))],
        Phase::Running(Link::NonPrimary { position, .. }) => vec![position],
        _ => vec![None],
    }
}

/// Every view there is; the second value tells how many were looked at.
fn for_each_view(mut look: impl FnMut(&View, Action)) -> usize {
    let mut looked = 0;
    let (first, second) = (peers_of(0), peers_of(2));
    let everybody = [0, 1, 2].map(address);
    for (phase, position) in
        phases().into_iter().flat_map(|phase| positions(phase).into_iter().map(move |at| (phase, at)))
    {
        // Outside of a Primary component it may still be together with somebody.
        let primary = matches!(phase, Phase::Running(Link::Primary { .. }));
        let group = if primary { &everybody[..] } else { &everybody[..2] };
        let primary_group = primary.then_some(group);
        for one in &first {
            for other in &second {
                let peers = [one.clone(), other.clone()];
                for flags in 0..32_u8 {
                    let flag = |bit: u8| flags & (1 << bit) != 0;
                    let leave = if flag(4) { Leave::Begin(NEW) } else { Leave::GoOn };
                    if flag(4) && !flag(0) {
                        continue;
                    }
                    let view = View {
                        ordinal: 1,
                        address: address(1),
                        phase,
                        peers: &peers,
                        granted: flag(0).then_some(leave),
                        stopping: flag(1),
                        may_start: flag(2),
                        schema_due: flag(3),
                        group,
                        primary_group,
                        begun_from: None,
                        stepped_over: false,
                        position,
                        alone_for: None,
                        transfer_moves: false,
                        evicted_for: None,
                    };
                    look(&view, decide(&view));
                    looked += 1;
                }
            }
        }
    }
    looked
}

fn a_primary_is_seen(view: &View) -> bool {
    view.peers.iter().any(|peer| peer.report.as_ref().is_some_and(|report| report.primary))
}

#[test]
fn a_primary_component_is_formed_by_a_grant_alone_and_never_beside_one_that_is_seen() {
    let mut formed = BTreeSet::new();
    let looked = for_each_view(|view, action| {
        let forms =
            matches!(action, Action::Found | Action::Bootstrap(_) | Action::Begin { .. } | Action::Promote);
        if !forms {
            return;
        }
        formed.insert(format!("{action:?}"));
        assert!(!a_primary_is_seen(view), "{view:?}");
        assert!(!view.stopping, "{view:?}");
        let leave = view.granted.expect("without leave");
        match (&action, view.phase) {
            (Action::Found, Phase::Empty) | (Action::Promote, Phase::Running(Link::NonPrimary { .. })) => {
                assert_eq!(leave, Leave::GoOn);
            }
            (Action::Bootstrap(from), Phase::Stopped(own)) => assert_eq!((*from, leave), (own, Leave::GoOn)),
            // A new history is begun only by a server that does not run, and from what it holds.
            (Action::Begin { history, from }, Phase::Stopped(own) | Phase::Unusable(Some(own))) => {
                assert_eq!((*from, leave), (own, Leave::Begin(*history)));
            }
            other => panic!("{other:?}"),
        }
    });
    assert!(looked > 200_000, "{looked}");
    assert_eq!(formed.len(), 8, "found, promoted, and from each position gone on or begun: {formed:?}");
}

#[test]
fn a_server_joins_only_who_is_seen_to_be_primary_and_with_a_history_that_is_its_own() {
    let mut joined = 0;
    for_each_view(|view, action| {
        let Action::Join(join) = action else { return };
        joined += 1;
        assert!(view.may_start && !view.stopping);
        assert!(!join.addresses.is_empty());
        for peer in view.peers {
            let report = peer.report.as_ref().filter(|report| report.primary && report.position.is_some());
            assert_eq!(
                peer.address.is_some_and(|address| join.addresses.contains(&address)),
                report.is_some() && peer.address.is_some()
            );
            let own = match view.phase {
                Phase::Stopped(own) => Some(own),
                Phase::Unreadable(known) | Phase::Unusable(known) => known,
                _ => None,
            };
            if let (Some(own), Some(theirs)) = (own, report.and_then(|report| report.position)) {
                assert_eq!(own.cluster, theirs.cluster, "data is never overwritten with another history");
            }
        }
        match view.phase {
            Phase::Empty | Phase::Unusable(_) | Phase::Unreadable(_) => assert_eq!(join.from, None),
            Phase::Stopped(own) => assert_eq!(join.from, Some(own)),
            other => panic!("{other:?}"),
        }
    });
    assert!(joined > 1000, "{joined}");
}

#[test]
fn whoever_can_join_does_once_the_pause_is_over() {
    for_each_view(|view, action| {
        let joinable = |report: &PeerReport| report.primary && report.position.is_some();
        let reachable = view
            .peers
            .iter()
            .any(|peer| peer.address.is_some() && peer.report.as_ref().is_some_and(joinable));
        let ours = view.peers.iter().all(|peer| {
            peer.report.as_ref().and_then(|report| report.position).is_none_or(|at| at.cluster == OURS)
        });
        let could = match view.phase {
            Phase::Empty | Phase::Unusable(None) | Phase::Unreadable(None) => true,
            Phase::Stopped(own) | Phase::Unreadable(Some(own)) | Phase::Unusable(Some(own)) => {
                own.cluster == OURS && ours
            }
            _ => false,
        };
        if could && reachable && !view.stopping {
            let expected = if view.may_start { "Join" } else { "Wait(Pause)" };
            assert!(format!("{action:?}").starts_with(expected), "{view:?}: {action:?}");
        }
    });
}

#[test]
fn nobody_joins_those_who_have_not_noticed_its_end() {
    let mut waited = 0;
    for_each_view(|view, action| {
        if !matches!(action, Action::Join(_)) {
            return;
        }
        for n in 0..view.peers.len() {
            let mut peers = view.peers.to_vec();
            let joinable = |report: &&PeerReport| report.primary && report.position.is_some();
            let Some(report) = peers[n].report.as_ref().filter(joinable).cloned() else { continue };
            // Where it is now, and where nobody is any more: it may have been there before its pod was made anew.
            for dead in [address(0), address(99)] {
                peers[n].report = Some(PeerReport { members: vec![dead, address(1)], ..report.clone() });
                let later = decide(&View { peers: &peers, ..view.clone() });
                assert_eq!(later, Action::Wait(Waiting::Noticed));
                waited += 1;
            }
            let alive = peers[n].address.into_iter().collect();
            peers[n].report = Some(PeerReport { members: alive, ..report });
            assert_eq!(decide(&View { peers: &peers, ..view.clone() }), action);
        }
    });
    assert!(waited > 1000);
}

/// Their servers keep the name that they were started with.
#[test]
fn a_server_is_started_into_the_group_of_those_whom_it_joins() {
    let begun = Some("shop-of-before".to_owned());
    let mut joined = 0;
    for_each_view(|view, action| {
        if !matches!(action, Action::Join(_)) {
            return;
        }
        let mut peers = view.peers.to_vec();
        for report in peers.iter_mut().filter_map(|peer| peer.report.as_mut()) {
            report.group_name.clone_from(&begun);
        }
        let Action::Join(join) = decide(&View { peers: &peers, ..view.clone() }) else { panic!("{view:?}") };
        assert_eq!(join.group, begun);
        joined += 1;
    });
    assert!(joined > 1000);
}

/// The operator has to know whom a history that a human began has taken in: it goes on without those whom it has not heard.
#[test]
fn what_a_human_began_is_joined_by_whoever_is_told_so_and_was_not_stepped_over() {
    let (mut unnamed, mut named) = (0, 0);
    for_each_view(|view, action| {
        if !matches!(action, Action::Join(_)) {
            return;
        }
        let view = View { stepped_over: true, ..view.clone() };
        assert_eq!(decide(&view), Action::Wait(Waiting::SteppedOver));
        let mut peers = view.peers.to_vec();
        let mut histories = BTreeSet::new();
        for report in peers.iter_mut().filter_map(|peer| peer.report.as_mut()).filter(|it| it.primary) {
            report.begun = report.position.map(|at| at.cluster);
            histories.extend(report.begun);
        }
        let told = View { peers: &peers, stepped_over: false, ..view.clone() };
        let Action::Wait(Waiting::Unnamed(history)) = decide(&told) else { panic!("{told:?}") };
        assert!(histories.contains(&history), "{told:?}");
        unnamed += 1;
        let begun_from = Some(BegunFrom { history, position: at(Uuid::from_u128(1), 1) });
        if histories.len() == 1 {
            assert_eq!(decide(&View { begun_from, ..told.clone() }), action, "{told:?}");
            named += 1;
        }
        // What they say of another history than their own is of before.
        for report in peers.iter_mut().filter_map(|peer| peer.report.as_mut()) {
            report.begun = report.begun.map(|_| Uuid::from_u128(1));
        }
        assert_eq!(decide(&View { peers: &peers, stepped_over: false, ..view.clone() }), action);
    });
    assert!(unnamed > 1000 && named > 1000, "{unnamed} {named}");
}

/// A server of theirs runs, together with this one.
fn is_together(view: &View, peer: &Peer) -> bool {
    peer.report.as_ref().is_some_and(|report| report.server_runs)
        && peer.address.is_some_and(|address| view.group.contains(&address))
}

/// Of those who do not run together with this member: what they hold, where all of them are known to be stopped with
/// data of this history.
fn all_stopped(view: &View) -> Option<Vec<u64>> {
    let apart = view.peers.iter().filter(|peer| !is_together(view, peer));
    let held = |peer: &Peer| {
        let report = peer.report.as_ref().filter(|report| report.state == MemberState::Waiting)?;
        report.position.filter(|position| position.cluster == OURS).map(|position| position.seqno)
    };
    apart.map(held).collect()
}

#[test]
fn only_who_is_proven_dead_is_evicted_and_never_to_go_on_without_who_holds_more_or_may_live() {
    let (mut by_word, mut by_refusal, mut alone) = (0, 0, 0);
    for_each_view(|view, action| {
        let any = |dead: Dead| view.peers.iter().any(|peer| peer.dead.contains(&dead));
        let answers = matches!(view.phase, Phase::Running(link) if link != Link::Starting);
        // Of three members, this one and one more that runs.
        let majority = matches!(view.phase, Phase::Running(Link::Primary { .. }))
            && view.peers.iter().any(|peer| is_together(view, peer));
        let none_ahead = view.position.is_some_and(|own| {
            all_stopped(view).is_some_and(|held| held.iter().all(|seqno| *seqno <= own.seqno))
        });
        let expected = (majority && (any(DEAD) || any(REFUSES))) || (none_ahead && any(DEAD));
        let Action::Evict(node) = action else {
            assert!(!expected || !answers || view.stopping, "waiting for the dead: {view:?}: {action:?}");
            return;
        };
        assert!(expected && answers, "{view:?}");
        if node == DEAD.node {
            by_word += 1;
        } else {
            by_refusal += 1;
            assert!(node == REFUSES.node && majority, "a minority takes a refusal for nothing: {view:?}");
        }
        if !majority {
            alone += 1;
            // Galera may form a Primary component for it now: no leave is taken by anybody else who sees it.
            let own = report(1, MemberState::NonPrimary, false, view.position);
            let seen = [Peer { ordinal: 1, address: Some(address(1)), report: Some(own), dead: vec![] }];
            for peer in view.peers.iter().filter(|peer| !is_together(view, peer)) {
                let theirs = peer.report.as_ref().and_then(|report| report.position).unwrap();
                let grant = Bootstrap {
                    operation: OPERATION,
                    incarnation: INCARNATION,
                    run: RUN,
                    position: Some(theirs),
                    new_history: false,
                };
                let own = Own { incarnation: INCARNATION, run: RUN, granted: None };
                assert_eq!(accept(&grant, own, Phase::Stopped(theirs), &seen), Err(Refused::ServerRuns(1)));
            }
        }
    });
    assert!(by_word > 1000 && by_refusal > 1000 && alone > 100, "{by_word} {by_refusal} {alone}");
}

/// A host is off, and one of the two that went on without it crashes.
#[test]
fn the_last_one_goes_on_without_a_silent_member_only_if_the_primary_component_did() {
    let all = [0, 1, 2].map(address);
    let (two, unknown) = ([address(0), address(1)], [address(0), address(1), address(9)]);
    let decides = |primary_group: Option<&[IpAddr]>, change: &dyn Fn(&mut View, &mut Vec<Peer>)| {
        let own = at(OURS, 5);
        let stopped = report(0, MemberState::Waiting, false, Some(own));
        let mut peers = vec![
            Peer { ordinal: 0, address: Some(address(0)), report: Some(stopped), dead: vec![DEAD] },
            Peer { ordinal: 2, address: Some(address(2)), report: None, dead: vec![] },
        ];
        let mut view = View {
            ordinal: 1,
            address: address(1),
            phase: Phase::Running(Link::Primary { synced: true }),
            peers: &[],
            granted: None,
            stopping: false,
            may_start: true,
            schema_due: false,
            group: primary_group.unwrap_or(&two),
            primary_group,
            begun_from: None,
            stepped_over: false,
            position: Some(own),
            alone_for: None,
            transfer_moves: false,
            evicted_for: None,
        };
        change(&mut view, &mut peers);
        decide(&View { peers: &peers, ..view })
    };
    let goes_on = Action::Evict(DEAD.node);
    assert_eq!(decides(Some(&two), &|_, _| {}), goes_on);
    assert_eq!(decides(Some(&two), &|_, peers| peers[1].address = None), goes_on);
    assert_eq!(decides(Some(&all), &|_, _| {}), Action::Wait(Waiting::Nothing), "it is counted");
    assert_eq!(decides(Some(&unknown), &|_, _| {}), Action::Wait(Waiting::Nothing), "it may be there");
    assert_eq!(decides(None, &|_, _| {}), Action::Wait(Waiting::Nothing), "nobody knows who is counted");
    assert_eq!(
        decides(Some(&two), &|view, _| view.primary_group = Some(&[])),
        Action::Wait(Waiting::Nothing)
    );
    assert_eq!(
        decides(Some(&two), &|_, peers| peers[1].dead = vec![REFUSES]),
        Action::Wait(Waiting::Nothing)
    );
    assert_eq!(decides(Some(&two), &|view, _| view.position = None), Action::Wait(Waiting::Nothing));
    assert_eq!(decides(Some(&two), &|_, peers| peers[0].report = None), Action::Wait(Waiting::Nothing));
    let ahead = |_: &mut View, peers: &mut Vec<Peer>| {
        peers[0].report = Some(report(0, MemberState::Waiting, false, Some(at(OURS, 9))));
    };
    assert_eq!(decides(Some(&two), &ahead), Action::Restart(Restart::Behind), "the other holds more");
    let left = |view: &mut View, _: &mut Vec<Peer>| {
        let link = Link::NonPrimary { position: view.position, for_at_least: LONG };
        (view.phase, view.primary_group) = (Phase::Running(link), None);
    };
    assert_eq!(decides(Some(&two), &left), Action::Wait(Waiting::Grant), "no Primary component any more");
}

#[test]
fn nobody_is_evicted_to_go_on_alone_while_a_silent_member_may_be_counted() {
    let (mut skipped, mut waited) = (0, 0);
    let groups: [&[IpAddr]; 5] = [
        &[0, 1, 2].map(address),
        &[0, 1].map(address),
        &[1, 2].map(address),
        &[1].map(address),
        &[1, 9].map(address),
    ];
    for_each_view(|view, _| {
        let primary = matches!(view.phase, Phase::Running(Link::Primary { .. }));
        if view.stopping || view.granted.is_some() || view.schema_due || view.may_start {
            return;
        }
        for primary_group in groups.map(Some).into_iter().filter(|_| primary).chain([None]) {
            let group = primary_group.unwrap_or(view.group);
            let now = View { group, primary_group, ..view.clone() };
            let together = now.peers.iter().filter(|peer| is_together(&now, peer)).count();
            let majority = primary_group.is_some() && (1 + together) * 2 > group.len();
            let Action::Evict(node) = decide(&now) else {
                waited += 1;
                continue;
            };
            if majority {
                continue;
            }
            assert_eq!(node, DEAD.node, "only by a manager's word");
            let own = now.position.expect("compared with nothing");
            for peer in now.peers.iter().filter(|peer| !is_together(&now, peer)) {
                if let Some(report) = &peer.report {
                    let theirs = report.position.filter(|_| report.state == MemberState::Waiting).unwrap();
                    assert!(theirs.cluster == OURS && theirs.seqno <= own.seqno, "{now:?}");
                    continue;
                }
                skipped += 1;
                let known =
                    |at: &IpAddr| *at == address(1) || now.peers.iter().any(|it| it.address == Some(*at));
                let group = primary_group.expect("outside of a Primary component nobody is skipped");
                assert!(group.contains(&address(1)) && group.iter().all(known), "{now:?}");
                assert!(
                    !peer.address.is_some_and(|at| group.contains(&at)) && peer.dead.is_empty(),
                    "{now:?}"
                );
            }
        }
    });
    assert!(skipped >= 8 && waited > 1000, "{skipped} {waited}");
}

#[test]
fn whoever_is_left_behind_ends_so_that_the_one_ahead_can_be_begun_from() {
    let mut ended = 0;
    for_each_view(|view, action| {
        let Action::Restart(Restart::Behind) = action else { return };
        ended += 1;
        let own = view.position.expect("compared with nothing");
        let ahead = view.peers.iter().filter_map(|peer| peer.report.as_ref()).any(|report| {
            report.state == MemberState::Waiting
                && report.position.is_some_and(|theirs| theirs.cluster == OURS && theirs.seqno > own.seqno)
        });
        assert!(ahead && !view.stopping, "{view:?}");
        match view.phase {
            // It says that it is Primary: only where nobody is left of the majority.
            Phase::Running(Link::Primary { .. }) => {
                assert!(all_stopped(view).is_some(), "{view:?}");
                assert!(!view.peers.iter().any(|peer| is_together(view, peer)), "{view:?}");
            }
            Phase::Running(Link::NonPrimary { for_at_least, .. }) => {
                assert!(for_at_least >= BEHIND_MAX && !a_primary_is_seen(view), "{view:?}");
            }
            other => panic!("{other:?}"),
        }
    });
    assert!(ended > 100, "{ended}");
}

#[test]
fn evictions_are_taken_back_once_they_have_done_their_work() {
    // Whoever is evicted is looked for in every later change of the group, which then takes seconds.
    let mut taken_back = 0;
    for_each_view(|view, action| {
        let now = decide(&View { evicted_for: Some(Duration::ZERO), ..view.clone() });
        assert_eq!(now, action, "too early to matter");
        let later = decide(&View { evicted_for: Some(EVICTED_MAX), ..view.clone() });
        if later == Action::Unevict {
            taken_back += 1;
            assert!(matches!(view.phase, Phase::Running(link) if link != Link::Starting));
        } else {
            assert_eq!(later, action);
            let quiet = matches!(view.phase, Phase::Running(Link::Primary { .. } | Link::NonPrimary { .. }));
            assert!(!quiet || action != Action::Wait(Waiting::Nothing), "{view:?}");
        }
    });
    assert!(taken_back > 1000);
}

#[test]
fn a_server_is_restarted_only_when_it_cannot_come_back_by_itself() {
    let mut restarted = 0;
    for_each_view(|view, action| {
        let Action::Restart(why) = action else { return };
        restarted += 1;
        match (why, view.phase) {
            (Restart::Unmerged, Phase::Running(Link::NonPrimary { for_at_least, .. })) => {
                assert!(for_at_least >= UNMERGED_MAX && a_primary_is_seen(view));
                let tells = |peer: &Peer| peer.primary().is_some_and(|report| report.position.is_some());
                assert!(view.peers.iter().any(tells), "nobody whom it could join: {view:?}");
            }
            (Restart::Disconnected, Phase::Running(Link::Disconnected { for_at_least })) => {
                assert!(for_at_least >= DISCONNECTED_MAX);
            }
            (Restart::Behind, _) => {}
            (Restart::Alone, _) => panic!("it is not about to join"),
            other => panic!("{other:?}"),
        }
    });
    assert!(restarted > 100);
}

/// It would wait for ever, and nobody would know what its volume holds.
#[test]
fn whoever_joins_those_who_have_gone_ends_and_looks_around_again() {
    let mut ended = 0;
    for_each_view(|view, _| {
        let all_answer = view.peers.iter().all(|peer| peer.report.is_some());
        let waits = matches!(view.phase, Phase::Running(Link::Starting | Link::NonPrimary { .. }));
        for (alone, expected) in
            [(ALONE_MAX / 2, false), (ALONE_MAX, all_answer), (ALONE_IN_SILENCE_MAX, true)]
        {
            let action = decide(&View { alone_for: Some(alone), ..view.clone() });
            let ends = action == Action::Restart(Restart::Alone);
            assert_eq!(ends, expected && waits && !view.stopping, "{view:?}: {action:?}");
            ended += usize::from(ends);
            // Not in the middle of a transfer that goes on, unless that is for nobody any more.
            let moves = View { alone_for: Some(alone), transfer_moves: true, ..view.clone() };
            assert_ne!(decide(&moves), Action::Restart(Restart::Alone), "{view:?}");
        }
        let moves = View { alone_for: Some(ALONE_IN_TRANSFER_MAX), transfer_moves: true, ..view.clone() };
        assert_eq!(decide(&moves) == Action::Restart(Restart::Alone), waits && !view.stopping);
    });
    assert!(ended > 1000);
}

#[test]
fn the_schema_is_the_first_synced_members_task() {
    let mut applied = 0;
    for_each_view(|view, action| {
        if action != Action::ApplySchema {
            return;
        }
        applied += 1;
        assert!(view.schema_due);
        assert_eq!(view.phase, Phase::Running(Link::Primary { synced: true }));
        let first = view.peers.first().and_then(|peer| peer.report.as_ref());
        assert!(first.is_none_or(|report| report.state != MemberState::Synced), "{view:?}");
    });
    assert!(applied > 100);
}

#[test]
fn told_to_stop_nothing_else_is_begun() {
    for_each_view(|view, action| {
        if view.stopping && view.phase != Phase::Busy {
            assert_eq!(action, Action::Stop);
        }
    });
}

#[test]
fn donors_are_those_that_do_not_give_yet_and_the_writer_last() {
    let synced = |ordinal| Peer {
        ordinal,
        address: Some(address(ordinal)),
        report: Some(report(ordinal, MemberState::Synced, true, Some(at(OURS, 9)))),
        dead: vec![],
    };
    let mut donor = synced(4);
    donor.report.as_mut().unwrap().state = MemberState::Donor;
    let peers = [synced(0), synced(2), synced(3), donor];
    let view = View {
        ordinal: 1,
        address: address(1),
        phase: Phase::Empty,
        peers: &peers,
        granted: None,
        stopping: false,
        may_start: true,
        schema_due: false,
        group: &[],
        primary_group: None,
        begun_from: None,
        stepped_over: false,
        position: None,
        alone_for: None,
        transfer_moves: false,
        evicted_for: None,
    };
    let Action::Join(join) = decide(&view) else { panic!() };
    assert_eq!(join.donors, [3, 2, 0, 4]);
}

const INCARNATION: Uuid = Uuid::from_u128(20);
const RUN: Uuid = Uuid::from_u128(21);
const OPERATION: Uuid = Uuid::from_u128(22);

/// Every grant that might come: for this or another life of the volume and of the server, from every position.
fn grants() -> Vec<Bootstrap> {
    let mut all = Vec::new();
    for incarnation in [INCARNATION, OTHERS] {
        for run in [RUN, OTHERS] {
            for position in
                [None, Some(at(OURS, 4)), Some(at(OURS, 5)), Some(at(OURS, 6)), Some(at(OTHERS, 5))]
            {
                for new_history in [false, true] {
                    all.push(Bootstrap { operation: OPERATION, incarnation, run, position, new_history });
                }
            }
        }
    }
    all
}

#[test]
fn a_grant_holds_for_exactly_what_it_names_and_while_no_primary_component_is_seen() {
    let mut taken = 0;
    for phase in phases() {
        for grant in grants() {
            for one in peers_of(0) {
                for granted in [None, Some(OTHERS)] {
                    let own = Own { incarnation: INCARNATION, run: RUN, granted };
                    let peers = [one.clone()];
                    if accept(&grant, own, phase, &peers).is_err() {
                        continue;
                    }
                    taken += 1;
                    assert_eq!((grant.incarnation, grant.run), (INCARNATION, RUN));
                    assert!(!one.report.as_ref().is_some_and(|report| report.primary));
                    let beside = one.report.as_ref().is_some_and(|report| report.server_runs);
                    assert!(!beside || matches!(phase, Phase::Running(_)), "begun beside a server that runs");
                    let position = match phase {
                        Phase::Empty => None,
                        Phase::Stopped(own) => Some(own),
                        // Only by a human's word.
                        Phase::Unusable(own) if grant.new_history => own,
                        Phase::Running(Link::NonPrimary { position, .. }) => position,
                        other => panic!("taken while {other:?}"),
                    };
                    assert_eq!(grant.position, position);
                    let held = matches!(phase, Phase::Stopped(_) | Phase::Unusable(Some(_)));
                    assert!(!grant.new_history || held, "{phase:?}");
                    // What was granted before may still take effect, but for a server that runs on.
                    assert!(granted.is_none() || matches!(phase, Phase::Running(_)));
                }
            }
        }
    }
    assert!(taken > 100, "{taken}");
}

#[test]
fn a_new_history_is_begun_under_a_name_of_its_own_from_data_that_is_there() {
    let own = Own { incarnation: INCARNATION, run: RUN, granted: None };
    let grant = |operation, position| Bootstrap {
        operation,
        incarnation: INCARNATION,
        run: RUN,
        position,
        new_history: true,
    };
    let here = Some(at(OURS, 5));
    let stopped = Phase::Stopped(at(OURS, 5));
    for whole in [stopped, Phase::Unusable(here)] {
        assert_eq!(accept(&grant(OPERATION, here), own, whole, &[]), Ok(()));
        let gone_on = Bootstrap { new_history: false, ..grant(OPERATION, here) };
        assert_eq!(accept(&gone_on, own, whole, &[]).is_ok(), whole == stopped);
    }
    for (operation, position, phase) in [
        (OPERATION, None, Phase::Empty),
        (OPERATION, here, Phase::Unusable(None)),
        (OURS, here, stopped),
        (Uuid::nil(), here, stopped),
        (OPERATION, here, Phase::Running(Link::NonPrimary { position: here, for_at_least: LONG })),
    ] {
        assert_eq!(accept(&grant(operation, position), own, phase, &[]), Err(Refused::NewHistory));
    }
}

#[test]
fn who_holds_no_more_than_what_a_history_was_begun_from_is_replaced_by_it_and_whoever_holds_more_is_not() {
    let (mut replaced, mut beyond) = (0, 0);
    for_each_view(|view, before| {
        let (Phase::Stopped(held) | Phase::Unreadable(Some(held)) | Phase::Unusable(Some(held))) = view.phase
        else {
            return;
        };
        let action = decide(&View { begun_from: Some(BEGUN), ..view.clone() });
        let theirs: BTreeSet<Uuid> =
            view.peers.iter().filter_map(|peer| Some(peer.primary()?.position?.cluster)).collect();
        if theirs != [NEW].into() || held.cluster != OURS {
            assert_eq!(action, before, "it is about another history: {view:?}");
            return;
        }
        let stopped = matches!(view.phase, Phase::Stopped(_) | Phase::Unusable(_));
        match action {
            Action::Join(join) => {
                assert_eq!((join.from, held.seqno <= BEGUN.position.seqno), (None, true), "{view:?}");
                replaced += 1;
            }
            Action::Wait(Waiting::Beyond(begun)) => {
                assert_eq!((begun, held.seqno > BEGUN.position.seqno), (BEGUN, true), "{view:?}");
                beyond += 1;
            }
            other => assert!(
                view.stopping || !view.may_start || !stopped || held.seqno <= BEGUN.position.seqno,
                "{view:?}: {other:?}"
            ),
        }
    });
    assert!(replaced > 100 && beyond > 100, "{replaced} {beyond}");
}

#[test]
fn of_three_members_that_wait_a_grant_is_taken_by_none_but_the_one_it_names() {
    // The operator names one (incarnation, run): whichever members it is sent to, one at most takes it.
    let members: Vec<Own> = (0..3)
        .map(|n| Own { incarnation: Uuid::from_u128(30 + n), run: Uuid::from_u128(40 + n), granted: None })
        .collect();
    for named in &members {
        let grant = Bootstrap {
            operation: OPERATION,
            incarnation: named.incarnation,
            run: named.run,
            position: Some(at(OURS, 5)),
            new_history: false,
        };
        let takers =
            members.iter().filter(|own| accept(&grant, **own, Phase::Stopped(at(OURS, 5)), &[]).is_ok());
        assert_eq!(takers.count(), 1);
    }
}
