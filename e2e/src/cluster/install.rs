//! The operator by its chart, and the samples.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::future::try_join_all;
use kube::Client;

use super::images::Images;
use super::{CONTEXT, OPERATOR_NAMESPACE};
use crate::command::Command;
use crate::machine::tools;
use crate::objects;
use crate::paths::Paths;
use crate::progress::Progress;

const RELEASE: &str = "quartet";
const INSTALL_DEADLINE: Duration = Duration::from_mins(3);
/// All of them at once; the longest is a database that is copied member by member.
const SAMPLE_DEADLINE: Duration = Duration::from_mins(4);

/// Installs or upgrades the chart and waits for the operator's pods.
pub async fn operator(paths: &Paths, progress: &Progress, client: &Client, images: &Images) -> Result<()> {
    progress
        .step("operator", async {
            objects::ensure_namespace(client, OPERATOR_NAMESPACE, &[]).await?;
            helm(paths, images).await?;
            Ok(((), format!("release {RELEASE} in {OPERATOR_NAMESPACE}")))
        })
        .await
}

async fn helm(paths: &Paths, images: &Images) -> Result<()> {
    let set = |name: &str, value: &str| ["--set-string".to_owned(), format!("{name}={value}")];
    Command::new(tools::path(paths, "helm"))
        .args(["upgrade", "--install", RELEASE])
        .arg(paths.checkout().join("charts/quartet"))
        .args(["--kube-context", CONTEXT, "-n", OPERATOR_NAMESPACE])
        .args(set("image.operator.repository", images.operator.repository))
        .args(set("image.operator.tag", &images.operator.tag))
        .args(set("image.node.repository", images.node.repository))
        .args(set("image.node.tag", &images.node.tag))
        .args(set("image.mariadb.repository", images.databases.mariadb.repository))
        .args(set("image.mariadb.tag", &images.databases.mariadb.tag))
        .args(set("image.haproxy.repository", images.databases.haproxy.repository))
        .args(set("image.haproxy.tag", &images.databases.haproxy.tag))
        .args(set("image.pullPolicy", "IfNotPresent"))
        .args(["--wait", "--timeout", "150s"])
        .deadline(INSTALL_DEADLINE)
        .logged(&paths.logs().join("helm.log"))
        .await?;
    Ok(())
}

/// Applies e2e/samples/*.yaml in `default` and waits until each is Ready.
pub async fn samples(paths: &Paths, progress: &Progress, client: &Client) -> Result<()> {
    progress
        .step("samples", async {
            let started = Instant::now();
            let mut samples = Vec::new();
            for file in sample_files(&paths.checkout().join("e2e/samples"))? {
                let text =
                    std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
                samples.extend(objects::apply(client, "default", &text).await?);
            }
            let ready = try_join_all(samples.iter().map(async |sample| {
                objects::wait_ready(client, sample, SAMPLE_DEADLINE).await?;
                let name = objects::title(sample);
                progress.took(started, &format!("{name} Ready"));
                anyhow::Ok(name)
            }));
            Ok(((), format!("{} Ready in default", ready.await?.join(", "))))
        })
        .await
}

fn sample_files(dir: &Path) -> Result<Vec<std::path::PathBuf>> {
    let entries = std::fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))?;
    let mut files: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_kind_has_one_sample() {
        let files = sample_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("samples")).unwrap();
        let texts = files.iter().map(|file| std::fs::read_to_string(file).unwrap());
        let samples: Vec<_> = texts.flat_map(|text| objects::documents(&text).unwrap()).collect();
        let kinds: BTreeSet<_> =
            samples.iter().filter_map(|sample| Some(sample.types.as_ref()?.kind.clone())).collect();
        let ours: BTreeSet<_> = quartet_crds::all().into_iter().map(|(_, crd)| crd.spec.names.kind).collect();
        assert_eq!(kinds, ours);
        assert_eq!(samples.len(), ours.len());
    }
}
