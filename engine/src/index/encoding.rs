//! An index as bytes, to be restored after a restart.
//!
//! Version 1: the version (one byte), flags (one byte: 1 = nothing lies before the start), then as varints the pair that
//! the index begins with, the records of the last run, the offsets passed behind it, the number of closed segments; then
//! these, up to the end.

use thiserror::Error;

use super::segment::{put, take, take_i64};
use super::{OffsetIndex, Tail, is_offset};

const VERSION: u8 = 1;
const KNOWS_START: u8 = 1;

/// Why bytes are no index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum IndexError {
    /// A newer program wrote it, or something else did.
    #[error("version {0} of the offset index is not known, only {VERSION} is")]
    UnknownVersion(u8),
    /// The bytes end too early, go on too long, or say what cannot be.
    #[error("the offset index is damaged")]
    Damaged,
}

impl OffsetIndex {
    /// The index as at most about `max_bytes` bytes: thinned if they do not suffice. Of an empty index nothing.
    pub fn encode(&self, max_bytes: usize) -> Vec<u8> {
        let mut out = self.encode_head();
        if out.len() + self.bytes.len() <= max_bytes {
            out.extend_from_slice(&self.bytes);
            return out;
        }
        let mut thinned = self.clone();
        while thinned.closed > 1 && out.len() + thinned.bytes.len() > max_bytes {
            thinned.thin();
            out = thinned.encode_head();
        }
        out.extend_from_slice(&thinned.bytes);
        out
    }

    fn encode_head(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let Some(tail) = self.tail else { return out };
        out.reserve(64 + self.bytes.len());
        out.extend([VERSION, if self.knows_start { KNOWS_START } else { 0 }]);
        let (source, target) = self.first();
        let passed = tail.source_next - tail.source_end();
        for offset in [source, target, tail.count, passed] {
            put(&mut out, offset.unsigned_abs());
        }
        put(&mut out, self.closed as u64);
        out
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// The bytes are no index of a known version. Whatever they are, no more memory is taken than they take.
    pub fn decode(bytes: &[u8]) -> Result<Self, IndexError> {
        match bytes.split_first() {
            None => Ok(Self::default()),
            Some((&VERSION, rest)) => decode(rest).ok_or(IndexError::Damaged),
            Some((version, _)) => Err(IndexError::UnknownVersion(*version)),
        }
    }
}

fn decode(bytes: &[u8]) -> Option<OffsetIndex> {
    let (flags, mut rest) = bytes.split_first()?;
    if *flags & !KNOWS_START != 0 {
        return None;
    }
    let mut offset = || take_i64(&mut rest).filter(|offset| is_offset(*offset));
    let (source, target, count, passed) = (offset()?, offset()?, offset()?, offset()?);
    let closed = take(&mut rest)?;
    let mut index = OffsetIndex { bytes: rest.to_vec(), ..OffsetIndex::default() };
    let (source, target) = index.rebuild_directory(source, target)?;
    let tail = Tail { source, target, count, source_next: source + count + passed };
    if index.closed as u64 != closed
        || !is_offset(tail.source_next)
        || !is_offset(tail.target_end())
    {
        return None;
    }
    index.tail = Some(tail);
    index.knows_start = *flags & KNOWS_START != 0;
    index.keep_bound();
    Some(index)
}
