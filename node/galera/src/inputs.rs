//! What may change while the manager runs: the operator's settings and the users' passwords, from mounted folders.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use quartet_client::galera::Settings;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

#[derive(Debug, thiserror::Error)]
pub enum InputError {
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} is not what the operator writes")]
    Unreadable { path: PathBuf, source: serde_json::Error },
}

/// One state of both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inputs {
    pub settings: Settings,
    /// By place in `settings.users`; none where the file is missing or empty.
    pub passwords: Vec<Option<Password>>,
}

/// Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(pub String);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

impl Inputs {
    /// Changes whenever the schema has to be applied again.
    pub fn schema_hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.settings.schema.as_bytes());
        for password in &self.passwords {
            let password = password.as_ref().map_or(&[][..], |password| password.0.as_bytes());
            hash.update((password.len() as u64).to_le_bytes());
            hash.update(password);
        }
        hash.finalize().into()
    }
}

const INTERVAL: Duration = Duration::from_secs(1);
const SETTINGS_BYTES_MAX: u64 = 1 << 20;
const WORD_BYTES_MAX: u64 = 4096;

pub async fn read(settings: &Path, passwords: &Path) -> Result<Inputs, InputError> {
    let settings = read_settings(settings).await?;
    let mut found = Vec::with_capacity(settings.users.len());
    for user in &settings.users {
        // The operator allows no such names; a file outside of the folder is never read.
        let name = if user.name.contains('/') || user.name.starts_with('.') { "" } else { &user.name };
        let password = if name.is_empty() { None } else { read_word(&passwords.join(name)).await? };
        found.push(password.filter(|password| !password.is_empty()).map(Password));
    }
    Ok(Inputs { settings, passwords: found })
}

pub(crate) async fn read_settings(path: &Path) -> Result<Settings, InputError> {
    let text = read_bounded(path, SETTINGS_BYTES_MAX).await?;
    serde_json::from_str(&text).map_err(|source| InputError::Unreadable { path: path.to_owned(), source })
}

/// A key of a mounted Secret; none where there is no such file.
pub(crate) async fn read_word(path: &Path) -> Result<Option<String>, InputError> {
    match read_bounded(path, WORD_BYTES_MAX).await {
        // A line's end at the end is an editor's, not the word's.
        Ok(text) => Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned())),
        Err(InputError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

async fn read_bounded(path: &Path, bytes_max: u64) -> Result<String, InputError> {
    let failed = |source| InputError::Read { path: path.to_owned(), source };
    let size = tokio::fs::metadata(path).await.map_err(failed)?.len();
    if size > bytes_max {
        return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, format!("{size} bytes"))));
    }
    tokio::fs::read_to_string(path).await.map_err(failed)
}

/// Looks for changes for ever. What cannot be read leaves what was known.
pub async fn watch(settings: PathBuf, passwords: PathBuf, tell: watch::Sender<Inputs>) {
    let mut failing = false;
    loop {
        tokio::time::sleep(INTERVAL).await;
        match read(&settings, &passwords).await {
            Ok(inputs) => {
                failing = false;
                tell.send_if_modified(|known| {
                    let changed = *known != inputs;
                    if changed {
                        *known = inputs;
                    }
                    changed
                });
            }
            Err(error) if !failing => {
                failing = true;
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "cannot read the settings: the last ones stay in force");
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: &str = r#"{"name":"shop","namespace":"default","clusterName":"shop-1","members":["a","b"],
        "sst":"rsync","schema":"h1","databases":[{"name":"beauty"}],
        "users":[{"name":"app","database":"beauty"},{"name":"none"}],"proxy":{"balance":"roundrobin"}}"#;

    #[tokio::test]
    async fn settings_and_passwords_are_read_and_a_changed_password_is_a_change_of_the_schema() {
        let folder = tempfile::tempdir().unwrap();
        let settings = folder.path().join("settings.json");
        std::fs::write(&settings, SETTINGS).unwrap();
        std::fs::write(folder.path().join("app"), "secret\n").unwrap();
        let inputs = read(&settings, folder.path()).await.unwrap();
        assert_eq!(inputs.passwords, [Some(Password("secret".into())), None]);
        assert!(!format!("{inputs:?}").contains("secret"));
        std::fs::write(folder.path().join("app"), "other").unwrap();
        let changed = read(&settings, folder.path()).await.unwrap();
        assert_ne!(changed.schema_hash(), inputs.schema_hash());
        assert_eq!(changed.settings, inputs.settings);
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let settings = folder.path().join("settings.json");
        assert!(matches!(read(&settings, folder.path()).await, Err(InputError::Read { .. })));
        std::fs::write(&settings, "{}").unwrap();
        assert!(matches!(read(&settings, folder.path()).await, Err(InputError::Unreadable { .. })));
    }
}
