//! A command as it stands in the log: what it is, and whose it is, so that it is applied once.

use bytes::Bytes;
use prost::Message;
use quartet_raft::MemberId;

use crate::wire::Key;

/// One try of one request of one life of a member. A slot holds one request at a time; its number grows with each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Session {
    pub(super) member: MemberId,
    pub(super) boots: u64,
    pub(super) slot: u32,
    pub(super) sequence: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Envelope {
    pub(super) session: Session,
    pub(super) key: Option<Key>,
    pub(super) command: Bytes,
}

impl Envelope {
    pub(super) fn encode(&self) -> Bytes {
        let session = self.session;
        let (ordinal, incarnation) = encode_member(session.member);
        let wire = EnvelopeWire {
            ordinal,
            incarnation,
            boots: session.boots,
            slot: session.slot,
            sequence: session.sequence,
            key: self.key.as_ref().map(|key| KeyWire { name: key.name.clone(), digest: key.digest.to_vec() }),
            command: self.command.clone(),
        };
        wire.encode_to_vec().into()
    }

    /// None if it is not one: then it changes nothing on any member alike.
    pub(super) fn decode(data: Bytes) -> Option<Self> {
        let wire = EnvelopeWire::decode(data).ok()?;
        let member = decode_member(wire.ordinal, wire.incarnation)?;
        let key = match wire.key {
            None => None,
            Some(key) => Some(Key { name: key.name, digest: key.digest.try_into().ok()? }),
        };
        let session = Session { member, boots: wire.boots, slot: wire.slot, sequence: wire.sequence };
        Some(Self { session, key, command: wire.command })
    }
}

/// A member as two fields: an ordinal, and an incarnation of 16 bytes, for which protobuf has no number.
pub(super) fn encode_member(member: MemberId) -> (u32, Vec<u8>) {
    (member.ordinal.into(), member.incarnation.to_be_bytes().to_vec())
}

pub(super) fn decode_member(ordinal: u32, incarnation: Vec<u8>) -> Option<MemberId> {
    let incarnation = u128::from_be_bytes(incarnation.try_into().ok()?);
    Some(MemberId { ordinal: u16::try_from(ordinal).ok()?, incarnation })
}

#[derive(Clone, PartialEq, prost::Message)]
struct EnvelopeWire {
    #[prost(uint32, tag = "1")]
    ordinal: u32,
    #[prost(bytes = "vec", tag = "2")]
    incarnation: Vec<u8>,
    #[prost(uint64, tag = "3")]
    boots: u64,
    #[prost(uint32, tag = "4")]
    slot: u32,
    #[prost(uint64, tag = "5")]
    sequence: u64,
    #[prost(message, optional, tag = "6")]
    key: Option<KeyWire>,
    #[prost(bytes = "bytes", tag = "7")]
    command: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct KeyWire {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bytes = "vec", tag = "2")]
    digest: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        let session =
            Session { member: MemberId { ordinal: 2, incarnation: 7 }, boots: 3, slot: 4, sequence: 5 };
        for key in [None, Some(Key { name: "k".into(), digest: [9; 16] })] {
            let envelope = Envelope { session, key, command: Bytes::from_static(b"command") };
            assert_eq!(Envelope::decode(envelope.encode()), Some(envelope));
        }
    }

    #[test]
    fn nonsense_is_no_envelope() {
        assert_eq!(Envelope::decode(Bytes::from_static(b"\xff\xff\xff")), None);
        assert_eq!(Envelope::decode(Bytes::from_static(b"")), None);
    }
}
