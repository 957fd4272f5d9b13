//! Snapshots on their way from leaders to followers, and logs that end where they begin.

use quartet_raft::{Body, Message, Position, SnapshotMeta};

use super::*;

/// One follower down, and more behind than the others' logs reach back.
fn one_far_behind() -> (Net, MemberId) {
    let mut net = Net::founded(&[0, 1, 2]);
    net.settings.snapshot_after_bytes = 500;
    net.settings.keep_entries = 0;
    net.settings.chunk_bytes = 16;
    for ordinal in [0, 1, 2] {
        net.crash(member(ordinal));
        net.restart(member(ordinal));
    }
    net.until("a leader", |net| net.leader(G0).is_some());
    let away = net.follower(G0);
    net.crash(away);
    // What a follower that lives is about to need stays in the log.
    for _ in 0..2 * net.settings.raft.election_ticks {
        net.tick();
    }
    let leader = net.leader(G0).unwrap();
    for count in 0..50 {
        net.execute(leader, &format!("command {count}")).unwrap();
    }
    (net, away)
}

#[test]
fn a_member_that_was_away_long_gets_a_snapshot_in_pieces() {
    let (mut net, away) = one_far_behind();
    net.restart(away);
    net.agree();
    assert!(net.chunks > 10, "{} pieces", net.chunks);
    assert_eq!(net.lines(away).len(), 50);
    net.crash(away);
    net.restart(away);
    net.agree();
}

#[test]
fn a_lost_piece_is_sent_again_as_soon_as_a_later_one_tells() {
    let (mut net, away) = one_far_behind();
    net.lose_chunks = 2;
    net.restart(away);
    net.until("it is asked for a snapshot", |net| net.chunks > 0);
    let begun = net.now;
    net.until("it has arrived", |net| net.lines(away).len() == 50);
    let took = net.now.saturating_sub(begun);
    assert!(took < net.settings.tick * 10, "{took:?}");
}

/// The pieces that the largest snapshot of `one_far_behind` has.
fn pieces(net: &Net) -> usize {
    let snapshots = net.nodes.values().map(|node| node.disk.groups[&G0].snapshot.len());
    snapshots.max().unwrap().div_ceil(net.settings.chunk_bytes)
}

#[test]
fn acknowledgements_that_were_overtaken_do_not_multiply_the_pieces() {
    let (mut net, away) = one_far_behind();
    net.reverse_acks = true;
    net.restart(away);
    net.agree();
    assert_eq!(net.lines(away).len(), 50);
    assert!(net.chunks <= pieces(&net), "{} pieces were sent of {}", net.chunks, pieces(&net));
}

fn hear(net: &mut Net, to: MemberId, from: MemberId, message: PeerMessage) -> Vec<PeerMessage> {
    let now = net.now;
    let engine = &mut net.nodes.get_mut(&to).unwrap().engine;
    engine.handle(now, Event::Message { from, message });
    engine.take_output(now).send.into_iter().filter(|(to, _)| *to == from).map(|(_, said)| said).collect()
}

#[test]
fn a_late_piece_of_an_older_snapshot_does_not_undo_what_came_of_a_newer_one() {
    let mut net = Net::founded(&[0, 1, 2]);
    let (leader, follower) = (net.leader(G0).unwrap(), net.follower(G0));
    let term = net.nodes[&leader].engine.raft(G0).unwrap().standing().term;
    let mut piece = |index, offset| {
        let meta = SnapshotMeta { last: Position { term, index: Index(index) }, ..SnapshotMeta::default() };
        let data = Bytes::from_static(&[0; 8]);
        let chunk = PeerMessage::SnapshotChunk { group: G0, term, meta, total_bytes: 100, offset, data };
        let said = hear(&mut net, follower, leader, chunk);
        said.into_iter().find_map(|said| match said {
            PeerMessage::SnapshotAck { received_bytes, installed: false, .. } => Some(received_bytes),
            _ => None,
        })
    };
    assert_eq!(piece(500, 0), Some(8));
    assert_eq!(piece(400, 0), None, "overtaken by what replaced it");
    assert_eq!(piece(500, 8), Some(16), "it goes on");
    assert_eq!(piece(600, 0), Some(8), "a newer one still replaces it");
}

#[test]
fn a_snapshot_that_comes_slower_than_the_next_is_taken_is_not_followed_by_another() {
    let (mut net, away) = one_far_behind();
    let leader = net.leader(G0).unwrap();
    net.lose_chunks = usize::MAX;
    net.restart(away);
    net.until("the first pieces are on their way", |net| net.chunks > 0);
    for count in 50..150 {
        net.execute(leader, &format!("command {count}")).unwrap();
    }
    let sent = net.snapshots_sent.first().map(|(_, index)| *index);
    let newest = net.nodes[&leader].engine.raft(G0).unwrap().snapshot().last.index;
    assert!(sent < Some(newest), "others were taken meanwhile");
    net.lose_chunks = 0;
    net.agree();
    assert_eq!(net.lines(away).len(), 150);
    assert_eq!(net.snapshots_sent.len(), 1, "{:?}", net.snapshots_sent);
}

#[test]
fn the_log_is_not_compacted_past_what_a_living_follower_needs_next() {
    let mut net = Net::founded(&[0, 1, 2]);
    net.settings.snapshot_after_bytes = 500;
    net.settings.keep_entries = 0;
    for ordinal in [0, 1, 2] {
        net.crash(member(ordinal));
        net.restart(member(ordinal));
    }
    net.until("a leader", |net| net.leader(G0).is_some());
    let (leader, late) = (net.leader(G0).unwrap(), net.follower(G0));
    net.agree();
    // Shorter than an election timeout: it counts as living all the time.
    net.cut.insert(late);
    for count in 0..100 {
        net.execute(leader, &format!("command {count}")).unwrap();
    }
    let compacted = net.nodes[&leader].engine.raft(G0).unwrap().snapshot().last.index;
    assert!(compacted > Index(50), "snapshots were taken meanwhile: {compacted:?}");
    net.cut.clear();
    net.agree();
    assert_eq!((net.lines(late).len(), net.chunks), (100, 0));
}

#[test]
fn entries_that_arrive_while_a_snapshot_goes_to_the_disk_do_not_follow_it_there() {
    let mut net = Net::founded(&[0, 1, 2]);
    net.execute(member(0), "before").unwrap();
    net.agree();
    let (leader, slow) = (net.leader(G0).unwrap(), net.follower(G0));
    let previous = net.nodes[&slow].engine.raft(G0).unwrap().last();
    net.cut.insert(slow);
    for count in 0..10 {
        net.execute(leader, &format!("meanwhile {count}")).unwrap();
    }
    let engine = &net.nodes[&leader].engine;
    let raft = engine.raft(G0).unwrap();
    let term = raft.standing().term;
    let meta = raft.meta_at(raft.committed()).unwrap();
    let data = Bytes::from(engine.encode_state(G0).unwrap());
    let log = &net.nodes[&leader].disk.groups[&G0].recovered.entries;
    let entries: Vec<_> = log.iter().filter(|entry| entry.index > previous.index).take(3).cloned().collect();
    assert!(entries.last().unwrap().index < meta.last.index);

    net.stuck.insert(slow);
    let total_bytes = data.len() as u64;
    let whole = PeerMessage::SnapshotChunk { group: G0, term, meta, total_bytes, offset: 0, data };
    let body = Body::Append { previous, entries, commit: Index(0), read_round: 0 };
    let append = PeerMessage::Raft { group: G0, message: Message { term, body } };
    for message in [whole, append] {
        let node = net.nodes.get_mut(&slow).unwrap();
        node.engine.handle(net.now, Event::Message { from: leader, message });
        net.run();
    }
    assert_eq!(net.lines(slow), ["before"], "nothing is on its disk yet");
    net.stuck.clear();
    net.run();
    assert_eq!(net.lines(slow).len(), 11, "it has the snapshot");
    net.cut.clear();
    net.execute(leader, "after").unwrap();
    net.agree();

    let found = &net.nodes[&slow].disk.groups[&G0].recovered;
    let indexes: Vec<_> = found.entries.iter().map(|entry| entry.index.0).collect();
    let expected: Vec<_> = (found.snapshot.last.index.0 + 1..).take(indexes.len()).collect();
    assert_eq!(indexes, expected, "the log on its disk begins where the snapshot ends");
    net.crash(slow);
    net.restart(slow);
    net.agree();
    assert_eq!(net.lines(slow).len(), 12);
}

#[test]
fn a_snapshot_that_cannot_be_restored_replaces_nothing_and_one_that_can_is_taken_later() {
    let (mut net, away) = one_far_behind();
    net.garble_chunks = true;
    net.restart(away);
    let before = net.nodes[&away].engine.encode_state(G0);
    let trouble = |net: &Net| net.nodes[&away].engine.report().trouble;
    net.until("it says what is wrong", |net| trouble(net).is_some_and(|why| why.contains("group 0")));
    assert_eq!(net.nodes[&away].engine.encode_state(G0), before);
    assert_eq!(net.nodes[&away].disk.groups[&G0].recovered.snapshot, SnapshotMeta::default());
    // It is not sent over and over meanwhile.
    let (chunks, begun) = (net.chunks, net.now);
    net.until("a while", |net| net.now.saturating_sub(begun) > Duration::from_secs(20));
    let per_second = (net.chunks - chunks) / 20;
    assert!(per_second <= 8, "{per_second} pieces a second");
    // It goes on where it was, also after a crash.
    net.crash(away);
    net.restart(away);
    net.until("it says what is wrong again", |net| trouble(net).is_some());

    net.garble_chunks = false;
    net.agree();
    assert_eq!((net.lines(away).len(), trouble(&net)), (50, None));
}
