//! The decision over every small world: three members, each in everything that it can be in. What becomes of a leave that
//! was recorded before is in `leaves`.

mod leaves;

use quartet_client::galera::{MemberState, Position};
use quartet_crds::conditions::Reason;
use uuid::Uuid;

use super::decision::{Account, Decision, Evidence, Told, decide};

const OURS: Uuid = Uuid::from_u128(0xA);
const FOREIGN: Uuid = Uuid::from_u128(0xF);
/// What was seen before.
const HIGHEST: u64 = 100;

const fn at(cluster: Uuid, seqno: u64) -> Position {
    Position { cluster, seqno }
}

fn told(state: MemberState, position: Option<Position>) -> Account {
    let sees = (state.is_primary() || state == MemberState::NonPrimary).then_some(3);
    Account::Told(Told { state, position, in_primary: state.is_primary(), sees, message: None })
}

/// It runs outside of a Primary component, and sees nobody else.
fn alone(position: Option<Position>) -> Account {
    let Account::Told(told) = told(MemberState::NonPrimary, position) else { unreachable!() };
    Account::Told(Told { sees: Some(1), ..told })
}

/// Everything that one member can be in.
fn accounts() -> Vec<Account> {
    use MemberState::{
        Donor, Empty, Examining, Failed, Initialising, Joining, NonPrimary, Stopping, Synced, Unusable,
        Waiting,
    };
    let mut all = vec![Account::Silent(String::new()), Account::NoVolume, Account::SteppedOver];
    let positions =
        [at(OURS, HIGHEST - 1), at(OURS, HIGHEST), at(OURS, HIGHEST + 1), at(FOREIGN, HIGHEST + 1)].map(Some);
    for state in [Empty, Examining, Initialising, Unusable, Joining, Stopping] {
        all.push(told(state, None));
    }
    // One that is unusable tells its position where Galera has marked it as inconsistent.
    all.extend(positions.map(|position| told(Unusable, position)));
    for state in [Waiting, NonPrimary, Failed] {
        all.push(told(state, None));
        all.extend(positions.map(|position| told(state, position)));
    }
    all.extend(positions.map(alone));
    all.extend([Synced, Donor].map(|state| told(state, positions[1])));
    // Its manager stops it, and it is still part of a Primary component.
    all.push(Account::Told(Told {
        state: Stopping,
        position: positions[1],
        in_primary: true,
        sees: Some(3),
        message: None,
    }));
    all
}

/// Every three members.
fn worlds() -> impl Iterator<Item = [Account; 3]> {
    let all = accounts();
    let count = all.len();
    (0..count.pow(3)).map(move |number| {
        [number % count, number / count % count, number / count / count].map(|index| all[index].clone())
    })
}

fn evidence(accounts: &[Account], recorded: Option<Uuid>, highest: Option<u64>) -> Evidence<'static> {
    Evidence { name: "shop", accounts: accounts.to_vec(), recorded, highest, order: None }
}

fn report(account: &Account) -> Option<&Told> {
    match account {
        Account::Told(told) => Some(told),
        Account::Silent(_) | Account::NoVolume | Account::SteppedOver => None,
    }
}

/// What this member holds of our history, as far as anybody knows.
fn ours(account: &Account) -> Option<u64> {
    let told = report(account).filter(|told| told.state != MemberState::Unusable)?;
    told.position.filter(|position| position.cluster == OURS).map(|position| position.seqno)
}

#[test]
fn leave_is_given_only_where_nothing_can_be_lost() {
    let (mut given, mut all) = (0, 0);
    for accounts in worlds() {
        all += 1;
        let decision = decide(&evidence(&accounts, Some(OURS), Some(HIGHEST)));
        let Decision::Grant { ordinal, position } = decision else { continue };
        given += 1;
        let what = format!("{accounts:?}: {ordinal} at {position:?}");
        let told = report(&accounts[usize::from(ordinal)]).expect(&what);
        let position = position.expect(&what);
        assert!(matches!(told.state, MemberState::Waiting | MemberState::NonPrimary), "{what}");
        assert_eq!(told.position, Some(position), "{what}");
        assert_eq!(position.cluster, OURS, "{what}");
        assert!(position.seqno >= HIGHEST, "{what}");
        let running = accounts.iter().filter_map(report).filter(|told| told.state == MemberState::NonPrimary);
        // Galera may form a Primary component of those that run: then nobody else is begun from.
        assert!(
            told.state == MemberState::NonPrimary || running.clone().next().is_none(),
            "a second one could come to be: {what}"
        );
        let (count, least) = (running.clone().count(), running.filter_map(|told| told.sees).min());
        assert!(least.is_none_or(|least| usize::try_from(least).unwrap() >= count), "{what}");
        for account in &accounts {
            assert!(!matches!(account, Account::Silent(_)), "{what}");
            assert!(ours(account).is_none_or(|seqno| seqno <= position.seqno), "{what}");
            let Some(told) = report(account) else { continue };
            assert!(!told.in_primary, "{what}");
            let settled = matches!(
                told.state,
                MemberState::Empty
                    | MemberState::Waiting
                    | MemberState::NonPrimary
                    | MemberState::Unusable
                    | MemberState::Failed
            );
            assert!(settled, "{what}");
        }
    }
    // Neither never nor always.
    assert!(given > 100 && given < all / 4, "{given} of {all}");
}

#[test]
fn a_visible_primary_component_always_wins() {
    for accounts in worlds().filter(|accounts| accounts.iter().filter_map(report).any(|told| told.in_primary))
    {
        let mut evidence = evidence(&accounts, Some(OURS), Some(HIGHEST));
        assert_eq!(decide(&evidence), Decision::Primary);
        // Also over a human's word.
        evidence.order = Some((0, at(OURS, HIGHEST)));
        assert_eq!(decide(&evidence), Decision::Primary);
    }
}

#[test]
fn every_other_answer_names_a_member_and_what_to_do() {
    for accounts in worlds() {
        let (reason, message) = match decide(&evidence(&accounts, Some(OURS), Some(HIGHEST))) {
            Decision::Wait { reason, message } | Decision::Refuse { reason, message } => (reason, message),
            Decision::Primary | Decision::Adopt(_) | Decision::Grant { .. } | Decision::Begin { .. } => {
                continue;
            }
        };
        assert!(message.contains("shop-"), "{accounts:?}: {message}");
        let says_what = ["Bring", "bring", "Still finding out", "look at the log", "look at the network"]
            .iter()
            .any(|word| message.contains(word));
        assert!(says_what, "{accounts:?}: {reason} {message}");
        assert!(message.len() < quartet_crds::conditions::MESSAGE_LENGTH, "{message}");
    }
}

/// Silence is not death: whatever the others say, nobody goes on without who may hold more.
#[test]
fn silence_is_waited_for_and_named() {
    let silent = |account: &Account| matches!(account, Account::Silent(_));
    for accounts in worlds().filter(|accounts| accounts.iter().any(silent)) {
        match decide(&evidence(&accounts, Some(OURS), Some(HIGHEST))) {
            Decision::Primary => {}
            Decision::Wait { reason: Reason::WaitingForMembers, message } => {
                for (ordinal, _) in accounts.iter().enumerate().filter(|(_, account)| silent(account)) {
                    assert!(message.contains(&format!("shop-{ordinal}")), "{accounts:?}: {message}");
                }
            }
            other => panic!("{accounts:?}: {other:?}"),
        }
    }
}

/// What a member holds of which nothing is known, and is known to be nothing, weighs as much as nothing.
#[test]
fn who_was_stepped_over_counts_like_one_that_holds_nothing() {
    for accounts in worlds().filter(|accounts| accounts.contains(&Account::SteppedOver)) {
        let decided = |stand_in: Account| {
            let accounts = accounts.clone().map(|account| match account {
                Account::SteppedOver => stand_in.clone(),
                other => other,
            });
            decide(&evidence(&accounts, Some(OURS), Some(HIGHEST)))
        };
        assert_eq!(decided(Account::SteppedOver), decided(Account::NoVolume), "{accounts:?}");
    }
}

/// The same evidence, seen by two operators: there is no chance in it. Nor does it matter who stands where, but for
/// the choice among equals.
#[test]
fn who_is_ahead_does_not_depend_on_where_it_stands() {
    for accounts in worlds() {
        let chosen = |accounts: &[Account]| match decide(&evidence(accounts, Some(OURS), Some(HIGHEST))) {
            Decision::Grant { ordinal, position } => Some((accounts[usize::from(ordinal)].clone(), position)),
            _ => None,
        };
        let [a, b, c] = accounts;
        let first = chosen(&[a.clone(), b.clone(), c.clone()]);
        assert_eq!(first, chosen(&[c.clone(), a.clone(), b.clone()]));
        assert_eq!(first, chosen(&[b, a, c]));
    }
}

#[test]
fn among_equals_one_that_runs_goes_first_and_then_the_lowest() {
    let waiting = told(MemberState::Waiting, Some(at(OURS, 100)));
    let running = told(MemberState::NonPrimary, Some(at(OURS, 100)));
    let chosen = |accounts: &[Account]| decide(&evidence(accounts, Some(OURS), None));
    let grant = |ordinal| Decision::Grant { ordinal, position: Some(at(OURS, 100)) };
    assert_eq!(chosen(&[waiting.clone(), waiting.clone(), running.clone()]), grant(2));
    assert_eq!(chosen(&[waiting.clone(), running.clone(), running]), grant(1));
    assert_eq!(chosen(&[waiting.clone(), waiting.clone(), waiting]), grant(0));
}

/// Cut off from each other they are alive, and nobody is given leave to go on without the others.
#[test]
fn servers_that_do_not_see_each_other_are_waited_for() {
    let at = Some(at(OURS, 100));
    let empty = told(MemberState::Empty, None);
    let chosen = |accounts: &[Account]| decide(&evidence(accounts, Some(OURS), None));
    let cut = chosen(&[alone(at), alone(at), alone(at)]);
    let Decision::Wait { reason: Reason::Recovering, message } = cut else { panic!("{cut:?}") };
    assert!(message.contains("shop-0, shop-1 and shop-2") && message.contains("network"), "{message}");
    // Alone because the others are gone.
    assert_eq!(chosen(&[alone(at), empty.clone(), empty]), Decision::Grant { ordinal: 0, position: at });
}

/// What only a stopped member holds is not left behind, and it is not begun from beside a server that may go on by
/// itself.
#[test]
fn a_server_that_runs_behind_the_newest_data_is_waited_for_to_end() {
    let waiting = |seqno| told(MemberState::Waiting, Some(at(OURS, seqno)));
    let chosen = |accounts: &[Account]| decide(&evidence(accounts, Some(OURS), None));
    let both = chosen(&[alone(Some(at(OURS, 99))), waiting(100), waiting(98)]);
    let Decision::Wait { reason: Reason::Recovering, message } = both else { panic!("{both:?}") };
    assert!(message.contains("is on shop-1") && message.contains("shop-0 run without it"), "{message}");
    let ended = chosen(&[waiting(99), waiting(100), waiting(98)]);
    assert_eq!(ended, Decision::Grant { ordinal: 1, position: Some(at(OURS, 100)) });
}

#[test]
fn a_cluster_is_founded_only_when_all_say_that_they_are_empty() {
    for accounts in worlds() {
        let empty = |account: &Account| report(account).is_some_and(|told| told.state == MemberState::Empty);
        let decision = decide(&evidence(&accounts, None, None));
        let founds = decision == Decision::Grant { ordinal: 0, position: None };
        assert_eq!(founds, accounts.iter().all(empty), "{accounts:?}: {decision:?}");
        let waits = matches!(decision, Decision::Wait { .. } | Decision::Refuse { .. } | Decision::Adopt(_));
        assert!(founds || waits || decision == Decision::Primary, "{accounts:?}: {decision:?}");
    }
}

#[test]
fn kept_volumes_are_the_clusters_where_they_agree() {
    let waiting = |cluster, seqno| told(MemberState::Waiting, Some(at(cluster, seqno)));
    let empty = told(MemberState::Empty, None);
    let first = |accounts: &[Account]| decide(&evidence(accounts, None, None));
    assert_eq!(first(&[waiting(OURS, 5), empty.clone(), waiting(OURS, 7)]), Decision::Adopt(OURS));
    let two = first(&[waiting(OURS, 5), empty.clone(), waiting(FOREIGN, 7)]);
    let Decision::Refuse { reason: Reason::ForeignMember, message } = two else { panic!("{two:?}") };
    assert!(message.contains("shop-0 at 00000000-0000-0000-0000-00000000000a:5"), "{message}");
    let silent = Account::Silent(String::new());
    assert!(matches!(first(&[waiting(OURS, 5), empty, silent]), Decision::Wait { .. }));
}

#[test]
fn what_is_missing_is_counted_and_the_way_out_is_told() {
    let accounts = [
        told(MemberState::Waiting, Some(at(OURS, 93))),
        told(MemberState::Empty, None),
        told(MemberState::Waiting, Some(at(OURS, 95))),
    ];
    let refused = decide(&evidence(&accounts, Some(OURS), Some(100)));
    let Decision::Refuse { reason: Reason::DataLost, message } = refused else { panic!("{refused:?}") };
    for part in [
        "Transaction 100",
        "is 95, on shop-2: 5 missing",
        "Nothing of it is on shop-1",
        "{member: shop-2, position: \"00000000-0000-0000-0000-00000000000a:95\"}",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
}

/// It is never begun from by itself, and who reads the status is told that it is there.
#[test]
fn data_that_galera_gave_up_on_all_members_is_offered_to_a_human() {
    let given_up = |seqno| told(MemberState::Unusable, Some(at(OURS, seqno)));
    let torn = told(MemberState::Unusable, None);
    for recorded in [Some(OURS), None] {
        let refused = decide(&evidence(&[given_up(99), torn.clone(), given_up(98)], recorded, Some(95)));
        let Decision::Refuse { message, .. } = refused else { panic!("{refused:?}") };
        let offer = "shop-0 at 00000000-0000-0000-0000-00000000000a:99 and shop-2 at";
        assert!(message.contains(offer) && message.contains("bootstrapFrom"), "{message}");
        let none = decide(&evidence(&[torn.clone(), torn.clone(), torn.clone()], recorded, Some(95)));
        let Decision::Refuse { message, .. } = none else { panic!("{none:?}") };
        assert!(!message.contains("bootstrapFrom"), "{message}");
    }
    // Sound data counts, however far the other has come.
    let waiting = told(MemberState::Waiting, Some(at(OURS, 96)));
    let chosen = decide(&evidence(&[given_up(99), waiting, torn], Some(OURS), Some(95)));
    assert_eq!(chosen, Decision::Grant { ordinal: 1, position: Some(at(OURS, 96)) });
}

#[test]
fn a_server_that_fails_is_not_passed_over_while_it_may_hold_more() {
    let waiting = told(MemberState::Waiting, Some(at(OURS, 100)));
    let failed = |position| told(MemberState::Failed, position);
    let with = |other: Account| decide(&evidence(&[waiting.clone(), other], Some(OURS), None));
    for ahead in [failed(Some(at(OURS, 101))), failed(None)] {
        assert!(matches!(with(ahead), Decision::Refuse { reason: Reason::MemberBlocked, .. }));
    }
    for behind in [failed(Some(at(OURS, 100))), failed(Some(at(FOREIGN, 101)))] {
        assert_eq!(with(behind), Decision::Grant { ordinal: 0, position: Some(at(OURS, 100)) });
    }
}

/// The only way past silence and loss: exactly the member and position that a human names.
#[test]
fn a_humans_word_holds_for_one_member_at_one_position() {
    for accounts in worlds() {
        for position in [at(OURS, HIGHEST - 1), at(FOREIGN, HIGHEST + 1)] {
            let mut evidence = evidence(&accounts, Some(OURS), Some(HIGHEST));
            let without = decide(&evidence);
            evidence.order = Some((1, position));
            let decision = decide(&evidence);
            let fits = report(&accounts[1]).is_some_and(|told| {
                told.position == Some(position)
                    && matches!(
                        told.state,
                        MemberState::Waiting | MemberState::NonPrimary | MemberState::Unusable
                    )
            });
            let runs = |account: &Account| {
                use MemberState::{Initialising, Joining, NonPrimary, Stopping};
                report(account).is_some_and(|told| {
                    told.sees.is_some()
                        || matches!(told.state, NonPrimary | Joining | Initialising | Stopping)
                })
            };
            if fits && without != Decision::Primary {
                let running = (0..3).filter(|ordinal| runs(&accounts[usize::from(*ordinal)])).collect();
                assert_eq!(decision, Decision::Begin { ordinal: 1, position, running }, "{accounts:?}");
            } else {
                // Only the words may differ: they say why it does not hold.
                assert_eq!(
                    std::mem::discriminant(&decision),
                    std::mem::discriminant(&without),
                    "{accounts:?}"
                );
                if let Decision::Grant { .. } = decision {
                    assert_eq!(decision, without);
                }
            }
        }
    }
}
