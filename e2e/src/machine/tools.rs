//! Programs compiled from Go modules, kept in the cache by version: kind, kubectl and helm always, and all that a
//! cluster is made of where no registry has it.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::command::{Command, in_path};
use crate::machine::stamp;
use crate::paths::Paths;
use crate::progress::Progress;

pub const KUBERNETES: &str = "v1.35.4";
const BUILD_DEADLINE: Duration = Duration::from_mins(30);

/// What a run needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// To make and look at a cluster.
    Client,
    /// To build the node image too.
    Everything,
    /// One of them, whatever it is otherwise for.
    Only(&'static str),
}

#[derive(Clone, Copy, Debug)]
struct Tool {
    name: &'static str,
    need: Need,
    recipe: Recipe,
}

#[derive(Clone, Copy, Debug)]
enum Recipe {
    /// A command of k8s.io/kubernetes at [`KUBERNETES`].
    Kubernetes,
    /// A main package of a module, at a version.
    Package { path: &'static str, version: &'static str },
    /// A program of our own, with at most one requirement.
    Source { main: &'static str, requires: Option<&'static str> },
}

const fn kubernetes(name: &'static str) -> Tool {
    Tool { name, need: Need::Everything, recipe: Recipe::Kubernetes }
}

const fn package(name: &'static str, need: Need, path: &'static str, version: &'static str) -> Tool {
    Tool { name, need, recipe: Recipe::Package { path, version } }
}

const fn source(name: &'static str, main: &'static str, requires: Option<&'static str>) -> Tool {
    Tool { name, need: Need::Everything, recipe: Recipe::Source { main, requires } }
}

const TOOLS: &[Tool] = &[
    package("kind", Need::Client, "sigs.k8s.io/kind", "v0.33.0"),
    package("helm", Need::Client, "helm.sh/helm/v4/cmd/helm", "v4.3.1"),
    Tool { name: "kubectl", need: Need::Client, recipe: Recipe::Kubernetes },
    kubernetes("kubeadm"),
    kubernetes("kubelet"),
    kubernetes("kube-apiserver"),
    kubernetes("kube-controller-manager"),
    kubernetes("kube-scheduler"),
    kubernetes("kube-proxy"),
    package("etcd", Need::Everything, "go.etcd.io/etcd/server/v3", "v3.6.5"),
    package("etcdctl", Need::Everything, "go.etcd.io/etcd/etcdctl/v3", "v3.6.5"),
    package(
        "local-path-provisioner",
        Need::Everything,
        "github.com/rancher/local-path-provisioner",
        "v0.0.30",
    ),
    source("coredns", include_str!("../../kind/coredns.go"), Some("github.com/coredns/coredns@v1.14.2")),
    source("pause", include_str!("../../kind/pause.go"), None),
];

impl Tool {
    fn version(&self) -> &'static str {
        match self.recipe {
            Recipe::Kubernetes => KUBERNETES,
            Recipe::Package { version, .. } => version,
            Recipe::Source { requires, .. } => {
                requires.and_then(|module| module.split('@').nth(1)).unwrap_or("own")
            }
        }
    }

    fn is_wanted(&self, need: Need) -> bool {
        match need {
            Need::Client => self.need == Need::Client,
            Need::Everything => true,
            Need::Only(name) => self.name == name,
        }
    }

    fn digest(&self) -> String {
        stamp::digest([format!("{:?} {LINKER_FLAGS}", self.recipe), self.version().to_owned()])
    }
}

const LINKER_FLAGS: &str = "-s -w";

/// Where the cluster's tools are, by name.
pub fn path(paths: &Paths, name: &str) -> PathBuf {
    let own = paths.bin().join(name);
    if own.is_file() { own } else { PathBuf::from(name) }
}

/// Of all that goes into a node image.
pub fn digest() -> String {
    stamp::digest(TOOLS.iter().map(Tool::digest))
}

/// Compiles what is missing or of another version; returns the names of what it compiled.
pub async fn ensure(paths: &Paths, progress: &Progress, need: Need) -> Result<Vec<&'static str>> {
    let wanted = TOOLS.iter().filter(|tool| tool.is_wanted(need));
    let missing: Vec<_> = wanted.filter(|tool| !is_built(paths, tool) && !is_given(tool, need)).collect();
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    if !in_path("go") {
        let names: Vec<_> = missing.iter().map(|tool| tool.name).collect();
        bail!("Go is needed to compile {}: put Go (1.25 or newer) into PATH", names.join(", "));
    }
    std::fs::create_dir_all(paths.bin()).context("make the cache's bin")?;
    if missing.iter().any(|tool| matches!(tool.recipe, Recipe::Kubernetes)) {
        let started = Instant::now();
        require_kubernetes(paths).await?;
        progress.took(started, "modules of Kubernetes");
    }
    for tool in &missing {
        let started = Instant::now();
        build(paths, tool).await.with_context(|| format!("compile {} {}", tool.name, tool.version()))?;
        progress.took(started, &format!("{} {}", tool.name, tool.version()));
    }
    Ok(missing.iter().map(|tool| tool.name).collect())
}

fn stamp_of(paths: &Paths, tool: &Tool) -> PathBuf {
    paths.bin().join(".stamps").join(tool.name)
}

fn is_built(paths: &Paths, tool: &Tool) -> bool {
    paths.bin().join(tool.name).is_file() && stamp::matches(&stamp_of(paths, tool), &tool.digest())
}

/// A machine with a registry usually has its own tools, and any version of them does.
fn is_given(tool: &Tool, need: Need) -> bool {
    tool.need == Need::Client && need != Need::Everything && in_path(tool.name)
}

async fn build(paths: &Paths, tool: &Tool) -> Result<()> {
    let dir = match tool.recipe {
        Recipe::Kubernetes => paths.go_modules().join("k8s"),
        _ => paths.go_modules().join(tool.name),
    };
    let log = paths.logs().join(format!("go-{}.log", tool.name));
    let (package, flags) = match tool.recipe {
        Recipe::Kubernetes => (format!("k8s.io/kubernetes/cmd/{}", tool.name), kubernetes_flags()),
        Recipe::Package { path, version } => {
            start_module(&dir)?;
            go(&dir, &["get", "-tool", &format!("{path}@{version}")]).logged(&log).await?;
            (path.to_owned(), LINKER_FLAGS.to_owned())
        }
        Recipe::Source { main, requires } => {
            start_module(&dir)?;
            std::fs::write(dir.join("main.go"), main)?;
            if let Some(module) = requires {
                go(&dir, &["mod", "edit", "-require", module]).logged(&log).await?;
                go(&dir, &["mod", "tidy"]).logged(&log).await?;
            }
            (".".to_owned(), LINKER_FLAGS.to_owned())
        }
    };
    let finished = paths.bin().join(tool.name);
    let partial = paths.bin().join(format!(".{}.partial", tool.name));
    go(&dir, &["build", "-mod=mod", "-trimpath", "-ldflags", &flags, "-o"])
        .arg(&partial)
        .arg(&package)
        .logged(&log)
        .await?;
    std::fs::rename(&partial, &finished).with_context(|| format!("put {} in place", finished.display()))?;
    stamp::write(&stamp_of(paths, tool), &tool.digest())
}

fn go(dir: &Path, args: &[&str]) -> Command {
    Command::new("go").args(args).dir(dir).env("CGO_ENABLED", "0").deadline(BUILD_DEADLINE)
}

/// Always from the beginning: what an older version required must not linger.
fn start_module(dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir)?;
    std::fs::remove_file(dir.join("go.sum")).ok();
    std::fs::write(dir.join("go.mod"), "module quartet.dev/tools\n\ngo 1.25.0\n").context("write go.mod")
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Downloaded {
    go_mod: PathBuf,
}

/// A module that requires Kubernetes, with each of its staging modules replaced by the published version: 1.35.4 is
/// published as v0.35.4.
async fn require_kubernetes(paths: &Paths) -> Result<()> {
    let dir = paths.go_modules().join("k8s");
    start_module(&dir)?;
    let module = format!("k8s.io/kubernetes@{KUBERNETES}");
    let answer = go(&dir, &["mod", "download", "-json", &module]).text().await?;
    let downloaded: Downloaded = serde_json::from_str(&answer).context("read where Go put the module")?;
    let theirs = std::fs::read_to_string(&downloaded.go_mod).context("read the go.mod of Kubernetes")?;
    std::fs::write(dir.join("go.mod"), kubernetes_module(&theirs)?)?;
    let mut imports = String::from("//go:build tools\n\npackage tools\n\n");
    for tool in TOOLS.iter().filter(|tool| matches!(tool.recipe, Recipe::Kubernetes)) {
        writeln!(imports, "import _ \"k8s.io/kubernetes/cmd/{}\"", tool.name)?;
    }
    std::fs::write(dir.join("tools.go"), imports)?;
    go(&dir, &["mod", "tidy"]).logged(&paths.logs().join("go-modules.log")).await?;
    Ok(())
}

fn kubernetes_module(theirs: &str) -> Result<String> {
    let staging = KUBERNETES.strip_prefix("v1.").context("a version 1 of Kubernetes")?;
    let mut ours = String::from("module quartet.dev/tools\n");
    for line in theirs.lines().filter(|line| line.starts_with("go ") || line.starts_with("godebug default")) {
        writeln!(ours, "{line}")?;
    }
    writeln!(ours, "require k8s.io/kubernetes {KUBERNETES}\nreplace (")?;
    for line in theirs.lines() {
        // `k8s.io/api => ./staging/src/k8s.io/api`
        if let Some((name, place)) = line.trim().split_once(" => ")
            && place.starts_with("./staging/")
        {
            writeln!(ours, "\t{name} => {name} v0.{staging}")?;
        }
    }
    ours.push_str(")\n");
    Ok(ours)
}

/// Without its version, the binaries call themselves v0.0.0 and kubeadm refuses them.
fn kubernetes_flags() -> String {
    let minor = KUBERNETES.split('.').nth(1).unwrap_or_default();
    let package = "k8s.io/component-base/version";
    format!(
        "{LINKER_FLAGS} -X {package}.gitVersion={KUBERNETES} -X {package}.gitMajor=1 -X {package}.gitMinor={minor}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn staging_modules_are_replaced_by_their_published_versions() {
        let theirs = "module k8s.io/kubernetes\n\ngo 1.25.0\n\ngodebug default=go1.25\n\nreplace (\n\tk8s.io/api => ./staging/src/k8s.io/api\n)\n";
        let ours = kubernetes_module(theirs).unwrap();
        assert!(ours.contains("k8s.io/api => k8s.io/api v0.35.4"), "{ours}");
        assert!(ours.contains("go 1.25.0\ngodebug default=go1.25\n"), "{ours}");
    }

    #[test]
    fn a_benchmark_that_needs_etcd_compiles_nothing_else() {
        let wanted = |need| TOOLS.iter().filter(move |tool| tool.is_wanted(need)).map(|tool| tool.name);
        assert_eq!(wanted(Need::Only("etcd")).collect::<Vec<_>>(), ["etcd"]);
        assert_eq!(wanted(Need::Client).collect::<Vec<_>>(), ["kind", "helm", "kubectl"]);
        assert_eq!(wanted(Need::Everything).count(), TOOLS.len());
    }

    #[test]
    fn another_version_is_another_digest() {
        let old = package("kind", Need::Client, "sigs.k8s.io/kind", "v0.1.0");
        let new = package("kind", Need::Client, "sigs.k8s.io/kind", "v0.2.0");
        assert_ne!(old.digest(), new.digest());
    }
}
