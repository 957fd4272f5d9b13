//! Watches: they say which resource to look at, never what to do. Only metadata is watched, so no object, however
//! malformed, can break a watch, and memory doesn't grow with what objects hold.

use std::{collections::HashMap, sync::Arc};

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Api, Client,
    api::DynamicObject,
    core::PartialObjectMeta,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use tokio::{sync::mpsc, task::JoinSet};

use super::{accepted, store};
use crate::{metrics::Metrics, names, plan::ObjectKind};

/// Changes that wait to be looked at; a full queue slows the watch down.
pub const QUEUE: usize = 1024;

/// The objects of all kinds together, one watch per kind of child.
const SELECTOR: &str = "app.kubernetes.io/managed-by=quartet";

/// News of a child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Touched {
    One {
        namespace: String,
        name: String,
    },
    /// A watch was taken up anew: what was deleted meanwhile is not told.
    All,
}

/// Where the news of each kind go, by its label.
pub type Routes = HashMap<&'static str, mpsc::Sender<Touched>>;

/// Watches children in `scope` (a namespace; empty: all) until dropped.
pub fn children(client: &Client, scope: &str, routes: Routes, metrics: &Arc<Metrics>) -> JoinSet<()> {
    let routes = Arc::new(routes);
    let mut tasks = JoinSet::new();
    for kind in ObjectKind::ALL {
        let resource = store::api_resource(*kind);
        let api = scoped(client.clone(), scope, &resource);
        tasks.spawn(follow(api, Arc::clone(&routes), Arc::clone(metrics)));
    }
    tasks
}

fn scoped(
    client: Client,
    scope: &str,
    resource: &kube::core::ApiResource,
) -> Api<PartialObjectMeta<DynamicObject>> {
    if scope.is_empty() {
        Api::all_with(client, resource)
    } else {
        Api::namespaced_with(client, scope, resource)
    }
}

async fn follow(api: Api<PartialObjectMeta<DynamicObject>>, routes: Arc<Routes>, metrics: Arc<Metrics>) {
    let config = watcher::Config::default().labels(SELECTOR);
    let mut events = watcher(api, config)
        .inspect_err(|error| {
            metrics.watch_failed();
            tracing::warn!(%error, "watch interrupted");
        })
        .default_backoff()
        .boxed();
    let mut listed = false;
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Apply(object) | Event::Delete(object) | Event::InitApply(object)) => {
                route(&routes, &object.metadata).await;
            }
            Ok(Event::InitDone) if listed => {
                for route in routes.values() {
                    // A closed queue: shutting down.
                    let _ = route.send(Touched::All).await;
                }
            }
            Ok(Event::InitDone) => listed = true,
            Ok(Event::Init) | Err(_) => {}
        }
    }
}

async fn route(routes: &Routes, metadata: &ObjectMeta) {
    if let Some((label, touched)) = owner(metadata)
        && let Some(route) = routes.get(label)
    {
        let _ = route.send(touched).await;
    }
}

/// Whose child an object is, by its labels: pods and claims have other owners than their resource.
fn owner(metadata: &ObjectMeta) -> Option<(&str, Touched)> {
    let labels = metadata.labels.as_ref()?;
    let kind = labels.get(names::NAME).or_else(|| labels.get(accepted::KIND))?;
    let name = labels.get(names::INSTANCE)?.clone();
    Some((kind, Touched::One { namespace: metadata.namespace.clone()?, name }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labelled(labels: &[(&str, &str)]) -> ObjectMeta {
        ObjectMeta {
            namespace: Some("default".into()),
            labels: Some(
                labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            ),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn a_change_is_traced_to_its_resource_by_labels() {
        let pod =
            labelled(&[("app.kubernetes.io/name", "synccluster"), ("app.kubernetes.io/instance", "demo")]);
        let expected = Touched::One { namespace: "default".into(), name: "demo".into() };
        assert_eq!(owner(&pod), Some(("synccluster", expected)));
        assert_eq!(owner(&labelled(&[("app.kubernetes.io/name", "synccluster")])), None);
        assert_eq!(owner(&ObjectMeta::default()), None);
    }

    #[tokio::test]
    async fn news_go_to_their_own_kind_only() {
        let (send, mut receive) = mpsc::channel(QUEUE);
        let routes = Routes::from([("synccluster", send)]);
        route(
            &routes,
            &labelled(&[("app.kubernetes.io/name", "other"), ("app.kubernetes.io/instance", "x")]),
        )
        .await;
        route(
            &routes,
            &labelled(&[("app.kubernetes.io/name", "synccluster"), ("app.kubernetes.io/instance", "demo")]),
        )
        .await;
        assert_eq!(
            receive.recv().await,
            Some(Touched::One { namespace: "default".into(), name: "demo".into() })
        );
        assert!(receive.try_recv().is_err());
    }
}
