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
mod held;
mod metrics;
mod otlp_grpc;
mod otlp_http;
mod outcome;
mod queue;
mod report;
pub mod retry;
mod sender;
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
use body::Prepared;
use console::Console;
use held::Held;
use report::Report;
use retry::{Admission, Backoff, Gate, Ticket};
use sender::Sender;
use spool::Spool;

pub use counters::{
    Count, Counters, DropReason, Dropped, LastError, SpanCounter, SpoolCounters, Totals,
};
pub use metrics::MetricsSender;
pub use outcome::{
    Cause, GrpcCode, Outcome, classify_grpc, classify_http, retry_after, stated_limit,
};
pub use queue::Queue;
pub use sender::DeliverError;
pub use spool::check_segments as check_spool;
pub use tls::TlsError;

/// A backend's limit is never learnt to be lower than this: a refusal for another reason must not
/// make every request tiny. Requests that are refused get smaller even so.
const LEAST_LEARNT_LIMIT: usize = 64 * 1024;
/// How long the spool may take at the end to write what is in memory. Container runtimes wait two seconds longer
/// than the default `NETFLOW_SHUTDOWN_TIMEOUT`; a disk that hangs must not hold the process for ever.
const SPOOL_PATIENCE: Duration = Duration::from_secs(10);

/// A batch that is not in the form to send after this will never be.
const PREPARED: Duration = Duration::from_secs(60);
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
    /// Octets of a request, as configured …
    configured_limit: usize,
    /// … and as learnt from the backend.
    limit: Arc<AtomicUsize>,
    largest_accepted: AtomicUsize,
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
            Exporter::Otlp(otlp) => Some(otlp.timeout + SLACK),
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
            report: Mutex::default(),
            phase: watch::Sender::new(Phase::Running),
            running: watch::Sender::new(tasks),
            configured_limit: config.max_request_size,
            limit: Arc::new(AtomicUsize::new(config.max_request_size)),
            largest_accepted: AtomicUsize::new(0),
        });
        for slot in 0..tasks {
            tokio::spawn(keep_running(Arc::clone(&shared), slot));
        }
        Ok(Self { shared })
    }

    /// Connects to the backend before there is anything to send, and tries again until that succeeds or a batch does it:
    /// a backend that is away is reported at the start and not with the first flow.
    pub fn look_for_backend(&self) {
        tokio::spawn(look_for_backend(Arc::clone(&self.shared)));
    }

    /// Reads the files of TLS and headers again. Files that change are noticed without it, within seconds.
    pub fn reload_files(&self) {
        self.shared.sender.reload();
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

    /// Octets of the largest request that the backend is known to take, at most the configured
    /// size. It only falls, until the next start.
    #[must_use]
    pub fn request_limit(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.shared.limit)
    }

    /// The threads and tasks of delivery; whoever watches them adds others.
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
    /// the rest to the spool, or drops and counts it. A back-off that runs is cut short, a wait that the backend asked for is
    /// not. A second call, or [`AbortHandle::abort`], ends the first at once.
    pub async fn drain(&self, deadline: Instant) -> Totals {
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
            shared.ended().await;
        }
        if let Some(console) = &shared.copies {
            // Best effort: nobody may read stdout.
            let _ = tokio::time::timeout_at(deadline.into(), console.flush()).await;
        }
        if let Some(spool) = &shared.spool {
            spool.finish(SPOOL_PATIENCE).await;
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

/// Sends one request without spans, to see whether the backend is there and takes it.
///
/// # Errors
/// [`DeliverError`], if a setting can't be used. What the backend said is no error but the outcome.
pub async fn try_backend(exporter: &Exporter) -> Result<Outcome, DeliverError> {
    let sender = Sender::new(exporter, 1, None)?;
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
                let Some(held) = shared.queue.pop().await else { break };
                shared.deliver(slot, held).await;
            }
        } => {}
    }
}

async fn look_for_backend(shared: Arc<Shared>) {
    let mut phase = shared.phase.subscribe();
    let (mut attempts, mut earliest) = (0, None);
    while shared.counters.requests.load(Relaxed) == 0 {
        let ticket = shared.admit(earliest).await;
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
            Ok(()) => return shared.answered(ticket),
            Err(cause) => earliest = Some(shared.failed(ticket, attempts, None, &cause)),
        }
    }
}

impl Shared {
    /// Settles a batch, in as many pieces as the backend wants.
    async fn deliver(&self, slot: usize, held: Held) {
        let mut pieces = vec![held];
        while let Some(mut piece) = pieces.pop() {
            if self.is_known_too_large(&piece) {
                match piece.split() {
                    Ok((first, second)) => {
                        self.counters.splits.fetch_add(1, Relaxed);
                        pieces.extend([second, first]);
                        continue;
                    }
                    Err(whole) => piece = whole,
                }
            }
            if let Some((first, second)) = self.deliver_piece(slot, piece).await {
                pieces.extend([second, first]);
            }
        }
    }

    /// Settles a piece, or returns its halves.
    async fn deliver_piece(&self, slot: usize, held: Held) -> Option<(Held, Held)> {
        if matches!(self.sender, Sender::Discard) {
            held.discard();
            return None;
        }
        let octets = held.batch().octets.clone();
        let spans = Count::of(held.batch());
        let part = &self.parts[slot];
        part.works(PREPARED);
        let body = match self.sender.prepare(octets.clone()).await {
            Ok(body) => body,
            Err(error) => {
                self.counters.record_error(error.to_string());
                self.report().encoding(&error.to_string(), now());
                held.drop_for(DropReason::Encoding);
                return None;
            }
        };
        let mut attempts = 0;
        let mut earliest = None;
        loop {
            part.rests();
            let ticket = self.admit(earliest).await;
            match self.attempt_limit {
                Some(limit) => part.works(limit),
                None => part.rests(),
            }
            attempts += 1;
            let outcome = self.attempt(slot, &body, octets.len(), attempts).await;
            let cause = match outcome {
                Outcome::Retry { after, cause } => {
                    earliest = Some(self.failed(ticket, attempts, after, &cause));
                    continue;
                }
                Outcome::Accepted => {
                    self.answered(ticket);
                    self.largest_accepted.fetch_max(octets.len(), Relaxed);
                    held.accept_but(0);
                    return None;
                }
                Outcome::Partial {
                    rejected_spans,
                    message,
                } => {
                    self.answered(ticket);
                    self.largest_accepted.fetch_max(octets.len(), Relaxed);
                    if rejected_spans > 0 {
                        self.counters.partial_successes.fetch_add(1, Relaxed);
                    }
                    self.counters
                        .record_error(format!("rejected {rejected_spans} spans: {message}"));
                    self.report().partial(rejected_spans, &message, now());
                    held.accept_but(rejected_spans);
                    return None;
                }
                Outcome::Rejected { cause } => {
                    self.answered(ticket);
                    self.counters.record_error(cause.to_string());
                    self.report().refused(&cause, spans, now());
                    held.reject();
                    return None;
                }
                Outcome::TooLarge { cause } => cause,
            };
            self.answered(ticket);
            self.counters.record_error(cause.to_string());
            return match held.split() {
                Ok(halves) => {
                    self.counters.splits.fetch_add(1, Relaxed);
                    self.learn_limit(octets.len(), &cause, body.verbatim);
                    Some(halves)
                }
                Err(held) => {
                    self.report().too_large(&cause, octets.len(), now());
                    held.drop_for(DropReason::TooLarge);
                    None
                }
            };
        }
    }

    async fn attempt(
        &self,
        slot: usize,
        body: &Prepared,
        encoded: usize,
        attempts: u32,
    ) -> Outcome {
        let counters = &self.counters;
        counters.requests.fetch_add(1, Relaxed);
        if attempts > 1 {
            counters.retries.fetch_add(1, Relaxed);
        }
        counters.octets_encoded.fetch_add(encoded as u64, Relaxed);
        counters
            .octets_sent
            .fetch_add(body.octets.len() as u64, Relaxed);
        counters.requests_in_flight.fetch_add(1, Relaxed);
        let _in_flight = InFlight(counters);
        self.sender.send(slot, body).await
    }

    /// Waits until a request may start, not before `earliest`.
    async fn admit(&self, earliest: Option<Instant>) -> Ticket {
        loop {
            let changed = self.gate_changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let draining = *self.phase.borrow() != Phase::Running;
            let until = match earliest {
                Some(earliest) if !draining && now() < earliest => Some(earliest),
                _ => match self.gate().admit(now()) {
                    Admission::Go(ticket) => return ticket,
                    Admission::At(at) => Some(at),
                    Admission::AfterProbe => None,
                },
            };
            match until {
                Some(until) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(until.into()) => {}
                        () = changed => {}
                    }
                }
                None => changed.await,
            }
        }
    }

    /// Returns when the batch may be tried again at the earliest.
    fn failed(
        &self,
        ticket: Ticket,
        attempts: u32,
        asked: Option<Duration>,
        cause: &Cause,
    ) -> Instant {
        let now = now();
        let (earliest, failures) = {
            let mut gate = self.gate();
            let earliest = gate.failed(ticket, attempts, asked, now, rand::random());
            (earliest, gate.failures())
        };
        self.gate_changed.notify_waiters();
        self.counters.failures.fetch_add(1, Relaxed);
        self.counters.backend_away.store(true, Relaxed);
        self.counters.record_error(cause.to_string());
        self.report().away(cause, failures, now);
        earliest
    }

    fn answered(&self, ticket: Ticket) {
        self.gate().answered(ticket);
        self.gate_changed.notify_waiters();
        if self.counters.backend_away.swap(false, Relaxed) {
            let waiting = self
                .counters
                .queued
                .load()
                .plus(self.counters.in_flight.load());
            self.report().back(waiting, now());
        }
    }

    fn is_known_too_large(&self, piece: &Held) -> bool {
        let limit = self.limit.load(Relaxed);
        limit < self.configured_limit && piece.batch().octets.len() > limit
    }

    /// A request of so many octets was refused as too large: the next ones are as large as the
    /// backend says, else half, but not smaller than what it took before.
    fn learn_limit(&self, refused: usize, cause: &Cause, verbatim: bool) {
        let stated = if verbatim {
            stated_limit(&cause.text, refused)
        } else {
            None
        };
        let accepted = self.largest_accepted.load(Relaxed);
        let known = if accepted < refused { accepted } else { 0 };
        let limit = stated
            .unwrap_or(refused / 2)
            .max(known)
            .max(LEAST_LEARNT_LIMIT);
        if limit < self.limit.fetch_min(limit, Relaxed) {
            Report::learnt(limit, cause);
        }
    }

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

    fn report(&self) -> MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct InFlight<'a>(&'a Counters);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.requests_in_flight.fetch_sub(1, Relaxed);
    }
}

/// tokio's clock, which tests may stop.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
