//! The rules once more, written as naively as they can be said, run against the table on random histories; and a
//! second table that is snapshotted and restored on the way, which must behave the same.

use quartet_raft::LogTime;

use super::answer::Kind as Said;
use super::tests::Bench;
use super::{
    Acquire, CancelWait, Cancelled, Deadlock, Done, Granted, Lost, Mode, NotHeld, OwnerReleased, Release,
    ReleaseOwner, Released, Renew, Table, command,
};

const OWNERS: [&str; 5] = ["a", "b", "c", "d", "e"];
const RESOURCES: [&str; 2] = ["r", "s"];

#[derive(Clone, Debug, PartialEq)]
struct Hold {
    resource: String,
    owner: String,
    mode: Mode,
    token: u64,
    expires: u64,
}

#[derive(Clone, Debug, PartialEq)]
struct Waiting {
    ticket: u64,
    asked: Acquire,
    mode: Mode,
    deadline: u64,
}

/// Flat lists, searched from end to end.
#[derive(Default)]
struct Model {
    now: u64,
    tokens: u64,
    holds: Vec<Hold>,
    /// Owners in line, per resource.
    lines: Vec<(String, String)>,
    waits: Vec<Waiting>,
    /// Acquisitions whose wait was ended before it began.
    early: Vec<Vec<u8>>,
    said: Vec<(u64, &'static str, u64)>,
}

impl Model {
    fn hold(&self, resource: &str, owner: &str) -> Option<&Hold> {
        self.holds.iter().find(|hold| hold.resource == resource && hold.owner == owner)
    }

    fn conflicts(&self, resource: &str, owner: &str, mode: Mode) -> bool {
        self.holds.iter().any(|hold| {
            hold.resource == resource
                && hold.owner != owner
                && (mode == Mode::Exclusive || hold.mode == Mode::Exclusive)
        })
    }

    fn first_in_line(&self, resource: &str) -> Option<String> {
        self.lines.iter().find(|(of, _)| of == resource).map(|(_, owner)| owner.clone())
    }

    fn is_place_of(resource: &str, owner: &str) -> impl Fn(&Waiting) -> bool {
        move |wait| wait.asked.resource == resource && wait.asked.owner == owner
    }

    fn leave_empty_places(&mut self) {
        let waits = &self.waits;
        self.lines.retain(|(resource, owner)| waits.iter().any(Self::is_place_of(resource, owner)));
    }

    fn grant(&mut self, resource: &str, owner: &str, mode: Mode, ttl_ms: u64) -> u64 {
        self.tokens += 1;
        self.holds.retain(|hold| !(hold.resource == resource && hold.owner == owner));
        self.holds.push(Hold {
            resource: resource.into(),
            owner: owner.into(),
            mode,
            token: self.tokens,
            expires: self.now + ttl_ms,
        });
        self.tokens
    }

    fn serve(&mut self) {
        for resource in RESOURCES {
            while let Some(owner) = self.first_in_line(resource) {
                let place: Vec<_> =
                    self.waits.iter().filter(|w| Self::is_place_of(resource, &owner)(w)).cloned().collect();
                let strongest = place.iter().map(|wait| wait.mode).min().unwrap();
                if self.conflicts(resource, &owner, strongest) {
                    break;
                }
                let token = self.grant(resource, &owner, strongest, place.last().unwrap().asked.ttl_ms);
                self.said.extend(place.iter().map(|wait| (wait.ticket, "granted", token)));
                self.waits.retain(|wait| !Self::is_place_of(resource, &owner)(wait));
                self.leave_empty_places();
            }
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now += ms;
        loop {
            let lease = self.holds.iter().map(|hold| (hold.expires, 0, hold.token)).min();
            let wait = self.waits.iter().map(|wait| (wait.deadline, 1, wait.ticket)).min();
            let Some((time, kind, id)) = lease.into_iter().chain(wait).min() else { return };
            if time > self.now {
                return;
            }
            if kind == 0 {
                self.holds.retain(|hold| hold.token != id);
            } else {
                self.waits.retain(|wait| wait.ticket != id);
                self.leave_empty_places();
                self.said.push((id, "held", 0));
            }
            self.serve();
        }
    }

    fn acquire(&mut self, ticket: u64, asked: &Acquire) {
        let mode = Mode::try_from(asked.mode).unwrap();
        let (resource, owner) = (asked.resource.as_str(), asked.owner.as_str());
        let expires = self.now + asked.ttl_ms;
        let held = self.hold(resource, owner).cloned();
        let first = self.first_in_line(resource);
        if let Some(at) = self.early.iter().position(|request| *request == asked.request) {
            self.early.remove(at);
            self.said.push((ticket, "cancelled", 0));
        } else if let Some(hold) = held.as_ref().filter(|hold| hold.mode <= mode) {
            self.said.push((ticket, "granted", hold.token));
            let token = hold.token;
            self.holds.iter_mut().filter(|hold| hold.token == token).for_each(|hold| hold.expires = expires);
        } else if (held.is_some() || first.is_none()) && !self.conflicts(resource, owner, mode) {
            let token = self.grant(resource, owner, mode, asked.ttl_ms);
            self.said.push((ticket, "granted", token));
        } else if asked.wait_ms == 0 {
            self.said.push((ticket, "held", 0));
        } else if held.is_some()
            && first.is_some_and(|first| first != owner && self.hold(resource, &first).is_some())
        {
            self.said.push((ticket, "deadlock", 0));
        } else {
            let place = (resource.to_owned(), owner.to_owned());
            if !self.lines.contains(&place) {
                let at = if held.is_some() { 0 } else { self.lines.len() };
                self.lines.insert(at, place);
            }
            let deadline = self.now + asked.wait_ms;
            self.waits.push(Waiting { ticket, asked: asked.clone(), mode, deadline });
        }
    }

    fn run(&mut self, ticket: u64, command: &command::Kind) {
        match command {
            command::Kind::Acquire(asked) => self.acquire(ticket, asked),
            command::Kind::Renew(renew) => {
                let expires = self.now + renew.ttl_ms;
                let hold = self.holds.iter_mut().find(|hold| {
                    (hold.resource.as_str(), hold.owner.as_str(), hold.token)
                        == (renew.resource.as_str(), renew.owner.as_str(), renew.token)
                });
                self.said.push(match hold {
                    Some(hold) => {
                        hold.expires = expires;
                        (ticket, "granted", hold.token)
                    }
                    None => (ticket, "lost", 0),
                });
            }
            command::Kind::Release(release) => {
                let before = self.holds.len();
                self.holds.retain(|hold| {
                    hold.resource != release.resource
                        || hold.owner != release.owner
                        || release.token.is_some_and(|token| token != hold.token)
                });
                let outcome = if self.holds.len() < before { "released" } else { "not held" };
                self.said.push((ticket, outcome, 0));
            }
            command::Kind::ReleaseOwner(ReleaseOwner { owner }) => {
                let before = self.holds.len();
                self.holds.retain(|hold| hold.owner != *owner);
                let ended: Vec<_> =
                    self.waits.iter().filter(|wait| wait.asked.owner == *owner).map(|w| w.ticket).collect();
                self.waits.retain(|wait| wait.asked.owner != *owner);
                self.said.extend(ended.iter().map(|ended| (*ended, "ended by owner", 0)));
                self.said.push((ticket, "owner released", (before - self.holds.len()) as u64));
            }
            command::Kind::CancelWait(cancel) => {
                let at = self.place_order_of(cancel);
                self.said.push((ticket, "done", u64::from(at.is_some())));
                if let Some(at) = at {
                    let wait = self.waits.remove(at);
                    self.said.push((wait.ticket, "cancelled", 0));
                } else if !self.early.contains(&cancel.request) {
                    self.early.push(cancel.request.clone());
                }
            }
        }
        self.leave_empty_places();
        self.serve();
    }

    /// Request ids are unique here, so the order does not matter.
    fn place_order_of(&self, cancel: &CancelWait) -> Option<usize> {
        self.waits
            .iter()
            .position(|wait| wait.asked.resource == cancel.resource && wait.asked.request == cancel.request)
    }
}

/// What was said, as far as the model says it too; sorted, since owners' ends are told in another order.
fn comparable(said: &[(u64, Said)]) -> Vec<(u64, &'static str, u64)> {
    let mut all: Vec<_> = said
        .iter()
        .map(|(ticket, said)| match said {
            Said::Granted(Granted { token, .. }) => (*ticket, "granted", *token),
            Said::Held(_) => (*ticket, "held", 0),
            Said::Deadlock(Deadlock { .. }) => (*ticket, "deadlock", 0),
            Said::Lost(Lost {}) => (*ticket, "lost", 0),
            Said::Released(Released {}) => (*ticket, "released", 0),
            Said::NotHeld(NotHeld {}) => (*ticket, "not held", 0),
            Said::OwnerReleased(OwnerReleased { released, .. }) => (*ticket, "owner released", *released),
            Said::Cancelled(Cancelled { by_owner: true }) => (*ticket, "ended by owner", 0),
            Said::Cancelled(Cancelled { by_owner: false }) => (*ticket, "cancelled", 0),
            Said::Done(Done { found }) => (*ticket, "done", u64::from(*found)),
            Said::Full(_) | Said::Invalid(_) | Said::Status(_) => panic!("not in this history: {said:?}"),
        })
        .collect();
    all.sort_unstable();
    all
}

/// xorshift64*: all that a reproducible history needs.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound
    }

    fn one_of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[usize::try_from(self.below(words.len() as u64)).unwrap()]
    }

    fn command(&mut self, ticket: u64, model: &Model) -> command::Kind {
        let resource = self.one_of(&RESOURCES).to_owned();
        let owner = self.one_of(&OWNERS).to_owned();
        let known = model.hold(&resource, &owner).map_or(0, |hold| hold.token);
        let longest = if self.below(2) == 0 { 60 } else { 2000 };
        let ttl_ms = 1 + self.below(longest);
        match self.below(20) {
            0..10 => command::Kind::Acquire(Acquire {
                resource,
                owner,
                mode: if self.below(3) == 0 { Mode::Exclusive } else { Mode::Shared }.into(),
                ttl_ms,
                wait_ms: if self.below(4) == 0 { 0 } else { 1 + self.below(80) },
                request: ticket.to_le_bytes().to_vec(),
            }),
            10..13 => {
                let token = if self.below(8) == 0 { known + 1 } else { known };
                command::Kind::Renew(Renew { resource, owner, token, ttl_ms })
            }
            13..17 => {
                let token = (self.below(2) == 0).then_some(known);
                command::Kind::Release(Release { resource, owner, token })
            }
            17 => command::Kind::ReleaseOwner(ReleaseOwner { owner }),
            _ => {
                // Of one that was, or of one to come.
                let request = (ticket + self.below(4)).saturating_sub(self.below(9)).to_le_bytes().to_vec();
                command::Kind::CancelWait(CancelWait { resource, request })
            }
        }
    }
}

fn restored(table: &Table) -> Table {
    Table::restored(table.limits, table.snapshot()).unwrap()
}

fn run(seed: u64, coverage: &mut std::collections::BTreeMap<&'static str, u64>) {
    let mut random = Random(seed | 1);
    let (mut bench, mut twin, mut model) = (Bench::new(), Bench::new(), Model::default());
    for step in 0..400 {
        let ms = [0, 0, 1, 5, 40][usize::try_from(random.below(5)).unwrap()];
        model.pass(ms);
        let passed = bench.pass(ms);
        assert_eq!(twin.pass(ms), passed, "restored, seed {seed} step {step}");

        let command = random.command(step + 1, &model);
        let (ticket, answers) = bench.run(command.clone());
        assert_eq!(twin.run(command.clone()), (ticket, answers.clone()), "restored, seed {seed} step {step}");
        model.run(ticket, &command);

        let all: Vec<_> = passed.into_iter().chain(answers).collect();
        let mut expected = std::mem::take(&mut model.said);
        expected.sort_unstable();
        assert_eq!(comparable(&all), expected, "seed {seed} step {step}: {command:?}");
        for (_, what, _) in expected {
            *coverage.entry(what).or_default() += 1;
        }

        let due = |model: &Model| {
            let leases = model.holds.iter().map(|hold| hold.expires);
            leases.chain(model.waits.iter().map(|wait| wait.deadline)).min()
        };
        assert_eq!(bench.table.deadline(), due(&model).map(LogTime), "seed {seed} step {step}");
        assert_eq!((bench.table.held(), bench.table.waiting()), (model.holds.len(), model.waits.len()));
        if random.below(10) == 0 {
            twin.table = restored(&twin.table);
        }
        assert_eq!(twin.table.snapshot(), bench.table.snapshot(), "seed {seed} step {step}");
    }
}

#[test]
fn random_histories_agree_with_the_model_and_survive_snapshots() {
    let mut coverage = std::collections::BTreeMap::new();
    for seed in 1..=500 {
        run(0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(seed), &mut coverage);
    }
    let outcomes = [
        "granted",
        "held",
        "deadlock",
        "lost",
        "released",
        "not held",
        "owner released",
        "ended by owner",
        "cancelled",
        "done",
    ];
    for outcome in outcomes {
        let times = coverage.get(outcome).copied().unwrap_or(0);
        assert!(times > 100, "{outcome} came up only {times} times");
    }
}
