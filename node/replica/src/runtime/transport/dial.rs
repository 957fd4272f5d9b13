//! Dialling a member, again and again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quartet_raft::MemberId;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::mpsc::error::SendError;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use super::connection::{self, Incoming, Trouble};
use crate::engine::Event;
use crate::runtime::driver::Input;
use crate::store::Identity;
use crate::wire::{Frame, Hello, PeerMessage};

const CONNECT_MAX: Duration = Duration::from_secs(2);
/// Without a connection for so long.
const WORTH_TELLING: Duration = Duration::from_secs(5);
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// A connection that lived so long was a good one: the next try comes soon.
const SETTLED_AFTER: Duration = Duration::from_millis(100);

/// One of the two connections to one member.
pub(super) struct Link {
    pub(super) peer: MemberId,
    pub(super) bulk: bool,
    pub(super) groups: u16,
    pub(super) address: watch::Receiver<String>,
    pub(super) identity: watch::Receiver<Identity>,
    pub(super) messages: mpsc::Receiver<PeerMessage>,
    pub(super) inputs: mpsc::Sender<Input>,
    pub(super) connected: Arc<AtomicBool>,
}

impl Link {
    pub(super) async fn run(mut self) {
        let mut backoff = BACKOFF_MIN;
        let (mut without_since, mut told) = (Instant::now(), String::new());
        let mut just_lost = false;
        while !self.messages.is_closed() {
            let began = Instant::now();
            let trouble = match self.connect().await {
                Ok((mut incoming, mut out)) => {
                    if !told.is_empty() {
                        tracing::info!("connected to member {} again", self.peer);
                        told.clear();
                    }
                    let trouble = self.carry(&mut incoming, &mut out).await;
                    without_since = Instant::now();
                    just_lost = true;
                    trouble
                }
                Err(trouble) => {
                    if trouble.is_refusal() && std::mem::take(&mut just_lost) && self.is_gone().await.is_err()
                    {
                        return;
                    }
                    trouble
                }
            };
            if matches!(trouble, Trouble::Ended) {
                return;
            }
            self.tell(&trouble, without_since, &mut told);
            backoff =
                if began.elapsed() > SETTLED_AFTER { BACKOFF_MIN } else { (backoff * 2).min(BACKOFF_MAX) };
            sleep(backoff).await;
        }
    }

    async fn is_gone(&self) -> Result<(), SendError<Input>> {
        if self.bulk {
            return Ok(());
        }
        tracing::info!("nothing listens any more where member {} did: its process is gone", self.peer);
        self.inputs.send(Input::Event(Event::Gone { peer: self.peer })).await
    }

    /// Once per kind of trouble and not per try, of one of the two connections, and not of a member that just starts
    /// or stops.
    fn tell(&self, trouble: &Trouble, without_since: Instant, told: &mut String) {
        let (peer, address, why) = (self.peer, self.address.borrow(), trouble.to_string());
        tracing::debug!("no connection to member {peer} at {}: {why}", *address);
        let without = without_since.elapsed();
        if !self.bulk && without >= WORTH_TELLING && why != *told {
            tracing::info!(
                "no connection to member {peer} at {} for {} s: {why}",
                *address,
                without.as_secs()
            );
            *told = why;
        }
    }

    async fn connect(&self) -> Result<(Incoming, OwnedWriteHalf), Trouble> {
        let own = self.identity.borrow().clone();
        if own.cluster.is_none() {
            return Err(Trouble::Refused("this member's cluster is not on its disk yet".to_owned()));
        }
        let hello = connection::hello(&own, self.groups, Some(self.peer), self.bulk);
        let address = self.address.borrow().clone();
        let (theirs, incoming, out) = greet(&address, hello).await?;
        if theirs.from != self.peer {
            return Err(Trouble::Refused(format!("member {} is there", theirs.from)));
        }
        if theirs.cluster.is_some() && theirs.cluster != own.cluster {
            return Err(Trouble::Refused("it belongs to another cluster".to_owned()));
        }
        Ok((incoming, out))
    }

    async fn carry(&mut self, incoming: &mut Incoming, out: &mut OwnedWriteHalf) -> Trouble {
        self.connected.store(true, Ordering::Release);
        let trouble = connection::carry(self.peer, incoming, out, &mut self.messages, &self.inputs).await;
        self.connected.store(false, Ordering::Release);
        while self.messages.try_recv().is_ok() {}
        let disconnected = Input::Event(Event::Disconnected { peer: self.peer });
        if !self.bulk && self.inputs.send(disconnected).await.is_err() {
            return Trouble::Ended;
        }
        trouble
    }
}

/// Who is there.
pub(in crate::runtime) async fn ask(
    address: &str,
    own: &Identity,
    groups: u16,
) -> Result<(Hello, Incoming, OwnedWriteHalf), Trouble> {
    greet(address, connection::hello(own, groups, None, false)).await
}

/// The address may be a name: it is looked up at every try, for pods move.
async fn greet(address: &str, hello: Hello) -> Result<(Hello, Incoming, OwnedWriteHalf), Trouble> {
    let stream = timeout(CONNECT_MAX, TcpStream::connect(address)).await.map_err(|_| Trouble::Silent)??;
    let (mut incoming, mut out) = connection::split(stream)?;
    connection::put(&mut out, &Frame::Hello(hello)).await?;
    let theirs = incoming.hello().await?;
    Ok((theirs, incoming, out))
}
