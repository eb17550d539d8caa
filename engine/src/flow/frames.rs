//! Who pins how many bytes: every answer frame stays in memory until its last batch is gone.
//!
//! Slices of a frame keep the whole frame alive, so memory is counted per frame and not per batch.
//!
//! Invariants: (a) a frame's bytes count as long as it has users; (b) `used` is the sum of frames, owned buffers and
//! what fetches under way may still bring.

use slab::Slab;

use super::budget::Budget;

/// Name of a frame in [`Frames`].
pub(super) type FrameKey = usize;

/// What a batch in memory is charged to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Charge {
    /// A slice of a frame.
    Frame(FrameKey),
    /// A buffer of its own, of this many bytes.
    Owned(usize),
}

/// The account of one shard's share of the memory budget.
#[derive(Debug)]
pub(super) struct Frames {
    frames: Slab<Frame>,
    budget: Budget,
    used_bytes: usize,
}

#[derive(Debug)]
struct Frame {
    bytes: usize,
    users: u32,
}

impl Frames {
    pub(super) fn new(budget: Budget) -> Self {
        Self { frames: Slab::new(), budget, used_bytes: 0 }
    }

    /// Bytes that may still be asked for.
    pub(super) fn free_bytes(&self) -> usize {
        self.budget.free_bytes(self.used_bytes)
    }

    /// Bytes held or promised at present.
    pub(super) fn used_bytes(&self) -> usize {
        self.used_bytes
    }

    /// Sets bytes aside for a fetch that is about to be sent.
    pub(super) fn reserve(&mut self, bytes: usize) {
        self.set_used(self.used_bytes + bytes);
    }

    /// Gives back what [`Frames::reserve`] set aside.
    pub(super) fn unreserve(&mut self, bytes: usize) {
        self.set_used(self.used_bytes.saturating_sub(bytes));
    }

    /// Enters a frame with one user: whoever reads it now, until it calls [`Frames::release`].
    pub(super) fn enter(&mut self, bytes: usize) -> FrameKey {
        self.reserve(bytes);
        self.frames.insert(Frame { bytes, users: 1 })
    }

    /// Charges one more batch to a frame.
    pub(super) fn share(&mut self, key: FrameKey) -> Charge {
        self.frames[key].users += 1;
        Charge::Frame(key)
    }

    /// Charges a buffer of its own.
    pub(super) fn own(&mut self, bytes: usize) -> Charge {
        self.reserve(bytes);
        Charge::Owned(bytes)
    }

    /// Ends a charge; the frame's bytes are free when its last user is gone.
    pub(super) fn release(&mut self, charge: Charge) {
        let bytes = match charge {
            Charge::Owned(bytes) => bytes,
            Charge::Frame(key) => {
                let frame = &mut self.frames[key];
                frame.users -= 1;
                if frame.users > 0 {
                    return;
                }
                self.frames.remove(key).bytes
            }
        };
        self.unreserve(bytes);
    }

    fn set_used(&mut self, bytes: usize) {
        self.budget.moved(self.used_bytes, bytes);
        self.used_bytes = bytes;
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        self.set_used(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_counts_until_its_last_user_is_gone() {
        let mut frames = Frames::new(Budget::alone(1000));
        let key = frames.enter(400);
        let first = frames.share(key);
        let second = frames.share(key);
        frames.release(Charge::Frame(key));
        frames.release(first);
        assert_eq!(frames.free_bytes(), 600);
        frames.release(second);
        assert_eq!(frames.free_bytes(), 1000);
    }

    #[test]
    fn promised_bytes_count_like_held_ones() {
        let mut frames = Frames::new(Budget::alone(100));
        frames.reserve(80);
        assert_eq!(frames.free_bytes(), 20);
        let owned = frames.own(50);
        assert_eq!(frames.free_bytes(), 0);
        frames.unreserve(80);
        frames.release(owned);
        assert_eq!(frames.used_bytes(), 0);
    }
}
