//! Threads that each run one single-threaded runtime: what one partition touches never crosses to another core.

use std::pin::Pin;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc;

type LocalTask = Pin<Box<dyn Future<Output = ()>>>;
type Job = Box<dyn FnOnce() -> LocalTask + Send>;

/// A fixed set of worker threads; dropping it ends them.
#[derive(Debug)]
pub(super) struct Threads {
    workers: Vec<Worker>,
}

#[derive(Debug)]
struct Worker {
    jobs: Option<mpsc::UnboundedSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Threads {
    /// Starts `count` threads of this name.
    ///
    /// # Errors
    /// The system gives no more threads or descriptors.
    pub(super) fn start(name: &str, count: usize) -> std::io::Result<Self> {
        let workers = (0..count.max(1))
            .map(|index| Worker::start(&format!("{name}-{index}")))
            .collect::<Result<_, _>>()?;
        Ok(Self { workers })
    }

    pub(super) fn len(&self) -> usize {
        self.workers.len()
    }

    /// Runs a task on one thread; the task itself is made there and need not be `Send`.
    pub(super) fn spawn_on<F, T>(&self, index: usize, make: F)
    where
        F: FnOnce() -> T + Send + 'static,
        T: Future<Output = ()> + 'static,
    {
        let worker = &self.workers[index % self.workers.len()];
        if let Some(jobs) = &worker.jobs {
            // A worker only ends when `jobs` is dropped, so this cannot fail.
            let _ = jobs.send(Box::new(move || Box::pin(make())));
        }
    }
}

impl Worker {
    fn start(name: &str) -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::unbounded_channel::<Job>();
        let (told, began) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            // A local runtime stays on its thread. A `LocalSet` would do as well, but wakes itself through the kernel.
            let built =
                Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
            match built {
                Ok(runtime) => {
                    let _ = told.send(Ok(()));
                    runtime.block_on(work(queue));
                }
                Err(error) => drop(told.send(Err(error))),
            }
        })?;
        began.recv().map_err(std::io::Error::other)??;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }
}

/// Until nobody can send jobs any more.
async fn work(mut jobs: mpsc::UnboundedReceiver<Job>) {
    while let Some(job) = jobs.recv().await {
        tokio::task::spawn_local(job());
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panicked worker has printed why; there is nothing to add here.
            let _ = thread.join();
        }
    }
}
