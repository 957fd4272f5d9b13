//! Small files that are there whole or not at all: the identity and the snapshots. Written under another name,
//! synced, renamed.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quartet_raft::{Index, MemberId, SnapshotMeta};

use super::{Identity, StoreError};
use crate::GroupId;
use crate::disk::{Disk, DiskFile};
use crate::wire::codec::{Malformed, Reader, Write};
use crate::wire::values;

pub(super) const IDENTITY: &str = "identity";
pub(super) const FOUNDING: &str = "founding";
/// Nothing under a name that ends so was ever whole for certain.
pub(super) const TEMPORARY: &str = ".tmp";
pub(super) const SNAPSHOT_PREFIX: &str = "snapshot-";
const MAGIC: u64 = u64::from_le_bytes(*b"QRTSEAL\n");
/// magic 8, checksum 4, length 8
const HEADER_BYTES: usize = 20;

pub(super) fn write_identity<D: Disk>(disk: &D, identity: &Identity) -> Result<(), StoreError> {
    let mut body = BytesMut::new();
    values::put_member(&mut body, identity.id);
    body.put_option(identity.cluster.as_ref(), |out, cluster| out.put_u128_le(*cluster));
    body.put_u16_le(identity.groups);
    body.put_u64_le(identity.boots);
    write(disk, IDENTITY, &body, &[])
}

pub(super) fn read_identity<D: Disk>(disk: &D) -> Result<Result<Identity, String>, StoreError> {
    read(disk, IDENTITY, |read| {
        Ok(Identity {
            id: values::member(read)?,
            cluster: read.option(Reader::u128)?,
            groups: read.u16()?,
            boots: read.u64()?,
        })
    })
}

/// A founding that was begun without an operator: whoever begins it goes on with the same one after a crash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FoundingPlan {
    pub(crate) cluster: u128,
    pub(crate) members: Vec<(MemberId, String)>,
}

pub(crate) fn write_founding<D: Disk>(disk: &D, plan: &FoundingPlan) -> Result<(), StoreError> {
    let mut body = BytesMut::new();
    body.put_u128_le(plan.cluster);
    values::put_addresses(&mut body, plan.members.iter().map(|(id, address)| (id, address)));
    write(disk, FOUNDING, &body, &[])
}

/// None also when it cannot be read: then it is begun anew, which nobody who was told of the old one accepts.
pub(crate) fn read_founding<D: Disk>(disk: &D) -> Result<Option<FoundingPlan>, StoreError> {
    let names = disk.list().map_err(StoreError::io("list", "the directory"))?;
    if !names.iter().any(|name| name == FOUNDING) {
        return Ok(None);
    }
    let found = read(disk, FOUNDING, |read| {
        Ok(FoundingPlan { cluster: read.u128()?, members: values::addresses(read)? })
    })?;
    Ok(found.ok())
}

pub(crate) fn remove_founding<D: Disk>(disk: &D) -> Result<(), StoreError> {
    disk.remove(FOUNDING).map_err(StoreError::io("remove", FOUNDING))?;
    disk.sync_names().map_err(StoreError::io("sync the removal of", FOUNDING))
}

pub(super) fn snapshot_name(group: GroupId, index: Index) -> String {
    format!("{SNAPSHOT_PREFIX}{:05}-{:020}", group.0, index.0)
}

/// All snapshots by their names, the indexes of each group in order.
pub(super) fn snapshots(names: &[String]) -> BTreeMap<GroupId, Vec<Index>> {
    let mut found: BTreeMap<GroupId, Vec<Index>> = BTreeMap::new();
    for name in names {
        if let Some((group, index)) = name.strip_prefix(SNAPSHOT_PREFIX).and_then(|rest| rest.split_once('-'))
            && let (Ok(group), Ok(index)) = (group.parse(), index.parse())
        {
            found.entry(GroupId(group)).or_default().push(Index(index));
        }
    }
    for indexes in found.values_mut() {
        indexes.sort();
    }
    found
}

pub(super) fn write_snapshot<D: Disk>(
    disk: &D,
    group: GroupId,
    meta: &SnapshotMeta,
    data: &[u8],
) -> Result<(), StoreError> {
    let mut head = BytesMut::new();
    head.put_u16_le(group.0);
    values::put_snapshot_meta(&mut head, meta);
    head.put_count(data.len());
    write(disk, &snapshot_name(group, meta.last.index), &head, data)
}

/// Inner error: it is there and cannot be what was written.
pub(super) fn read_snapshot<D: Disk>(
    disk: &D,
    group: GroupId,
    index: Index,
) -> Result<Result<(SnapshotMeta, Bytes), String>, StoreError> {
    let name = snapshot_name(group, index);
    let found =
        read(disk, &name, |read| Ok((GroupId(read.u16()?), values::snapshot_meta(read)?, read.bytes()?)))?;
    Ok(found.and_then(|(of, meta, data)| {
        if of == group && meta.last.index == index {
            Ok((meta, data))
        } else {
            Err(format!("{name} holds another snapshot than its name says"))
        }
    }))
}

fn write<D: Disk>(disk: &D, name: &str, head: &[u8], tail: &[u8]) -> Result<(), StoreError> {
    let temporary = format!("{name}{TEMPORARY}");
    let length = (head.len() + tail.len()) as u64;
    let mut start = BytesMut::with_capacity(HEADER_BYTES + head.len());
    start.put_u64_le(MAGIC);
    start.put_u32_le(crc32c::crc32c_append(crc32c::crc32c(head), tail));
    start.put_u64_le(length);
    start.extend_from_slice(head);
    let mut file = disk
        .create(&temporary, HEADER_BYTES as u64 + length)
        .map_err(StoreError::io("create", &temporary))?;
    file.write_at(0, &start).map_err(StoreError::io("write", &temporary))?;
    file.write_at(start.len() as u64, tail).map_err(StoreError::io("write", &temporary))?;
    file.sync().map_err(StoreError::io("sync", &temporary))?;
    disk.rename(&temporary, name).map_err(StoreError::io("rename to", name))?;
    disk.sync_names().map_err(StoreError::io("sync the name of", name))
}

fn read<D: Disk, T>(
    disk: &D,
    name: &str,
    decode: impl FnOnce(&mut Reader) -> Result<T, Malformed>,
) -> Result<Result<T, String>, StoreError> {
    let bytes = read_whole(disk, name)?;
    let mut header = &bytes[..];
    if bytes.len() < HEADER_BYTES || header.get_u64_le() != MAGIC {
        return Ok(Err(format!("{name} does not begin as it was written (offset 0)")));
    }
    let checksum = header.get_u32_le();
    let body = bytes.slice(HEADER_BYTES..);
    if header.get_u64_le() != body.len() as u64 || crc32c::crc32c(&body) != checksum {
        return Ok(Err(format!("{name} fails its checksum (offset {HEADER_BYTES})")));
    }
    let mut reader = Reader::new(body);
    let decoded = decode(&mut reader).and_then(|value| reader.end().map(|()| value));
    Ok(decoded.map_err(|why| format!("{name} cannot be read: {why}")))
}

pub(super) fn read_whole<D: Disk>(disk: &D, name: &str) -> Result<Bytes, StoreError> {
    let file = disk.open(name).map_err(StoreError::io("open", name))?;
    let length = file.len().map_err(StoreError::io("measure", name))?;
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
    file.read_at(0, &mut bytes).map_err(StoreError::io("read", name))?;
    Ok(bytes.into())
}
