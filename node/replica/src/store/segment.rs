//! A segment of the log: a file that begins with who it is. A blank header is a file that only keeps room.

use bytes::{Buf, BufMut};

pub(super) const HEADER_BYTES: usize = 64;
const MAGIC: u64 = u64::from_le_bytes(*b"QRTLOG\r\n");
const VERSION: u32 = 1;
const PREFIX: &str = "log-";

/// Segments are numbered from 1, without gaps.
pub(super) fn name(number: u64) -> String {
    format!("{PREFIX}{number:016x}")
}

pub(super) fn number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(PREFIX).filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16).ok()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// Nothing was ever made durable in it.
    Blank,
    /// Everything before `first_sequence` was durable when this was written.
    Begun { first_sequence: u64 },
    /// Not what was written: a header lies in one sector, so a crash leaves all of it or nothing.
    Bad,
}

pub(super) fn encode_header(number: u64, first_sequence: u64) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    let mut out = &mut header[..];
    out.put_u64_le(MAGIC);
    out.put_u32_le(VERSION);
    out.put_u64_le(number);
    out.put_u64_le(first_sequence);
    let checksum = crc32c::crc32c(&header[..HEADER_BYTES - 4]);
    header[HEADER_BYTES - 4..].copy_from_slice(&checksum.to_le_bytes());
    header
}

pub(super) fn decode_header(number: u64, segment: &[u8]) -> Header {
    let Some(header) = segment.get(..HEADER_BYTES) else { return Header::Bad };
    if header.iter().all(|byte| *byte == 0) {
        return Header::Blank;
    }
    let first_sequence = (&header[20..28]).get_u64_le();
    if header == encode_header(number, first_sequence) {
        Header::Begun { first_sequence }
    } else {
        Header::Bad
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_begun_blank_or_bad() {
        let mut header = encode_header(3, 77);
        assert_eq!(decode_header(3, &header), Header::Begun { first_sequence: 77 });
        assert_eq!(decode_header(4, &header), Header::Bad);
        assert_eq!(decode_header(3, &[0; HEADER_BYTES]), Header::Blank);
        assert_eq!(decode_header(3, &[]), Header::Bad);
        for byte in 0..HEADER_BYTES {
            header[byte] ^= 1;
            assert_eq!(decode_header(3, &header), Header::Bad);
            header[byte] ^= 1;
        }
        assert_eq!(number(&name(255)), Some(255));
        assert_eq!(number("log-1"), None);
        assert_eq!(number("log.tmp"), None);
    }
}
