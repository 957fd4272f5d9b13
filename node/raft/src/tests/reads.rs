use super::cluster::Cluster;
use super::solo::Solo;
use crate::reads::READS_WAITING_MAX;
use crate::*;

fn read(cluster: &mut Cluster, ordinal: u16, id: u64) -> Result<(), Refusal> {
    cluster.input(ordinal, Input::Read(ReadId(id)))
}

#[test]
fn a_read_is_confirmed_by_a_quorum_at_what_was_committed_when_it_came() {
    let mut cluster = Cluster::of(3).led_by(0);
    cluster.commit(0, "a");
    let committed = cluster.raft(0).committed();
    read(&mut cluster, 0, 7).unwrap();
    assert!(cluster.node(0).reads.is_empty());
    cluster.propose(0, "b").unwrap();
    cluster.deliver();
    assert_eq!(cluster.node(0).reads, [(ReadId(7), committed)]);
}

#[test]
fn a_lone_voter_needs_nobody_to_confirm() {
    let mut cluster = Cluster::of(1).led_by(0);
    read(&mut cluster, 0, 1).unwrap();
    assert_eq!(cluster.node(0).reads, [(ReadId(1), Index(2))]);
}

#[test]
fn a_deposed_leader_confirms_nothing() {
    let mut cluster = Cluster::of(3).led_by(0);
    cluster.isolate(0);
    let new = cluster.await_leader(&[1, 2]);
    cluster.commit(new, "new");
    // Were it still in office, its followers would have to say so.
    let _ = read(&mut cluster, 0, 1);
    cluster.tick_one(0, 50);
    assert!(cluster.node(0).reads.is_empty());
}

#[test]
fn reads_that_come_during_a_round_wait_for_the_next() {
    let mut cluster = Cluster::of(3).led_by(0);
    read(&mut cluster, 0, 1).unwrap();
    let round: Vec<_> = cluster.wire.drain(..).collect();
    read(&mut cluster, 0, 2).unwrap();
    read(&mut cluster, 0, 3).unwrap();
    assert!(cluster.wire.is_empty(), "one round at a time");
    // One answer of the first round confirms the first read only.
    cluster.wire.extend(round);
    cluster.deliver_at(0);
    let answer = cluster.wire.len() - 1;
    cluster.deliver_at(answer);
    assert_eq!(cluster.node(0).reads.len(), 1);
    cluster.deliver();
    assert_eq!(cluster.node(0).reads.len(), 3);
}

#[test]
fn answers_to_an_earlier_round_confirm_nothing() {
    let mut cluster = Cluster::of(3).led_by(0);
    cluster.tick_one(0, 0);
    // Heartbeats of the round before are under way when the read comes.
    while cluster.wire.is_empty() {
        cluster.input(0, Input::Tick).unwrap();
    }
    let before = cluster.wire.len();
    read(&mut cluster, 0, 1).unwrap();
    for _ in 0..before {
        cluster.deliver_at(0);
    }
    let round: Vec<_> = cluster.wire.drain(..before).collect();
    assert_eq!(round.len(), 2);
    cluster.deliver();
    assert!(cluster.node(0).reads.is_empty());
}

#[test]
fn a_lost_round_is_asked_again_by_the_next_heartbeat() {
    let mut cluster = Cluster::of(3).led_by(0);
    read(&mut cluster, 0, 1).unwrap();
    cluster.wire.clear();
    cluster.settle();
    assert_eq!(cluster.node(0).reads.len(), 1);
}

#[test]
fn reads_are_refused_before_an_entry_of_the_own_term_is_committed() {
    let mut solo = Solo::new();
    solo.win();
    assert_eq!(solo.role(), Role::Leader);
    assert_eq!(solo.raft.step(Input::Read(ReadId(1))).unwrap_err(), Refusal::NotEstablished);
}

#[test]
fn reads_are_lost_with_the_leadership_each_once() {
    let mut cluster = Cluster::of(3).led_by(0);
    cluster.isolate(0);
    read(&mut cluster, 0, 1).unwrap();
    read(&mut cluster, 0, 2).unwrap();
    cluster.tick_one(0, 40);
    assert_eq!(cluster.node(0).lost_reads, [ReadId(1), ReadId(2)]);
    assert_eq!(read(&mut cluster, 0, 3), Err(Refusal::NotLeader { leader: None }));
}

#[test]
fn reads_that_wait_are_bounded() {
    let mut cluster = Cluster::of(3).led_by(0);
    cluster.isolate(0);
    let most = READS_WAITING_MAX as u64;
    for id in 0..most {
        read(&mut cluster, 0, id).unwrap();
    }
    assert_eq!(read(&mut cluster, 0, most), Err(Refusal::Full));
}
