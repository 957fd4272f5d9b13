//! Pieces of statements, quoted. Pure.

use sha1::{Digest, Sha1};

/// `` `name` ``.
pub(super) fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A database's name where GRANT takes a pattern: `_` and `%` would stand for others.
pub(super) fn pattern(database: &str) -> String {
    identifier(&database.replace('\\', "\\\\").replace('_', "\\_").replace('%', "\\%"))
}

/// `'name'@'%'`: from anywhere that the network lets in.
pub(super) fn account(name: &str) -> String {
    format!("'{}'@'%'", name.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// What MariaDB keeps of a password (`mysql_native_password`): hence no statement ever holds one.
pub(super) fn password_hash(password: &str) -> String {
    let twice = Sha1::digest(Sha1::digest(password.as_bytes()));
    format!("*{twice:X}")
}

const SHOWN_CHARS_MAX: usize = 200;
const IDENTIFIED: &str = "IDENTIFIED BY";

/// As it may be told: short, on one line, without a password.
pub(super) fn shown(statement: &str) -> String {
    let line = statement.split_whitespace().collect::<Vec<_>>().join(" ");
    let open = line.to_ascii_uppercase().find(IDENTIFIED);
    let mut told: String = match open {
        Some(at) => format!("{}{IDENTIFIED} …", line.get(..at).unwrap_or_default()),
        None => line,
    };
    if told.chars().count() > SHOWN_CHARS_MAX {
        told = told.chars().take(SHOWN_CHARS_MAX).chain(['…']).collect();
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_names_whatever_they_hold() {
        assert_eq!(identifier("a`b"), "`a``b`");
        assert_eq!(pattern("shop_1"), "`shop\\_1`");
        assert_eq!(account("o'neil\\"), "'o\\'neil\\\\'@'%'");
    }

    #[test]
    fn the_hash_is_the_servers() {
        // SELECT PASSWORD('x') of MariaDB 10.11.
        assert_eq!(password_hash("x"), "*B69027D44F6E5EDC07F1AEAD1477967B16F28227");
    }

    #[test]
    fn what_is_told_is_short_and_holds_no_password() {
        assert_eq!(shown("CREATE  TABLE\n a (b INT)"), "CREATE TABLE a (b INT)");
        assert_eq!(shown("ALTER USER 'a'@'%' identified by 'secret'"), "ALTER USER 'a'@'%' IDENTIFIED BY …");
        assert_eq!(shown(&"x".repeat(1000)).chars().count(), SHOWN_CHARS_MAX + 1);
    }
}
