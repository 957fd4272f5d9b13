//! Answering members that dial.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::connection::{self, Incoming, Trouble};
use super::peers::Peers;
use crate::engine::{Event, MemberCommand};
use crate::runtime::driver::Input;
use crate::store::Identity;
use crate::wire::{Frame, Hello};

/// Two of each member, and room for those that come again before their old connections are given up.
const CONNECTIONS_MAX: usize = 256;
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);

#[derive(Clone)]
pub(in crate::runtime) struct Listener {
    pub(in crate::runtime) peers: Peers,
    pub(in crate::runtime) inputs: mpsc::Sender<Input>,
    pub(in crate::runtime) identity: watch::Receiver<Identity>,
    pub(in crate::runtime) groups: u16,
    /// Without an operator: another member may found a cluster with this one.
    pub(in crate::runtime) founds_itself: bool,
}

impl Listener {
    pub(in crate::runtime) async fn run(self, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, from)) => {
                    let this = self.clone();
                    connections.spawn(async move {
                        let _place = place;
                        let trouble = this.serve(stream).await;
                        tracing::debug!("the connection from {from} ended: {trouble}");
                    });
                }
                Err(error) => {
                    tracing::warn!("cannot accept connections of members: {error}");
                    tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
                }
            }
        }
    }

    async fn serve(&self, stream: TcpStream) -> Trouble {
        match self.greet(stream).await {
            Ok((hello, incoming, out)) if hello.to.is_none() => self.answer(incoming, out).await,
            Ok((hello, incoming, out)) => self.carry(&hello, incoming, out).await,
            Err(trouble) => trouble,
        }
    }

    /// Whoever dials always hears who is here, also when it is refused.
    async fn greet(&self, stream: TcpStream) -> Result<(Hello, Incoming, OwnedWriteHalf), Trouble> {
        let (mut incoming, mut out) = connection::split(stream)?;
        let theirs = incoming.hello().await?;
        let own = self.identity.borrow().clone();
        if own.is_unknown() {
            // It would seem to be empty, and a cluster could be founded over what it has lost.
            return Err(Trouble::Refused("this member's disk does not tell who it is".to_owned()));
        }
        let answer = connection::hello(&own, self.groups, Some(theirs.from), theirs.bulk);
        connection::put(&mut out, &Frame::Hello(answer)).await?;
        let Some(to) = theirs.to else { return Ok((theirs, incoming, out)) };
        if to != own.id {
            return Err(Trouble::Refused(format!("it wanted member {to}")));
        }
        match (own.cluster, theirs.cluster) {
            (Some(own), Some(cluster)) if own == cluster => {}
            // It counts on exactly this volume, empty as it is.
            (None, Some(cluster)) => {
                let joined = Event::Joined { cluster, groups: theirs.groups };
                self.inputs.send(Input::Event(joined)).await.map_err(|_| Trouble::Ended)?;
            }
            _ => return Err(Trouble::Refused("it is of another cluster".to_owned())),
        }
        Ok((theirs, incoming, out))
    }

    async fn carry(&self, hello: &Hello, mut incoming: Incoming, mut out: OwnedWriteHalf) -> Trouble {
        let peer = hello.from;
        let (back, mut messages) = self.peers.answer_over(peer, hello.bulk);
        // A reset in between has ended only those connections that it knew.
        if hello.to != Some(self.identity.borrow().id) {
            return Trouble::Refused("this member was reset".to_owned());
        }
        let trouble = connection::carry(peer, &mut incoming, &mut out, &mut messages, &self.inputs).await;
        drop(back);
        // Answers to what was forwarded may have been on their way.
        let disconnected = Input::Event(Event::Disconnected { peer });
        if !hello.bulk && self.inputs.send(disconnected).await.is_err() {
            return Trouble::Ended;
        }
        trouble
    }

    /// Somebody who only asks who is here; a founder, perhaps.
    async fn answer(&self, mut incoming: Incoming, mut out: OwnedWriteHalf) -> Trouble {
        loop {
            let result = match incoming.frame().await {
                Ok(Frame::Ping) => continue,
                Ok(Frame::Found { cluster, members }) if self.founds_itself => {
                    found(&self.inputs, MemberCommand::Found { cluster, members }).await
                }
                Ok(Frame::Found { .. }) => Err("here an operator founds clusters".to_owned()),
                Ok(_) => return Trouble::OutOfPlace,
                Err(trouble) => return trouble,
            };
            if let Err(trouble) = connection::put(&mut out, &Frame::Founded { refusal: result.err() }).await {
                return trouble;
            }
        }
    }
}

pub(in crate::runtime) async fn found(
    inputs: &mpsc::Sender<Input>,
    command: MemberCommand,
) -> Result<(), String> {
    let ended = |()| "the member has ended".to_owned();
    let (answer, wait) = oneshot::channel();
    inputs.send(Input::Command { command, answer }).await.map_err(|_| ended(()))?;
    wait.await.map_err(|_| ended(()))?.map(|_| ())
}
