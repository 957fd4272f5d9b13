//! What the operator gives the proxy, read from mounted files.

use std::io;
use std::path::{Path, PathBuf};

use quartet_client::galera::Settings;

use super::config::{Credentials, Unfit, fit};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("read {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path} does not hold settings")]
    Settings {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error(transparent)]
    Unfit(#[from] Unfit),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Inputs {
    pub(super) settings: Settings,
    pub(super) credentials: Option<Credentials>,
}

impl Inputs {
    pub(super) fn read(settings: &Path, credentials: &Path) -> Result<Self, Error> {
        let text = read(settings)?;
        let wrong = |source| Error::Settings { path: settings.to_owned(), source };
        let settings: Settings = serde_json::from_str(&text).map_err(wrong)?;
        fit(&settings)?;
        Ok(Self { settings, credentials: credentials_in(credentials)? })
    }
}

/// None where there are no such files.
fn credentials_in(dir: &Path) -> Result<Option<Credentials>, Error> {
    if !dir.join("username").exists() {
        return Ok(None);
    }
    let word = |name: &str| read(&dir.join(name)).map(|text| text.trim_end_matches(['\r', '\n']).to_owned());
    let credentials = Credentials { username: word("username")?, password: word("password")? };
    credentials.fit()?;
    Ok(Some(credentials))
}

fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })
}
