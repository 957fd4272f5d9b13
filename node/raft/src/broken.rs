//! Rules that can be left out on purpose. Without the feature `broken-rules` no rule can be.

use crate::effects::Settings;

/// One rule of Raft left out, so that the simulator can show that its invariants notice.
#[cfg_attr(not(feature = "broken-rules"), allow(unreachable_pub))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokenRule {
    /// Votes without comparing logs (§3.6.1).
    VoteForStaleLog,
    /// Votes twice in a term.
    VoteTwice,
    /// Counts a minority as a quorum for commits.
    CommitWithoutQuorum,
    /// Commits entries of earlier terms by counting copies (§3.6.2).
    CommitEarlierTerm,
    /// Appends without checking the entry before.
    SkipConsistencyCheck,
    /// Serves reads without a round of confirmation (§6.4).
    ReadWithoutRound,
    /// Sends promises before they are on disk.
    PromiseBeforeSync,
    /// Skips the joint configuration.
    SkipJoint,
}

impl Settings {
    #[cfg(feature = "broken-rules")]
    pub(crate) fn breaks(&self, rule: BrokenRule) -> bool {
        self.broken == Some(rule)
    }

    #[cfg(not(feature = "broken-rules"))]
    #[allow(clippy::unused_self)]
    pub(crate) const fn breaks(&self, _rule: BrokenRule) -> bool {
        false
    }
}
