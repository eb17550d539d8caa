//! What happens to a fetched entry: decided from its header alone, in one place.

use super::header::BatchHeader;
use super::txn_filter::Verdict;
use super::walk::Entry;

/// A batch below this size is worth merging with its neighbors, in bytes.
pub const SMALL_BATCH_BYTES: usize = 16 * 1024;
/// A merged batch ends here, in bytes of uncompressed records.
pub const MERGED_BATCH_BYTES: usize = 256 * 1024;

/// What the target does with the append times of a source topic with
/// `message.timestamp.type=LogAppendTime`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendTime {
    /// The target topic is `CreateTime`: its records must carry the source's append time.
    Keep,
    /// The target topic is `LogAppendTime` itself and stamps anew.
    Release,
}

/// What the decision depends on besides the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// The offset that was asked for; records before it were forwarded already.
    pub fetch_offset: i64,
    /// `max.message.bytes` of the target topic, in bytes.
    pub max_message_bytes: usize,
    /// Whether append times must survive.
    pub append_time: AppendTime,
    /// What the transaction filter says about the entry.
    pub verdict: Verdict,
}

/// What happens to an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Forwarded as it is, under a patched header.
    Seal,
    /// Opened and built anew.
    Rewrite(RewriteReason),
    /// Not forwarded; the position moves behind it.
    Drop(DropReason),
}

/// Why an entry cannot be forwarded as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RewriteReason {
    /// Compaction left holes between the offsets, which a broker refuses.
    Sparse,
    /// Format 0 or 1, which can no longer be produced.
    LegacyMagic,
    /// The offset that was asked for lies inside the batch.
    StartInside,
    /// The records must carry the append time, which stands only in the header.
    AppendTimeKept,
    /// The batch is larger than the target topic takes.
    TooLarge,
    /// The codec's number is none that Kafka has: rewriting names the batch in an error.
    UnknownCodec,
}

/// Why an entry is not forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DropReason {
    /// A transaction marker.
    Control,
    /// Records of an aborted transaction.
    Aborted,
    /// Compaction removed all records.
    Empty,
    /// Every record lies before the offset that was asked for.
    BeforeStart,
}

/// Decides about one fetched entry.
#[must_use]
pub fn decide(entry: &Entry, context: &Context) -> Decision {
    match entry.header() {
        Some(header) => decide_batch(&header, context),
        None => Decision::Rewrite(RewriteReason::LegacyMagic),
    }
}

/// Decides about one version 2 batch.
#[must_use]
pub fn decide_batch(header: &BatchHeader<'_>, context: &Context) -> Decision {
    if header.is_control() {
        Decision::Drop(DropReason::Control)
    } else if context.verdict == Verdict::Aborted {
        Decision::Drop(DropReason::Aborted)
    } else if header.record_count() == 0 {
        Decision::Drop(DropReason::Empty)
    } else if header.last_offset() < context.fetch_offset {
        Decision::Drop(DropReason::BeforeStart)
    } else if header.compression().is_none() {
        Decision::Rewrite(RewriteReason::UnknownCodec)
    } else if !header.is_dense() {
        Decision::Rewrite(RewriteReason::Sparse)
    } else if header.base_offset() < context.fetch_offset {
        Decision::Rewrite(RewriteReason::StartInside)
    } else if header.is_log_append_time() && context.append_time == AppendTime::Keep {
        Decision::Rewrite(RewriteReason::AppendTimeKept)
    } else if header.total_bytes() > context.max_message_bytes {
        Decision::Rewrite(RewriteReason::TooLarge)
    } else {
        Decision::Seal
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::builder::BatchBuilder;

    const CONTEXT: Context = Context {
        fetch_offset: 100,
        max_message_bytes: 1_048_588,
        append_time: AppendTime::Keep,
        verdict: Verdict::Keep,
    };

    fn batch() -> Vec<u8> {
        let mut batch = BatchBuilder::new();
        for i in 0..10 {
            batch.push(None, Some(b"value"), &[], i);
        }
        let mut bytes = batch.build().unwrap().bytes.to_vec();
        bytes[..8].copy_from_slice(&100i64.to_be_bytes());
        bytes
    }

    fn decision(change: impl Fn(&mut Vec<u8>), context: Context) -> Decision {
        let mut bytes = batch();
        change(&mut bytes);
        decide(&Entry::new(bytes.into()).unwrap(), &context)
    }

    fn attributes(bits: u8) -> impl Fn(&mut Vec<u8>) {
        move |bytes| bytes[22] |= bits
    }

    #[test]
    fn an_ordinary_batch_is_sealed() {
        assert_eq!(decision(|_| (), CONTEXT), Decision::Seal);
        assert_eq!(decision(attributes(0x10 | 0x40), CONTEXT), Decision::Seal);
        assert_eq!(decision(|_| (), Context { fetch_offset: 50, ..CONTEXT }), Decision::Seal);
    }

    #[test]
    fn what_must_be_rebuilt() {
        let rewrite = |reason| Decision::Rewrite(reason);
        assert_eq!(decision(|b| b[26] = 10, CONTEXT), rewrite(RewriteReason::Sparse));
        let inside = Context { fetch_offset: 109, ..CONTEXT };
        assert_eq!(decision(|_| (), inside), rewrite(RewriteReason::StartInside));
        let stamped = rewrite(RewriteReason::AppendTimeKept);
        assert_eq!(decision(attributes(0x08), CONTEXT), stamped);
        let release = Context { append_time: AppendTime::Release, ..CONTEXT };
        assert_eq!(decision(attributes(0x08), release), Decision::Seal);
        let size = batch().len();
        let fits = Context { max_message_bytes: size, ..CONTEXT };
        assert_eq!(decision(|_| (), fits), Decision::Seal);
        let small = Context { max_message_bytes: size - 1, ..CONTEXT };
        assert_eq!(decision(|_| (), small), rewrite(RewriteReason::TooLarge));
        assert_eq!(decision(attributes(0x05), CONTEXT), rewrite(RewriteReason::UnknownCodec));
        let mut v1 = vec![0u8; 34];
        v1[11] = 22;
        v1[16] = 1;
        let legacy = decide(&Entry::new(v1.into()).unwrap(), &CONTEXT);
        assert_eq!(legacy, rewrite(RewriteReason::LegacyMagic));
    }

    #[test]
    fn what_is_left_out() {
        let drop = |reason| Decision::Drop(reason);
        assert_eq!(decision(attributes(0x30), CONTEXT), drop(DropReason::Control));
        let aborted = Context { verdict: Verdict::Aborted, ..CONTEXT };
        assert_eq!(decision(attributes(0x10), aborted), drop(DropReason::Aborted));
        assert_eq!(decision(|b| b[60] = 0, CONTEXT), drop(DropReason::Empty));
        let past = Context { fetch_offset: 110, ..CONTEXT };
        assert_eq!(decision(|_| (), past), drop(DropReason::BeforeStart));
    }
}
