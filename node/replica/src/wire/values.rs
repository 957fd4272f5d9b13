//! The words of consensus in the fixed binary form: the same on the wire and on disk.

use bytes::{BufMut, BytesMut};
use quartet_raft::{
    AppendOutcome, Body, Configuration, Entry, HardState, Index, LogTime, MemberId, Message, Payload,
    Position, SnapshotMeta, Term,
};

use super::codec::{Malformed, Reader, Write};

pub(crate) fn put_member(out: &mut BytesMut, id: MemberId) {
    out.put_u16_le(id.ordinal);
    out.put_u128_le(id.incarnation);
}

pub(crate) fn member(read: &mut Reader) -> Result<MemberId, Malformed> {
    Ok(MemberId { ordinal: read.u16()?, incarnation: read.u128()? })
}

pub(crate) fn put_position(out: &mut BytesMut, position: Position) {
    out.put_u64_le(position.term.0);
    out.put_u64_le(position.index.0);
}

pub(crate) fn position(read: &mut Reader) -> Result<Position, Malformed> {
    Ok(Position { term: Term(read.u64()?), index: Index(read.u64()?) })
}

pub(crate) fn put_hard_state(out: &mut BytesMut, state: &HardState) {
    out.put_u64_le(state.term.0);
    out.put_option(state.vote.as_ref(), |out, id| put_member(out, *id));
}

pub(crate) fn hard_state(read: &mut Reader) -> Result<HardState, Malformed> {
    Ok(HardState { term: Term(read.u64()?), vote: read.option(member)? })
}

pub(crate) fn put_configuration(out: &mut BytesMut, configuration: &Configuration) {
    for members in [&configuration.voters, &configuration.outgoing, &configuration.learners] {
        out.put_count(members.len());
        for id in members {
            put_member(out, *id);
        }
    }
    put_addresses(out, configuration.addresses.iter());
}

pub(crate) fn configuration(read: &mut Reader) -> Result<Configuration, Malformed> {
    Ok(Configuration {
        voters: read.list(member)?,
        outgoing: read.list(member)?,
        learners: read.list(member)?,
        addresses: addresses(read)?,
    })
}

pub(crate) fn put_addresses<'a>(
    out: &mut BytesMut,
    addresses: impl ExactSizeIterator<Item = (&'a MemberId, &'a String)>,
) {
    out.put_count(addresses.len());
    for (id, address) in addresses {
        put_member(out, *id);
        out.put_bytes_counted(address.as_bytes());
    }
}

pub(crate) fn addresses<C: FromIterator<(MemberId, String)>>(read: &mut Reader) -> Result<C, Malformed> {
    read.list(|read| Ok((member(read)?, read.text()?)))
}

pub(crate) fn put_snapshot_meta(out: &mut BytesMut, meta: &SnapshotMeta) {
    put_position(out, meta.last);
    out.put_u64_le(meta.time.0);
    out.put_u64_le(meta.configuration_index.0);
    put_configuration(out, &meta.configuration);
}

pub(crate) fn snapshot_meta(read: &mut Reader) -> Result<SnapshotMeta, Malformed> {
    Ok(SnapshotMeta {
        last: position(read)?,
        time: LogTime(read.u64()?),
        configuration_index: Index(read.u64()?),
        configuration: configuration(read)?,
    })
}

/// Bytes of an entry beside its command, at most.
pub(crate) const ENTRY_HEADER_BYTES: usize = 8 + 8 + 8 + 1 + 4;

pub(crate) fn put_entry(out: &mut BytesMut, entry: &Entry) {
    put_position(out, entry.position());
    out.put_u64_le(entry.time.0);
    match &entry.payload {
        Payload::Empty => out.put_u8(0),
        Payload::Configuration(configuration) => {
            out.put_u8(1);
            put_configuration(out, configuration);
        }
        Payload::Command(data) => {
            out.put_u8(2);
            out.put_bytes_counted(data);
        }
    }
}

pub(crate) fn entry(read: &mut Reader) -> Result<Entry, Malformed> {
    let Position { term, index } = position(read)?;
    let time = LogTime(read.u64()?);
    let payload = match read.u8()? {
        0 => Payload::Empty,
        1 => Payload::Configuration(configuration(read)?),
        2 => Payload::Command(read.bytes()?),
        tag => return Err(Malformed::UnknownTag { what: "kind of entry", tag }),
    };
    Ok(Entry { term, index, time, payload })
}

pub(crate) fn put_entries(out: &mut BytesMut, entries: &[Entry]) {
    out.put_count(entries.len());
    for entry in entries {
        put_entry(out, entry);
    }
}

pub(crate) fn entries(read: &mut Reader) -> Result<Vec<Entry>, Malformed> {
    read.list(entry)
}

pub(crate) fn put_message(out: &mut BytesMut, message: &Message) {
    out.put_u64_le(message.term.0);
    match &message.body {
        Body::PreVote { last } => {
            out.put_u8(0);
            put_position(out, *last);
        }
        Body::PreVoteReply { granted } => {
            out.put_u8(1);
            out.put_flag(*granted);
        }
        Body::Vote { last, transfer } => {
            out.put_u8(2);
            put_position(out, *last);
            out.put_flag(*transfer);
        }
        Body::VoteReply { granted } => {
            out.put_u8(3);
            out.put_flag(*granted);
        }
        Body::Append { previous, entries, commit, read_round } => {
            out.put_u8(4);
            put_position(out, *previous);
            out.put_u64_le(commit.0);
            out.put_u64_le(*read_round);
            put_entries(out, entries);
        }
        Body::AppendReply { outcome, read_round } => {
            out.put_u8(5);
            out.put_u64_le(*read_round);
            put_outcome(out, *outcome);
        }
        Body::TimeoutNow => out.put_u8(6),
    }
}

pub(crate) fn message(read: &mut Reader) -> Result<Message, Malformed> {
    let term = Term(read.u64()?);
    let body = match read.u8()? {
        0 => Body::PreVote { last: position(read)? },
        1 => Body::PreVoteReply { granted: read.flag()? },
        2 => Body::Vote { last: position(read)?, transfer: read.flag()? },
        3 => Body::VoteReply { granted: read.flag()? },
        4 => {
            let previous = position(read)?;
            let commit = Index(read.u64()?);
            let read_round = read.u64()?;
            Body::Append { previous, entries: entries(read)?, commit, read_round }
        }
        5 => {
            let read_round = read.u64()?;
            Body::AppendReply { outcome: outcome(read)?, read_round }
        }
        6 => Body::TimeoutNow,
        tag => return Err(Malformed::UnknownTag { what: "message of consensus", tag }),
    };
    Ok(Message { term, body })
}

fn put_outcome(out: &mut BytesMut, outcome: AppendOutcome) {
    match outcome {
        AppendOutcome::Matched(index) => {
            out.put_u8(0);
            out.put_u64_le(index.0);
        }
        AppendOutcome::Rejected { previous, hint } => {
            out.put_u8(1);
            out.put_u64_le(previous.0);
            put_position(out, hint);
        }
    }
}

fn outcome(read: &mut Reader) -> Result<AppendOutcome, Malformed> {
    match read.u8()? {
        0 => Ok(AppendOutcome::Matched(Index(read.u64()?))),
        1 => Ok(AppendOutcome::Rejected { previous: Index(read.u64()?), hint: position(read)? }),
        tag => Err(Malformed::UnknownTag { what: "outcome of an append", tag }),
    }
}
