//! The README's quickest try, without Kubernetes: typed as it stands, answered as it says.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::command::Command;
use crate::paths::Paths;

const BUILD_DEADLINE: Duration = Duration::from_mins(30);
const DEADLINE: Duration = Duration::from_mins(2);
const COMMAND: &str = "cargo run --release -p quartet-node -- dev";
/// `$1` starts the members, `$2` asks them. Cargo becomes the program that it runs, so that ending it ends them.
const TRY: &str = "eval \"exec $1\" >\"$3\" 2>&1 &
dev=$!
trap 'kill $dev && wait $dev || true' EXIT
until curl -sf -o /dev/null http://127.0.0.1:8101/readyz; do
  kill -0 $dev || { cat \"$3\"; exit 1; }
  sleep 0.5
done
eval \"$2\"";

pub async fn check(paths: &Paths) -> Result<()> {
    let page = std::fs::read_to_string(paths.checkout().join("README.md")).context("read README.md")?;
    ensure!(page.lines().any(|line| line == COMMAND), "README.md does not say `{COMMAND}`");
    let (request, promised) = request_and_answer(&page).context("README.md asks for no lock")?;
    let build = Command::new("cargo").args(["build", "--release", "-p", "quartet-node"]);
    let log = paths.logs().join("check-readme.log");
    build
        .env("CARGO_TARGET_DIR", paths.cargo_target())
        .dir(paths.checkout())
        .deadline(BUILD_DEADLINE)
        .logged(&log)
        .await?;
    let script =
        Command::new("bash").args(["-euo", "pipefail", "-c", TRY, "try", COMMAND, &request]).arg(&log);
    let answer = script
        .env("CARGO_TARGET_DIR", paths.cargo_target())
        .dir(paths.checkout())
        .deadline(DEADLINE)
        .text()
        .await
        .with_context(|| format!("what the members said: {}", log.display()))?;
    ensure!(
        form(&answer)? == form(&promised)?,
        "README.md promises\n{promised}\nand the members answer\n{answer}"
    );
    Ok(())
}

/// The block that begins with curl: a command of several lines, then what it prints.
fn request_and_answer(page: &str) -> Option<(String, String)> {
    let from = page.find("\ncurl ")? + 1;
    let block = page.get(from..)?.split("\n```").next()?;
    let (request, answer) = block.split_once("\n{")?;
    Some((request.to_owned(), format!("{{{answer}")))
}

/// The answer but for its token, which differs each time, and the time that is left, which runs.
fn form(answer: &str) -> Result<Value> {
    let mut value: Value = serde_json::from_str(answer).with_context(|| format!("no JSON: {answer}"))?;
    for (field, least) in [("fencing_token", 1), ("expires_in_ms", 50_000)] {
        let number = value[field].as_u64().with_context(|| format!("no {field}: {answer}"))?;
        ensure!(number >= least, "{field} is {number}");
        value[field] = Value::Null;
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_and_the_answer_are_found() {
        let page = "```\nother\n```\n\n```\ncurl -s url \\\n  -d '{}'\n{\"a\":1}\n```\nmore\n```\n{}\n```\n";
        let (request, answer) = request_and_answer(page).unwrap();
        assert_eq!((request.as_str(), answer.as_str()), ("curl -s url \\\n  -d '{}'", "{\"a\":1}"));
    }

    #[test]
    fn only_token_and_time_may_differ() {
        let answer = |token: u64, resource: &str| {
            format!(r#"{{"resource":"{resource}","fencing_token":{token},"expires_in_ms":60000}}"#)
        };
        assert_eq!(form(&answer(5, "r")).unwrap(), form(&answer(9, "r")).unwrap());
        assert_ne!(form(&answer(5, "r")).unwrap(), form(&answer(5, "s")).unwrap());
        assert!(form("{}").is_err());
    }
}
