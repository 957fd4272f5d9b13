//! Galera's own record, `grastate.dat`. It is never believed about how far the data has come: the storage engine knows
//! better, and the file may be of another time. It is read for what only it tells: that Galera itself gave the data up.

use uuid::Uuid;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// None: no such line, or unreadable.
    pub cluster: Option<Uuid>,
    pub seqno: Option<i64>,
    pub safe_to_bootstrap: bool,
}

pub fn read(text: &str) -> Saved {
    let mut saved = Saved::default();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, value)) = line.split_once(':') else { continue };
        match (name.trim(), value.trim()) {
            ("uuid", value) => saved.cluster = value.parse().ok(),
            ("seqno", value) => saved.seqno = value.parse().ok(),
            ("safe_to_bootstrap", value) => saved.safe_to_bootstrap = value == "1",
            _ => {}
        }
    }
    saved
}

/// Written before each start: Galera takes the position that it is given only where this file has the same history
/// and no sequence number of its own.
pub fn write(cluster: Uuid, safe_to_bootstrap: bool) -> String {
    let safe = u8::from(safe_to_bootstrap);
    format!(
        "# GALERA saved state\nversion: 2.1\nuuid:    {cluster}\nseqno:   -1\nsafe_to_bootstrap: {safe}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Galera 26.4.23 left it at a kill.
    const KILLED: &str = "# GALERA saved state\nversion: 2.1\nuuid:    7bec1de7-e5b2-11f1-8da7-aa0419e22e6c\n\
                          seqno:   -1\nsafe_to_bootstrap: 1\n";

    #[test]
    fn what_galera_writes_is_read_and_what_is_written_is_what_it_writes() {
        let cluster = "7bec1de7-e5b2-11f1-8da7-aa0419e22e6c".parse().unwrap();
        let saved = Saved { cluster: Some(cluster), seqno: Some(-1), safe_to_bootstrap: true };
        assert_eq!(read(KILLED), saved);
        assert_eq!(write(cluster, true), KILLED);
    }

    #[test]
    fn nonsense_is_nothing_known() {
        for text in ["", "uuid", "uuid: 12\nseqno: many", "\u{0}\u{0}"] {
            assert_eq!(read(text), Saved::default(), "{text:?}");
        }
    }
}
