//! Rules that can be left out on purpose. Without the feature `broken-rules` no rule can be.

use super::EngineSettings;

/// One rule of the engine left out, so that the simulator can show that its invariants notice.
#[cfg_attr(not(feature = "broken-rules"), allow(unreachable_pub))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokenRule {
    /// A leader that slept lets replicated time leap by as long as it did.
    LeapInTime,
    /// A new leader stamps by its own clock, instead of going on from the last stamp in its log.
    StampByOwnClock,
    /// A command that is in the log twice is applied twice.
    ApplyAgain,
    /// What depends on the disk leaves before it is there.
    PromiseBeforeSync,
    /// A question is answered from a state that is older than the index that it was confirmed at.
    AnswerBeforeApplied,
    /// Every life of a member numbers its requests from the same start.
    NumberLivesAlike,
    /// A leader goes on leading while its disk hangs.
    LeadOnHungDisk,
}

impl EngineSettings {
    #[cfg(feature = "broken-rules")]
    pub(super) fn breaks(&self, rule: BrokenRule) -> bool {
        self.broken == Some(rule)
    }

    #[cfg(not(feature = "broken-rules"))]
    #[allow(clippy::unused_self)]
    pub(super) const fn breaks(&self, _rule: BrokenRule) -> bool {
        false
    }
}
