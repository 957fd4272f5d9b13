//! Holds histories of locks to their promises.

use super::holds::{Grant, Hold, by_resource, grants, holds};
use super::{LockAnswer, LockOperation, LockRequest, Mode};

/// What the system is allowed.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// By how much its clocks may run faster than the history's.
    pub drift_ppm: u64,
}

impl Default for Limits {
    fn default() -> Self {
        // The kernel slews a clock by 500 ppm at most, the history's and the leader's against each other.
        Self { drift_ppm: 1000 }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    #[error("two hold {resource} at {at_us} us: {first_owner} ({first}) and {second_owner} ({second})")]
    HeldTwice {
        resource: String,
        at_us: u64,
        first: u64,
        first_owner: String,
        second: u64,
        second_owner: String,
    },
    #[error(
        "token {token} of {resource} was granted to {owner} in mode {mode:?} and to {other} in {other_mode:?}"
    )]
    TokenGrantedTwice {
        resource: String,
        token: u64,
        owner: String,
        mode: Mode,
        other: String,
        other_mode: Mode,
    },
    #[error("token {token} of {resource} was asked for at {asked_us} us, after {earlier} had been granted")]
    TokenWentBack { resource: String, token: u64, asked_us: u64, earlier: u64 },
    #[error(
        "{owner} was told at {at_us} us that it still holds {resource} under {token}, after {newer} had been granted to {newer_owner}"
    )]
    Outlived { resource: String, owner: String, token: u64, at_us: u64, newer: u64, newer_owner: String },
    #[error(
        "{owner} was told at {at_us} us that it lost {resource} under {token}, which it held until {until_us} us"
    )]
    Forgotten { resource: String, owner: String, token: u64, at_us: u64, until_us: u64 },
    #[error("a read of {resource} at {at_us} us did not see that {owner} holds it under {token}")]
    MissedHold { resource: String, at_us: u64, owner: String, token: u64 },
    #[error("a read of {resource} at {at_us} us saw {token}, which had been given up before")]
    SawReleased { resource: String, at_us: u64, token: u64 },
}

impl Violation {
    pub fn resource(&self) -> &str {
        match self {
            Self::HeldTwice { resource, .. }
            | Self::TokenGrantedTwice { resource, .. }
            | Self::TokenWentBack { resource, .. }
            | Self::Outlived { resource, .. }
            | Self::Forgotten { resource, .. }
            | Self::MissedHold { resource, .. }
            | Self::SawReleased { resource, .. } => resource,
        }
    }
}

/// The first broken promise of each kind and resource.
pub fn check(history: &[LockOperation], limits: Limits) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (resource, operations) in by_resource(history) {
        let grants = grants(&operations);
        let holds = holds(&operations, &grants, limits.drift_ppm);
        let seen = Seen { resource, operations, grants, holds };
        violations.extend(seen.token_granted_twice());
        violations.extend(seen.token_went_back());
        violations.extend(seen.held_twice());
        violations.extend(seen.outlived());
        violations.extend(seen.forgotten());
        violations.extend(seen.missed_hold());
        violations.extend(seen.saw_released());
    }
    violations
}

/// One resource's part of a history.
struct Seen<'a> {
    resource: &'a str,
    operations: Vec<&'a LockOperation>,
    /// In the order of their first answers.
    grants: Vec<Grant>,
    holds: Vec<Hold>,
}

impl Seen<'_> {
    fn token_granted_twice(&self) -> Option<Violation> {
        let mut by_token: Vec<&Grant> = self.grants.iter().collect();
        by_token.sort_by_key(|grant| grant.token);
        let pair = by_token.windows(2).find(|pair| pair[0].token == pair[1].token)?;
        Some(Violation::TokenGrantedTwice {
            resource: self.resource.to_owned(),
            token: pair[0].token,
            owner: pair[0].owner.clone(),
            mode: pair[0].mode,
            other: pair[1].owner.clone(),
            other_mode: pair[1].mode,
        })
    }

    fn token_went_back(&self) -> Option<Violation> {
        let mut by_start: Vec<&Grant> = self.grants.iter().collect();
        by_start.sort_by_key(|grant| grant.not_before_us);
        let mut answered = self.grants.iter().peekable();
        let mut largest = 0;
        by_start.into_iter().find_map(|grant| {
            while let Some(before) = answered.next_if(|g| g.not_after_us < grant.not_before_us) {
                largest = largest.max(before.token);
            }
            (grant.token <= largest).then(|| Violation::TokenWentBack {
                resource: self.resource.to_owned(),
                token: grant.token,
                asked_us: grant.not_before_us,
                earlier: largest,
            })
        })
    }

    fn held_twice(&self) -> Option<Violation> {
        let mut by_start: Vec<&Hold> = self.holds.iter().collect();
        by_start.sort_by_key(|hold| hold.from_us);
        let mut current: Vec<&Hold> = Vec::new();
        for hold in by_start {
            current.retain(|other| other.until_us > hold.from_us);
            let other = current.iter().find(|o| o.owner != hold.owner && o.mode.conflicts(hold.mode));
            if let Some(other) = other {
                return Some(Violation::HeldTwice {
                    resource: self.resource.to_owned(),
                    at_us: hold.from_us,
                    first: other.token,
                    first_owner: other.owner.clone(),
                    second: hold.token,
                    second_owner: hold.owner.clone(),
                });
            }
            current.push(hold);
        }
        self.grants.iter().find_map(|grant| {
            let held = self.holds.iter().find(|hold| {
                hold.owner != grant.owner
                    && hold.mode.conflicts(grant.mode)
                    && hold.from_us <= grant.not_before_us
                    && hold.until_us > grant.not_after_us
            })?;
            Some(Violation::HeldTwice {
                resource: self.resource.to_owned(),
                at_us: grant.not_after_us,
                first: held.token,
                first_owner: held.owner.clone(),
                second: grant.token,
                second_owner: grant.owner.clone(),
            })
        })
    }

    /// Tokens that an answer says are held, and since when nothing newer may have been granted.
    fn confirmed(&self) -> impl Iterator<Item = (u64, u64)> {
        self.operations.iter().flat_map(|operation| {
            let tokens = match (&operation.request, operation.answer()) {
                (_, Some(LockAnswer::Granted { token, .. }))
                | (LockRequest::Renew { token, .. }, Some(LockAnswer::Renewed)) => vec![*token],
                (_, Some(LockAnswer::Holders { tokens })) => tokens.clone(),
                _ => Vec::new(),
            };
            tokens.into_iter().map(|token| (token, operation.start_us))
        })
    }

    fn outlived(&self) -> Option<Violation> {
        self.confirmed().find_map(|(token, at_us)| {
            let held = self.grants.iter().find(|grant| grant.token == token)?;
            let newer = self.grants.iter().take_while(|newer| newer.not_after_us < at_us).find(|newer| {
                newer.token > token && newer.owner != held.owner && newer.mode.conflicts(held.mode)
            })?;
            Some(Violation::Outlived {
                resource: self.resource.to_owned(),
                owner: held.owner.clone(),
                token,
                at_us,
                newer: newer.token,
                newer_owner: newer.owner.clone(),
            })
        })
    }

    fn forgotten(&self) -> Option<Violation> {
        self.operations.iter().find_map(|operation| {
            let (LockRequest::Renew { owner, token, .. } | LockRequest::Release { owner, token, .. }) =
                &operation.request
            else {
                return None;
            };
            if !matches!(operation.answer(), Some(LockAnswer::Lost | LockAnswer::NotHeld)) {
                return None;
            }
            let held = self.held_throughout(operation)?.find(|h| h.owner == *owner && h.token == *token)?;
            Some(Violation::Forgotten {
                resource: self.resource.to_owned(),
                owner: owner.clone(),
                token: *token,
                at_us: operation.start_us,
                until_us: held.until_us,
            })
        })
    }

    /// Holds that last from before the operation was sent until after it was answered.
    fn held_throughout(&self, operation: &LockOperation) -> Option<impl Iterator<Item = &Hold>> {
        let (start_us, end_us) = (operation.start_us, operation.end_us?);
        Some(self.holds.iter().filter(move |hold| hold.from_us <= start_us && hold.until_us > end_us))
    }

    fn missed_hold(&self) -> Option<Violation> {
        self.operations.iter().find_map(|operation| {
            let LockAnswer::Holders { tokens } = operation.answer()? else {
                return None;
            };
            let missed = self.held_throughout(operation)?.find(|hold| !tokens.contains(&hold.token))?;
            Some(Violation::MissedHold {
                resource: self.resource.to_owned(),
                at_us: operation.start_us,
                owner: missed.owner.clone(),
                token: missed.token,
            })
        })
    }

    fn saw_released(&self) -> Option<Violation> {
        self.operations.iter().find_map(|operation| {
            let LockAnswer::Holders { tokens } = operation.answer()? else {
                return None;
            };
            let token = *tokens.iter().find(|token| self.was_released(**token, operation.start_us))?;
            let resource = self.resource.to_owned();
            Some(Violation::SawReleased { resource, at_us: operation.start_us, token })
        })
    }

    fn was_released(&self, of: u64, before_us: u64) -> bool {
        self.operations.iter().any(|operation| {
            matches!(&operation.request, LockRequest::Release { token, .. } if *token == of)
                && operation.answer() == Some(&LockAnswer::Released)
                && operation.end_us.is_some_and(|end| end < before_us)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{acquire, read, release, release_owner, renew};
    use super::*;

    const LIMITS: Limits = Limits { drift_ppm: 0 };

    fn first(history: &[LockOperation]) -> Option<Violation> {
        check(history, LIMITS).into_iter().next()
    }

    fn holders(tokens: &[u64]) -> LockAnswer {
        LockAnswer::Holders { tokens: tokens.to_vec() }
    }

    #[test]
    fn one_after_the_other_is_fine() {
        let history = [
            acquire("a", 0).granted(1, 10),
            renew("a", 1, 500).answered(LockAnswer::Renewed, 510),
            acquire("b", 600).answered(LockAnswer::NotGranted, 700),
            release("a", 1, 900).answered(LockAnswer::Released, 910),
            acquire("b", 905).granted(2, 950),
            read(960).answered(holders(&[2]), 970),
        ];
        assert_eq!(check(&history, LIMITS), []);
    }

    #[test]
    fn a_second_holder_while_the_first_relies_on_it() {
        let history = [acquire("a", 0).granted(1, 10), acquire("b", 20).granted(2, 30)];
        assert!(matches!(first(&history), Some(Violation::HeldTwice { first: 1, second: 2, .. })));
    }

    #[test]
    fn a_second_holder_after_the_ttl_is_fine() {
        let history = [acquire("a", 0).granted(1, 10), acquire("b", 20).granted(2, 1000)];
        assert_eq!(first(&history), None);
    }

    #[test]
    fn a_renewal_counts_from_when_it_was_sent() {
        let renewed = renew("a", 1, 900).answered(LockAnswer::Renewed, 990);
        let early = [acquire("a", 0).granted(1, 10), renewed.clone(), acquire("b", 20).granted(2, 1899)];
        assert!(matches!(first(&early), Some(Violation::HeldTwice { .. })));
        let late = [acquire("a", 0).granted(1, 10), renewed, acquire("b", 20).granted(2, 1900)];
        assert_eq!(first(&late), None);
    }

    #[test]
    fn drift_shortens_what_may_be_relied_on() {
        let history = [acquire("a", 0).granted(1, 10), acquire("b", 20).granted(2, 990)];
        assert_eq!(check(&history, Limits { drift_ppm: 10_000 }), []);
        assert_eq!(check(&history, Limits { drift_ppm: 9_000 }).len(), 1);
    }

    #[test]
    fn a_release_that_may_still_happen_ends_the_hold() {
        for ended in [release("a", 1, 15), release_owner("a", 15)] {
            let history = [acquire("a", 0).granted(1, 10), ended.unknown(), acquire("b", 20).granted(2, 30)];
            assert_eq!(first(&history), None);
        }
    }

    #[test]
    fn a_release_that_failed_does_not() {
        let history =
            [acquire("a", 0).granted(1, 10), release("a", 1, 15).failed(18), acquire("b", 20).granted(2, 30)];
        assert!(matches!(first(&history), Some(Violation::HeldTwice { .. })));
    }

    #[test]
    fn many_may_share() {
        let history = [acquire("a", 0).shared().granted(1, 10), acquire("b", 20).shared().granted(2, 30)];
        assert_eq!(first(&history), None);
    }

    #[test]
    fn a_writer_among_readers() {
        let history = [acquire("a", 0).shared().granted(1, 10), acquire("b", 20).granted(2, 30)];
        assert!(matches!(first(&history), Some(Violation::HeldTwice { .. })));
    }

    #[test]
    fn one_token_for_two() {
        let history = [
            acquire("a", 0).granted(1, 10),
            release("a", 1, 20).answered(LockAnswer::Released, 30),
            acquire("b", 25).granted(1, 40),
        ];
        assert!(matches!(first(&history), Some(Violation::TokenGrantedTwice { token: 1, .. })));
    }

    #[test]
    fn a_token_smaller_than_one_before() {
        let history = [
            acquire("a", 0).granted(5, 10),
            release("a", 5, 20).answered(LockAnswer::Released, 30),
            acquire("b", 40).granted(4, 50),
        ];
        assert!(matches!(first(&history), Some(Violation::TokenWentBack { token: 4, earlier: 5, .. })));
    }

    #[test]
    fn a_lost_answer_excuses_an_earlier_token() {
        // b's first request was carried out before a's, and only its answer was lost.
        let history = [
            acquire("b", 0).shared().unknown(),
            acquire("a", 0).shared().granted(5, 10),
            release("a", 5, 20).answered(LockAnswer::Released, 30),
            acquire("b", 40).shared().granted(4, 50),
        ];
        assert_eq!(first(&history), None);
    }

    #[test]
    fn renewed_after_another_was_granted() {
        let history = [
            acquire("a", 0).granted(1, 10),
            acquire("b", 20).granted(2, 2000),
            renew("a", 1, 2010).answered(LockAnswer::Renewed, 2020),
        ];
        let violations = check(&history, LIMITS);
        assert!(violations.iter().any(|v| matches!(v, Violation::Outlived { token: 1, newer: 2, .. })));
    }

    #[test]
    fn an_acknowledged_grant_is_forgotten() {
        for answer in [
            renew("a", 1, 500).answered(LockAnswer::Lost, 510),
            release("a", 1, 500).answered(LockAnswer::NotHeld, 510),
        ] {
            let history = [acquire("a", 0).granted(1, 10), answer];
            assert!(matches!(first(&history), Some(Violation::Forgotten { token: 1, .. })));
        }
    }

    #[test]
    fn a_lock_may_be_lost_after_its_ttl_or_release() {
        let late = [acquire("a", 0).granted(1, 10), renew("a", 1, 990).answered(LockAnswer::Lost, 1001)];
        assert_eq!(first(&late), None);
        let released = [
            acquire("a", 0).granted(1, 10),
            release("a", 1, 20).unknown(),
            renew("a", 1, 500).answered(LockAnswer::Lost, 510),
        ];
        assert_eq!(first(&released), None);
    }

    #[test]
    fn a_shorter_ttl_that_may_have_come_excuses_a_loss() {
        let mut short = renew("a", 1, 20).unknown();
        if let LockRequest::Renew { ttl_ms, .. } = &mut short.request {
            *ttl_ms = 100;
        }
        let history =
            [acquire("a", 0).granted(1, 10), short, renew("a", 1, 500).answered(LockAnswer::Lost, 510)];
        assert_eq!(first(&history), None);
    }

    #[test]
    fn a_read_that_does_not_see_a_holder() {
        let history = [acquire("a", 0).granted(1, 10), read(20).answered(holders(&[]), 30)];
        assert!(matches!(first(&history), Some(Violation::MissedHold { token: 1, .. })));
    }

    #[test]
    fn a_read_that_sees_what_was_given_up() {
        let history = [
            acquire("a", 0).granted(1, 10),
            release("a", 1, 20).answered(LockAnswer::Released, 30),
            read(40).answered(holders(&[1]), 50),
        ];
        assert!(matches!(first(&history), Some(Violation::SawReleased { token: 1, .. })));
    }
}
