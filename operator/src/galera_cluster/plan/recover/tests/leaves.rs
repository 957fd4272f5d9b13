//! Beside every leave that may have been recorded before: by each member in every state, in the life that was given leave
//! and in others.

use quartet_client::galera::{Bootstrap, MemberReport, MemberState, Position, ServerStatus};
use quartet_crds::{
    common::OperationMember,
    galera_cluster::{GaleraCluster, Grant, Operation, OperationKind, SteppedOver},
};
use uuid::Uuid;

use super::{FOREIGN, HIGHEST, OURS, at};
use crate::{
    galera_cluster::{
        Command, Seen,
        fixture::cluster,
        plan::{Step, World, recover::step},
        validate::Valid,
    },
    members::Probe,
    reconcile::Given,
};

/// Of the leave that is recorded.
const ID: Uuid = Uuid::from_u128(0x1D);
const INCARNATION: Uuid = Uuid::from_u128(0xB0);
const RUN: Uuid = Uuid::from_u128(0xB1);
/// Of another life.
const OTHER: Uuid = Uuid::from_u128(0xB2);

/// Whether the member lives the life that was given leave.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Life {
    Same,
    AnotherRun,
    AnotherVolume,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Recorded {
    kind: OperationKind,
    ordinal: u16,
    position: Option<Position>,
    life: Life,
    /// The member says that it has acted upon it.
    granted: bool,
}

/// What everything else is as it is.
struct Stage {
    resource: GaleraCluster,
    valid: Valid,
    seen: Seen,
    given: Given,
    report: MemberReport,
}

type Member = Option<(MemberState, Option<Position>)>;

/// None: it is silent.
const MEMBERS: [Member; 11] = [
    None,
    Some((MemberState::Empty, None)),
    Some((MemberState::Unusable, None)),
    Some((MemberState::Unusable, Some(at(OURS, HIGHEST)))),
    Some((MemberState::Waiting, Some(at(OURS, HIGHEST - 1)))),
    Some((MemberState::Waiting, Some(at(OURS, HIGHEST)))),
    Some((MemberState::Waiting, Some(at(FOREIGN, HIGHEST + 1)))),
    Some((MemberState::Waiting, Some(at(ID, HIGHEST)))),
    Some((MemberState::NonPrimary, Some(at(OURS, HIGHEST)))),
    Some((MemberState::Failed, Some(at(OURS, HIGHEST)))),
    Some((MemberState::Synced, Some(at(OURS, HIGHEST)))),
];

fn worlds() -> impl Iterator<Item = [Member; 3]> {
    let count = MEMBERS.len();
    (0..count.pow(3)).map(move |number| {
        [number % count, number / count % count, number / count / count].map(|index| MEMBERS[index])
    })
}

fn leaves() -> Vec<Option<Recorded>> {
    let mut all = vec![None];
    for life in [Life::Same, Life::AnotherRun, Life::AnotherVolume] {
        for granted in [false, true] {
            let recorded = |kind, ordinal, position| Recorded { kind, ordinal, position, life, granted };
            all.push(Some(recorded(OperationKind::Found, 0, None)));
            for position in [at(OURS, HIGHEST - 1), at(OURS, HIGHEST)].map(Some) {
                for kind in [OperationKind::Bootstrap, OperationKind::NewHistory] {
                    all.push(Some(recorded(kind, 1, position)));
                }
            }
        }
    }
    all
}

impl Stage {
    fn new() -> Self {
        let cluster = cluster().settled();
        let mut resource = cluster.resource.clone();
        let status = resource.status.as_mut().unwrap();
        status.cluster = Some(OURS.to_string());
        status.highest_seqno = i64::try_from(HIGHEST).ok();
        let (valid, seen, given) = (cluster.valid(), cluster.seen(), cluster.given());
        let report = seen.report(0).unwrap().clone();
        Self { resource, valid, seen, given, report }
    }

    fn step(
        &mut self,
        members: &[Member; 3],
        recorded: Option<Recorded>,
        order: Option<(u16, Position)>,
    ) -> Option<Step> {
        self.valid.order = order;
        self.seen.probes = (0..3)
            .zip(members)
            .map(|(ordinal, member)| (ordinal, self.probe(ordinal, *member, recorded)))
            .collect();
        self.resource.status.as_mut().unwrap().operation = recorded.map(operation);
        step(&World::new(&self.resource, &self.valid, &self.seen, &self.given))
    }

    fn probe(&self, ordinal: u16, member: Member, recorded: Option<Recorded>) -> Probe<MemberReport> {
        let Some((state, position)) = member else { return Probe::Failed("no answer".to_owned()) };
        let recorded = recorded.filter(|recorded| recorded.ordinal == ordinal);
        let life = recorded.map_or(Life::Same, |recorded| recorded.life);
        let server = self.report.server.clone().map(|server| ServerStatus {
            cluster_status: if state.is_primary() { "Primary" } else { "non-Primary" }.to_owned(),
            ..server
        });
        let runs = state.is_primary() || state == MemberState::NonPrimary;
        Probe::Answered(Box::new(MemberReport {
            ordinal,
            state,
            position,
            incarnation: if life == Life::AnotherVolume { OTHER } else { INCARNATION },
            run: if life == Life::Same { RUN } else { OTHER },
            granted: recorded.filter(|recorded| recorded.granted && life == Life::Same).map(|_| ID),
            server: server.filter(|_| runs),
            ..self.report.clone()
        }))
    }
}

fn operation(recorded: Recorded) -> Operation {
    let member = OperationMember {
        ordinal: i32::from(recorded.ordinal),
        incarnation: Some(INCARNATION.to_string()),
        uid: None,
    };
    let own = Grant {
        run: Some(RUN.to_string()),
        position: recorded.position.map(|position| position.to_string()),
    };
    Operation { id: ID.to_string(), own, ..Operation::new(recorded.kind, vec![member]) }
}

/// What is sent, and to whom: one command at most.
fn sent(step: &Step) -> Option<(u16, &Bootstrap)> {
    assert!(step.calls.len() <= 1, "{step:?}");
    step.calls.first().map(|call| match &call.command {
        Command::Bootstrap(leave) => (call.ordinal, leave),
        Command::Drain(_) => panic!("{step:?}"),
    })
}

/// The manager of that life could still form a Primary component by what was recorded, or has.
fn is_out(recorded: Recorded, member: Member) -> bool {
    match member {
        None => true,
        Some((state, position)) => {
            let begins = matches!(state, MemberState::Empty | MemberState::Waiting | MemberState::NonPrimary)
                || (state == MemberState::Unusable && recorded.kind == OperationKind::NewHistory);
            recorded.life == Life::Same && (recorded.granted || (begins && position == recorded.position))
        }
    }
}

/// A leave names what is there, is on record, and is the only one that is out.
fn check(
    members: &[Member; 3],
    recorded: Option<Recorded>,
    order: Option<(u16, Position)>,
    stage: &Stage,
    step: &Step,
) {
    let what = format!("{members:?} {recorded:?} {order:?}");
    let Some((ordinal, leave)) = sent(step) else { return };
    let Some((member, position)) = members[usize::from(ordinal)] else { panic!("to the silent: {what}") };
    let report = stage.seen.report(ordinal).unwrap();
    assert_eq!((leave.incarnation, leave.run), (report.incarnation, report.run), "{what}");
    assert_eq!(leave.position, position, "{what}");
    // The record of another life is not used again.
    if let Some(fresh) = step.record.as_ref().and_then(|record| record.operation) {
        assert!(leave.operation == fresh && fresh != ID, "{what}");
    } else {
        let same = recorded.is_some_and(|recorded| {
            (recorded.ordinal, recorded.position, recorded.life) == (ordinal, position, Life::Same)
        });
        assert!(leave.operation == ID && same, "{what}");
    }
    if let Some(recorded) = recorded.filter(|one| is_out(*one, members[usize::from(one.ordinal)])) {
        assert!(!recorded.granted && recorded.ordinal == ordinal, "{what}");
        assert!(recorded.position == leave.position && recorded.life == Life::Same, "{what}");
    }
    let others = || members.iter().flatten();
    assert!(others().all(|(state, _)| !state.is_primary()), "{what}");
    if leave.new_history {
        assert_eq!(order, Some((ordinal, position.unwrap())), "{what}");
        assert!(matches!(member, MemberState::Waiting | MemberState::Unusable), "{what}");
        assert!(others().all(|(state, _)| *state != MemberState::NonPrimary), "{what}");
    } else {
        assert!(members.iter().all(Option::is_some), "{what}");
        assert_eq!(position.map(|position| position.cluster), Some(OURS), "{what}");
        assert!(position.unwrap().seqno >= HIGHEST, "{what}");
    }
}

#[test]
fn no_leave_is_given_beside_another_one_or_to_another_life() {
    let mut stage = Stage::new();
    let orders = [None, Some((1, at(OURS, HIGHEST - 1))), Some((2, at(OURS, HIGHEST)))];
    let (mut fresh, mut repeated, mut begun) = (0, 0, 0);
    for members in worlds() {
        for recorded in leaves() {
            for order in orders {
                let Some(step) = stage.step(&members, recorded, order) else { continue };
                check(&members, recorded, order, &stage, &step);
                let Some((_, leave)) = sent(&step) else { continue };
                begun += u32::from(leave.new_history);
                repeated += u32::from(step.record.is_none());
                fresh += u32::from(step.record.is_some());
            }
        }
    }
    assert!(fresh > 1000 && repeated > 100 && begun > 100, "{fresh} {repeated} {begun}");
}

/// What has begun is recorded, whoever tells of it and whatever became of the member that was given leave.
#[test]
fn whoever_holds_the_new_history_proves_that_it_has_begun() {
    let mut stage = Stage::new();
    for members in worlds() {
        for recorded in leaves().into_iter().flatten().filter(|one| one.kind == OperationKind::NewHistory) {
            let what = format!("{members:?} {recorded:?}");
            let holds = members.iter().flatten().any(|(_, held)| held.is_some_and(|held| held.cluster == ID));
            let status =
                stage.step(&members, Some(recorded), None).and_then(|step| Some(step.record?.status));
            let begun = status.filter(|status| status["cluster"] == ID.to_string());
            assert_eq!(begun.is_some(), holds, "{what}");
            if let Some(status) = begun {
                let position = recorded.position.unwrap();
                assert_eq!(status["begunFrom"], position.to_string(), "{what}");
                assert_eq!(status["highestSeqno"], position.seqno, "{what}");
                let is_silent =
                    |ordinal: &u16| *ordinal != recorded.ordinal && members[usize::from(*ordinal)].is_none();
                let claim = |ordinal: u16| stage.seen.members.claims[&ordinal].metadata.uid.clone();
                let silent: Vec<_> = (0..3_u16)
                    .filter(is_silent)
                    .map(|ordinal| serde_json::json!({"ordinal": ordinal, "claim": claim(ordinal)}))
                    .collect();
                assert_eq!(status["steppedOver"], serde_json::json!(silent), "{what}");
            }
        }
    }
}

/// As long as it is silent and its volume is the same. The leave that is given then is the one that would be if it held
/// nothing.
#[test]
fn who_was_stepped_over_is_not_waited_for() {
    let mut stage = Stage::new();
    let claim = stage.seen.members.claims[&0].metadata.uid.clone().unwrap();
    let (mut given, mut waited) = (0, 0);
    for (claim, begun_from, holds) in [
        (claim.clone(), Some(at(FOREIGN, 7)), true),
        ("another".to_owned(), Some(at(FOREIGN, 7)), false),
        // It is about the history that was begun then, and no other.
        (claim, None, false),
    ] {
        let status = stage.resource.status.as_mut().unwrap();
        status.stepped_over = vec![SteppedOver { ordinal: 0, claim }];
        status.begun_from = begun_from.map(|position| position.to_string());
        for members in worlds().filter(|members| members[0].is_none()) {
            let leave = |stage: &mut Stage, members: &[Member; 3]| {
                let step = stage.step(members, None, None)?;
                sent(&step).map(|(ordinal, leave)| (ordinal, leave.position))
            };
            let silent = leave(&mut stage, &members);
            if !holds {
                assert_eq!(silent, None, "{members:?}");
                waited += 1;
                continue;
            }
            let [_, one, other] = members;
            let nothing = leave(&mut stage, &[Some((MemberState::Unusable, None)), one, other]);
            assert_eq!(silent, nothing, "{members:?}");
            given += u32::from(silent.is_some());
        }
    }
    assert!(given > 10 && waited > 100, "{given} {waited}");
}

/// Nor is the record lost before that is known.
#[test]
fn a_new_history_stays_recorded_while_it_may_have_begun_unseen() {
    let mut stage = Stage::new();
    let ours = Some(at(OURS, HIGHEST));
    let recorded = Recorded {
        kind: OperationKind::NewHistory,
        ordinal: 1,
        position: ours,
        life: Life::Same,
        granted: true,
    };
    let synced = Some((MemberState::Synced, ours));
    for chosen in [None, Some((MemberState::Synced, None))] {
        let step = stage.step(&[synced, chosen, None], Some(recorded), None).unwrap();
        assert!(step.record.is_none() && step.calls.is_empty(), "{step:?}");
    }
    // In the Primary component of before: nothing has begun.
    let step = stage.step(&[synced, synced, None], Some(recorded), None).unwrap();
    let status = step.record.unwrap().status;
    assert_eq!(status, serde_json::json!({"operation": null}));
}

/// Its start failed again and again: what it holds, another one holds as well.
#[test]
fn who_fails_is_passed_over_for_one_that_holds_as_much() {
    let mut stage = Stage::new();
    let ours = Some(at(OURS, HIGHEST));
    let recorded = Recorded {
        kind: OperationKind::Bootstrap,
        ordinal: 1,
        position: ours,
        life: Life::AnotherRun,
        granted: true,
    };
    let (failed, waiting) = (Some((MemberState::Failed, ours)), Some((MemberState::Waiting, ours)));
    let step = stage.step(&[waiting, failed, failed], Some(recorded), None).unwrap();
    assert_eq!(sent(&step).unwrap().0, 0, "{step:?}");
    let step = stage.step(&[failed, failed, failed], Some(recorded), None).unwrap();
    assert!(sent(&step).is_none(), "{step:?}");
}
