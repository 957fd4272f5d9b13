//! Logs: text for eyes, JSON for collectors.

use tracing_subscriber::{EnvFilter, filter::ParseError, fmt};

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Text,
    Json,
}

/// `filter` is a level, or levels per module: `info,kube=warn`.
pub fn init(format: Format, filter: &str) -> Result<(), ParseError> {
    let filter = EnvFilter::try_new(filter)?;
    let logs = fmt().with_env_filter(filter).with_target(false).with_writer(std::io::stderr);
    match format {
        Format::Text => logs.init(),
        Format::Json => logs.json().flatten_event(true).init(),
    }
    Ok(())
}
