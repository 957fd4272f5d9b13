//! What the operator gives the proxy, read from mounted files.

use std::path::Path;

use quartet_client::galera::Settings;

use super::config::{Credentials, Unfit, fit};
use crate::inputs::{InputError, read_settings, read_word};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Input(#[from] InputError),
    #[error(transparent)]
    Unfit(#[from] Unfit),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Inputs {
    pub(super) settings: Settings,
    pub(super) credentials: Option<Credentials>,
}

impl Inputs {
    pub(super) async fn read(settings: &Path, credentials: &Path) -> Result<Self, Error> {
        let settings = read_settings(settings).await?;
        fit(&settings)?;
        Ok(Self { settings, credentials: credentials_in(credentials).await? })
    }
}

/// None where there is no user.
async fn credentials_in(dir: &Path) -> Result<Option<Credentials>, Error> {
    let Some(username) = read_word(&dir.join("username")).await? else { return Ok(None) };
    let password = read_word(&dir.join("password")).await?.unwrap_or_default();
    let credentials = Credentials { username, password };
    credentials.fit()?;
    Ok(Some(credentials))
}
