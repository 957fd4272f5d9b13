//! Frames: a length, then one thing.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quartet_raft::{Index, MemberId, Term};

use super::codec::{Malformed, Reader, Write};
use super::values;
use super::{Failure, Forwarded, Hello, PeerMessage};
use crate::GroupId;

/// Larger than anything that is sent: a length beyond it is not ours.
pub const FRAME_BYTES_MAX: usize = 16 << 20;
const LENGTH_BYTES: usize = 4;

/// What goes over a connection between members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    Hello(Hello),
    /// Nothing to say, and still there.
    Ping,
    Message(PeerMessage),
    /// Founding without an operator: the lowest ordinal tells the others whom the cluster consists of.
    Found {
        cluster: u128,
        members: Vec<(MemberId, String)>,
    },
    /// The answer: the cluster is founded here, durably, or why not.
    Founded {
        refusal: Option<String>,
    },
}

impl Frame {
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), Malformed> {
        let start = out.len();
        out.put_u32_le(0);
        self.put(out);
        let length = out.len() - start - LENGTH_BYTES;
        if length > FRAME_BYTES_MAX {
            out.truncate(start);
            return Err(Malformed::TooLarge { bytes: length as u64 });
        }
        // Bounded by FRAME_BYTES_MAX above.
        #[allow(clippy::cast_possible_truncation)]
        out[start..start + LENGTH_BYTES].copy_from_slice(&(length as u32).to_le_bytes());
        Ok(())
    }

    /// Takes the next frame off what has been received; None until all of it is there.
    pub fn decode(received: &mut BytesMut) -> Result<Option<Self>, Malformed> {
        let Some(length) = received.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = u32::from_le_bytes(*length) as usize;
        if length > FRAME_BYTES_MAX {
            return Err(Malformed::TooLarge { bytes: length as u64 });
        }
        if received.len() < LENGTH_BYTES + length {
            received.reserve(LENGTH_BYTES + length - received.len());
            return Ok(None);
        }
        received.advance(LENGTH_BYTES);
        // A copy: entries live on for long, and a part of the buffer would keep all of it.
        let frame = Bytes::copy_from_slice(&received[..length]);
        received.advance(length);
        Self::read(frame).map(Some)
    }

    fn put(&self, out: &mut BytesMut) {
        match self {
            Self::Hello(hello) => {
                out.put_u8(0);
                put_hello(out, hello);
            }
            Self::Ping => out.put_u8(1),
            Self::Message(message) => {
                out.put_u8(2);
                put_peer_message(out, message);
            }
            Self::Found { cluster, members } => {
                out.put_u8(3);
                out.put_u128_le(*cluster);
                values::put_addresses(out, members.iter().map(|(id, address)| (id, address)));
            }
            Self::Founded { refusal } => {
                out.put_u8(4);
                out.put_option(refusal.as_ref(), |out, why| out.put_bytes_counted(why.as_bytes()));
            }
        }
    }

    fn read(bytes: Bytes) -> Result<Self, Malformed> {
        let mut read = Reader::new(bytes);
        let frame = match read.u8()? {
            0 => Self::Hello(hello(&mut read)?),
            1 => Self::Ping,
            2 => Self::Message(peer_message(&mut read)?),
            3 => Self::Found { cluster: read.u128()?, members: values::addresses(&mut read)? },
            4 => Self::Founded { refusal: read.option(Reader::text)? },
            tag => return Err(Malformed::UnknownTag { what: "frame", tag }),
        };
        read.end()?;
        Ok(frame)
    }
}

fn put_hello(out: &mut BytesMut, hello: &Hello) {
    // The version comes first and stays there: a newer member may read the rest differently.
    out.put_u16_le(hello.version);
    values::put_member(out, hello.from);
    out.put_option(hello.cluster.as_ref(), |out, cluster| out.put_u128_le(*cluster));
    out.put_u16_le(hello.groups);
    out.put_option(hello.to.as_ref(), |out, to| values::put_member(out, *to));
    out.put_flag(hello.bulk);
}

fn hello(read: &mut Reader) -> Result<Hello, Malformed> {
    Ok(Hello {
        version: read.u16()?,
        from: values::member(read)?,
        cluster: read.option(Reader::u128)?,
        groups: read.u16()?,
        to: read.option(values::member)?,
        bulk: read.flag()?,
    })
}

fn put_peer_message(out: &mut BytesMut, message: &PeerMessage) {
    match message {
        PeerMessage::Raft { group, message } => {
            out.put_u8(0);
            out.put_u16_le(group.0);
            values::put_message(out, message);
        }
        PeerMessage::Forward { id, group, request, timeout_ms } => {
            out.put_u8(1);
            out.put_u64_le(*id);
            out.put_u16_le(group.0);
            out.put_u32_le(*timeout_ms);
            put_forwarded(out, request);
        }
        PeerMessage::ForwardReply { id, result } => {
            out.put_u8(2);
            out.put_u64_le(*id);
            put_result(out, result);
        }
        PeerMessage::SnapshotChunk { group, term, meta, total_bytes, offset, data } => {
            out.put_u8(3);
            out.put_u16_le(group.0);
            out.put_u64_le(term.0);
            values::put_snapshot_meta(out, meta);
            out.put_u64_le(*total_bytes);
            out.put_u64_le(*offset);
            out.put_bytes_counted(data);
        }
        PeerMessage::SnapshotAck { group, term, index, received_bytes, installed } => {
            out.put_u8(4);
            out.put_u16_le(group.0);
            out.put_u64_le(term.0);
            out.put_u64_le(index.0);
            out.put_u64_le(*received_bytes);
            out.put_flag(*installed);
        }
    }
}

fn peer_message(read: &mut Reader) -> Result<PeerMessage, Malformed> {
    Ok(match read.u8()? {
        0 => PeerMessage::Raft { group: GroupId(read.u16()?), message: values::message(read)? },
        1 => {
            let id = read.u64()?;
            let group = GroupId(read.u16()?);
            let timeout_ms = read.u32()?;
            PeerMessage::Forward { id, group, request: forwarded(read)?, timeout_ms }
        }
        2 => PeerMessage::ForwardReply { id: read.u64()?, result: result(read)? },
        3 => PeerMessage::SnapshotChunk {
            group: GroupId(read.u16()?),
            term: Term(read.u64()?),
            meta: values::snapshot_meta(read)?,
            total_bytes: read.u64()?,
            offset: read.u64()?,
            data: read.bytes()?,
        },
        4 => PeerMessage::SnapshotAck {
            group: GroupId(read.u16()?),
            term: Term(read.u64()?),
            index: Index(read.u64()?),
            received_bytes: read.u64()?,
            installed: read.flag()?,
        },
        tag => return Err(Malformed::UnknownTag { what: "message of a member", tag }),
    })
}

fn put_forwarded(out: &mut BytesMut, request: &Forwarded) {
    match request {
        Forwarded::Execute { entry } => {
            out.put_u8(0);
            out.put_bytes_counted(entry);
        }
        Forwarded::Query { query } => {
            out.put_u8(1);
            out.put_bytes_counted(query);
        }
    }
}

fn forwarded(read: &mut Reader) -> Result<Forwarded, Malformed> {
    Ok(match read.u8()? {
        0 => Forwarded::Execute { entry: read.bytes()? },
        1 => Forwarded::Query { query: read.bytes()? },
        tag => return Err(Malformed::UnknownTag { what: "request", tag }),
    })
}

fn put_result(out: &mut BytesMut, result: &Result<Bytes, Failure>) {
    match result {
        Ok(body) => {
            out.put_u8(0);
            out.put_bytes_counted(body);
        }
        Err(failure) => out.put_u8(match failure {
            Failure::Unavailable => 1,
            Failure::Unknown => 2,
            Failure::KeyReused => 3,
            Failure::Full => 4,
            Failure::NoSpace => 5,
            Failure::NotMember => 6,
        }),
    }
}

fn result(read: &mut Reader) -> Result<Result<Bytes, Failure>, Malformed> {
    Ok(match read.u8()? {
        0 => Ok(read.bytes()?),
        1 => Err(Failure::Unavailable),
        2 => Err(Failure::Unknown),
        3 => Err(Failure::KeyReused),
        4 => Err(Failure::Full),
        5 => Err(Failure::NoSpace),
        6 => Err(Failure::NotMember),
        tag => return Err(Malformed::UnknownTag { what: "result", tag }),
    })
}
