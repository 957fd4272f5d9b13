//! The fixed binary form: little-endian numbers, lengths before bytes. Reading never panics and never allocates
//! more than what there is to read.

use bytes::{BufMut, Bytes, BytesMut};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("it ends too early")]
    Truncated,
    #[error("{tag} is no {what}")]
    UnknownTag { what: &'static str, tag: u8 },
    #[error("a text is not UTF-8")]
    NotText,
    #[error("{bytes} bytes follow its end")]
    Trailing { bytes: usize },
    #[error("a frame of {bytes} bytes is larger than allowed")]
    TooLarge { bytes: u64 },
}

/// Reads from shared bytes, so that payloads are slices of them and not copies.
pub(crate) struct Reader(Bytes);

impl Reader {
    pub(crate) fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<Bytes, Malformed> {
        if count > self.0.len() {
            return Err(Malformed::Truncated);
        }
        Ok(self.0.split_to(count))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let mut array = [0; N];
        array.copy_from_slice(&self.take(N)?);
        Ok(array)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(crate) fn u128(&mut self) -> Result<u128, Malformed> {
        Ok(u128::from_le_bytes(self.array()?))
    }

    pub(crate) fn flag(&mut self) -> Result<bool, Malformed> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            tag => Err(Malformed::UnknownTag { what: "flag", tag }),
        }
    }

    pub(crate) fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        if self.flag()? { read(self).map(Some) } else { Ok(None) }
    }

    /// Every item takes at least a byte, so a false count ends with `Truncated` before it costs memory.
    pub(crate) fn list<T, C: FromIterator<T>>(
        &mut self,
        mut read: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<C, Malformed> {
        let count = self.u32()?;
        (0..count).map(|_| read(self)).collect()
    }

    pub(crate) fn bytes(&mut self) -> Result<Bytes, Malformed> {
        let count = self.u32()?;
        self.take(usize::try_from(count).map_err(|_| Malformed::Truncated)?)
    }

    pub(crate) fn text(&mut self) -> Result<String, Malformed> {
        String::from_utf8(self.bytes()?.into()).map_err(|_| Malformed::NotText)
    }

    pub(crate) fn end(self) -> Result<(), Malformed> {
        match self.0.len() {
            0 => Ok(()),
            bytes => Err(Malformed::Trailing { bytes }),
        }
    }
}

/// What [`Reader`] reads beyond plain numbers.
pub(crate) trait Write: BufMut {
    fn put_flag(&mut self, flag: bool);
    fn put_option<T>(&mut self, value: Option<&T>, put: impl FnOnce(&mut Self, &T));
    /// Lengths are 32 bits: everything that comes here is bounded far below (see `FRAME_BYTES_MAX`).
    fn put_count(&mut self, count: usize);
    fn put_bytes_counted(&mut self, bytes: &[u8]);
}

impl Write for BytesMut {
    fn put_flag(&mut self, flag: bool) {
        self.put_u8(u8::from(flag));
    }

    fn put_option<T>(&mut self, value: Option<&T>, put: impl FnOnce(&mut Self, &T)) {
        self.put_flag(value.is_some());
        if let Some(value) = value {
            put(self, value);
        }
    }

    fn put_count(&mut self, count: usize) {
        self.put_u32_le(u32::try_from(count).unwrap_or(u32::MAX));
    }

    fn put_bytes_counted(&mut self, bytes: &[u8]) {
        self.put_count(bytes.len());
        self.extend_from_slice(bytes);
    }
}
