//! The subcommands.

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use anyhow::{Context as _, bail};
use axum::http::{HeaderValue, header::USER_AGENT};
use futures::{FutureExt, future};
use kube::{Client, Config};
use quartet_client::admin::AdminClient;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    admin::{self, Health},
    args::{Arguments, Command, Crds, Members, Plan, Run},
    controller,
    galera_cluster::GaleraClusters,
    generate,
    kube::{
        Context,
        events::Events,
        leader::Election,
        watch::{self as watches, Routes},
    },
    metrics::Metrics,
    reconcile::{self, Kind, Settings},
    sync_cluster::SyncClusters,
    telemetry,
};

/// How long running reconciliations may take to end; with the lease's release it fits a pod's grace period of 30 s.
const SHUTDOWN: Duration = Duration::from_secs(20);
/// One question to a member.
const MEMBER_TIMEOUT: Duration = Duration::from_secs(2);

pub async fn main(arguments: Arguments) -> anyhow::Result<()> {
    telemetry::init(arguments.log_format, &arguments.log).context("--log")?;
    match arguments.command {
        Command::Run(options) => run(*options).await,
        Command::Crds(options) => crds(&options),
        Command::Plan(options) => Box::pin(plan(options)).await,
    }
}

async fn run(options: Run) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    stop_on_signal(stop.clone())?;
    let client = client().await?;
    let metrics = Arc::<Metrics>::default();
    let me = if options.pod_name.is_empty() { Uuid::new_v4().to_string() } else { options.pod_name.clone() };
    let context = context(client.clone(), &options.members, me.clone(), Arc::clone(&metrics))?;

    let (turned, turns) = watch::channel(Instant::now());
    let reached = Arc::<AtomicBool>::default();
    let listener =
        TcpListener::bind(options.admin).await.with_context(|| format!("bind {}", options.admin))?;
    let health = Health { turned: turns, reached: Arc::clone(&reached), metrics: Arc::clone(&metrics) };
    // Answers to the end, also while the last reconciliations finish.
    let last_answer = CancellationToken::new();
    let server = tokio::spawn(admin::serve(listener, health, last_answer.clone()));

    let mut election = Election::new(client, &options.members.pod_namespace, me.as_str(), turned, reached);
    tracing::info!(me, "waiting for the lease");
    if election.acquire(&stop).await {
        tracing::info!(me, "leading");
        metrics.leads(true);
        lead(&options, context, &mut election, &stop).await?;
        metrics.leads(false);
    }
    last_answer.cancel();
    server.await.context("admin server")?.context("admin server")?;
    Ok(())
}

/// Keeps resources while the lease is ours. On a signal what is under way is finished first; then the lease is free.
async fn lead(
    options: &Run,
    context: Context,
    election: &mut Election,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let (sync_sender, sync_touched) = mpsc::channel(watches::QUEUE);
    let (galera_sender, galera_touched) = mpsc::channel(watches::QUEUE);
    let routes = Routes::from([(SyncClusters::LABEL, sync_sender), (GaleraClusters::LABEL, galera_sender)]);
    let scope = options.namespace.clone();
    let mut watching = watches::children(&context.client, &scope, routes, &context.metrics);
    let concurrency = options.concurrency;
    let controllers = future::join(
        controller::run::<SyncClusters>(
            context.clone(),
            scope.clone(),
            concurrency,
            sync_touched,
            stop.clone(),
        ),
        controller::run::<GaleraClusters>(context, scope, concurrency, galera_touched, stop.clone()),
    );
    let controllers = controllers.map(drop);
    tokio::pin!(controllers);

    // Renewed until the last reconciliation has ended, so beyond the signal.
    let ended = CancellationToken::new();
    let work = async {
        tokio::select! {
            () = &mut controllers => stop.is_cancelled(),
            () = stop.cancelled() => timeout(SHUTDOWN, &mut controllers).await.is_ok(),
        }
    };
    let finished = tokio::select! {
        finished = work => finished,
        kept = election.keep(&ended) => {
            // The process ends here and now: another replica may act already.
            debug_assert!(!kept, "the election ends before the work only when the lease is lost");
            bail!("the lease is lost");
        }
        Some(ended) = watching.join_next() => bail!("a watch ended: {ended:?}"),
    };
    election.release().await;
    if finished { Ok(()) } else { bail!("reconciliations did not end in time") }
}

fn stop_on_signal(stop: CancellationToken) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listen to SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen to SIGINT")?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        stop.cancel();
    });
    Ok(())
}

async fn client() -> anyhow::Result<Client> {
    let mut config = Config::infer().await.context("find the API server")?;
    // Its own retries would repeat a POST whose answer was lost; the next reconciliation decides instead.
    config.default_retry = false;
    // Who wrote it, in the audit log.
    let me = HeaderValue::from_static(concat!("quartet-operator/", env!("CARGO_PKG_VERSION")));
    config.headers.push((USER_AGENT, me));
    Client::try_from(config).context("make a client of the API server")
}

fn context(client: Client, members: &Members, me: String, metrics: Arc<Metrics>) -> anyhow::Result<Context> {
    Ok(Context {
        events: Arc::new(Events::new(client.clone(), me)),
        client,
        settings: Settings {
            node_image: members.node_image.clone(),
            mariadb_image: members.mariadb_image.clone(),
            haproxy_image: members.haproxy_image.clone(),
            image_pull_policy: members.image_pull_policy.clone(),
            namespace: members.pod_namespace.clone(),
        },
        metrics,
        members: AdminClient::new(MEMBER_TIMEOUT)?,
    })
}

fn crds(options: &Crds) -> anyhow::Result<()> {
    let folders: Vec<_> =
        options.out.clone().into_iter().chain(options.chart.as_deref().map(generate::chart_folder)).collect();
    if folders.is_empty() {
        for (_, yaml) in generate::files()? {
            // The one output that is not a log.
            print(&format!("---\n{}", yaml.trim_start_matches("---\n")))?;
        }
        return Ok(());
    }
    if options.check {
        return Ok(generate::check(&folders)?);
    }
    folders.iter().try_for_each(|folder| generate::write(folder)).map_err(Into::into)
}

async fn plan(options: Plan) -> anyhow::Result<()> {
    let Some((kind, name)) = options.resource.split_once('/') else {
        bail!("KIND/NAME, such as synccluster/demo")
    };
    let context = context(client().await?, &options.members, "plan".to_owned(), Arc::default())?;
    match kind.to_ascii_lowercase().as_str() {
        "synccluster" | "syncclusters" => {
            Box::pin(show::<SyncClusters>(&context, &options.namespace, name)).await
        }
        "galeracluster" | "galeraclusters" => {
            Box::pin(show::<GaleraClusters>(&context, &options.namespace, name)).await
        }
        _ => bail!("unknown kind {kind}; known: synccluster, galeracluster"),
    }
}

async fn show<K: Kind>(context: &Context, namespace: &str, name: &str) -> anyhow::Result<()> {
    match reconcile::look::<K>(context, namespace, name).await {
        Ok(Some(situation)) => match situation.describe(context).await {
            Ok(text) => print(&format!("{text}\n")),
            Err(failure) => bail!(failure.chain()),
        },
        Ok(None) => bail!("{} {name} is not there, or being deleted", K::LABEL),
        Err(failure) => bail!(failure.chain()),
    }
}

fn print(text: &str) -> anyhow::Result<()> {
    use std::io::Write;
    std::io::stdout().write_all(text.as_bytes()).context("write to stdout")
}
