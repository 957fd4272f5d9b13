//! One connection: frames out, frames in, and a sign of life when there is nothing to say.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use quartet_raft::MemberId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::engine::Event;
use crate::runtime::driver::Input;
use crate::store::Identity;
use crate::wire::{Frame, Hello, Malformed, PeerMessage, VERSION};

/// Without anything else to send a ping goes out, and whoever hears nothing for much longer gives up.
const PING_INTERVAL: Duration = Duration::from_millis(500);
const SILENCE_MAX: Duration = Duration::from_secs(3);
/// Messages of one write.
const WRITE_BYTES: usize = 256 << 10;
const READ_BYTES: usize = 64 << 10;

#[derive(Debug, thiserror::Error)]
pub(in crate::runtime) enum Trouble {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("nothing came for {} ms", SILENCE_MAX.as_millis())]
    Silent,
    #[error("it closed the connection")]
    Closed,
    #[error("what it sent cannot be read: {0}")]
    Malformed(#[from] Malformed),
    #[error("it sent something out of place")]
    OutOfPlace,
    #[error("{0}")]
    Refused(String),
    #[error("this member has ended")]
    Ended,
}

impl Trouble {
    /// By the peer's kernel: nothing listens there.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused)
    }
}

pub(super) fn hello(own: &Identity, groups: u16, to: Option<MemberId>, bulk: bool) -> Hello {
    // An empty member says how many groups it would found.
    let groups = if own.cluster.is_some() { own.groups } else { groups };
    Hello { version: VERSION, from: own.id, cluster: own.cluster, groups, to, bulk }
}

/// The reading side, with what has been received and not yet been taken.
pub(in crate::runtime) struct Incoming {
    half: OwnedReadHalf,
    received: BytesMut,
}

pub(in crate::runtime) fn split(stream: TcpStream) -> io::Result<(Incoming, OwnedWriteHalf)> {
    stream.set_nodelay(true)?;
    let (half, out) = stream.into_split();
    Ok((Incoming { half, received: BytesMut::with_capacity(READ_BYTES) }, out))
}

impl Incoming {
    pub(in crate::runtime) async fn frame(&mut self) -> Result<Frame, Trouble> {
        loop {
            if let Some(frame) = Frame::decode(&mut self.received)? {
                return Ok(frame);
            }
            self.received.reserve(READ_BYTES);
            match timeout(SILENCE_MAX, self.half.read_buf(&mut self.received)).await {
                Ok(Ok(0)) => return Err(Trouble::Closed),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(error.into()),
                Err(_) => return Err(Trouble::Silent),
            }
        }
    }

    pub(super) async fn hello(&mut self) -> Result<Hello, Trouble> {
        match self.frame().await? {
            Frame::Hello(hello) => Ok(hello),
            _ => Err(Trouble::OutOfPlace),
        }
    }
}

pub(in crate::runtime) async fn put(out: &mut OwnedWriteHalf, frame: &Frame) -> Result<(), Trouble> {
    let mut buffer = BytesMut::new();
    frame.encode(&mut buffer)?;
    put_bytes(out, &buffer).await
}

/// Until either side ends it.
pub(super) async fn carry(
    peer: MemberId,
    incoming: &mut Incoming,
    out: &mut OwnedWriteHalf,
    messages: &mut mpsc::Receiver<PeerMessage>,
    inputs: &mpsc::Sender<Input>,
) -> Trouble {
    tokio::select! {
        trouble = receive(peer, incoming, inputs) => trouble,
        trouble = transmit(peer, out, messages) => trouble,
    }
}

async fn receive(peer: MemberId, incoming: &mut Incoming, inputs: &mpsc::Sender<Input>) -> Trouble {
    loop {
        match incoming.frame().await {
            Ok(Frame::Ping) => {}
            Ok(Frame::Message(message)) => {
                let event = Event::Message { from: peer, message };
                if inputs.send(Input::Event(event)).await.is_err() {
                    return Trouble::Ended;
                }
            }
            Ok(_) => return Trouble::OutOfPlace,
            Err(trouble) => return trouble,
        }
    }
}

async fn transmit(
    peer: MemberId,
    out: &mut OwnedWriteHalf,
    messages: &mut mpsc::Receiver<PeerMessage>,
) -> Trouble {
    let mut buffer = BytesMut::new();
    loop {
        buffer.clear();
        match timeout(PING_INTERVAL, messages.recv()).await {
            Err(_) => encode(peer, Frame::Ping, &mut buffer),
            Ok(None) => return Trouble::Ended,
            Ok(Some(message)) => {
                encode(peer, Frame::Message(message), &mut buffer);
                while buffer.len() < WRITE_BYTES
                    && let Ok(message) = messages.try_recv()
                {
                    encode(peer, Frame::Message(message), &mut buffer);
                }
            }
        }
        if let Err(trouble) = put_bytes(out, &buffer).await {
            return trouble;
        }
    }
}

#[allow(clippy::needless_pass_by_value)]
fn encode(peer: MemberId, frame: Frame, buffer: &mut BytesMut) {
    if let Err(error) = frame.encode(buffer) {
        tracing::error!("a message to member {peer} cannot be sent: {error}");
    }
}

async fn put_bytes(out: &mut OwnedWriteHalf, bytes: &[u8]) -> Result<(), Trouble> {
    match timeout(SILENCE_MAX, out.write_all(bytes)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(Trouble::Silent),
    }
}
