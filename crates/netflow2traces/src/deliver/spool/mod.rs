//! The disk queue: batches that would be lost with the memory, in files that outlive the process.
//!
//! A thread of its own moves them: from the queue to the end of the spool, from its beginning back to the senders, one
//! of each in turn, so that neither starves the other. No other thread waits for the disk. What the files look like is in
//! `format`, which knows no files; `store` has the limits, `directory` the files.

mod directory;
pub mod format;
mod report;
mod store;
mod syncer;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use otlp_wire::{EncodedBatch, UnixNanos};
use tokio::sync::watch;

use super::counters::{Counters, DropReason};
use super::queue::{Queue, Spooled};
use crate::config;
pub use directory::SpoolError;
use report::SpoolReport;
use store::{AppendError, Store};

/// How often it is looked for batches that are too old.
const TICK: Duration = Duration::from_secs(1);
/// After a failure the disk is tried again so much later.
const RETRY: Duration = Duration::from_secs(1);

/// A spool that is opened, but not at work.
#[derive(Debug)]
pub(super) struct Spool {
    store: Store,
}

/// The thread at work.
#[derive(Debug)]
pub(super) struct Running {
    queue: Arc<Queue>,
    ended: watch::Receiver<bool>,
}

impl Spool {
    /// Takes the directory. Batches of an earlier run are looked for by the thread.
    ///
    /// # Errors
    /// Why the directory can't be used.
    pub(super) fn open(
        config: &config::Spool,
        counters: Arc<Counters>,
    ) -> Result<Self, SpoolError> {
        let store = Store::open(config, counters)?;
        SpoolReport::opened(&config.directory, config.mode, config.max_size);
        Ok(Self { store })
    }

    /// Starts the thread beside this queue, which was made for a spool.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(super) fn start(self, queue: &Arc<Queue>) -> Result<Running, SpoolError> {
        let (sender, ended) = watch::channel(false);
        let worker = Worker {
            store: self.store,
            queue: Arc::clone(queue),
            write_from: None,
            read_from: None,
        };
        thread::Builder::new()
            .name("spool".into())
            .spawn(move || {
                // Also when it panics: senders then take from memory.
                let ended = Ended {
                    queue: Arc::clone(&worker.queue),
                    sender,
                };
                worker.run();
                drop(ended);
            })
            .map_err(SpoolError::Thread)?;
        Ok(Running {
            queue: Arc::clone(queue),
            ended,
        })
    }
}

impl Running {
    /// Writes what is in the queue and ends; not before the senders have ended. Whether it ended in time.
    pub(super) async fn finish(&self, patience: Duration) -> bool {
        self.queue.finish_spool();
        let mut ended = self.ended.clone();
        let ended = ended.wait_for(|ended| *ended);
        tokio::time::timeout(patience, ended).await.is_ok()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.queue.finish_spool();
    }
}

struct Ended {
    queue: Arc<Queue>,
    sender: watch::Sender<bool>,
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.queue.spool_ended();
        self.sender.send_replace(true);
    }
}

/// The thread.
struct Worker {
    store: Store,
    queue: Arc<Queue>,
    /// After a failure nothing is written, or read, before.
    write_from: Option<Instant>,
    read_from: Option<Instant>,
}

impl Worker {
    fn run(mut self) {
        self.store.recover(wall_time());
        let mut next_tick = Instant::now() + TICK;
        loop {
            let now = Instant::now();
            if now >= next_tick {
                self.store.tick(wall_time());
                next_tick = now + TICK;
            }
            self.write_from = self.write_from.filter(|from| *from > now);
            self.read_from = self.read_from.filter(|from| *from > now);
            let readable = self.read_from.is_none() && self.store.has_unread();
            let chores = self.queue.chores(readable, self.write_from, next_tick);
            if !chores.settled.is_empty() {
                self.store.settle(&chores.settled);
            }
            let wrote = chores.write.map(|batch| self.write(batch));
            if chores.finish {
                match wrote {
                    Some(true) => continue,
                    // Nothing is left, or the disk takes no more: the rest is the caller's.
                    Some(false) | None => break,
                }
            }
            if chores.read {
                self.read();
            }
        }
        self.keep_returned();
        self.store.finish();
    }

    /// Whether the batch is off the queue.
    fn write(&mut self, batch: EncodedBatch) -> bool {
        match self.store.append(&batch, wall_time()) {
            Ok(position) => {
                self.queue.written(&batch, true);
                self.store.report.written(Instant::now());
                self.queue.counters().spool.failing.store(false, Relaxed);
                if self.queue.wants_pass() && self.store.pass(position) {
                    self.queue.offer(Spooled { batch, position });
                }
                true
            }
            Err(AppendError::TooLarge) => {
                self.queue.written(&batch, false);
                true
            }
            Err(AppendError::Io(error)) => {
                let now = Instant::now();
                let counters = &self.queue.counters().spool;
                counters.write_errors.fetch_add(1, Relaxed);
                counters.failing.store(true, Relaxed);
                self.queue.not_written(batch);
                self.store.report.write_failed(&error, now);
                self.write_from = Some(now + RETRY);
                false
            }
        }
    }

    fn read(&mut self) {
        match self.store.read(wall_time()) {
            Ok(Some((position, batch))) => self.queue.offer(Spooled { batch, position }),
            Ok(None) => {}
            Err(error) => {
                let counters = &self.queue.counters().spool;
                counters.read_errors.fetch_add(1, Relaxed);
                self.store.report.trouble(&error);
                self.read_from = Some(Instant::now() + RETRY);
            }
        }
    }

    /// Batches that senders had in flight at the end are in the spool still, but for those whose segment had to go.
    fn keep_returned(&mut self) {
        for Spooled { batch, position } in self.queue.take_returned() {
            if !self.store.holds(position) && self.store.append(&batch, wall_time()).is_err() {
                self.queue.lose_spooled(&batch, DropReason::Shutdown);
            }
        }
    }
}

fn wall_time() -> UnixNanos {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    UnixNanos(since.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }))
}
