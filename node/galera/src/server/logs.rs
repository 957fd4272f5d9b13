//! What a server writes, as lines of our own log, and its last lines for those who ask why it has ended.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, BufReader};

const LINES_MAX: usize = 200;
/// What is longer is cut.
const LINE_BYTES_MAX: usize = 4096;

#[derive(Clone, Debug, Default)]
pub(super) struct Tail {
    lines: Arc<Mutex<VecDeque<String>>>,
}

impl Tail {
    fn push(&self, line: String) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// Until the writers have closed it.
pub(super) async fn forward(from: impl AsyncRead + Unpin, tail: Tail) {
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    while next(&mut from, &mut line).await {
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        if !text.is_empty() {
            tell(&text);
            tail.push(text);
        }
        line.clear();
    }
}

/// False at the end.
async fn next(from: &mut (impl AsyncBufRead + Unpin), line: &mut Vec<u8>) -> bool {
    loop {
        let Ok(chunk) = from.fill_buf().await else { return false };
        if chunk.is_empty() {
            return !line.is_empty();
        }
        let (taken, ended) = match chunk.iter().position(|byte| *byte == b'\n') {
            Some(end) => (end + 1, true),
            None => (chunk.len(), false),
        };
        let room = LINE_BYTES_MAX.saturating_sub(line.len());
        line.extend(chunk.iter().take(taken.min(room)));
        from.consume(taken);
        if ended {
            return true;
        }
    }
}

/// `2026-11-21 13:51:52 0 [Note] text`: our own log has a time and a level of its own.
fn tell(line: &str) {
    const TARGET: &str = "mariadbd";
    match levelled(line) {
        ("ERROR", text) => tracing::error!(target: TARGET, "{text}"),
        ("Warning", text) => tracing::warn!(target: TARGET, "{text}"),
        (_, text) => tracing::info!(target: TARGET, "{text}"),
    }
}

fn levelled(line: &str) -> (&str, &str) {
    let known = |level: &str| matches!(level, "Note" | "Warning" | "ERROR");
    let split = line.split_once(" [").and_then(|(_, rest)| rest.split_once("] "));
    split.filter(|(level, _)| known(level)).unwrap_or(("", line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_found_where_they_are() {
        assert_eq!(levelled("2026-11-21 13:51:56 0 [ERROR] Aborting"), ("ERROR", "Aborting"));
        assert_eq!(levelled("2026-11-21  3:51:56 0 [Note] a [x] b"), ("Note", "a [x] b"));
        assert_eq!(levelled("WSREP_SST: [INFO] Streaming"), ("", "WSREP_SST: [INFO] Streaming"));
    }

    #[tokio::test]
    async fn lines_are_bounded_in_length_and_number() {
        let tail = Tail::default();
        let many: Vec<String> = (0..LINES_MAX).map(|line| format!("line {line}")).collect();
        let text = format!("{}\n{}", "x".repeat(3 * LINE_BYTES_MAX), many.join("\n"));
        forward(text.as_bytes(), tail.clone()).await;
        let lines = tail.lines();
        assert_eq!(lines.len(), LINES_MAX);
        assert_eq!((lines.first().unwrap().as_str(), lines.last().unwrap().as_str()), ("line 0", "line 199"));
        let long = Tail::default();
        forward("y".repeat(2 * LINE_BYTES_MAX).as_bytes(), long.clone()).await;
        assert_eq!(long.lines()[0].len(), LINE_BYTES_MAX);
    }
}
