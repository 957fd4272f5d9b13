//! Pieces of statements, quoted; what kind of statement it is; what may be told of it. Pure.

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

/// How a statement goes together with a note that it was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Writes rows: commits together with its note.
    Rows,
    /// Concerns the session alone, or begins and ends the user's own transactions: never noted, and carried out again in
    /// every session. What is written in such a transaction is noted in it.
    Session,
    /// Locks tables, which Galera knows nothing of. Passed over: under such a lock nothing could be noted, and nobody else
    /// writes to what is being filled.
    Lock,
    /// Commits by itself, or may.
    Other,
}

pub(super) fn kind(statement: &str) -> Kind {
    let words = words(statement);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["SET", "STATEMENT", ..]
        | ["INSERT" | "REPLACE" | "UPDATE" | "DELETE" | "WITH" | "SELECT" | "DO", ..] => Kind::Rows,
        ["BEGIN", "NOT", ..] => Kind::Other,
        ["SET" | "USE" | "BEGIN" | "COMMIT" | "ROLLBACK" | "SAVEPOINT" | "RELEASE", ..]
        | ["START", "TRANSACTION", ..] => Kind::Session,
        ["LOCK" | "UNLOCK", "TABLE" | "TABLES", ..] => Kind::Lock,
        _ => Kind::Other,
    }
}

/// The first few, in capitals. Of a versioned comment (`/*!40101 SET …`) what it holds.
fn words(statement: &str) -> Vec<String> {
    let mut rest = super::split::after_comments(statement);
    if let Some(versioned) = rest.strip_prefix("/*!").or_else(|| rest.strip_prefix("/*M!")) {
        rest = versioned.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    let words = rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| !word.is_empty()).take(3).map(str::to_ascii_uppercase).collect()
}

/// Errors that tell that what a statement makes is there, or that what it takes away is not.
pub(super) fn is_done_already(code: u16) -> bool {
    matches!(code, 1007 | 1008 | 1050 | 1051 | 1060 | 1061 | 1062 | 1091 | 1304 | 1359 | 1396 | 1537 | 1826)
}

const SHOWN_CHARS_MAX: usize = 200;
const ERROR_CHARS_MAX: usize = 300;

/// As it may be told: short, on one line, without a password.
pub(super) fn shown(statement: &str) -> String {
    let line = one_line(statement);
    match secret(&line) {
        Some(at) => short(&format!("{} …", line.get(..at).unwrap_or_default()), SHOWN_CHARS_MAX),
        None => short(&line, SHOWN_CHARS_MAX),
    }
}

/// MariaDB's error as it may be told. It repeats pieces of the statement, in quotes: where that holds a password, nothing
/// from the first quote on is told.
pub(super) fn shown_error(statement: &str, error: &str) -> String {
    let line = one_line(error);
    match (secret(&one_line(statement)), line.find(['\'', '"', '`'])) {
        (Some(_), Some(at)) => short(&format!("{}…", line.get(..at).unwrap_or_default()), ERROR_CHARS_MAX),
        _ => short(&line, ERROR_CHARS_MAX),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn short(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    text.chars().take(chars_max).chain(['…']).collect()
}

/// Where the word ends that a password follows: `IDENTIFIED BY 'x'`, `PASSWORD('x')`, `password = 'x'`, `SET PASSWORD FOR
/// u = 'x'`. Not where it names a column.
fn secret(line: &str) -> Option<usize> {
    let capitals = line.to_ascii_uppercase();
    let identified = capitals.find("IDENTIFIED").map(|at| at + "IDENTIFIED".len());
    let mut passwords = capitals.match_indices("PASSWORD").map(|(at, word)| at + word.len());
    let password = passwords.find(|end| {
        let next = capitals.get(*end..).unwrap_or_default().trim_start();
        capitals.contains("SET PASSWORD") || quotes_next(next)
    });
    [identified, password].into_iter().flatten().min()
}

fn quotes_next(text: &str) -> bool {
    text.trim_start_matches([' ', '=', '(']).starts_with(['\'', '"'])
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
    fn what_a_statement_does_to_a_transaction_is_told_by_its_first_words() {
        for (statement, expected) in [
            ("insert into a values (1)", Kind::Rows),
            ("-- a comment\n/* another */ UPDATE a SET b=1", Kind::Rows),
            ("SET STATEMENT max_statement_time=1 FOR DELETE FROM a", Kind::Rows),
            ("/*!40101 SET NAMES utf8 */", Kind::Session),
            ("/*M!100616 SET @a=1 */", Kind::Session),
            ("use`shop`", Kind::Session),
            ("begin", Kind::Session),
            ("START  TRANSACTION", Kind::Session),
            ("ROLLBACK TO SAVEPOINT a", Kind::Session),
            ("COMMIT", Kind::Session),
            ("BEGIN NOT ATOMIC SELECT 1; END", Kind::Other),
            ("LOCK TABLES a WRITE", Kind::Lock),
            ("unlock tables", Kind::Lock),
            ("CREATE TABLE a (b INT)", Kind::Other),
            ("CALL p()", Kind::Other),
        ] {
            assert_eq!(kind(statement), expected, "{statement}");
        }
    }

    #[test]
    fn what_is_told_is_short_and_holds_no_password() {
        assert_eq!(shown("CREATE  TABLE\n a (b INT)"), "CREATE TABLE a (b INT)");
        assert_eq!(shown("ALTER USER 'a'@'%' identified by 'secret'"), "ALTER USER 'a'@'%' identified …");
        assert_eq!(shown("CREATE TABLE users (password VARCHAR(60) DEFAULT '')"), {
            "CREATE TABLE users (password VARCHAR(60) DEFAULT '')"
        });
        for statement in [
            "SET PASSWORD FOR 'a'@'%' = PASSWORD ( 'secret')",
            "SET PASSWORD FOR 'a'@'%' = '*secret'",
            "CREATE SERVER s FOREIGN DATA WRAPPER mysql OPTIONS (USER 'a', PASSWORD \"secret\")",
            "UPDATE users SET password='secret'",
            "CHANGE MASTER TO MASTER_PASSWORD = 'secret'",
            "GRANT ALL ON a.* TO b IDENTIFIED/**/BY 'secret'",
        ] {
            assert!(!shown(statement).contains("secret"), "{}", shown(statement));
        }
        assert_eq!(shown(&"x".repeat(1000)).chars().count(), SHOWN_CHARS_MAX + 1);
    }

    #[test]
    fn an_error_repeats_nothing_of_a_statement_that_holds_a_password() {
        let near = "You have an error in your SQL syntax near ''secret' WHIT GRANT' at line 1";
        let grant = "GRANT ALL ON a.* TO b IDENTIFIED BY 'secret' WHIT GRANT";
        assert_eq!(shown_error(grant, near), "You have an error in your SQL syntax near …");
        let other = "Table 'shop.a' already exists";
        assert_eq!(shown_error("CREATE TABLE a (password TEXT)", other), other);
        assert_eq!(shown_error("SELECT", &"x".repeat(1000)).chars().count(), ERROR_CHARS_MAX + 1);
    }
}
