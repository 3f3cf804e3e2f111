//! The disk queue: batches that would be lost with the memory, in files that outlive the process.
//!
//! A thread of its own moves them: from the queue to the end of the spool, from its beginning back to the senders, one
//! of each in turn, so that neither starves the other. No other thread waits for the disk. What the files look like is in
//! `format`, which knows no files; `store` has the limits, `directory` the files.

mod damage;
mod directory;
pub mod format;
mod report;
mod store;
mod syncer;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use otlp_wire::{EncodedBatch, Settled, UnixNanos};
use tokio::sync::watch;
use tracing::warn;

use super::counters::{Counters, DropReason};
use super::queue::{Queue, Spooled};
use super::report::Limiter;
use crate::config;
use crate::health::{Health, Kind, Part};
use crate::receive::wall_clock;
pub use directory::{SpoolError, check_segments};
use format::Position;
use report::SpoolReport;
use store::{AppendError, Store};

/// How often it is looked for batches that are too old.
const TICK: Duration = Duration::from_secs(1);
/// A disk that lets a round, or the look at what an earlier run left, last longer than this hangs.
const LONGEST_ROUND: Duration = Duration::from_secs(10);
const LONGEST_RECOVERY: Duration = Duration::from_secs(300);
/// After a failure the disk is tried again so much later.
const RETRY: Duration = Duration::from_secs(1);

/// A spool that is opened, but not at work.
#[derive(Debug)]
pub(super) struct Spool {
    store: Store,
    opening: Opening,
}

/// What it takes to open the directory, also once more.
#[derive(Clone, Debug)]
struct Opening {
    config: config::Spool,
    counters: Arc<Counters>,
    syncer: Arc<Part>,
}

impl Opening {
    fn open(&self) -> Result<Store, SpoolError> {
        let counters = Arc::clone(&self.counters);
        Store::open(&self.config, counters, Arc::clone(&self.syncer))
    }
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
        syncer: Arc<Part>,
    ) -> Result<Self, SpoolError> {
        let opening = Opening {
            config: config.clone(),
            counters,
            syncer,
        };
        let store = opening.open()?;
        SpoolReport::opened(&config.directory, config.mode, config.max_size);
        Ok(Self { store, opening })
    }

    /// Starts the thread beside this queue, which was made for a spool.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(super) fn start(self, queue: &Arc<Queue>, health: &Health) -> Result<Running, SpoolError> {
        let (sender, ended) = watch::channel(false);
        let mut worker = Worker {
            store: Some(self.store),
            opening: self.opening,
            queue: Arc::clone(queue),
            part: health.part(Kind::Spool),
            clock: Clock::start(),
            writing: None,
            write_from: None,
            read_from: None,
        };
        thread::Builder::new()
            .name("spool".into())
            .spawn(move || {
                let ended = Ended {
                    queue: Arc::clone(&worker.queue),
                    sender,
                };
                worker.keep_running();
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
    pub(super) async fn finish(&self, deadline: Instant) -> bool {
        self.queue.finish_spool();
        let mut ended = self.ended.clone();
        let ended = ended.wait_for(|ended| *ended);
        tokio::time::timeout_at(deadline.into(), ended)
            .await
            .is_ok()
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
    /// `None` from a panic until the directory is opened anew.
    store: Option<Store>,
    opening: Opening,
    queue: Arc<Queue>,
    part: Arc<Part>,
    clock: Clock,
    /// Taken from the queue, not yet settled there.
    writing: Option<EncodedBatch>,
    /// After a failure nothing is written, or read, before.
    write_from: Option<Instant>,
    read_from: Option<Instant>,
}

impl Worker {
    /// Works to the end. After a panic the directory is opened anew, as by another run: no state of the thread that
    /// panicked is trusted.
    fn keep_running(&mut self) {
        let mut refusals = Limiter::default();
        while catch_unwind(AssertUnwindSafe(|| self.run())).is_err() {
            let mut pause = self.part.restarting();
            self.counters().spool.failing.store(true, Relaxed);
            self.queue.spool_restarts(self.writing.take());
            self.store = loop {
                let finishing = self.queue.pause_spool(pause);
                match self.opening.open() {
                    Ok(store) => break Some(store),
                    Err(_) if finishing => return,
                    Err(error) => {
                        self.counters().spool.read_errors.fetch_add(1, Relaxed);
                        if let Some(suppressed) = refusals.pass(Instant::now()) {
                            warn!(%error, suppressed, "the spool can't be opened again: batches stay in memory");
                        }
                        pause = RETRY;
                    }
                }
            };
        }
    }

    fn run(&mut self) {
        let Some(mut store) = self.store.take() else {
            return;
        };
        self.part.works(LONGEST_RECOVERY);
        store.recover(self.clock.now());
        let mut next_tick = Instant::now() + TICK;
        loop {
            self.part.works(LONGEST_ROUND);
            let now = Instant::now();
            if now >= next_tick {
                store.tick(self.clock.now());
                self.look_whether_it_works(&mut store, now);
                next_tick = now + TICK;
            }
            self.write_from = self.write_from.filter(|from| *from > now);
            self.read_from = self.read_from.filter(|from| *from > now);
            let readable = self.read_from.is_none() && store.has_unread();
            let work = self.queue.spool_work(readable, self.write_from, next_tick);
            if !work.settled.is_empty() {
                store.settle(&work.settled);
            }
            let wrote = work.write.map(|batch| self.write(&mut store, batch));
            if work.finish {
                match wrote {
                    Some(true) => continue,
                    // Nothing is left, or the disk takes no more: the rest is the caller's.
                    Some(false) | None => break,
                }
            }
            if work.read {
                self.read(&mut store);
            }
        }
        self.keep_returned(&mut store);
        store.finish();
    }

    /// After a failure there may be nothing to write for long.
    fn look_whether_it_works(&mut self, store: &mut Store, now: Instant) {
        let failing = self.counters().spool.failing.load(Relaxed);
        if failing && !self.queue.spool_wants_write() && store.probe().is_ok() {
            self.works_again(store, now);
        }
    }

    fn works_again(&self, store: &mut Store, now: Instant) {
        store.report.written(now);
        self.counters().spool.failing.store(false, Relaxed);
    }

    fn counters(&self) -> &Counters {
        self.queue.counters()
    }

    /// Whether the batch is off the queue.
    fn write(&mut self, store: &mut Store, batch: EncodedBatch) -> bool {
        let now = self.clock.now();
        let outcome = store.append(self.writing.insert(batch), now);
        let batch = self.writing.take().unwrap_or_default();
        self.wrote(store, batch, outcome)
    }

    fn wrote(
        &mut self,
        store: &mut Store,
        mut batch: EncodedBatch,
        outcome: Result<Position, AppendError>,
    ) -> bool {
        match outcome {
            Ok(position) => {
                self.queue.written(&batch, true);
                batch.settle(Settled::Spooled);
                self.works_again(store, Instant::now());
                if self.queue.wants_pass() && store.pass(position) {
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
                let counters = &self.counters().spool;
                counters.write_errors.fetch_add(1, Relaxed);
                counters.failing.store(true, Relaxed);
                self.queue.not_written(batch);
                store.report.write_failed(&error, now);
                self.write_from = Some(now + RETRY);
                false
            }
        }
    }

    fn read(&mut self, store: &mut Store) {
        match store.read(self.clock.now()) {
            Ok(Some((position, batch))) => self.queue.offer(Spooled { batch, position }),
            Ok(None) => {}
            Err(error) => {
                self.counters().spool.read_errors.fetch_add(1, Relaxed);
                store.report.trouble(&error);
                self.read_from = Some(Instant::now() + RETRY);
            }
        }
    }

    /// Batches that senders had in flight at the end are in the spool still, but for those whose segment had to go.
    fn keep_returned(&mut self, store: &mut Store) {
        for Spooled { batch, position } in self.queue.take_returned() {
            if !store.holds(position) && store.append(&batch, self.clock.now()).is_err() {
                self.queue.lose_spooled(&batch, DropReason::Shutdown);
            }
        }
    }
}

/// Nanoseconds since 1970 by a clock that isn't stepped: the system's at the start, and the time since.
#[derive(Clone, Copy, Debug)]
struct Clock {
    started: UnixNanos,
    since: Instant,
}

impl Clock {
    fn start() -> Self {
        Self {
            started: wall_clock(),
            since: Instant::now(),
        }
    }

    fn now(self) -> UnixNanos {
        UnixNanos(self.started.0.saturating_add(nanos(self.since.elapsed())))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
