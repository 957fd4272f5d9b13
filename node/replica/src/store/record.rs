//! A record of the log: checksummed, numbered, and with the number up to which all was durable when it was
//! written. That number tells later whether a bad record was ever promised to anybody.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quartet_raft::{Entry, HardState, Position};

use super::segment::HEADER_BYTES as SEGMENT_HEADER_BYTES;
use crate::GroupId;
use crate::wire::codec::{Malformed, Reader};
use crate::wire::values;

/// magic 4, checksum 4, length 4, sequence 8, durable 8
const HEADER_BYTES: usize = 28;
const MAGIC: u32 = u32::from_le_bytes(*b"qREC");
/// So that a search for records needs to look at few places.
const ALIGNMENT: usize = 8;

/// Where a record stands is part of its checksum: a copy elsewhere (in a payload) is no record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) segment: u64,
    pub(super) offset: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Framed {
    pub(super) sequence: u64,
    pub(super) durable: u64,
    pub(super) body: Bytes,
    /// Where the next one begins.
    pub(super) end: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Body {
    HardState {
        group: GroupId,
        state: HardState,
    },
    Entries {
        group: GroupId,
        entries: Vec<Entry>,
    },
    /// The group's snapshot at `last` is on disk in a file of its own.
    SnapshotTaken {
        group: GroupId,
        last: Position,
    },
}

pub(super) fn framed_bytes(body_bytes: usize) -> usize {
    (HEADER_BYTES + body_bytes).next_multiple_of(ALIGNMENT)
}

/// Appends a record to `out`; it will stand at `place`.
pub(super) fn frame(out: &mut BytesMut, place: Place, sequence: u64, durable: u64, body: &[u8]) {
    let start = out.len();
    out.reserve(framed_bytes(body.len()));
    out.put_u32_le(MAGIC);
    out.put_u32_le(0);
    // Bounded by the size of a segment (see `Store::append`).
    out.put_u32_le(u32::try_from(body.len()).unwrap_or(u32::MAX));
    out.put_u64_le(sequence);
    out.put_u64_le(durable);
    out.extend_from_slice(body);
    let checksum = checksum(place, &out[start + 8..]);
    out[start + 4..start + 8].copy_from_slice(&checksum.to_le_bytes());
    out.resize(start + framed_bytes(body.len()), 0);
}

/// The record at this place, if there is a whole one.
pub(super) fn read(segment: &[u8], place: Place) -> Option<Framed> {
    let rest = segment.get(place.offset..)?;
    let mut header = rest.get(..HEADER_BYTES)?;
    if header.get_u32_le() != MAGIC {
        return None;
    }
    let expected = header.get_u32_le();
    let length = usize::try_from(header.get_u32_le()).ok()?;
    let sequence = header.get_u64_le();
    let durable = header.get_u64_le();
    let body = rest.get(HEADER_BYTES..HEADER_BYTES.checked_add(length)?)?;
    if checksum(place, &rest[8..HEADER_BYTES + length]) != expected {
        return None;
    }
    let end = place.offset + framed_bytes(length);
    Some(Framed { sequence, durable, body: Bytes::copy_from_slice(body), end })
}

/// A whole record at or after this place that was written when `sequence` was known to be durable.
pub(super) fn find_proof(segment: &[u8], from: Place, sequence: u64) -> Option<usize> {
    let first = from.offset.max(SEGMENT_HEADER_BYTES).next_multiple_of(ALIGNMENT);
    (first..segment.len()).step_by(ALIGNMENT).find(|offset| {
        read(segment, Place { offset: *offset, ..from }).is_some_and(|found| found.durable >= sequence)
    })
}

pub(super) fn encode_hard_state(group: GroupId, state: &HardState) -> BytesMut {
    let mut out = begin(0, group);
    values::put_hard_state(&mut out, state);
    out
}

pub(super) fn encode_entries(group: GroupId, entries: &[Entry]) -> BytesMut {
    let mut out = begin(1, group);
    values::put_entries(&mut out, entries);
    out
}

pub(super) fn encode_snapshot_taken(group: GroupId, last: Position) -> BytesMut {
    let mut out = begin(2, group);
    values::put_position(&mut out, last);
    out
}

pub(super) fn decode(body: Bytes) -> Result<Body, Malformed> {
    let mut read = Reader::new(body);
    let kind = read.u8()?;
    let group = GroupId(read.u16()?);
    let decoded = match kind {
        0 => Body::HardState { group, state: values::hard_state(&mut read)? },
        1 => Body::Entries { group, entries: values::entries(&mut read)? },
        2 => Body::SnapshotTaken { group, last: values::position(&mut read)? },
        tag => return Err(Malformed::UnknownTag { what: "record", tag }),
    };
    read.end()?;
    Ok(decoded)
}

fn begin(kind: u8, group: GroupId) -> BytesMut {
    let mut out = BytesMut::new();
    out.put_u8(kind);
    out.put_u16_le(group.0);
    out
}

fn checksum(place: Place, bytes: &[u8]) -> u32 {
    let seed = crc32c::crc32c(&place.segment.to_le_bytes());
    let seed = crc32c::crc32c_append(seed, &(place.offset as u64).to_le_bytes());
    crc32c::crc32c_append(seed, bytes)
}
