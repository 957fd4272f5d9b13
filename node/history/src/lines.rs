//! Histories as files: one operation per line, as JSON.

use std::io::{self, BufRead, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

#[derive(Debug, thiserror::Error)]
pub enum LinesError {
    #[error("line {line} of the history cannot be read")]
    Read { line: usize, source: io::Error },
    #[error("line {line} of the history is not an operation")]
    Parse { line: usize, source: serde_json::Error },
}

pub fn write<T: Serialize>(operations: &[T], mut into: impl Write) -> io::Result<()> {
    for operation in operations {
        serde_json::to_writer(&mut into, operation)?;
        into.write_all(b"\n")?;
    }
    into.flush()
}

pub fn read<T: DeserializeOwned>(from: impl BufRead) -> Result<Vec<T>, LinesError> {
    from.lines()
        .enumerate()
        .map(|(at, text)| {
            let line = at + 1;
            let text = text.map_err(|source| LinesError::Read { line, source })?;
            serde_json::from_str(&text).map_err(|source| LinesError::Parse { line, source })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::LockOperation;
    use crate::lock::fixture::{acquire, release};

    #[test]
    fn a_history_comes_back_from_its_lines() {
        let history: Vec<LockOperation> =
            vec![acquire("a", 0).granted(7, 10), release("a", 7, 20).unknown(), acquire("b", 30).failed(40)];
        let mut file = Vec::new();
        write(&history, &mut file).unwrap();
        assert_eq!(String::from_utf8_lossy(&file).lines().count(), 3);
        assert_eq!(read::<LockOperation>(file.as_slice()).unwrap(), history);
    }

    #[test]
    fn a_line_that_is_no_operation_is_named() {
        let error = read::<LockOperation>(b"{}\n".as_slice()).unwrap_err();
        assert_eq!(error.to_string(), "line 1 of the history is not an operation");
    }
}
