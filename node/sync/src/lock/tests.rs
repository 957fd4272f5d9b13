//! Each rule, and the rules against a naive model.

use quartet_raft::{Index, LogTime};
use quartet_replica::At;

use super::answer::Kind as Said;
use super::*;

/// A table with a clock and a log of its own: commands in, answers out.
pub(super) struct Bench {
    pub(super) table: Table,
    index: u64,
    now: u64,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::limited(Limits::DEFAULT)
    }

    fn limited(limits: Limits) -> Self {
        Self { table: Table::new(limits), index: 0, now: 0 }
    }

    /// Time goes by; who is answered, and what.
    pub(super) fn pass(&mut self, ms: u64) -> Vec<(u64, Said)> {
        self.now += ms;
        let mut answers = Answers::default();
        self.table.advance(LogTime(self.now), &mut answers);
        said(answers)
    }

    /// The ticket of the command, and everything that it decided.
    pub(super) fn run(&mut self, command: impl Into<Command>) -> (u64, Vec<(u64, Said)>) {
        self.index += 1;
        let at = At { index: Index(self.index), time: LogTime(self.now) };
        let mut answers = Answers::default();
        self.table.advance(at.time, &mut answers);
        self.table.apply(at, command.into(), &mut answers);
        (self.index, said(answers))
    }

    /// The answer to the command itself; none if it waits.
    fn ask(&mut self, command: impl Into<Command>) -> Option<Said> {
        let (ticket, answers) = self.run(command);
        answers.into_iter().find(|(to, _)| *to == ticket).map(|(_, answer)| answer)
    }

    fn granted(&mut self, command: impl Into<Command>) -> Granted {
        match self.ask(command) {
            Some(Said::Granted(granted)) => granted,
            other => panic!("not granted: {other:?}"),
        }
    }

    fn waits(&mut self, command: impl Into<Command>) -> u64 {
        let (ticket, answers) = self.run(command);
        assert_eq!(answers, [], "should wait");
        ticket
    }

    fn status(&self, resource: &str) -> Status {
        match self.table.query(&Query { resource: resource.into() }).kind {
            Some(Said::Status(status)) => status,
            other => panic!("not a status: {other:?}"),
        }
    }

    fn holders(&self) -> Vec<String> {
        self.status("r").holders.into_iter().map(|claim| claim.owner).collect()
    }

    fn waiters(&self) -> Vec<String> {
        self.status("r").waiters.into_iter().map(|waiter| waiter.owner).collect()
    }
}

fn said(answers: Answers) -> Vec<(u64, Said)> {
    answers.0.into_iter().filter_map(|(ticket, answer)| Some((ticket.0, answer.kind?))).collect()
}

fn granted_to(answers: &[(u64, Said)]) -> Vec<u64> {
    answers
        .iter()
        .filter(|(_, answer)| matches!(answer, Said::Granted(_)))
        .map(|(ticket, _)| *ticket)
        .collect()
}

pub(super) fn acquire(owner: &str, mode: Mode, wait_ms: u64) -> command::Kind {
    acquire_on("r", owner, mode, wait_ms)
}

pub(super) fn acquire_on(resource: &str, owner: &str, mode: Mode, wait_ms: u64) -> command::Kind {
    command::Kind::Acquire(Acquire {
        resource: resource.into(),
        owner: owner.into(),
        mode: mode.into(),
        ttl_ms: 1000,
        wait_ms,
        request: format!("{owner}/{mode:?}").into_bytes(),
    })
}

fn exclusive(owner: &str) -> command::Kind {
    acquire(owner, Mode::Exclusive, 0)
}

fn shared(owner: &str) -> command::Kind {
    acquire(owner, Mode::Shared, 0)
}

fn renew(owner: &str, token: u64) -> command::Kind {
    command::Kind::Renew(Renew { resource: "r".into(), owner: owner.into(), token, ttl_ms: 1000 })
}

fn release(owner: &str, token: Option<u64>) -> command::Kind {
    command::Kind::Release(Release { resource: "r".into(), owner: owner.into(), token })
}

fn release_owner(owner: &str) -> command::Kind {
    command::Kind::ReleaseOwner(ReleaseOwner { owner: owner.into() })
}

fn cancel(owner: &str, mode: Mode) -> command::Kind {
    command::Kind::CancelWait(CancelWait {
        resource: "r".into(),
        request: format!("{owner}/{mode:?}").into_bytes(),
    })
}

#[test]
fn an_exclusive_lock_has_one_owner_and_names_it_to_others() {
    let mut bench = Bench::new();
    let granted = bench.granted(exclusive("a"));
    assert_eq!(granted, Granted { mode: Mode::Exclusive.into(), token: 1, expires_in_ms: 1000 });
    bench.pass(300);
    for refused in [exclusive("b"), shared("b")] {
        let Some(Said::Held(held)) = bench.ask(refused) else { panic!("not refused") };
        let holder = Claim { owner: "a".into(), mode: Mode::Exclusive.into(), token: 1, expires_in_ms: 700 };
        assert_eq!(held.holders, [holder]);
    }
}

#[test]
fn a_shared_lock_has_many_owners_and_excludes_a_writer() {
    let mut bench = Bench::new();
    let tokens = ["a", "b", "c"].map(|owner| bench.granted(shared(owner)).token);
    assert_eq!(tokens, [1, 2, 3]);
    let Some(Said::Held(held)) = bench.ask(exclusive("w")) else { panic!("not refused") };
    assert_eq!(held.holders.len(), 3);
}

#[test]
fn asking_again_renews_the_same_grant() {
    for ask in [exclusive, shared] {
        let mut bench = Bench::new();
        let first = bench.granted(ask("a"));
        bench.pass(900);
        assert_eq!(bench.granted(ask("a")), first);
        bench.pass(999);
        assert_eq!(bench.holders(), ["a"]);
        bench.pass(1);
        assert_eq!(bench.holders(), [""; 0]);
    }
}

#[test]
fn an_exclusive_grant_covers_a_shared_request() {
    let mut bench = Bench::new();
    let first = bench.granted(exclusive("a"));
    assert_eq!(bench.granted(shared("a")), first);
    assert!(matches!(bench.ask(shared("b")), Some(Said::Held(_))), "it was not weakened");
}

#[test]
fn a_lease_ends_at_its_time_and_not_before() {
    let mut bench = Bench::new();
    bench.granted(exclusive("a"));
    bench.pass(999);
    assert!(matches!(bench.ask(exclusive("b")), Some(Said::Held(_))));
    bench.pass(1);
    assert_eq!(bench.granted(exclusive("b")).token, 2);
}

#[test]
fn a_renewal_moves_the_end_and_needs_the_token() {
    let mut bench = Bench::new();
    let token = bench.granted(exclusive("a")).token;
    bench.pass(800);
    assert_eq!(bench.ask(renew("a", token + 1)), Some(Said::Lost(Lost {})));
    assert_eq!(bench.ask(renew("b", token)), Some(Said::Lost(Lost {})));
    assert_eq!(bench.granted(renew("a", token)).token, token);
    bench.pass(999);
    assert_eq!(bench.holders(), ["a"]);
    bench.pass(1);
    assert_eq!(bench.ask(renew("a", token)), Some(Said::Lost(Lost {})));
}

#[test]
fn a_release_needs_the_holder_and_the_token_if_one_is_named() {
    let mut bench = Bench::new();
    let token = bench.granted(exclusive("a")).token;
    assert_eq!(bench.ask(release("b", None)), Some(Said::NotHeld(NotHeld {})));
    assert_eq!(bench.ask(release("a", Some(token + 1))), Some(Said::NotHeld(NotHeld {})));
    assert_eq!(bench.ask(release("a", Some(token))), Some(Said::Released(Released {})));
    assert_eq!(bench.ask(release("a", Some(token))), Some(Said::NotHeld(NotHeld {})));
    bench.granted(exclusive("a"));
    assert_eq!(bench.ask(release("a", None)), Some(Said::Released(Released {})));
}

#[test]
fn tokens_only_grow_across_resources_releases_and_expiry() {
    let mut bench = Bench::new();
    let mut last = 0;
    for round in 0..20 {
        let resource = format!("r{}", round % 3);
        let token = bench.granted(acquire_on(&resource, &format!("o{round}"), Mode::Exclusive, 0)).token;
        assert!(token > last);
        last = token;
        bench.pass(1000);
    }
}

#[test]
fn waiters_are_served_in_order() {
    let mut bench = Bench::new();
    bench.granted(exclusive("a"));
    let tickets = ["b", "c", "d"].map(|owner| bench.waits(acquire(owner, Mode::Exclusive, 60_000)));
    assert_eq!(bench.waiters(), ["b", "c", "d"]);
    for (owner, next) in ["a", "b", "c"].iter().zip(tickets) {
        let (_, answers) = bench.run(release(owner, None));
        assert_eq!(granted_to(&answers), [next]);
    }
}

#[test]
fn expiry_grants_the_next_a_full_lease() {
    let mut bench = Bench::new();
    bench.granted(exclusive("a"));
    let ticket = bench.waits(acquire("b", Mode::Exclusive, 60_000));
    let answers = bench.pass(1500);
    let granted = Granted { mode: Mode::Exclusive.into(), token: 2, expires_in_ms: 1000 };
    assert_eq!(answers, [(ticket, Said::Granted(granted))]);
    bench.pass(999);
    assert_eq!(bench.holders(), ["b"]);
}

#[test]
fn readers_do_not_overtake_a_waiting_writer() {
    let mut bench = Bench::new();
    bench.granted(shared("a"));
    let writer = bench.waits(acquire("w", Mode::Exclusive, 60_000));
    assert!(matches!(bench.ask(shared("b")), Some(Said::Held(_))), "it would starve the writer");
    let readers = ["b", "c"].map(|owner| bench.waits(acquire(owner, Mode::Shared, 60_000)));
    assert_eq!(granted_to(&bench.run(release("a", None)).1), [writer]);
    assert_eq!(
        granted_to(&bench.run(release("w", None)).1),
        readers,
        "readers that follow each other go together"
    );
}

#[test]
fn a_wait_ends_at_its_deadline_with_the_holders_named() {
    let mut bench = Bench::new();
    bench.granted(exclusive("a"));
    let ticket = bench.waits(acquire("b", Mode::Exclusive, 500));
    assert_eq!(bench.pass(499), []);
    let answers = bench.pass(1);
    let [(to, Said::Held(held))] = answers.as_slice() else { panic!("{answers:?}") };
    assert_eq!((*to, held.holders[0].owner.as_str()), (ticket, "a"));
    assert_eq!(bench.waiters(), [""; 0]);
}

#[test]
fn a_writer_that_gives_up_lets_the_readers_behind_it_in() {
    let mut bench = Bench::new();
    bench.granted(shared("a"));
    let writer = bench.waits(acquire("w", Mode::Exclusive, 500));
    let reader = bench.waits(acquire("b", Mode::Shared, 60_000));
    let answers = bench.pass(500);
    assert_eq!(granted_to(&answers), [reader]);
    assert!(matches!(answers[0], (to, Said::Held(_)) if to == writer));
}

#[test]
fn a_lock_that_comes_free_as_the_wait_ends_is_granted() {
    let mut bench = Bench::new();
    bench.granted(exclusive("a"));
    let ticket = bench.waits(acquire("b", Mode::Exclusive, 1000));
    assert_eq!(granted_to(&bench.pass(1000)), [ticket]);
}

#[test]
fn asking_again_while_waiting_joins_the_earlier_place() {
    let mut bench = Bench::new();
    bench.granted(exclusive("a"));
    let first = bench.waits(acquire("b", Mode::Exclusive, 60_000));
    bench.waits(acquire("c", Mode::Exclusive, 60_000));
    let again = bench.waits(acquire("b", Mode::Exclusive, 60_000));
    assert_eq!(bench.waiters(), ["b", "c"]);
    let (_, answers) = bench.run(release("a", None));
    assert_eq!(granted_to(&answers), [first, again]);
    let tokens: Vec<_> = answers
        .iter()
        .filter_map(
            |(_, answer)| if let Said::Granted(granted) = answer { Some(granted.token) } else { None },
        )
        .collect();
    assert_eq!(tokens, [2, 2], "one grant, told twice");
}

#[test]
fn a_place_waits_for_the_strongest_mode_asked_for() {
    let mut bench = Bench::new();
    bench.granted(exclusive("a"));
    let weak = bench.waits(acquire("b", Mode::Shared, 60_000));
    let strong = bench.waits(acquire("b", Mode::Exclusive, 60_000));
    let reader = bench.waits(acquire("c", Mode::Shared, 60_000));
    assert_eq!(granted_to(&bench.run(release("a", None)).1), [weak, strong]);
    assert_eq!(granted_to(&bench.run(release("b", None)).1), [reader]);
}

#[test]
fn a_lone_shared_holder_is_upgraded_at_once_with_a_new_token() {
    let mut bench = Bench::new();
    let before = bench.granted(shared("a")).token;
    bench.waits(acquire("w", Mode::Exclusive, 60_000));
    let after = bench.granted(exclusive("a"));
    assert_eq!((after.mode, after.token), (Mode::Exclusive.into(), before + 1));
    assert_eq!(bench.ask(renew("a", before)), Some(Said::Lost(Lost {})), "the shared grant ended with it");
    assert_eq!(bench.waiters(), ["w"]);
}

#[test]
fn an_upgrade_waits_at_the_head_for_the_other_holders() {
    let mut bench = Bench::new();
    bench.granted(shared("a"));
    bench.granted(shared("b"));
    bench.waits(acquire("w", Mode::Exclusive, 60_000));
    let upgrade = bench.waits(acquire("a", Mode::Exclusive, 60_000));
    assert_eq!(bench.waiters(), ["a", "w"]);
    assert_eq!(bench.holders(), ["a", "b"], "it keeps its shared grant meanwhile");
    assert_eq!(granted_to(&bench.run(release("b", None)).1), [upgrade]);
    assert_eq!(bench.holders(), ["a"]);
}

#[test]
fn an_upgrade_whose_shared_lease_ran_out_keeps_its_place() {
    let mut bench = Bench::new();
    bench.granted(shared("a"));
    bench.pass(500);
    let other = bench.granted(shared("b")).token;
    let upgrade = bench.waits(acquire("a", Mode::Exclusive, 60_000));
    bench.pass(500);
    assert_eq!(bench.holders(), ["b"]);
    bench.granted(renew("b", other));
    assert_eq!(granted_to(&bench.pass(1000)), [upgrade]);
}

#[test]
fn a_second_upgrade_is_a_deadlock_that_names_both() {
    let mut bench = Bench::new();
    bench.granted(shared("a"));
    bench.granted(shared("b"));
    let first = bench.waits(acquire("a", Mode::Exclusive, 60_000));
    let cycle = vec!["b".to_owned(), "a".to_owned()];
    let refused = bench.ask(acquire("b", Mode::Exclusive, 60_000));
    assert_eq!(refused, Some(Said::Deadlock(Deadlock { cycle })));
    assert_eq!(granted_to(&bench.run(release("b", None)).1), [first], "the first is not its victim");
}

#[test]
fn a_cancelled_wait_is_over_and_the_next_is_served() {
    let mut bench = Bench::new();
    bench.granted(shared("a"));
    let writer = bench.waits(acquire("w", Mode::Exclusive, 60_000));
    let reader = bench.waits(acquire("b", Mode::Shared, 60_000));
    let (ticket, answers) = bench.run(cancel("w", Mode::Exclusive));
    assert_eq!(answers[0], (ticket, Said::Done(Done { found: true })));
    assert_eq!(answers[1], (writer, Said::Cancelled(Cancelled { by_owner: false })));
    assert_eq!(granted_to(&answers), [reader]);
    assert_eq!(bench.ask(cancel("w", Mode::Exclusive)), Some(Said::Done(Done { found: false })));
}

#[test]
fn cancelling_one_of_two_joined_requests_keeps_the_place() {
    let mut bench = Bench::new();
    bench.granted(exclusive("a"));
    bench.waits(acquire("b", Mode::Shared, 60_000));
    let stays = bench.waits(acquire("b", Mode::Exclusive, 60_000));
    bench.waits(acquire("c", Mode::Exclusive, 60_000));
    bench.ask(cancel("b", Mode::Shared));
    assert_eq!(bench.waiters(), ["b", "c"]);
    assert_eq!(granted_to(&bench.run(release("a", None)).1), [stays]);
}

#[test]
fn a_cancellation_that_overtakes_its_acquisition_ends_it_all_the_same() {
    for free in [true, false] {
        let mut bench = Bench::new();
        if !free {
            bench.granted(exclusive("a"));
        }
        assert_eq!(bench.ask(cancel("w", Mode::Exclusive)), Some(Said::Done(Done { found: false })));
        let ended = Some(Said::Cancelled(Cancelled { by_owner: false }));
        assert_eq!(bench.ask(acquire("w", Mode::Exclusive, 60_000)), ended);
        assert!(bench.waiters().is_empty() && !bench.holders().contains(&"w".to_owned()));
        assert_eq!(bench.table.deadline().is_none(), free, "nothing is written for it while nobody asks");
    }
}

#[test]
fn a_cancellation_does_not_take_a_grant_back() {
    let mut bench = Bench::new();
    bench.granted(exclusive("a"));
    bench.waits(acquire("b", Mode::Exclusive, 60_000));
    bench.run(release("a", None));
    assert_eq!(bench.ask(cancel("b", Mode::Exclusive)), Some(Said::Done(Done { found: false })));
    assert_eq!(bench.holders(), ["b"]);
}

#[test]
fn the_end_of_an_owner_frees_all_it_holds_and_waits_for() {
    let mut bench = Bench::new();
    for resource in ["q", "r"] {
        bench.granted(acquire_on(resource, "a", Mode::Exclusive, 0));
    }
    bench.granted(acquire_on("s", "z", Mode::Exclusive, 0));
    let own = bench.waits(acquire_on("s", "a", Mode::Exclusive, 60_000));
    let next = bench.waits(acquire("b", Mode::Exclusive, 60_000));
    let (ticket, answers) = bench.run(release_owner("a"));
    assert!(answers.contains(&(own, Said::Cancelled(Cancelled { by_owner: true }))));
    assert!(answers.contains(&(ticket, Said::OwnerReleased(OwnerReleased { released: 2, cancelled: 1 }))));
    assert_eq!(granted_to(&answers), [next]);
    let nothing = Some(Said::OwnerReleased(OwnerReleased { released: 0, cancelled: 0 }));
    assert_eq!(bench.ask(release_owner("a")), nothing);
}

#[test]
fn beyond_its_limits_it_refuses_and_decides_nothing() {
    let mut bench = Bench::limited(Limits { name_bytes: 8, waits_per_resource: 2, claims: 4 });
    bench.granted(exclusive("a"));
    bench.waits(acquire("b", Mode::Exclusive, 60_000));
    bench.waits(acquire("c", Mode::Exclusive, 60_000));
    let full = bench.ask(acquire("d", Mode::Exclusive, 60_000));
    assert!(matches!(full, Some(Said::Full(_))), "the queue of one resource: {full:?}");
    bench.granted(acquire_on("s", "a", Mode::Shared, 0));
    let full = bench.ask(acquire_on("t", "a", Mode::Exclusive, 0));
    assert!(matches!(full, Some(Said::Full(_))), "the partition: {full:?}");
    assert!(!Answer { kind: full }.is_decided());
    bench.granted(exclusive("a"));
    bench.granted(acquire_on("s", "a", Mode::Exclusive, 0));
    assert_eq!(bench.status("t"), Status::default(), "nothing is left of what was refused");
    let long = bench.ask(exclusive("nine byte"));
    assert!(matches!(long, Some(Said::Invalid(_))), "{long:?}");
}

#[test]
fn a_command_of_a_later_version_is_answered_and_changes_nothing() {
    let mut bench = Bench::new();
    let before = bench.table.snapshot();
    assert!(matches!(bench.ask(Command { kind: None }), Some(Said::Invalid(_))));
    let strange =
        Acquire { resource: "r".into(), owner: "a".into(), mode: 7, ttl_ms: 1, ..Acquire::default() };
    assert!(matches!(bench.ask(command::Kind::Acquire(strange)), Some(Said::Invalid(_))));
    assert_eq!(bench.table.snapshot(), before);
}

#[test]
fn its_deadline_is_the_earliest_lease_or_wait() {
    let mut bench = Bench::new();
    assert_eq!(bench.table.deadline(), None);
    bench.granted(exclusive("a"));
    assert_eq!(bench.table.deadline(), Some(LogTime(1000)));
    bench.waits(acquire("b", Mode::Exclusive, 400));
    assert_eq!(bench.table.deadline(), Some(LogTime(400)));
    bench.pass(400);
    assert_eq!(bench.table.deadline(), Some(LogTime(1000)));
    bench.pass(600);
    assert_eq!(bench.table.deadline(), None);
}
