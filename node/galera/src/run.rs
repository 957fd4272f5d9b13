//! A member as a whole, from its start to its end.

use std::sync::Arc;
use std::time::Duration;

use quartet_serve::server::{Bounded, ListenError, OPERATORS_CONNECTIONS_MAX, Server};
use tokio::sync::{mpsc, watch};

use crate::inputs::{self, InputError};
use crate::manager::{Manager, Parts};
use crate::options::Options;
use crate::peers::Peers;
use crate::server::Children;
use crate::volume::{Volume, VolumeError};
use crate::{admin, service};

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("cannot read what the operator gives")]
    Inputs(#[from] InputError),
    #[error("cannot use the volume")]
    Volume(#[from] VolumeError),
    #[error("cannot make an HTTP client")]
    Client(#[source] reqwest::Error),
}

const COMMANDS_MAX: usize = 16;
/// Port 8200: more than probes, proxies, other members and scrapes ever have.
const CONNECTIONS_MAX: usize = 1024;
pub(crate) const LAST_ANSWERS: Duration = Duration::from_millis(500);

/// `stops` counts how often the member was told to stop: the first time it leaves gracefully, the second at once.
pub async fn run(options: Options, stops: watch::Receiver<u32>) -> Result<(), RunError> {
    // Ports first: what cannot be had is told before anything is begun.
    let http = Bounded::bind(options.http, CONNECTIONS_MAX).await?;
    let operators = Bounded::bind(options.admin, OPERATORS_CONNECTIONS_MAX).await?;
    let inputs = inputs::read(&options.settings, &options.passwords).await?;
    let volume = Volume::open(&options.data)?;
    let (identity, history) = (volume.identity()?, volume.history()?);
    let children = Children::default();
    children.adopt();
    let peers = Peers::new(options.ordinal).map_err(RunError::Client)?;
    peers.watch(&inputs.settings);
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
        history,
        commands: commanded,
        stops,
    });
    let serving = [
        Server::start(operators, admin::router(options.admin_token_file.clone(), face.clone(), commands)),
        Server::start(http, service::router(face)),
    ];
    let beside = [
        tokio::spawn(children.reap()),
        tokio::spawn(inputs::watch(options.settings.clone(), options.passwords.clone(), tell)),
    ];
    manager.run().await;
    for task in beside {
        task.abort();
    }
    futures::future::join_all(serving.map(|server| server.stop(LAST_ANSWERS))).await;
    tracing::info!("stopped");
    Ok(())
}
