//! Size-prefixed frames: one buffer per frame, lent from a bounded pool, sliced and never copied.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// Frames that fit in here arrive with one read, together with their size; of larger ones only the
/// first bytes pass through here and the rest is read straight into the frame's own buffer.
const READ_AHEAD_BYTES: usize = 4096;

/// A frame whose size is impossible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The peer announces more than is accepted here. Not Kafka, or a limit set too low.
    #[error("a frame of {bytes} bytes was announced, at most {limit} are accepted{}", stranger(*bytes))]
    TooLarge {
        /// The announced size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The announced size is negative: the peer does not speak Kafka's protocol.
    #[error("a frame of negative size {size} was announced; is this a Kafka listener?")]
    Negative {
        /// The announced size.
        size: i32,
    },
}

/// What a peer says first that does not speak Kafka's protocol, read as a size.
fn stranger(bytes: usize) -> &'static str {
    match u32::try_from(bytes).unwrap_or(0).to_be_bytes() {
        // An alert, or what else TLS sends: RFC 8446, section 5.1.
        [0x14..=0x17, 3, 0..=4, _] => "; the listener speaks TLS: name a PLAINTEXT listener",
        [b'H', b'T', b'T', b'P'] => "; the listener speaks HTTP: is the port right?",
        _ => "",
    }
}

/// Buffers for frames, kept for reuse as long as all of them together stay within a bound. Clones share one pool.
///
/// A buffer comes back when the last slice of its frame is dropped.
#[derive(Clone, Debug)]
pub struct FramePool(Arc<PoolInner>);

#[derive(Debug)]
struct PoolInner {
    kept: Mutex<Kept>,
    max_bytes: usize,
}

#[derive(Debug, Default)]
struct Kept {
    by_capacity: BTreeMap<usize, Vec<Vec<u8>>>,
    bytes: usize,
    /// The least that `bytes` has been since the last [`FramePool::trim`].
    idle_bytes: usize,
    /// Of the buffers that are in use.
    lent_bytes: usize,
}

impl Kept {
    fn put(&mut self, buffer: Vec<u8>) {
        self.bytes += buffer.capacity();
        self.by_capacity.entry(buffer.capacity()).or_default().push(buffer);
    }

    /// The smallest buffer within these capacities.
    fn get(&mut self, capacities: RangeInclusive<usize>) -> Option<Vec<u8>> {
        let (&capacity, buffers) = self.by_capacity.range_mut(capacities).next()?;
        let buffer = buffers.pop();
        if buffers.is_empty() {
            self.by_capacity.remove(&capacity);
        }
        self.bytes -= buffer.as_ref().map_or(0, Vec::capacity);
        self.idle_bytes = self.idle_bytes.min(self.bytes);
        buffer
    }
}

impl FramePool {
    /// A pool that keeps unused buffers while they and those in use are no more than `max_bytes`.
    pub fn new(max_bytes: usize) -> Self {
        Self(Arc::new(PoolInner { kept: Mutex::default(), max_bytes }))
    }

    /// Bytes of frames that are still referenced somewhere, or still being read.
    pub fn lent_bytes(&self) -> usize {
        self.0.lock().lent_bytes
    }

    /// Bytes of unused buffers kept for the next frames.
    pub fn kept_bytes(&self) -> usize {
        self.0.lock().bytes
    }

    /// Frees what nobody has needed since the last call.
    pub fn trim(&self) {
        let mut unused = Vec::new();
        let mut kept = self.0.lock();
        let idle_bytes = kept.idle_bytes;
        let enough = kept.bytes - idle_bytes;
        while kept.bytes > enough {
            unused.extend(kept.get(0..=usize::MAX));
        }
        kept.idle_bytes = kept.bytes;
    }

    fn take(&self, length: usize) -> Lent {
        // A frame is accounted for by its length, so a buffer must not be much larger.
        let capacities = length..=length.saturating_add(length / 4);
        let mut surplus = Vec::new();
        let mut kept = self.0.lock();
        let found = kept.get(capacities);
        let capacity = found.as_ref().map_or_else(|| rounded(length), Vec::capacity);
        kept.lent_bytes += capacity;
        // Buffers that fit nobody make room for those that are needed.
        while kept.bytes > 0 && kept.lent_bytes + kept.bytes > self.0.max_bytes {
            surplus.extend(kept.get(0..=usize::MAX));
        }
        drop(kept);
        let buffer = found.unwrap_or_else(|| Vec::with_capacity(capacity));
        Lent { buffer, capacity, pool: Arc::clone(&self.0) }
    }
}

impl PoolInner {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for FramePool {
    /// Up to 16 MiB.
    fn default() -> Self {
        Self::new(16 << 20)
    }
}

/// Few distinct capacities make it likely that a kept buffer fits; eight for each doubling waste an eighth at most.
fn rounded(length: usize) -> usize {
    length.next_multiple_of(length.next_power_of_two().div_ceil(16))
}

/// A buffer in use.
#[derive(Debug)]
struct Lent {
    buffer: Vec<u8>,
    /// What it counts for.
    capacity: usize,
    pool: Arc<PoolInner>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        let mut kept = self.pool.lock();
        kept.lent_bytes -= self.capacity;
        if kept.lent_bytes + kept.bytes + buffer.capacity() <= self.pool.max_bytes {
            kept.put(buffer);
        }
    }
}

/// Puts frames together from whatever the transport delivers.
///
/// The shell reads into [`space`](Self::space) and then takes frames with
/// [`next_frame`](Self::next_frame) until there is none.
#[derive(Debug)]
pub struct FrameAssembler {
    pool: FramePool,
    max_frame_bytes: usize,
    ahead: Vec<u8>,
    ahead_at: usize,
    partial: Option<Partial>,
}

#[derive(Debug)]
struct Partial {
    memory: Memory,
    length: usize,
}

/// Where a frame is put together.
#[derive(Debug)]
enum Memory {
    /// Small: not worth a place in the pool.
    Own(Vec<u8>),
    Lent(Lent),
}

impl Memory {
    fn buffer(&mut self) -> &mut Vec<u8> {
        match self {
            Self::Own(buffer) | Self::Lent(Lent { buffer, .. }) => buffer,
        }
    }

    fn freeze(self) -> Bytes {
        match self {
            Self::Own(buffer) => Bytes::from(buffer),
            Self::Lent(lent) => Bytes::from_owner(lent),
        }
    }
}

impl FrameAssembler {
    /// An assembler that refuses frames above `max_frame_bytes`.
    pub fn new(pool: FramePool, max_frame_bytes: usize) -> Self {
        let ahead = Vec::with_capacity(READ_AHEAD_BYTES);
        Self { pool, max_frame_bytes, ahead, ahead_at: 0, partial: None }
    }

    /// Changes the limit for the frames to come.
    pub fn set_max_frame_bytes(&mut self, max_frame_bytes: usize) {
        self.max_frame_bytes = max_frame_bytes;
    }

    /// Where the next bytes go, and how many of them at most (never 0).
    pub fn space(&mut self) -> (&mut Vec<u8>, usize) {
        match &mut self.partial {
            Some(partial) => {
                let buffer = partial.memory.buffer();
                let missing = partial.length - buffer.len();
                (buffer, missing)
            }
            None => {
                self.ahead.drain(..self.ahead_at);
                self.ahead_at = 0;
                let room = READ_AHEAD_BYTES - self.ahead.len();
                (&mut self.ahead, room)
            }
        }
    }

    /// The next whole frame without its size, if there is one.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, FrameError> {
        if self.partial.is_none() {
            self.begin()?;
        }
        let whole = self.partial.take_if(|it| it.memory.buffer().len() == it.length);
        Ok(whole.map(|whole| whole.memory.freeze()))
    }

    /// Whether the stream may end here without cutting a frame.
    pub fn is_between_frames(&self) -> bool {
        self.partial.is_none() && self.ahead_at == self.ahead.len()
    }

    fn begin(&mut self) -> Result<(), FrameError> {
        let pending = &self.ahead[self.ahead_at..];
        let Some((size, rest)) = pending.split_first_chunk::<4>() else { return Ok(()) };
        let size = i32::from_be_bytes(*size);
        let length = usize::try_from(size).map_err(|_| FrameError::Negative { size })?;
        if length > self.max_frame_bytes {
            return Err(FrameError::TooLarge { bytes: length, limit: self.max_frame_bytes });
        }
        let here = &rest[..length.min(rest.len())];
        let mut memory = if length <= READ_AHEAD_BYTES {
            Memory::Own(Vec::with_capacity(length))
        } else {
            Memory::Lent(self.pool.take(length))
        };
        memory.buffer().extend_from_slice(here);
        self.ahead_at += 4 + here.len();
        self.partial = Some(Partial { memory, length });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn strangers_are_named() {
        let error = |first: [u8; 4]| {
            FrameError::TooLarge { bytes: u32::from_be_bytes(first) as usize, limit: 1 }.to_string()
        };
        assert!(error(*b"\x15\x03\x03\x00").contains("speaks TLS"));
        assert!(error(*b"HTTP").contains("speaks HTTP"));
        assert!(error(*b"\x00\x10\x00\x00").ends_with("are accepted"));
    }

    fn feed(assembler: &mut FrameAssembler, mut stream: &[u8], step: usize) -> Vec<Bytes> {
        let mut frames = Vec::new();
        while !stream.is_empty() {
            let (buffer, room) = assembler.space();
            assert!(room > 0);
            let (now, later) = stream.split_at(stream.len().min(room).min(step));
            buffer.extend_from_slice(now);
            stream = later;
            while let Some(frame) = assembler.next_frame().expect("sizes are within the limit") {
                frames.push(frame);
            }
        }
        frames
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in(
            lengths in proptest::collection::vec(0usize..20_000, 0..8),
            step in 1usize..9_000,
        ) {
            let sent: Vec<Vec<u8>> =
                lengths.iter().enumerate().map(|(i, &length)| vec![i as u8; length]).collect();
            let mut stream = Vec::new();
            for frame in &sent {
                stream.extend_from_slice(&(frame.len() as i32).to_be_bytes());
                stream.extend_from_slice(frame);
            }
            let mut assembler = FrameAssembler::new(FramePool::default(), 1 << 20);
            let received = feed(&mut assembler, &stream, step);
            prop_assert_eq!(received, sent);
            prop_assert!(assembler.is_between_frames());
        }
    }

    #[test]
    fn sizes_beyond_the_limit_are_refused_before_anything_is_allocated() {
        let mut assembler = FrameAssembler::new(FramePool::default(), 1000);
        assembler.space().0.extend_from_slice(&1001i32.to_be_bytes());
        let refused = Err(FrameError::TooLarge { bytes: 1001, limit: 1000 });
        assert_eq!(assembler.next_frame(), refused);

        let mut assembler = FrameAssembler::new(FramePool::default(), 1000);
        assembler.space().0.extend_from_slice(b"\xffTTP");
        assert!(matches!(assembler.next_frame(), Err(FrameError::Negative { .. })));
    }

    #[test]
    fn buffers_return_when_the_last_slice_drops_and_are_used_again() {
        let pool = FramePool::new(64 << 10);
        let mut assembler = FrameAssembler::new(pool.clone(), 1 << 20);
        let mut stream = 10_000i32.to_be_bytes().to_vec();
        stream.extend_from_slice(&[7; 10_000]);
        let frame = feed(&mut assembler, &stream, 4096).pop().expect("one frame");
        let slice = frame.slice(5..10);
        let address = frame.as_ptr();
        drop(frame);
        assert_eq!((pool.lent_bytes(), pool.kept_bytes()), (10_240, 0));
        drop(slice);
        assert_eq!((pool.lent_bytes(), pool.kept_bytes()), (0, 10_240));
        let again = feed(&mut assembler, &stream, 4096).pop().expect("one frame");
        assert_eq!(again.as_ptr(), address);
    }

    #[test]
    fn unused_buffers_and_used_ones_share_one_bound() {
        let pool = FramePool::new(40_000);
        let mut frames: Vec<Lent> = (0..4).map(|_| pool.take(16_384)).collect();
        assert_eq!(pool.lent_bytes(), 65_536);
        frames.truncate(2);
        assert_eq!((pool.lent_bytes(), pool.kept_bytes()), (32_768, 0));
        drop(frames);
        assert_eq!((pool.lent_bytes(), pool.kept_bytes()), (0, 32_768));
        let other = pool.take(32_768);
        assert_eq!((pool.lent_bytes(), pool.kept_bytes()), (32_768, 0), "it needs the room");
        drop(other);
    }

    #[test]
    fn what_nobody_needs_is_freed() {
        let pool = FramePool::new(1 << 20);
        let frames: Vec<Lent> = (0..4).map(|_| pool.take(16_384)).collect();
        pool.trim();
        drop(frames);
        pool.trim();
        assert_eq!(pool.kept_bytes(), 65_536, "they were needed just now");
        drop((pool.take(16_384), pool.take(8_192)));
        pool.trim();
        assert_eq!(pool.kept_bytes(), 16_384);
        pool.trim();
        assert_eq!(pool.kept_bytes(), 0);
    }

    #[test]
    fn a_frame_that_is_cut_off_gives_its_buffer_back() {
        let pool = FramePool::new(64 << 10);
        let mut assembler = FrameAssembler::new(pool.clone(), 1 << 20);
        assert!(feed(&mut assembler, &10_000i32.to_be_bytes(), 4).is_empty());
        assert_eq!(pool.lent_bytes(), 10_240);
        drop(assembler);
        assert_eq!((pool.lent_bytes(), pool.kept_bytes()), (0, 10_240));
    }
}
