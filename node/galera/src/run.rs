//! A member as a whole, from its start to its end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use crate::http::serve;
use crate::inputs::{self, InputError};
use crate::manager::{Manager, Parts};
use crate::options::Options;
use crate::peers::Peers;
use crate::server::Children;
use crate::volume::{Volume, VolumeError};
use crate::{admin, service};

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("cannot listen on {address}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("cannot read what the operator gives")]
    Inputs(#[from] InputError),
    #[error("cannot use the volume")]
    Volume(#[from] VolumeError),
    #[error("cannot make an HTTP client")]
    Client(#[source] reqwest::Error),
}

const COMMANDS_MAX: usize = 16;
const LAST_ANSWERS: Duration = Duration::from_millis(500);

/// `stops` counts how often the member was told to stop: the first time it leaves gracefully, the second at once.
pub async fn run(options: Options, stops: watch::Receiver<u32>) -> Result<(), RunError> {
    // Ports first: what cannot be had is told before anything is begun.
    let (http, operators) = (listen(options.http).await?, listen(options.admin).await?);
    let inputs = inputs::read(&options.settings, &options.passwords).await?;
    let volume = Volume::open(&options.data)?;
    let identity = volume.identity()?;
    let children = Children::default();
    children.adopt();
    let peers = Peers::new(options.ordinal, &inputs.settings.cluster_name).map_err(RunError::Client)?;
    peers.watch(&inputs.settings.members);
    let (tell, inputs) = watch::channel(inputs);
    let (commands, commanded) = mpsc::channel(COMMANDS_MAX);
    let options = Arc::new(options);
    tracing::info!(ordinal = options.ordinal, incarnation = %identity.incarnation, "managing a member");
    let (manager, face) = Manager::new(Parts {
        options: Arc::clone(&options),
        volume: Arc::new(volume),
        children: children.clone(),
        inputs,
        peers,
        identity,
        commands: commanded,
        stops,
    });
    let (end, ended) = watch::channel(false);
    let operators_router = admin::router(options.admin_token_file.clone(), face.clone(), commands);
    let serving = [
        tokio::spawn(serve(http, service::router(face), ended.clone())),
        tokio::spawn(serve(operators, operators_router, ended)),
    ];
    let beside = [
        tokio::spawn(children.reap()),
        tokio::spawn(inputs::watch(options.settings.clone(), options.passwords.clone(), tell)),
    ];
    manager.run().await;
    for task in beside {
        task.abort();
    }
    end.send_replace(true);
    let _ = tokio::time::timeout(LAST_ANSWERS, futures::future::join_all(serving)).await;
    tracing::info!("stopped");
    Ok(())
}

async fn listen(address: SocketAddr) -> Result<TcpListener, RunError> {
    TcpListener::bind(address).await.map_err(|source| RunError::Listen { address, source })
}
