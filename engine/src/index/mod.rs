//! Which offset of the target is which offset of the source, for one partition.
//!
//! Between two breakpoints source and target offsets grow side by side, so an index is a list of breakpoints: places
//! where one side has a hole (transaction markers, compaction, records of others). It is kept as segments of a byte or a
//! few in one row, with a directory of every 32nd. Memory is bounded: when the bound is reached, older
//! segments are merged into coarser ones, and what lies in those is answered conservatively and marked as such.

mod encoding;
mod segment;

pub use encoding::IndexError;

use segment::{MAX_SEGMENT_BYTES, Segment};

/// The bound of an index that nobody sets otherwise, in bytes.
pub const DEFAULT_MAX_BYTES: usize = 256 << 10;

/// No broker has offsets beyond it, and sums of two never overflow.
const MAX_OFFSET: i64 = 1 << 60;

/// Segments for each entry of the directory.
const BLOCK_SEGMENTS: usize = 32;

/// What fraction of its age a part may be wide when memory runs short: the finest that frees enough is taken.
const PRECISIONS: [i64; 6] = [1024, 256, 64, 16, 4, 1];

/// The answer to a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Translation {
    /// What was forwarded from before the position lies before this one, and what was forwarded from behind it lies
    /// behind: nothing is skipped, nothing repeated.
    Exact(i64),
    /// Not ahead of the truth, but possibly behind it: the index knows this range only roughly, or the position is ahead
    /// of what was forwarded.
    Behind(i64),
    /// The position lies before everything that the index knows.
    Unknown,
}

impl Translation {
    /// The position on the other side, exact or not.
    pub fn position(self) -> Option<i64> {
        match self {
            Self::Exact(position) | Self::Behind(position) => Some(position),
            Self::Unknown => None,
        }
    }

    /// Whether nothing is skipped and nothing repeated.
    pub fn is_exact(self) -> bool {
        matches!(self, Self::Exact(_))
    }
}

/// The offsets of one partition on both sides. Its parts begin at pairs that are exact: whatever was forwarded from
/// before the pair's source offset lies before its target offset, the rest behind.
#[derive(Debug, Clone)]
pub struct OffsetIndex {
    max_bytes: usize,
    /// Closed segments, one behind the other.
    bytes: Vec<u8>,
    /// Every 32nd of them.
    blocks: Vec<Block>,
    closed: usize,
    /// What grows; none while the index is empty.
    tail: Option<Tail>,
    /// Nothing of the source from before the first segment was ever forwarded.
    knows_start: bool,
    /// What follows the tail was not seen.
    is_interrupted: bool,
    generation: u64,
    breaks: u64,
}

/// Where a closed segment begins.
#[derive(Debug, Clone, Copy)]
struct Block {
    source: i64,
    target: i64,
    at: usize,
}

/// The last segment: a run of records, and nothing of ours behind it.
#[derive(Debug, Clone, Copy)]
struct Tail {
    source: i64,
    target: i64,
    count: i64,
    /// Nothing below it is still to come from the source.
    source_next: i64,
}

impl Tail {
    fn new(source: i64, target: i64) -> Self {
        Self { source, target, count: 0, source_next: source }
    }

    fn source_end(&self) -> i64 {
        self.source + self.count
    }

    fn target_end(&self) -> i64 {
        self.target + self.count
    }
}

/// A closed segment in its place.
#[derive(Debug, Clone, Copy)]
struct Found {
    source: i64,
    target: i64,
    segment: Segment,
    at: usize,
    number: usize,
}

impl Default for OffsetIndex {
    fn default() -> Self {
        Self::new(DEFAULT_MAX_BYTES)
    }
}

impl OffsetIndex {
    /// An empty index that takes about `max_bytes` of memory at most.
    pub fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            bytes: Vec::new(),
            blocks: Vec::new(),
            closed: 0,
            tail: None,
            knows_start: false,
            is_interrupted: false,
            generation: 0,
            breaks: 0,
        }
    }

    /// Starts anew: everything of the source from `source_next` on goes behind `target_next`, and nothing is known of
    /// what lies before.
    pub fn begin(&mut self, source_next: i64, target_next: i64) {
        self.bytes.clear();
        self.blocks.clear();
        self.closed = 0;
        self.knows_start = false;
        self.is_interrupted = false;
        let is_valid = is_offset(source_next) && is_offset(target_next);
        self.tail = is_valid.then(|| Tail::new(source_next, target_next));
        self.generation += 1;
        self.breaks += 1;
    }

    /// As [`Self::begin`], where nothing of the source from before `source_next` is at the target: smaller positions
    /// translate to the first record then.
    pub fn begin_at_start(&mut self, source_next: i64, target_next: i64) {
        self.begin(source_next, target_next);
        self.knows_start = true;
    }

    /// Others may have gone on behind the end, as far as nobody knows yet: what is appended next is taken as
    /// [`Self::resume`] takes its pair.
    pub fn interrupt(&mut self) {
        self.is_interrupted = true;
    }

    /// The end, if others may have gone on behind it.
    pub fn interrupted_at(&self) -> Option<(i64, i64)> {
        self.end().filter(|_| self.is_interrupted)
    }

    /// Goes on at this pair after an interruption. What the index has of later records is forgotten, they come again;
    /// what was forwarded between its end and the pair stays known roughly. An index that contradicts the pair starts
    /// anew.
    pub fn resume(&mut self, source_next: i64, target_next: i64) {
        self.is_interrupted = false;
        let Some(tail) = self.tail else { return self.begin(source_next, target_next) };
        if source_next >= tail.source_next && target_next >= tail.target_end() {
            return self.skip(tail, source_next, target_next);
        }
        if source_next >= tail.source && target_next >= tail.target {
            if source_next - tail.source == target_next - tail.target
                || (source_next >= tail.source_end() && target_next >= tail.target_end())
            {
                let count = tail.count.min(source_next - tail.source);
                self.tail = Some(Tail { count, source_next, ..tail });
                self.generation += 1;
                return;
            }
            return self.begin(source_next, target_next);
        }
        match self.find(|source, target| source <= source_next && target <= target_next) {
            Some(found) if found.agrees(source_next, target_next) => {
                self.cut(&found, source_next, target_next);
            }
            _ => self.begin(source_next, target_next),
        }
    }

    /// `count` records with consecutive offsets stand at consecutive offsets of the target. Both sides grow from call
    /// to call; where either goes back, what was known does not hold any more, and the index starts anew.
    pub fn append(&mut self, source_first: i64, target_first: i64, count: u32) {
        if let Some(tail) = &mut self.tail
            && tail.source_end() == source_first
            && tail.target_end() == target_first
            && tail.source_next <= source_first
            && !self.is_interrupted
            && source_first.max(target_first) <= MAX_OFFSET
        {
            tail.count += i64::from(count);
            tail.source_next = tail.source_end();
            self.generation += 1;
        } else if count > 0 && is_offset(source_first) && is_offset(target_first) {
            self.append_apart(source_first, target_first, count);
        }
    }

    /// Nothing below `source_next` is still to come: markers, aborted records and holes lie behind the last record.
    pub fn pass(&mut self, source_next: i64) {
        if let Some(tail) = &mut self.tail
            && source_next > tail.source_next
            && source_next <= MAX_OFFSET
            && !self.is_interrupted
        {
            tail.source_next = source_next;
            self.generation += 1;
        }
    }

    /// Where at the target a reader goes on that would read `source_position` next. A position that was never forwarded
    /// leads to the first record behind it, the end to the end, and a position ahead of the end waits there.
    pub fn translate(&self, source_position: i64) -> Translation {
        let Some(tail) = &self.tail else { return Translation::Unknown };
        if source_position >= tail.source {
            let run = (source_position - tail.source).min(tail.count);
            return ended(tail.target + run, source_position <= tail.source_next);
        }
        match self.find(|source, _| source <= source_position) {
            Some(found) => found.translate(source_position),
            None if self.knows_start => self.translate(self.first().0),
            None => Translation::Unknown,
        }
    }

    /// Where at the source a reader of the target goes on that would read `target_position` next.
    pub fn translate_back(&self, target_position: i64) -> Translation {
        let Some(tail) = &self.tail else { return Translation::Unknown };
        if target_position >= tail.target {
            let is_within = target_position < tail.target_end();
            let position = match is_within {
                true => tail.source + (target_position - tail.target),
                false => tail.source_next,
            };
            return ended(position, target_position <= tail.target_end());
        }
        match self.find(|_, target| target <= target_position) {
            Some(found) => found.translate_back(target_position),
            None if self.knows_start => self.translate_back(self.first().1),
            None => Translation::Unknown,
        }
    }

    /// The next offset of the source, and the offset of the target behind our last record.
    pub fn end(&self) -> Option<(i64, i64)> {
        self.tail.map(|tail| (tail.source_next, tail.target_end()))
    }

    /// The pair that the index begins with.
    pub fn start(&self) -> Option<(i64, i64)> {
        self.tail.map(|_| self.first())
    }

    /// The last forwarded record on both sides, if the index knows it.
    pub fn last_pair(&self) -> Option<(i64, i64)> {
        let tail = self.tail.filter(|tail| tail.count > 0)?;
        Some((tail.source_end() - 1, tail.target_end() - 1))
    }

    /// Grows with every change that has to be stored.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Grows with every breakpoint, also of those that memory does not suffice for.
    pub fn breaks(&self) -> u64 {
        self.breaks
    }

    /// How many breakpoints are kept.
    pub fn breakpoints(&self) -> usize {
        self.closed + usize::from(self.tail.is_some())
    }

    /// What the index takes of memory.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.bytes.capacity() + self.blocks.capacity() * size_of::<Block>()
    }

    /// The pair that everything begins with; only of an index that is not empty.
    fn first(&self) -> (i64, i64) {
        let block = self.blocks.first().map(|block| (block.source, block.target));
        let tail = self.tail.map(|tail| (tail.source, tail.target));
        block.or(tail).unwrap_or_default()
    }

    #[cold]
    fn append_apart(&mut self, source_first: i64, target_first: i64, count: u32) {
        if self.is_interrupted {
            self.resume(source_first, target_first);
            return self.append(source_first, target_first, count);
        }
        let next = Tail::new(source_first, target_first);
        match self.tail {
            Some(tail) if source_first >= tail.source_next && target_first >= tail.target_end() => {
                self.close(tail, next);
            }
            _ => self.begin(source_first, target_first),
        }
        let end = source_first + i64::from(count);
        self.tail = Some(Tail { count: i64::from(count), source_next: end, ..next });
        self.generation += 1;
        self.breaks += 1;
    }

    /// The run ends, and its holes reach to the next.
    fn close(&mut self, tail: Tail, next: Tail) {
        let segment = Segment {
            count: tail.count,
            source_hole: next.source - tail.source_end(),
            target_hole: next.target - tail.target_end(),
            is_thinned: false,
        };
        self.push(tail.source, tail.target, segment);
        self.tail = Some(next);
    }

    /// Goes on at a pair that lies behind the end.
    fn skip(&mut self, tail: Tail, source_next: i64, target_next: i64) {
        let (end_source, end_target) = (tail.source_next, tail.target_end());
        if target_next == end_target {
            return self.pass(source_next);
        }
        if source_next == end_source || !is_offset(source_next) || !is_offset(target_next) {
            return;
        }
        if (tail.source, tail.target) != (end_source, end_target) {
            self.close(tail, Tail::new(end_source, end_target));
        }
        let unknown = Segment {
            count: 0,
            source_hole: source_next - end_source,
            target_hole: target_next - end_target,
            is_thinned: true,
        };
        self.push(end_source, end_target, unknown);
        self.tail = Some(Tail::new(source_next, target_next));
        self.generation += 1;
        self.breaks += 1;
    }

    /// The source's log was cut here, and goes on at this place of the target: that keeps copies of what was behind, which
    /// belong to no position any more.
    pub fn go_back(&mut self, source_next: i64, target_next: i64) {
        let Some(mut tail) = self.tail.filter(|tail| {
            !self.is_interrupted
                && source_next < tail.source_next
                && target_next >= tail.target_end()
        }) else {
            return self.resume(source_next, target_next);
        };
        if !is_offset(target_next) {
            return self.begin(source_next, target_next);
        }
        if source_next < tail.source {
            let Some(found) = self.find(|source, _| source <= source_next) else {
                return self.begin(source_next, target_next);
            };
            self.cut(&found, source_next, target_next);
            tail = self.tail.unwrap_or(tail);
        }
        tail.count = tail.count.min(source_next - tail.source);
        tail.source_next = source_next;
        self.tail = Some(tail);
        if tail.target_end() < target_next {
            self.close(tail, Tail::new(source_next, target_next));
            self.breaks += 1;
        }
        self.generation += 1;
    }

    /// Forgets everything behind a pair that lies in a closed segment.
    fn cut(&mut self, found: &Found, source_next: i64, target_next: i64) {
        self.bytes.truncate(found.at);
        self.closed = found.number;
        self.blocks.truncate(found.number.div_ceil(BLOCK_SEGMENTS));
        let Found { source, target, segment, .. } = *found;
        let (source_span, target_span) = (source_next - source, target_next - target);
        if segment.is_thinned && source_span > 0 {
            let count = segment.at_least(segment.source_hole, source_span).min(target_span);
            let (source_hole, target_hole) = (source_span - count, target_span - count);
            let part = Segment { count, source_hole, target_hole, is_thinned: true };
            self.push(source, target, part);
            self.tail = Some(Tail::new(source_next, target_next));
        } else {
            let count = segment.count.min(source_span);
            self.tail = Some(Tail { source, target, count, source_next });
        }
        self.generation += 1;
    }

    fn push(&mut self, source: i64, target: i64, segment: Segment) {
        if self.bytes.capacity() - self.bytes.len() < MAX_SEGMENT_BYTES {
            // A quarter more instead of twice as much: memory is what the index has a bound for.
            self.bytes.reserve_exact(2 * MAX_SEGMENT_BYTES + self.bytes.len() / 4);
        }
        if self.closed.is_multiple_of(BLOCK_SEGMENTS) {
            if self.blocks.len() == self.blocks.capacity() {
                self.blocks.reserve_exact(1 + self.blocks.len() / 4);
            }
            self.blocks.push(Block { source, target, at: self.bytes.len() });
        }
        segment.write(&mut self.bytes);
        self.closed += 1;
        self.keep_bound();
    }

    fn keep_bound(&mut self) {
        let used = |index: &Self| index.bytes.len() + index.blocks.len() * size_of::<Block>();
        while used(self) > self.max_bytes && self.closed > 1 {
            self.thin();
        }
    }

    /// Frees at least an eighth of the segments' bytes. The older a part, the more roughly it is known afterwards, and the
    /// newer half stays as it is if that is possible.
    fn thin(&mut self) {
        let enough = self.bytes.len() / 8 * 7;
        let mut thinned = PRECISIONS.iter().map(|precision| self.merged(*precision));
        let bytes = thinned.find(|bytes| bytes.len() <= enough);
        self.bytes = bytes.unwrap_or_else(|| self.merged_whole());
        let (source, target) = self.first();
        self.rebuild_directory(source, target);
    }

    /// The closed segments, those of the older half merged with their neighbors up to a fraction of their age.
    fn merged(&self, precision: i64) -> Vec<u8> {
        let mut merged = Vec::with_capacity(self.bytes.len());
        let (kept, mut rest) = (self.bytes.len() / 2, &self.bytes[..]);
        let mut age = self.tail.map_or(0, |tail| tail.source) - self.first().0;
        while rest.len() > kept {
            let before = rest;
            let Some(mut group) = Segment::take(&mut rest) else { break };
            let mut ahead = rest;
            while let Some(next) = Segment::take(&mut ahead).filter(|_| rest.len() > kept) {
                let wider = group.merge(next);
                if wider.source_span() > (age - wider.source_span()) / precision {
                    break;
                }
                (group, rest) = (wider, ahead);
            }
            age -= group.source_span();
            let (start, parts) = (merged.len(), &before[..before.len() - rest.len()]);
            group.write(&mut merged);
            if merged.len() - start >= parts.len() {
                merged.truncate(start);
                merged.extend_from_slice(parts);
            }
        }
        merged.extend_from_slice(rest);
        merged
    }

    /// All closed segments as one.
    fn merged_whole(&self) -> Vec<u8> {
        let mut rest = &self.bytes[..];
        let mut merged = Vec::with_capacity(MAX_SEGMENT_BYTES);
        let all = std::iter::from_fn(|| Segment::take(&mut rest)).reduce(Segment::merge);
        all.inspect(|all| all.write(&mut merged));
        merged
    }

    /// Walks the closed segments, the first of which begins at a pair. Answers where the last one ends; none if the
    /// bytes are not whole segments, each of which brings it further, within the range of offsets.
    fn rebuild_directory(&mut self, mut source: i64, mut target: i64) -> Option<(i64, i64)> {
        self.closed = 0;
        self.blocks.clear();
        let mut rest = &self.bytes[..];
        while !rest.is_empty() {
            let at = self.bytes.len() - rest.len();
            let segment = Segment::take(&mut rest)?;
            if self.closed.is_multiple_of(BLOCK_SEGMENTS) {
                self.blocks.push(Block { source, target, at });
            }
            self.closed += 1;
            let next = (segment.source_end(source)?, segment.target_end(target)?);
            if next == (source, target) {
                return None;
            }
            (source, target) = next;
        }
        Some((source, target))
    }

    /// The last closed segment whose beginning fulfills a condition that holds for all up to some and for none behind.
    fn find(&self, begins: impl Fn(i64, i64) -> bool) -> Option<Found> {
        let behind = self.blocks.partition_point(|block| begins(block.source, block.target));
        let number = behind.checked_sub(1)?;
        let Block { mut source, mut target, at } = *self.blocks.get(number)?;
        let bytes = self.bytes.get(at..)?;
        let mut rest = bytes;
        let mut found = None;
        for number in number * BLOCK_SEGMENTS.. {
            if !begins(source, target) {
                break;
            }
            let at = at + bytes.len() - rest.len();
            let Some(segment) = Segment::take(&mut rest) else { break };
            found = Some(Found { source, target, segment, at, number });
            source += segment.count + segment.source_hole;
            target += segment.count + segment.target_hole;
        }
        found
    }
}

impl Found {
    fn translate(&self, source_position: i64) -> Translation {
        let Self { segment, target, .. } = self;
        let span = source_position - self.source;
        segment.translate(span, segment.source_hole, segment.target_hole).from(*target)
    }

    fn translate_back(&self, target_position: i64) -> Translation {
        let Self { segment, source, .. } = self;
        let span = target_position - self.target;
        segment.translate(span, segment.target_hole, segment.source_hole).from(*source)
    }

    /// Whether a pair can stand in this segment.
    fn agrees(&self, source_next: i64, target_next: i64) -> bool {
        let Segment { count, source_hole, target_hole, is_thinned } = self.segment;
        let (source_span, target_span) = (source_next - self.source, target_next - self.target);
        let is_inside = source_span <= count + source_hole && target_span <= count + target_hole;
        let counts = |span: i64| is_thinned || span >= count;
        is_inside
            && (source_span.min(target_span) >= 0)
            && ((!is_thinned && source_span == target_span && source_span <= count)
                || (counts(source_span) && counts(target_span)))
    }
}

impl Segment {
    /// How many records lie in the first `span` offsets of a side that has `hole` offsets without one, at least.
    fn at_least(&self, hole: i64, span: i64) -> i64 {
        (span - hole).clamp(0, self.count)
    }

    /// From `span` offsets into the segment on a side with `hole` to the other side, which has `other_hole`.
    fn translate(&self, span: i64, hole: i64, other_hole: i64) -> Translation {
        match span {
            0 if self.is_thinned => Translation::Exact(0),
            _ if self.is_thinned => Translation::Behind(self.at_least(hole, span)),
            _ if span < self.count => Translation::Exact(span),
            _ => Translation::Exact(self.count + other_hole),
        }
    }
}

impl Translation {
    fn from(self, start: i64) -> Self {
        match self {
            Self::Exact(span) => Self::Exact(start + span),
            Self::Behind(span) => Self::Behind(start + span),
            Self::Unknown => Self::Unknown,
        }
    }
}

fn ended(position: i64, is_exact: bool) -> Translation {
    match is_exact {
        true => Translation::Exact(position),
        false => Translation::Behind(position),
    }
}

fn is_offset(offset: i64) -> bool {
    (0..=MAX_OFFSET).contains(&offset)
}

#[cfg(test)]
mod tests;
