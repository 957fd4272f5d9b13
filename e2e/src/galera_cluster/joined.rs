//! How a member came back, by its own log.

use anyhow::{Result, bail, ensure};

/// Of the manager, each time that it starts the server.
const STARTED: &str = "starting the server";
/// Galera's, when the group has come further than the member.
const IS_BEHIND: &str = "State transfer required";
/// The script's that fetches what is lacked: mariabackup's when it begins, any when it has ended. It runs in both cases,
/// and "SST received" and "IST received" are said in both: after everything was copied comes what was written meanwhile.
const EVERYTHING: [&str; 2] = ["Proceeding with SST", "SST completed on joiner"];
const WHAT_IT_MISSED: &str = "IST completed on joiner";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    WithNothingMissed,
    ByWhatItMissed,
    ByEverything,
}

impl Joined {
    /// `log`: since the server's death. When it was started more than once, the most that was given counts.
    pub(super) fn of(log: &str) -> Result<Self> {
        let says = |words: &str| log.lines().any(|line| line.contains(words));
        ensure!(says(STARTED), "no server was started");
        if EVERYTHING.into_iter().any(says) {
            Ok(Self::ByEverything)
        } else if says(WHAT_IT_MISSED) {
            Ok(Self::ByWhatItMissed)
        } else if says(IS_BEHIND) {
            bail!("it was behind, and says of no transfer")
        } else {
            Ok(Self::WithNothingMissed)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STARTING: &str =
        r#"{"fields":{"message":"starting the server","start":"Join(Join { donors: [0] })"}}"#;
    const BEHIND: &str = r#"{"fields":{"message":"WSREP: State transfer required:"},"target":"mariadbd"}"#;
    const BOTH: [&str; 4] = [
        r#"{"fields":{"message":"WSREP: SST received"},"target":"mariadbd"}"#,
        r#"{"fields":{"message":"WSREP: SST received: 1402c48c-e5d7-11f1-8b2b-c60249a44627:10"}}"#,
        r#"{"fields":{"message":"WSREP: Receiving IST... 0.0% (0/9 events) complete."}}"#,
        r#"{"fields":{"message":"WSREP: IST received: 1402c48c-e5d7-11f1-8b2b-c60249a44627:10"}}"#,
    ];

    fn joined(lines: &[&str]) -> Result<Joined> {
        Joined::of(&lines.join("\n"))
    }

    #[test]
    fn a_copy_of_everything_is_told_from_what_was_missed() {
        let copied =
            r#"{"fields":{"message":"WSREP_SST: [INFO] Proceeding with SST (20261121 18:12:29.881)"}}"#;
        let missed =
            r#"{"fields":{"message":"WSREP_SST: [INFO] mariabackup IST completed on joiner (20261121)"}}"#;
        let with = |word| joined(&[&[STARTING, BEHIND, word], BOTH.as_slice()].concat()).unwrap();
        let by_rsync =
            r#"{"fields":{"message":"WSREP_SST: [INFO] rsync SST completed on joiner (20261121)"}}"#;
        assert_eq!(with(copied), Joined::ByEverything);
        assert_eq!(with(by_rsync), Joined::ByEverything);
        assert_eq!(with(missed), Joined::ByWhatItMissed);
        assert_eq!(joined(&[STARTING, missed, STARTING, copied]).unwrap(), Joined::ByEverything);
    }

    #[test]
    fn who_missed_nothing_was_given_nothing() {
        assert_eq!(joined(&[STARTING]).unwrap(), Joined::WithNothingMissed);
        assert!(joined(&[STARTING, BEHIND]).is_err());
    }

    #[test]
    fn a_log_without_a_start_says_nothing() {
        assert!(joined(&[]).is_err());
        assert!(joined(&BOTH).is_err());
    }
}
