//! Watches the end of a topic: which offset could be read when.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use protocol_client::net::ConnectionOptions;
use protocol_client::wire::error_code::ErrorCode;
use protocol_client::wire::fetch::{FetchPartition, FetchTopic, RawFetch};
use uuid::Uuid;

use super::data::PARTITIONS;
use crate::{fill, usage};

/// When each end of a partition was seen first; both only grow.
pub(crate) type Ends = Vec<(i64, Instant)>;

/// A thread that waits at the end of every partition of a topic, as a consumer does, and notes the high watermark of
/// every answer. It asks for one byte, so it reads no more than a batch each time.
#[derive(Debug)]
pub(crate) struct Tail {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Vec<Ends>>>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Tail {
    pub(crate) fn start(bootstrap: &str, topic: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(Mutex::new(vec![Ends::new(); PARTITIONS.unsigned_abs() as usize]));
        let (bootstrap, topic) = (bootstrap.to_owned(), topic.to_owned());
        let (stopped, ends) = (stop.clone(), seen.clone());
        let thread = std::thread::spawn(move || -> Result<()> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(watch(&bootstrap, &topic.into(), &stopped, &ends))
        });
        Self { stop, seen, thread: Some(thread) }
    }

    /// The last end of every partition that was seen.
    pub(crate) fn ends(&self) -> Vec<i64> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().map(|ends| ends.last().map_or(0, |(end, _)| *end)).collect()
    }

    /// Waits until every partition has come that far; answers whether it did.
    pub(crate) fn reaches(&self, wanted: &[i64], limit: Duration) -> Result<bool> {
        let begin = usage::now();
        while begin.elapsed() < limit {
            if self.ends().iter().zip(wanted).all(|(end, wanted)| end >= wanted) {
                return Ok(true);
            }
            let alive = self.thread.as_ref().is_some_and(|thread| !thread.is_finished());
            ensure!(alive, "a reader has ended");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(false)
    }

    /// Everything that was seen.
    pub(crate) fn seen(&self) -> Vec<Ends> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn finish(mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take();
        thread
            .map_or(Ok(()), |thread| thread.join().map_err(|_| anyhow!("a reader has panicked"))?)
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

async fn watch(
    bootstrap: &str,
    topic: &Arc<str>,
    stop: &AtomicBool,
    seen: &Mutex<Vec<Ends>>,
) -> Result<()> {
    let client = fill::client(bootstrap)?;
    client.all_topics().await?;
    let leader = fill::leader(&client, topic, PARTITIONS).await?;
    let connection = client.connect_to(leader, &Arc::new(ConnectionOptions::default())).await?;
    let mut next = vec![0; PARTITIONS.unsigned_abs() as usize];
    while !stop.load(Ordering::Relaxed) {
        let answer = connection.start_fetch(&request(topic, &next)).await?;
        let at = usage::now();
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        for partition in answer.partitions {
            let (index, end) = (partition.index.unsigned_abs() as usize, partition.high_watermark);
            let is_new = next.get(index).is_some_and(|known| end > *known);
            ensure!(partition.error == ErrorCode::NONE, "{topic}: {:?}", partition.error);
            if is_new {
                next[index] = end;
                seen[index].push((end, at));
            }
        }
    }
    Ok(())
}

fn request(topic: &Arc<str>, next: &[i64]) -> RawFetch {
    let partitions = next.iter().zip(0..).map(|(offset, index)| FetchPartition {
        index,
        offset: *offset,
        leader_epoch: -1,
        last_fetched_epoch: -1,
        max_bytes: 1,
    });
    let topic =
        FetchTopic { name: topic.clone(), id: Uuid::nil(), partitions: partitions.collect() };
    RawFetch {
        max_wait_ms: 100,
        min_bytes: 1,
        max_bytes: 1,
        session_epoch: -1,
        topics: vec![topic],
        ..RawFetch::default()
    }
}

/// How much later each record from `from` to `to` was seen at the target than at the source, in milliseconds, in order
/// of size. Offsets are the same on both sides: both topics began empty, and nothing else writes to them.
pub(crate) fn delays_ms(source: &[Ends], target: &[Ends], from: &[i64], to: &[i64]) -> Vec<f64> {
    let mut delays = Vec::new();
    for (index, (from, to)) in from.iter().zip(to).enumerate() {
        let mut there = target[index].iter().peekable();
        let mut here = source[index].iter().peekable();
        for offset in *from..*to {
            while here.next_if(|(end, _)| *end <= offset).is_some() {}
            while there.next_if(|(end, _)| *end <= offset).is_some() {}
            if let (Some((_, here)), Some((_, there))) = (here.peek(), there.peek()) {
                delays.push(there.saturating_duration_since(*here).as_secs_f64() * 1000.0);
            }
        }
    }
    delays.sort_by(f64::total_cmp);
    delays
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_taken_record_by_record() {
        let begin = usage::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let source = vec![vec![(2, at(0)), (3, at(10))]];
        let target = vec![vec![(1, at(5)), (3, at(11))]];
        assert_eq!(delays_ms(&source, &target, &[0], &[3]), [1.0, 5.0, 11.0]);
        assert_eq!(delays_ms(&source, &target, &[2], &[5]), [1.0]);
    }
}
