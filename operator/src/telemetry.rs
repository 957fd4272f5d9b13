//! Logs: text for eyes, JSON for collectors.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, filter::ParseError, fmt};

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Text,
    Json,
}

/// What libraries say at their own discretion is not news; the user's filter may ask for more.
const LIBRARIES: &str = "kube_runtime=warn,kube_client=warn";

/// `filter` is a level, or levels per module: `info,kube_runtime=debug`.
pub fn init(format: Format, filter: &str) -> Result<(), ParseError> {
    let filter = EnvFilter::try_new(format!("{LIBRARIES},{filter}"))?;
    let logs = fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        Format::Text => logs.init(),
        Format::Json => logs.json().flatten_event(true).init(),
    }
    Ok(())
}
