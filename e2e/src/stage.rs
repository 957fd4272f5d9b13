//! What a scenario stands on: a namespace of its own, the API, the members' addresses.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use kube::api::{AttachParams, DeleteParams, DynamicObject, ListParams, LogParams};
use kube::{Api, Client, ResourceExt};
use serde_json::Value;
use tokio::io::AsyncReadExt;

use crate::cluster::images::Images;
use crate::cluster::ready::pod_is_ready;
use crate::faults::target::Target;
use crate::objects;
use crate::wait::until;

const HTTP_DEADLINE: Duration = Duration::from_secs(5);
const EXEC_DEADLINE: Duration = Duration::from_mins(1);

/// Marks the namespaces of scenarios, so that leftovers of earlier runs are found.
pub const LABEL: &str = "quartet.dev/scenario";

#[derive(Clone)]
pub struct Stage {
    pub client: Client,
    pub namespace: String,
    /// None on a cluster that is not ours.
    pub images: Option<Images>,
    http: reqwest::Client,
}

impl Stage {
    /// Makes the namespace `e2e-<scenario>`, without what an earlier run left in it.
    pub async fn set(client: Client, scenario: &str, images: Option<Images>) -> Result<Self> {
        let http = reqwest::Client::builder().timeout(HTTP_DEADLINE).no_proxy().build()?;
        let stage = Self { client, namespace: format!("e2e-{scenario}"), images, http };
        stage.clear().await?;
        objects::ensure_namespace(&stage.client, &stage.namespace, &[(LABEL, scenario)]).await?;
        Ok(stage)
    }

    /// Deletes the namespace with all that is in it.
    pub async fn clear(&self) -> Result<()> {
        let namespaces = Api::<Namespace>::all(self.client.clone());
        if namespaces.get_opt(&self.namespace).await?.is_none() {
            return Ok(());
        }
        namespaces.delete(&self.namespace, &DeleteParams::default()).await?;
        until(&format!("namespace {} gone", self.namespace), Duration::from_mins(2), async || {
            let left = namespaces.get_opt(&self.namespace).await?;
            ensure!(left.is_none(), "{}", why_left(left.as_ref()));
            Ok(())
        })
        .await
    }

    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// One of our kinds, untyped.
    pub fn resources(&self, kind: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &objects::resource(kind))
    }

    /// Server-side applies YAML in the scenario's namespace.
    pub async fn apply(&self, yaml: &str) -> Result<Vec<DynamicObject>> {
        objects::apply(&self.client, &self.namespace, yaml).await
    }

    pub async fn pods(&self, labels: &str) -> Result<Vec<Pod>> {
        Ok(self.api::<Pod>().list(&ListParams::default().labels(labels)).await?.items)
    }

    /// A pod as it is now, for faults.
    pub async fn target(&self, pod: &str) -> Result<Target> {
        Target::find(&self.client, &self.namespace, pod).await
    }

    /// Waits for a pod to be Ready, and for its container to have restarted when `after` is an earlier look at it.
    pub async fn wait_pod(&self, name: &str, after: Option<&Target>, deadline: Duration) -> Result<Target> {
        let pods = self.api::<Pod>();
        until(&format!("pod {name} Ready"), deadline, async || {
            let pod = pods.get(name).await?;
            let target = Target::of(&pod, None)?;
            let renewed = after.is_none_or(|before| before.container_id != target.container_id);
            ensure!(renewed, "its container has not restarted");
            ensure!(pod_is_ready(&pod), "not Ready: {}", why_not_ready(&pod));
            Ok(target)
        })
        .await
    }

    /// Waits for another pod of that name whose container runs.
    pub async fn wait_begun(&self, name: &str, not: &str, deadline: Duration) -> Result<()> {
        let pods = self.api::<Pod>();
        until(&format!("another pod {name} begun"), deadline, async || {
            let pod = pods.get_opt(name).await?.context("there is none")?;
            ensure!(pod.uid().as_deref() != Some(not), "the one of before is still there");
            let status = pod.status.and_then(|status| status.container_statuses).unwrap_or_default();
            let runs = status
                .iter()
                .any(|container| container.state.as_ref().is_some_and(|state| state.running.is_some()));
            ensure!(runs, "its container does not run yet");
            Ok(())
        })
        .await
    }

    /// Runs a command in a pod and returns what it wrote to its standard output.
    pub async fn exec(&self, pod: &str, command: &[&str]) -> Result<String> {
        let parameters = AttachParams::default().stdout(true).stderr(true);
        let mut process = self.api::<Pod>().exec(pod, command.to_vec(), &parameters).await?;
        let (mut out, mut errors) = (process.stdout(), process.stderr());
        let ended = process.take_status().context("exec gave no status")?;
        let work = async {
            let (mut text, mut error) = (String::new(), String::new());
            if let Some(out) = &mut out {
                out.read_to_string(&mut text).await?;
            }
            if let Some(errors) = &mut errors {
                errors.read_to_string(&mut error).await?;
            }
            let status = ended.await.and_then(|status| status.status).unwrap_or_default();
            ensure!(status == "Success", "{command:?} in {pod} failed: {error}");
            Ok(text)
        };
        tokio::time::timeout(EXEC_DEADLINE, work).await.with_context(|| format!("{command:?} in {pod}"))?
    }

    /// What a pod's container has logged since its last start.
    pub async fn log(&self, pod: &str) -> Result<String> {
        Ok(self.api::<Pod>().logs(pod, &LogParams::default()).await?)
    }

    /// The lines of it that were written after a moment of this machine's clock, which is that of a kind cluster's hosts.
    pub async fn log_since(&self, pod: &str, since: Timestamp) -> Result<String> {
        let parameters = LogParams { timestamps: true, ..LogParams::default() };
        let text = self.api::<Pod>().logs(pod, &parameters).await?;
        let is_later = |line: &&str| {
            let written = line.split_whitespace().next().and_then(|word| word.parse::<Timestamp>().ok());
            written.is_some_and(|written| written > since)
        };
        Ok(text.lines().filter(is_later).collect::<Vec<_>>().join("\n"))
    }

    /// `http://ADDRESS:PORT` of a Service, by its cluster address.
    pub async fn service_url(&self, name: &str, port: u16) -> Result<String> {
        let service = self.api::<Service>().get(name).await?;
        let address = service.spec.and_then(|spec| spec.cluster_ip).filter(|address| address != "None");
        Ok(format!("http://{}:{port}", address.with_context(|| format!("service {name} has no address"))?))
    }

    /// `http://ADDRESS:PORT` of a pod.
    pub async fn pod_url(&self, name: &str, port: u16) -> Result<String> {
        let status = self.api::<Pod>().get(name).await?.status;
        let address =
            status.and_then(|status| status.pod_ip).with_context(|| format!("pod {name} has no address"))?;
        Ok(format!("http://{address}:{port}"))
    }

    /// Gets JSON; an answer other than 2xx is an error.
    pub async fn get_json(&self, url: &str) -> Result<Value> {
        let answer = self.http.get(url).send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        if !status.is_success() {
            bail!("{url} answers {status}: {text}");
        }
        serde_json::from_str(&text).with_context(|| format!("{url} answers no JSON: {text}"))
    }

    /// Whether it answers 2xx within the time; anything else, and silence, is the error.
    pub async fn answers(&self, url: &str, deadline: Duration) -> Result<()> {
        // A connection of its own: an idle one of before a cut says nothing.
        let client = reqwest::Client::builder().timeout(deadline).no_proxy().build()?;
        client.get(url).send().await?.error_for_status()?;
        Ok(())
    }

    /// Names of pods on which of these hosts.
    pub async fn hosts_of(&self, labels: &str) -> Result<BTreeSet<String>> {
        Ok(self.pods(labels).await?.into_iter().filter_map(|pod| pod.spec?.node_name).collect())
    }
}

fn why_left(namespace: Option<&Namespace>) -> String {
    let status = namespace.and_then(|namespace| namespace.status.as_ref());
    let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let said: Vec<_> = conditions
        .iter()
        .filter(|condition| condition.status == "True")
        .filter_map(|condition| condition.message.clone())
        .collect();
    format!("still there: {}", said.join("; "))
}

fn why_not_ready(pod: &Pod) -> String {
    let status = pod.status.as_ref();
    let containers = status.and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
    let waiting: Vec<_> = containers
        .iter()
        .filter_map(|state| state.state.as_ref()?.waiting.as_ref()?.reason.clone())
        .collect();
    let phase = status.and_then(|status| status.phase.as_deref()).unwrap_or("no phase");
    format!("{} {phase} {}", pod.name_any(), waiting.join(", "))
}
