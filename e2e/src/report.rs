//! What came of checks and scenarios, and the last lines of a test run.

use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub name: String,
    pub took: Duration,
    pub verdict: Verdict,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Passed,
    Failed(String),
    /// Did not run, and why; neither passed nor failed.
    LeftOut(String),
}

impl Outcome {
    pub fn line(&self) -> String {
        let (word, why) = match &self.verdict {
            Verdict::Passed => ("ok", ""),
            Verdict::Failed(error) => ("FAILED", error.as_str()),
            Verdict::LeftOut(why) => ("left out", why.as_str()),
        };
        let line = format!("{word:<8} {:>7.1}s  {}", self.took.as_secs_f64(), self.name);
        if why.is_empty() { line } else { format!("{line}: {why}") }
    }
}

/// The table and the plain line; returns whether nothing failed and something ran.
pub fn print(outcomes: &[Outcome]) -> bool {
    println!();
    for outcome in outcomes {
        println!("{}", outcome.line());
    }
    let count =
        |wanted: fn(&Verdict) -> bool| outcomes.iter().filter(|outcome| wanted(&outcome.verdict)).count();
    let passed = count(|verdict| *verdict == Verdict::Passed);
    let failed = count(|verdict| matches!(verdict, Verdict::Failed(_)));
    println!("\n{passed} passed, {failed} failed");
    failed == 0 && passed > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(verdict: Verdict) -> Outcome {
        Outcome { name: "one".to_owned(), took: Duration::from_millis(1500), verdict }
    }

    #[test]
    fn one_failure_fails_the_run() {
        assert!(print(&[outcome(Verdict::Passed)]));
        assert!(!print(&[outcome(Verdict::Passed), outcome(Verdict::Failed("why".to_owned()))]));
    }

    #[test]
    fn a_run_of_nothing_is_no_success() {
        assert!(!print(&[]));
        assert!(!print(&[outcome(Verdict::LeftOut("no".to_owned()))]));
    }

    #[test]
    fn a_failure_says_why_and_how_long_it_took() {
        let line = outcome(Verdict::Failed("the leader never came".to_owned())).line();
        assert!(line.contains("1.5s") && line.contains("the leader never came"), "{line}");
    }
}
