//! The memory that all flows of the process share: what may be held, and the buffers that it is held in.

use std::hint::black_box;
use std::time::Duration;

use protocol_client::wire::frame::FramePool;
use tokio::time::sleep;

use crate::flow::budget::Budget;

/// Buffers that nobody has needed for so long go back to the allocator, and another time as long later to the system.
const UNUSED: Duration = Duration::from_secs(3);
/// Large enough for pages of its own in any allocator.
const PROMPT_BYTES: usize = 4 << 20;

/// `kmirror.memory.bytes`, for everybody.
#[derive(Debug, Clone)]
pub(super) struct Memory {
    pub(super) budget: Budget,
    pub(super) frames: FramePool,
}

impl Memory {
    pub(super) fn new(bytes: u64, shards: usize) -> Self {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        Self { budget: Budget::shared(bytes, shards), frames: FramePool::new(bytes) }
    }

    /// Gives unused buffers back, until the process ends.
    pub(super) async fn tidy(self) {
        loop {
            sleep(UNUSED).await;
            self.frames.trim();
            prompt_allocator();
        }
    }
}

/// Lets the allocator notice that pages have been free for long enough.
///
/// mimalloc keeps them for a second (`mi_option_purge_delay`) and looks at the clock only when a page is taken or
/// freed; a process without work would hold what it had at its busiest for ever.
fn prompt_allocator() {
    drop(black_box(Vec::<u8>::with_capacity(PROMPT_BYTES)));
}
