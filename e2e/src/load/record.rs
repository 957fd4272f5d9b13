//! What the load asked and was told.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use quartet_history::lines;
use quartet_history::lock::{Limits, LockAnswer, LockOperation, LockRequest, check};

/// Hours of load; beyond it something is wrong.
const OPERATIONS_MAX: usize = 5_000_000;
/// Of what was refused, in an error's text.
const TOLD_MAX: usize = 12;

/// Shared by the workers of one load.
#[derive(Debug)]
pub struct Record {
    began: Instant,
    kept: Mutex<Report>,
}

/// All operations, and every refusal that was met on the way to their outcomes.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub history: Vec<LockOperation>,
    /// Answers that decide, such as `held`, are no refusals.
    pub refusals: Vec<Refused>,
    /// How long an attempt took that was answered, at most.
    pub slowest: Duration,
}

/// One attempt that came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// `503 no_leader`, `unreachable`, …
    pub how: String,
    /// On the clock of the history.
    pub at_us: u64,
    pub took: Duration,
    pub request: LockRequest,
}

impl Default for Record {
    fn default() -> Self {
        Self { began: Instant::now(), kept: Mutex::default() }
    }
}

impl Record {
    pub fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    pub(super) fn keep(&self, operation: LockOperation) -> Result<()> {
        let mut kept = self.lock();
        ensure!(kept.history.len() < OPERATIONS_MAX, "the history of the load is full");
        kept.history.push(operation);
        Ok(())
    }

    pub(super) fn refused(&self, refused: Refused) {
        self.lock().refusals.push(refused);
    }

    pub(super) fn answered(&self, took: Duration) {
        let mut kept = self.lock();
        kept.slowest = kept.slowest.max(took);
    }

    /// Resources that were granted to somebody since then.
    pub(super) fn granted_since(&self, since_us: u64) -> BTreeSet<String> {
        let kept = self.lock();
        let recent = kept.history.iter().filter(|operation| operation.start_us >= since_us);
        let granted =
            recent.filter(|operation| matches!(operation.answer(), Some(LockAnswer::Granted { .. })));
        granted.filter_map(|operation| resource_of(&operation.request)).map(str::to_owned).collect()
    }

    pub(super) fn report(&self) -> Report {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Report> {
        // A worker's panic leaves a list that is still a list.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Report {
    /// Nothing that a lock promises was broken: no two holders, tokens only grow, no lock lost before its time.
    pub fn check(&self) -> Result<()> {
        ensure!(self.answered() > 0, "the load was never answered: there is nothing to check");
        let violations = check(&self.history, Limits::default());
        let said: Vec<_> = violations.iter().map(ToString::to_string).collect();
        ensure!(said.is_empty(), "{} promises broken:\n{}", said.len(), said.join("\n"));
        Ok(())
    }

    /// No attempt was refused but with one of these (`503` means each code of it).
    pub fn refused_only_with(&self, allowed: &[&str]) -> Result<()> {
        let is_allowed = |how: &str| allowed.iter().any(|allowed| how.starts_with(allowed));
        let others: Vec<_> = self.refusals.iter().filter(|refused| !is_allowed(&refused.how)).collect();
        let first: Vec<_> = others.iter().take(TOLD_MAX).collect();
        ensure!(others.is_empty(), "{} refused otherwise than allowed: {first:#?}", others.len());
        Ok(())
    }

    /// How often each refusal was met.
    pub fn refused(&self) -> BTreeMap<&str, usize> {
        let mut times = BTreeMap::new();
        for refused in &self.refusals {
            *times.entry(refused.how.as_str()).or_default() += 1;
        }
        times
    }

    /// No promise broken, no refusal but these, and every operation answered in the end.
    pub fn all_answered(&self, allowed: &[&str]) -> Result<()> {
        println!(
            "    {} operations, answered within {:.2} s; refusals on the way: {:?}",
            self.answered(),
            self.slowest.as_secs_f64(),
            self.refused()
        );
        self.check()?;
        self.refused_only_with(allowed)?;
        ensure!(self.unanswered() == 0, "{} operations never got an answer", self.unanswered());
        Ok(())
    }

    /// Operations whose outcome was told.
    pub fn answered(&self) -> usize {
        self.history.iter().filter(|operation| operation.answer().is_some()).count()
    }

    /// Operations that were given up, and may or may not have had their effect.
    pub fn unanswered(&self) -> usize {
        self.history.len() - self.answered()
    }

    /// The longest time that some resource went without an answer, between two moments.
    pub fn longest_silence(&self, from_us: u64, to_us: u64) -> Duration {
        let mut answers: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        for operation in &self.history {
            let Some(resource) = resource_of(&operation.request) else { continue };
            let times = answers.entry(resource).or_insert_with(|| vec![from_us, to_us]);
            if let (Some(_), Some(end)) = (operation.answer(), operation.end_us)
                && (from_us..=to_us).contains(&end)
            {
                times.push(end);
            }
        }
        let longest = answers.into_values().filter_map(|mut times| {
            times.sort_unstable();
            times.windows(2).map(|pair| pair[1] - pair[0]).max()
        });
        Duration::from_micros(longest.max().unwrap_or_else(|| to_us.saturating_sub(from_us)))
    }

    /// Writes the history, one operation per line.
    pub fn save(&self, path: &Path) -> Result<()> {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        let file = std::fs::File::create(path).with_context(|| format!("create {}", path.display()))?;
        lines::write(&self.history, std::io::BufWriter::new(file))
            .with_context(|| format!("write {}", path.display()))
    }
}

fn resource_of(request: &LockRequest) -> Option<&str> {
    match request {
        LockRequest::Acquire { resource, .. }
        | LockRequest::Renew { resource, .. }
        | LockRequest::Release { resource, .. }
        | LockRequest::Read { resource } => Some(resource),
        LockRequest::ReleaseOwner { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use quartet_history::Outcome;
    use quartet_history::lock::Mode;

    use super::*;

    fn granted(owner: &str, resource: &str, token: u64, (start_us, end_us): (u64, u64)) -> LockOperation {
        LockOperation {
            client: 0,
            start_us,
            end_us: Some(end_us),
            request: LockRequest::Acquire {
                resource: resource.into(),
                owner: owner.into(),
                mode: Mode::Exclusive,
                ttl_ms: 10_000,
                wait_ms: 0,
            },
            outcome: Outcome::Answered(LockAnswer::Granted { token, mode: Mode::Exclusive }),
        }
    }

    fn report(history: Vec<LockOperation>) -> Report {
        let refused = Refused {
            how: "503 no_leader".to_owned(),
            at_us: 7,
            took: Duration::from_millis(1),
            request: LockRequest::Read { resource: "r".into() },
        };
        Report { history, refusals: vec![refused; 2], slowest: Duration::ZERO }
    }

    #[test]
    fn silence_is_that_of_the_resource_that_was_silent_longest() {
        let busy: Vec<_> = (0..10).map(|at| granted("a", "busy", at + 1, (at * 100, at * 100 + 1))).collect();
        let mut history = busy;
        history.push(granted("b", "quiet", 1, (0, 50)));
        history.push(granted("b", "quiet", 1, (700, 750)));
        let report = report(history);
        assert_eq!(report.longest_silence(0, 1000), Duration::from_micros(700));
        assert_eq!(report.longest_silence(700, 1000), Duration::from_micros(250));
    }

    #[test]
    fn two_holders_at_once_are_found() {
        let one = granted("a", "r", 1, (0, 10));
        assert!(report(vec![one.clone()]).check().is_ok());
        assert!(report(vec![one, granted("b", "r", 2, (20, 30))]).check().is_err());
        assert!(report(Vec::new()).check().is_err(), "nothing recorded proves nothing");
    }

    #[test]
    fn refusals_are_judged_by_their_status() {
        assert_eq!(report(Vec::new()).refused(), BTreeMap::from([("503 no_leader", 2)]));
        assert!(report(Vec::new()).refused_only_with(&["503"]).is_ok());
        assert!(report(Vec::new()).refused_only_with(&["429", "unreachable"]).is_err());
    }
}
