//! The first hour, as the page has it.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::command::Command;
use crate::kubectl::Kubectl;
use crate::paths::Paths;
use crate::stage::Stage;

const PAGE: &str = "docs/quickstart.md";
const PORT: u16 = 8100;
const DEADLINE: Duration = Duration::from_mins(8);
/// Fewer would mean that the page is not read as it is meant.
const BLOCKS: usize = 12;

/// Every block marked `sh`, in order, in one shell that stops at the first failure.
pub(super) async fn as_written(stage: Stage) -> Result<()> {
    let paths = Paths::find()?;
    let page =
        std::fs::read_to_string(paths.checkout().join(PAGE)).with_context(|| format!("read {PAGE}"))?;
    let blocks = blocks(&page, "sh");
    ensure!(blocks.len() >= BLOCKS, "{PAGE} has {} blocks", blocks.len());
    // The page forwards it; another listener would answer in its place.
    TcpListener::bind((Ipv4Addr::LOCALHOST, PORT)).with_context(|| format!("port {PORT} of this machine"))?;
    let kubectl = Kubectl::for_stage(&paths, &stage).await?;
    let dir = paths.output().join("quickstart");
    std::fs::create_dir_all(&dir)?;
    let log = paths.logs().join("quickstart.log");
    let script = format!("trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\nset -x\n{}", blocks.concat());
    let bash = Command::new("bash").args(["-euo", "pipefail", "-c", &script]);
    bash.env("KUBECONFIG", kubectl.config()).dir(&dir).deadline(DEADLINE).logged(&log).await?;
    let left: Vec<_> = std::fs::read_dir(&dir)?.filter_map(Result::ok).map(|entry| entry.path()).collect();
    ensure!(left.is_empty(), "the page leaves {left:?} behind");
    Ok(())
}

/// The texts of all fenced blocks of that language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    // The text of the open block, and whether it is one of those.
    let mut open: Option<(bool, String)> = None;
    for line in page.lines() {
        open = match (open, line.strip_prefix("```")) {
            (Some((true, text)), Some("")) => {
                blocks.push(text);
                None
            }
            (Some((false, _)), Some("")) | (None, None) => None,
            (Some((wanted, text)), _) => Some((wanted, text + line + "\n")),
            (None, Some(name)) => Some((name == language, String::new())),
        };
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_blocks_of_the_language_are_taken_in_order() {
        let page = "one\n```sh\na\nb\n```\n```shell\nno\n```\n```text\n```sh\n```\n```sh\nc\n```\n";
        assert_eq!(blocks(page, "sh"), ["a\nb\n", "c\n"]);
    }
}
