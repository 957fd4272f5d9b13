//! SQL text as statements, cut as the `mariadb` client cuts it: at the delimiter, which `DELIMITER` changes, but not
//! inside of quotes and comments.

/// Statements without their delimiters, in order; what is only comments and space is none.
pub(super) fn statements(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut delimiter = ";";
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            return found;
        }
        if let Some(changed) = new_delimiter(rest) {
            let line = rest.lines().next().unwrap_or_default();
            delimiter = changed;
            rest = rest.get(line.len()..).unwrap_or_default();
            continue;
        }
        let end = end(rest, delimiter);
        let statement = rest.get(..end).unwrap_or_default().trim();
        if !is_blank(statement) {
            found.push(statement);
        }
        rest = rest.get(end + delimiter.len()..).unwrap_or_default();
    }
}

/// Of a line such as `DELIMITER //`.
fn new_delimiter(text: &str) -> Option<&str> {
    let line = text.lines().next()?;
    let (word, given) = line.split_once(char::is_whitespace)?;
    let given = given.split_whitespace().next()?;
    word.eq_ignore_ascii_case("delimiter").then_some(given)
}

/// Where the first statement ends.
fn end(text: &str, delimiter: &str) -> usize {
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with(delimiter) {
            return at;
        }
        at += skipped(rest).unwrap_or_else(|| rest.chars().next().map_or(1, char::len_utf8));
    }
    text.len()
}

/// The length of a quoted text or comment that begins here.
fn skipped(text: &str) -> Option<usize> {
    let until = |start: usize, end: &str| {
        text.get(start..).and_then(|rest| rest.find(end)).map_or(text.len(), |at| start + at + end.len())
    };
    let mut chars = text.chars();
    match chars.next()? {
        quote @ ('\'' | '"' | '`') => Some(quoted(text, quote)),
        '#' => Some(until(1, "\n")),
        '-' if text.starts_with("--") && text[2..].chars().next().is_none_or(char::is_whitespace) => {
            Some(until(2, "\n"))
        }
        '/' if text.starts_with("/*") => Some(until(2, "*/")),
        _ => None,
    }
}

fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if c == '\\' && quote != '`' {
            escaped = true;
        } else if c == quote {
            // A doubled quote ends one text and begins the next: the same in the end.
            return at + c.len_utf8();
        }
    }
    text.len()
}

/// Nothing but comments.
fn is_blank(statement: &str) -> bool {
    after_comments(statement).is_empty()
}

/// What comes after the comments that it begins with. `/*!` and `/*M!` are statements that other databases take for comments.
pub(super) fn after_comments(statement: &str) -> &str {
    let mut rest = statement.trim_start();
    while !rest.is_empty() {
        let comment =
            rest.starts_with(['#', '-', '/']) && !rest.starts_with("/*!") && !rest.starts_with("/*M!");
        match skipped(rest).filter(|_| comment) {
            Some(length) => rest = rest.get(length..).unwrap_or_default().trim_start(),
            None => break,
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::statements;

    #[test]
    fn statements_are_cut_at_delimiters_outside_of_quotes_and_comments() {
        let text = "CREATE TABLE a (b TEXT DEFAULT ';'); -- a comment; still\nINSERT INTO a VALUES ('it''s; \\';'), (\"x;\");\n\
                    /* one; two */ INSERT INTO `odd;name` VALUES (1) # end;\n;;  SELECT 1";
        assert_eq!(
            statements(text),
            [
                "CREATE TABLE a (b TEXT DEFAULT ';')",
                "-- a comment; still\nINSERT INTO a VALUES ('it''s; \\';'), (\"x;\")",
                "/* one; two */ INSERT INTO `odd;name` VALUES (1) # end;",
                "SELECT 1",
            ]
        );
    }

    #[test]
    fn a_delimiter_of_ones_own_keeps_compound_statements_whole() {
        let text =
            "DELIMITER //\nCREATE PROCEDURE p() BEGIN SELECT 1; SELECT 2; END //\ndelimiter ;\nCALL p();";
        assert_eq!(statements(text), ["CREATE PROCEDURE p() BEGIN SELECT 1; SELECT 2; END", "CALL p()"]);
    }

    #[test]
    fn nothing_but_comments_is_no_statement_and_a_versioned_one_is() {
        assert!(statements(" ; -- a\n; /* b */ ; # c").is_empty());
        assert_eq!(statements("/*!40101 SET NAMES utf8 */;"), ["/*!40101 SET NAMES utf8 */"]);
    }

    #[test]
    fn what_does_not_end_ends_with_the_text() {
        for text in ["SELECT 'a", "SELECT 1 /* b", "SELECT `", "SELECT 'ä\\"] {
            assert_eq!(statements(text), [text]);
        }
        assert_eq!(statements("SELECT 5--2; SELECT 2"), ["SELECT 5--2", "SELECT 2"]);
    }
}
