//! One kind's queue: what is touched is reconciled, at most so many at a time, never one object twice at once.

use std::{convert::Infallible, sync::Arc, time::Duration};

use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use kube::{
    Api, ResourceExt,
    core::PartialObjectMeta,
    runtime::{
        WatchStreamExt,
        controller::{self, Action, ReconcileRequest},
        reflector::{self, ObjectRef, Store},
        watcher::{self, watcher},
    },
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use uuid::Uuid;

use crate::{
    failure::{Class, Failure},
    kube::{Context, backoff::Backoff, watch::Touched},
    reconcile::{self, Kind},
};

/// Even without any news.
const RESYNC: Duration = Duration::from_mins(10);
/// A reconciliation that takes longer is given up and starts anew.
const DEADLINE: Duration = Duration::from_secs(90);
/// Several changes at once are looked at once. Short: a foreign edit is to be put back soon.
const DEBOUNCE: Duration = Duration::from_millis(200);

type Seen<K> = PartialObjectMeta<<K as Kind>::Resource>;

/// Runs until stopped, then finishes what is under way.
pub async fn run<K: Kind>(
    ctx: Context,
    scope: String,
    concurrency: u16,
    touched: mpsc::Receiver<Touched>,
    stop: CancellationToken,
) {
    let api: Api<Seen<K>> = if scope.is_empty() {
        Api::all(ctx.client.clone())
    } else {
        Api::namespaced(ctx.client.clone(), &scope)
    };
    let (store, writer) = reflector::store::<Seen<K>>();
    let metrics = Arc::clone(&ctx.metrics);
    let own = watcher(api, watcher::Config::default())
        .inspect_err(move |error| {
            metrics.watch_failed();
            tracing::warn!(%error, kind = K::LABEL, "watch interrupted");
        })
        .default_backoff()
        .reflect(writer)
        .touched_objects()
        .map_ok(|object| ReconcileRequest::from(ObjectRef::from_obj(&object)));
    let requests = stream::select(own.boxed(), children::<K>(touched, store.clone()).boxed())
        .take_until(stop.cancelled_owned())
        .boxed();
    let config = controller::Config::default().concurrency(concurrency).debounce(DEBOUNCE);
    let worker = Arc::new(Worker { ctx, backoff: Backoff::default() });
    controller::applier(
        |object: Arc<Seen<K>>, worker: Arc<Worker>| {
            async move { Ok::<_, Infallible>(Action::requeue(worker.reconcile::<K>(&object).await)) }.boxed()
        },
        |_, _, _| Action::await_change(),
        worker,
        store,
        requests,
        config,
    )
    // Errors here are of the queue (logged above) or of objects that are gone.
    .for_each(|_| std::future::ready(()))
    .await;
}

/// Requests of what the watches of children tell.
fn children<K: Kind>(
    touched: mpsc::Receiver<Touched>,
    store: Store<Seen<K>>,
) -> impl futures::Stream<Item = Result<ReconcileRequest<Seen<K>>, watcher::Error>> {
    stream::unfold(touched, |mut touched| async move { touched.recv().await.map(|one| (one, touched)) })
        .flat_map(move |touched| {
            let references: Vec<_> = match touched {
                Touched::One { namespace, name } => vec![ObjectRef::new(&name).within(&namespace)],
                Touched::All => {
                    store.state().iter().map(|object| ObjectRef::from_obj(object.as_ref())).collect()
                }
            };
            stream::iter(references.into_iter().map(|reference| Ok(ReconcileRequest::from(reference))))
        })
}

struct Worker {
    ctx: Context,
    backoff: Backoff,
}

impl Worker {
    /// One reconciliation. Answers when to look again.
    async fn reconcile<K: Kind>(&self, object: &Seen<K>) -> Duration {
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        let key = format!("{}/{namespace}/{name}", K::LABEL);
        let span = tracing::info_span!("reconcile", kind = K::LABEL, namespace, name);
        self.attempt::<K>(&key, &namespace, &name).instrument(span).await
    }

    async fn attempt<K: Kind>(&self, key: &str, namespace: &str, name: &str) -> Duration {
        let start = Instant::now();
        let done = match timeout(DEADLINE, reconcile::reconcile::<K>(&self.ctx, namespace, name)).await {
            Ok(done) => done,
            Err(elapsed) => Err(Failure::caused(Class::Transient, "reconcile in time", elapsed)),
        };
        let (failure, recheck_after, refused) = match done {
            Ok(done) => (done.failure, done.recheck_after, done.refused),
            Err(failure) => (Some(failure), None, false),
        };
        let outcome = match (&failure, refused) {
            (Some(failure), _) => failure.class.as_str(),
            (None, true) => "Refused",
            (None, false) => "Done",
        };
        self.ctx.metrics.ended(K::LABEL, outcome, start.elapsed());
        let Some(failure) = failure else {
            self.backoff.succeeded(key);
            return recheck_after.unwrap_or(RESYNC).min(RESYNC);
        };
        let wait = self.backoff.failed(key, failure.class, random());
        let error = failure.chain();
        match failure.class {
            Class::Conflict => tracing::debug!(error, ?wait, "somebody was faster"),
            class => tracing::warn!(error, class = class.as_str(), ?wait, "reconciliation failed"),
        }
        recheck_after.map_or(wait, |soon| wait.min(soon))
    }
}

/// In 0..1.
fn random() -> f64 {
    let (_, low) = Uuid::new_v4().as_u64_pair();
    // 32 bits fit a f64 exactly; the upper ones of this half hold the variant.
    f64::from(u32::try_from(low & u64::from(u32::MAX)).unwrap_or(0)) / f64::from(u32::MAX)
}
