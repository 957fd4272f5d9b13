//! What `mariadbd --wsrep-recover` says of the data.

use quartet_client::galera::Position;

const RECOVERED: &str = "WSREP: Recovered position: ";

/// None: it said nothing about a position.
pub fn position(output: &str) -> Option<Result<Position, NoHistory>> {
    let said = output.lines().rev().find_map(|line| line.split_once(RECOVERED))?.1;
    // A domain and server id may follow: `UUID:SEQNO,0-1-2`.
    let position = said.split([',', ' ']).next().unwrap_or(said).trim();
    Some(position.parse().map_err(|_| NoHistory(position.to_owned())))
}

/// Data that has never been part of a cluster, or has lost the record of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the storage engine has no record of a cluster: it says {0}")]
pub struct NoHistory(pub String);

/// The first errors that a server told of, without dates: what came after mostly follows from them.
pub fn errors<'a>(lines: impl Iterator<Item = &'a str>) -> Option<String> {
    let errors = lines.filter_map(|line| Some(line.split_once("[ERROR] ")?.1.trim()));
    let told: Vec<&str> = errors.filter(|error| *error != "Aborting").take(ERRORS_MAX).collect();
    let told: String = told.join("; ").chars().take(ERROR_CHARS_MAX).collect();
    (!told.is_empty()).then_some(told)
}

/// InnoDB itself says that its data is corrupt, and nothing that it tells of could be the reason why it only seems so.
pub fn is_corrupt(output: &str) -> bool {
    let mut errors =
        output.lines().filter_map(|line| Some(line.split_once("[ERROR] ")?.1.to_ascii_lowercase()));
    let mut corrupt = false;
    let blameless = errors.all(|error| {
        corrupt |= CORRUPT.contains(&error.trim_end());
        !OTHER_REASONS.iter().any(|reason| error.contains(reason))
    });
    corrupt && blameless
}

/// What InnoDB gives up with. Where a file is missing or of another size, it speaks of a generic error.
const CORRUPT: &[&str] = &[
    "innodb: plugin initialization aborted with error data structure corruption",
    "innodb: plugin initialization aborted with error page read from tablespace is corrupted.",
];
/// Of the host, of the settings, or of another version of the server.
const OTHER_REASONS: &[&str] = &[
    "operating system error",
    "errno",
    "errcode",
    "os error",
    "no space",
    "disk is full",
    "memory",
    "permission",
    "cannot open",
    "crypt",
    "unknown variable",
    "unknown option",
    "unsupported redo log",
    "upgrade",
    "downgrade",
    "page size",
    "page_size",
];

const ERRORS_MAX: usize = 2;
const ERROR_CHARS_MAX: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    /// Of MariaDB 10.11.19, after a kill.
    const KILLED: &str = "\
2026-11-21 13:51:52 0 [Note] Recovering after a crash using tc.log
2026-11-21 13:51:52 0 [Note] Crash table recovery finished.
2026-11-21 13:51:52 0 [Note] WSREP: Recovered position: 7bec1de7-e5b2-11f1-8da7-aa0419e22e6c:1
";
    const NEVER: &str =
        "2026-11-21 13:51:55 0 [Note] WSREP: Recovered position: 00000000-0000-0000-0000-000000000000:-1";
    const DAMAGED: &str = "\
2026-11-21 13:51:56 0 [ERROR] InnoDB: Invalid log header checksum
2026-11-21 13:51:56 0 [ERROR] InnoDB: Plugin initialization aborted with error Data structure corruption
2026-11-21 13:51:56 0 [Note] InnoDB: Starting shutdown...
2026-11-21 13:51:56 0 [ERROR] Plugin 'InnoDB' registration as a STORAGE ENGINE failed.
2026-11-21 13:51:56 0 [Note] Plugin 'FEEDBACK' is disabled.
2026-11-21 13:51:56 0 [ERROR] Unknown/unsupported storage engine: InnoDB
2026-11-21 13:51:56 0 [ERROR] Aborting
";

    #[test]
    fn the_position_is_read_with_and_without_what_may_follow_it() {
        let expected = "7bec1de7-e5b2-11f1-8da7-aa0419e22e6c:1".parse().unwrap();
        assert_eq!(position(KILLED), Some(Ok(expected)));
        assert_eq!(position(&KILLED.replace(":1\n", ":1,0-1-2\n")), Some(Ok(expected)));
    }

    #[test]
    fn no_history_and_no_answer_are_told_apart() {
        assert!(matches!(position(NEVER), Some(Err(NoHistory(_)))));
        assert_eq!(position(DAMAGED), None);
    }

    #[test]
    fn only_what_innodb_calls_corrupt_and_nothing_else_explains_is_corrupt() {
        assert!(is_corrupt(DAMAGED));
        assert!(is_corrupt(
            &DAMAGED.replace("Data structure corruption", "Page read from tablespace is corrupted.")
        ));
        assert!(!is_corrupt(KILLED) && !is_corrupt(NEVER) && !is_corrupt(""));
        for reason in [
            "InnoDB: Operating system error number 28 in a file operation.",
            "mariadbd: Out of memory (Needed 134217728 bytes)",
            // It calls this corrupt, too.
            "InnoDB: Data file './ibdata1' uses page size 16384, but the innodb_page_size start-up parameter is 8192",
            "InnoDB: Obtaining redo log encryption key version 1 failed",
            "mariadbd: unknown variable 'innodb_nonsense=1'",
            "InnoDB: Unsupported redo log format. The redo log was created with MariaDB 11.8.",
        ] {
            let told = format!("2026-11-21 13:51:55 0 [ERROR] {reason}\n");
            assert!(!is_corrupt(&format!("{told}{DAMAGED}")), "{reason}");
            assert!(!is_corrupt(&told), "{reason}");
        }
        let other = DAMAGED.replace("Data structure corruption", "Generic error");
        assert!(!is_corrupt(&other));
    }

    #[test]
    fn the_first_errors_are_passed_on() {
        let told = errors(DAMAGED.lines()).unwrap();
        assert_eq!(
            told,
            "InnoDB: Invalid log header checksum; InnoDB: Plugin initialization aborted with error Data structure corruption"
        );
        assert_eq!(errors(KILLED.lines()), None);
    }
}
