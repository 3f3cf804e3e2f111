//! Stage 3: encoded batches in, requests to a backend out.
//!
//! Batches wait in a [`Queue`]; as many tasks as may be requests in flight take them, bring them
//! into the form to send, and try until each is settled: accepted, rejected, discarded, or dropped
//! for a counted reason. A [`spool`] keeps on disk what the memory can't. See [`Counters`] for the identity that holds.

mod answer;
mod body;
mod compress;
mod connect;
mod console;
mod cork;
mod counters;
mod credentials;
mod diagnose;
mod first_octets;
mod flow;
mod in_flight;
mod kafka;
mod losses;
mod metrics;
mod otlp_grpc;
mod otlp_http;
mod outcome;
mod phrases;
mod queue;
mod report;
pub mod retry;
mod room;
mod sender;
mod sizes;
pub mod spool;
mod tls;
mod transport;

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{Notify, watch};

use crate::config::{Deliver, Exporter};
use crate::health::{Health, Kind, Part, caught};
use crate::observe::output::Blocking;
use console::Console;
use losses::Losses;
use report::Report;
use retry::{Backoff, Gate};
use sender::Sender;
use sizes::Sizes;
use spool::Spool;
use transport::CONNECTING;

pub use counters::{
    Count, Counters, DropReason, Dropped, LastError, SpanCounter, SpoolCounters, Totals,
};
pub use metrics::MetricsSender;
pub use outcome::{
    Cause, GrpcCode, Outcome, classify_grpc, classify_http, retry_after, stated_limit,
};
pub use queue::Queue;
pub use room::Room;
pub use sender::DeliverError;
pub use spool::check_segments as check_spool;
pub use tls::TlsError;

/// How long the spool may take after a drain to write what is in memory, where nothing else is asked for.
const SPOOL_PATIENCE: Duration = Duration::from_secs(10);

/// An attempt has a time limit of its own; beyond that and this it hangs.
const SLACK: Duration = Duration::from_secs(30);

/// The running stage. Dropping it ends it at once; [`Delivery::drain`] ends it in order.
#[derive(Debug)]
pub struct Delivery {
    shared: Arc<Shared>,
}

/// Ends a [`Delivery`] at once, from anywhere.
#[derive(Clone, Debug)]
pub struct AbortHandle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    sender: Sender,
    queue: Arc<Queue>,
    counters: Arc<Counters>,
    gate: Mutex<Gate>,
    gate_changed: Notify,
    sizes: Mutex<Sizes>,
    /// Requests that may be under way.
    slots: usize,
    spool: Option<spool::Running>,
    /// Where copies of the batches go.
    copies: Option<Console>,
    report: Mutex<Report>,
    phase: watch::Sender<Phase>,
    /// Tasks that still run.
    running: watch::Sender<usize>,
    health: Arc<Health>,
    /// One for each task.
    parts: Vec<Arc<Part>>,
    /// In which an attempt has ended, whatever the backend does.
    attempt_limit: Option<Duration>,
    /// Octets of a new request, as learned from the backend.
    limit: Arc<AtomicUsize>,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Phase {
    Running,
    Draining,
    Aborted,
}

impl Delivery {
    /// Reads the TLS files and starts the tasks; connections are made when there is something to
    /// send. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`DeliverError`], if a setting can't be used. A backend that is away is no error.
    pub fn start(config: &Deliver) -> Result<Self, DeliverError> {
        Self::start_with_stdout(config, Blocking(std::io::stdout()))
    }

    /// As [`Delivery::start`], with another place for the lines of `OTEL_TRACES_EXPORTER=console`.
    ///
    /// # Errors
    /// As [`Delivery::start`].
    pub fn start_with_stdout(
        config: &Deliver,
        stdout: impl Write + Send + 'static,
    ) -> Result<Self, DeliverError> {
        let tasks = config.concurrency.max(1);
        let health = Arc::new(Health::default());
        let console = (config.console_copy || matches!(config.exporter, Exporter::Console))
            .then(|| Console::start(stdout, health.part(Kind::Console)))
            .transpose()
            .map_err(DeliverError::Console)?;
        let copies = console.clone().filter(|_| config.console_copy);
        let sender = Sender::new(&config.exporter, tasks, console)?;
        let counters = Arc::new(Counters::default());
        let queue =
            Queue::new(config.queue_size, Arc::clone(&counters)).with_copies(copies.clone());
        let (queue, spool) = match &config.spool {
            Some(config) => {
                let spool =
                    Spool::open(config, Arc::clone(&counters), health.part(Kind::SpoolSync))?;
                let queue = Arc::new(queue.with_spool(config.mode));
                let running = spool.start(&queue, &health)?;
                (queue, Some(running))
            }
            None => (Arc::new(queue), None),
        };
        let parts: Vec<_> = (0..tasks)
            .map(|slot| Part::numbered(Kind::Delivery, slot))
            .collect();
        for part in &parts {
            health.add(part);
        }
        let attempt_limit = match &config.exporter {
            Exporter::Otlp(otlp) => Some(CONNECTING + otlp.timeout + SLACK),
            Exporter::Kafka(_) => Some(CONNECTING + kafka::ATTEMPT + SLACK),
            // Whoever reads stdout may pause.
            Exporter::Console | Exporter::None => None,
        };
        let shared = Arc::new(Shared {
            health,
            parts,
            attempt_limit,
            sender,
            queue,
            counters,
            spool,
            copies,
            gate: Mutex::new(Gate::new(Backoff::default())),
            gate_changed: Notify::new(),
            sizes: Mutex::new(Sizes::new(config.max_request_size)),
            slots: tasks,
            report: Mutex::default(),
            phase: watch::Sender::new(Phase::Running),
            running: watch::Sender::new(tasks),
            limit: Arc::new(AtomicUsize::new(config.max_request_size)),
        });
        for slot in 0..tasks {
            tokio::spawn(keep_running(Arc::clone(&shared), slot));
        }
        let watching = Arc::clone(&shared);
        let part = shared.health.part(Kind::Losses);
        tokio::spawn(async move {
            while caught(watch_losses(&watching, &part)).await.is_err() {
                part.restart().await;
            }
        });
        Ok(Self { shared })
    }

    /// Connects to the backend before there is anything to send, and tries again until that succeeds or a batch does it:
    /// a backend that is away is reported at the start and not with the first flow.
    pub fn look_for_backend(&self) {
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            if caught(look_for_backend(&shared)).await.is_err() {
                // A batch may wait for it.
                shared.gate().forget_probe();
                shared.gate_changed.notify_waiters();
            }
        });
    }

    /// Reads the files of TLS and headers again. Files that change are noticed without it, within seconds.
    pub fn reload_files(&self) {
        self.shared.sender.reload();
    }

    /// Whether sources that can wait may add more.
    #[must_use]
    pub fn room(&self, config: &Deliver) -> Room {
        Room::new(self.counters(), config)
    }

    /// Where batches are handed over.
    #[must_use]
    pub fn queue(&self) -> Arc<Queue> {
        Arc::clone(&self.shared.queue)
    }

    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.shared.counters)
    }

    /// Octets of the largest request that is known to reach the backend and to be accepted, at most the configured size.
    #[must_use]
    pub fn request_limit(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.shared.limit)
    }

    /// The threads and tasks of delivery; their supervisor adds others.
    #[must_use]
    pub fn health(&self) -> Arc<Health> {
        Arc::clone(&self.shared.health)
    }

    #[must_use]
    pub fn abort_handle(&self) -> AbortHandle {
        AbortHandle {
            shared: Arc::clone(&self.shared),
        }
    }

    /// Takes no new batches, delivers what is queued until the deadline, with retries, then leaves
    /// the rest to the spool, or drops and counts it. A back-off that runs is cut short, and so is a pause that the backend
    /// asked for, for one attempt. A second call, or [`AbortHandle::abort`], ends the first at once.
    pub async fn drain(&self, deadline: Instant) -> Totals {
        self.drain_by(deadline, deadline + SPOOL_PATIENCE).await
    }

    /// As [`Delivery::drain`]; the spool must have written what is left by `written`, else it is dropped and counted.
    pub async fn drain_by(&self, deadline: Instant, written: Instant) -> Totals {
        let shared = &self.shared;
        let first = shared.phase.send_if_modified(|phase| {
            let running = *phase == Phase::Running;
            if running {
                *phase = Phase::Draining;
            }
            running
        });
        if !first {
            shared.abort();
        }
        shared.queue.close();
        shared.gate().hurry();
        shared.gate_changed.notify_waiters();
        let ended = shared.ended();
        if tokio::time::timeout_at(deadline.into(), ended)
            .await
            .is_err()
        {
            shared.abort();
            // They end at their next wait, which a busy thread may put off.
            let _ = tokio::time::timeout_at(written.into(), shared.ended()).await;
        }
        shared.queue.recall();
        if let Some(console) = &shared.copies {
            // Best effort: stdout may not be read.
            let _ = tokio::time::timeout_at(deadline.into(), console.flush()).await;
        }
        if let Some(spool) = &shared.spool {
            spool.finish(written).await;
        }
        shared.queue.clear(DropReason::Shutdown);
        shared.counters.totals()
    }
}

/// Whether delivery could start with this exporter: reads its files, connects to nothing. Must be called within a
/// tokio runtime.
///
/// # Errors
/// [`DeliverError`], if a setting can't be used.
pub fn check(exporter: &Exporter) -> Result<(), DeliverError> {
    Sender::new(exporter, 1, None).map(|_| ())
}

/// Sends one request without spans, to see whether the backend is there and takes it. To Kafka nothing is written: whether
/// the topic is there is looked at.
///
/// # Errors
/// [`DeliverError`], if a setting can't be used. What the backend said is no error but the outcome.
pub async fn try_backend(exporter: &Exporter) -> Result<Outcome, DeliverError> {
    let sender = Sender::new(exporter, 1, None)?;
    if matches!(sender, Sender::Kafka(_)) {
        return Ok(match sender.warm_up(0).await {
            Ok(()) => Outcome::Accepted,
            Err(cause) => Outcome::Rejected { cause },
        });
    }
    Ok(match sender.prepare(Bytes::new()).await {
        Ok(body) => sender.send(0, &body).await,
        Err(error) => Outcome::Rejected {
            cause: Cause::new(error.to_string()),
        },
    })
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.shared.abort();
    }
}

impl AbortHandle {
    /// Ends all requests and back-offs; what was not settled is dropped and counted.
    pub fn abort(&self) {
        self.shared.abort();
    }
}

/// One of the tasks, restarted when it panics; `slot` is its connection.
async fn keep_running(shared: Arc<Shared>, slot: usize) {
    struct Running<'a>(&'a watch::Sender<usize>);
    impl Drop for Running<'_> {
        fn drop(&mut self) {
            self.0.send_modify(|running| *running -= 1);
        }
    }
    let _running = Running(&shared.running);
    while caught(run(&shared, slot)).await.is_err() {
        // It may have been the one that others wait for.
        shared.gate().forget_probe();
        shared.gate_changed.notify_waiters();
        shared.parts[slot].restart().await;
    }
}

async fn run(shared: &Shared, slot: usize) {
    let part = &shared.parts[slot];
    let mut phase = shared.phase.subscribe();
    tokio::select! {
        biased;
        _ = phase.wait_for(|phase| *phase == Phase::Aborted) => {}
        () = async {
            loop {
                part.rests();
                let Some(in_flight) = shared.queue.pop().await else { break };
                shared.deliver(slot, in_flight).await;
            }
        } => {}
    }
}

/// Tries to connect until that succeeds, or a batch has been sent.
async fn look_for_backend(shared: &Shared) {
    let mut phase = shared.phase.subscribe();
    let mut attempts = 0;
    while shared.counters.requests.load(Relaxed) == 0 {
        let ticket = shared.admit_any().await;
        attempts += 1;
        let found = tokio::select! {
            found = shared.sender.warm_up(0) => found,
            _ = phase.wait_for(|phase| *phase != Phase::Running) => {
                // The batches that are left try for themselves.
                shared.gate().answered(ticket);
                return shared.gate_changed.notify_waiters();
            }
        };
        match found {
            Ok(()) => return shared.reached(ticket),
            Err(cause) => shared.not_reached(ticket, attempts, &cause),
        }
    }
}

/// Says what was dropped, until the senders have ended.
async fn watch_losses(shared: &Shared, part: &Part) {
    let mut losses = Losses::default();
    let mut phase = shared.phase.subscribe();
    let mut look = tokio::time::interval(losses::LOOK);
    let ended = async {
        tokio::select! {
            _ = phase.wait_for(|phase| *phase == Phase::Aborted) => {}
            () = shared.ended() => {}
        }
    };
    tokio::pin!(ended);
    loop {
        tokio::select! {
            () = &mut ended => return,
            _ = look.tick() => {
                part.works(losses::LOOK * 10);
                losses.say(&shared.counters, now());
            }
        }
    }
}

impl Shared {
    fn abort(&self) {
        self.phase.send_replace(Phase::Aborted);
    }

    async fn ended(&self) {
        // The sender lives in `self`, so waiting can't fail.
        let _ = self
            .running
            .subscribe()
            .wait_for(|&running| running == 0)
            .await;
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sizes(&self) -> MutexGuard<'_, Sizes> {
        self.sizes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self) -> MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// tokio's clock, which tests may stop.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
