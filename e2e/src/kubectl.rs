//! kubectl, as a user of one namespace: with a kubeconfig of its own, so that nothing of the machine's is changed.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cluster::CONTEXT;
use crate::command::Command;
use crate::machine::tools;
use crate::paths::Paths;
use crate::stage::Stage;

#[derive(Clone, Debug)]
pub struct Kubectl {
    program: PathBuf,
    config: PathBuf,
}

impl Kubectl {
    /// For the scenario's namespace, on the cluster that the scenario runs on.
    pub async fn for_stage(paths: &Paths, stage: &Stage) -> Result<Self> {
        let program = tools::path(paths, "kubectl");
        let mut view = Command::new(&program).args(["config", "view", "--minify", "--flatten", "--raw"]);
        if stage.images.is_some() {
            view = view.args(["--context", CONTEXT]);
        }
        let text = view.text().await.context("read the kubeconfig")?;
        let config = paths.output().join("kubeconfigs").join(&stage.namespace);
        std::fs::create_dir_all(config.parent().context("the file is in a folder")?)?;
        private(&config, &text).with_context(|| format!("write {}", config.display()))?;
        let kubectl = Self { program, config };
        let namespace = ["config", "set-context", "--current", "--namespace", &stage.namespace];
        kubectl.run().args(namespace).text().await?;
        Ok(kubectl)
    }

    pub fn run(&self) -> Command {
        Command::new(&self.program).env("KUBECONFIG", &self.config)
    }

    pub fn config(&self) -> &Path {
        &self.config
    }
}

/// It holds a key.
fn private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    options.create(true).truncate(true).write(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}
