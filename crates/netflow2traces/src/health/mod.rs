//! The long-lived threads and tasks: which of them make progress, and how often one had to be restarted after a panic.
//! `/livez` and `/readyz` answer from it.

#[cfg(debug_assertions)]
mod fault;
mod pulse;

use std::any::Any;
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::error;

pub use pulse::Pulse;

/// A part that is overdue by so much is given up: `/livez` fails.
const GIVEN_UP: Duration = Duration::from_secs(30);
/// Before the first restart; it doubles with each further one …
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// … up to this …
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// … until the part has run for so long.
const SETTLED: Duration = Duration::from_secs(60);

/// Waits for something outside: nothing is due.
const NEVER: u64 = u64::MAX;

/// What a part does.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// Receives and translates, a thread for each worker.
    Receive,
    /// Accepts connections of exporters.
    Connections,
    /// Watches the TLS files for exporters.
    Certificates,
    /// Asks the workers whether they make progress.
    Pulse,
    /// Sends batches, a task for each request that may be in flight.
    Delivery,
    /// Logs what delivery loses.
    Losses,
    /// Writes and reads the spool.
    Spool,
    /// Brings the spool's files to the disk.
    SpoolSync,
    /// Keeps the template store up to date.
    TemplateStore,
    /// Watches a file of names: `NETFLOW_NETWORKS`, `NETFLOW_INTERFACES`.
    Enrichment,
    /// Sends the daemon's own metrics.
    OwnMetrics,
    /// Accepts connections of the admin server.
    Admin,
    /// Looks at what the page shows.
    Page,
    /// Reports to the service manager.
    Notifier,
    /// Reads datagrams from Kafka, and writes what was learnt of exporters.
    KafkaInput,
    /// Writes what a relay receives to Kafka.
    Relay,
    /// Writes spans to stdout.
    Console,
    /// Writes the log.
    Log,
}

impl Kind {
    pub const ALL: [Self; 18] = [
        Self::Receive,
        Self::Connections,
        Self::Certificates,
        Self::Pulse,
        Self::Delivery,
        Self::Losses,
        Self::Spool,
        Self::SpoolSync,
        Self::TemplateStore,
        Self::Enrichment,
        Self::OwnMetrics,
        Self::Admin,
        Self::Page,
        Self::Notifier,
        Self::KafkaInput,
        Self::Relay,
        Self::Console,
        Self::Log,
    ];

    /// The value of the metric label `part`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Receive => "receive",
            Self::Connections => "connections",
            Self::Certificates => "certificates",
            Self::Pulse => "pulse",
            Self::Delivery => "delivery",
            Self::Losses => "losses",
            Self::Spool => "spool",
            Self::SpoolSync => "spool_sync",
            Self::TemplateStore => "template_store",
            Self::Enrichment => "enrichment",
            Self::OwnMetrics => "own_metrics",
            Self::Admin => "admin",
            Self::Page => "page",
            Self::Notifier => "notifier",
            Self::KafkaInput => "kafka_input",
            Self::Relay => "relay",
            Self::Console => "console",
            Self::Log => "log",
        }
    }

    /// Whether flow records are lost, or will be, while it makes no progress.
    const fn is_vital(self) -> bool {
        matches!(
            self,
            Self::Receive
                | Self::Pulse
                | Self::Delivery
                | Self::Spool
                | Self::TemplateStore
                | Self::KafkaInput
                | Self::Relay
        )
    }
}

/// One long-lived thread or task.
#[derive(Debug)]
pub struct Part {
    kind: Kind,
    /// Among those of its kind.
    index: Option<usize>,
    /// When it must have reported again, in milliseconds of [`clock`]; or [`NEVER`].
    due: AtomicU64,
    restarts: AtomicU64,
    /// When it is restarted the next time, if it panics soon.
    pause: Mutex<Option<(Instant, Duration)>>,
}

impl Part {
    /// The only one of its kind.
    #[must_use]
    pub fn new(kind: Kind) -> Arc<Self> {
        Arc::new(Self::with(kind, None))
    }

    /// One of several.
    #[must_use]
    pub fn numbered(kind: Kind, index: usize) -> Arc<Self> {
        Arc::new(Self::with(kind, Some(index)))
    }

    fn with(kind: Kind, index: Option<usize>) -> Self {
        Self {
            kind,
            index,
            due: AtomicU64::new(NEVER),
            restarts: AtomicU64::new(0),
            pause: Mutex::default(),
        }
    }

    /// To be called by the part itself: it makes progress, and will say so again within this time.
    pub fn works(&self, within: Duration) {
        self.expect(within);
        self.strike();
    }

    /// To be called by the part itself: it waits for work, or for something outside, for however long.
    pub fn rests(&self) {
        self.due.store(NEVER, Relaxed);
        self.strike();
    }

    fn expect(&self, within: Duration) {
        let due = clock().saturating_add(within);
        let due = u64::try_from(due.as_millis()).unwrap_or(NEVER);
        self.due.store(due, Relaxed);
    }

    /// For how long it has been overdue.
    #[must_use]
    pub fn overdue(&self) -> Option<Duration> {
        let due = Duration::from_millis(self.due.load(Relaxed));
        clock().checked_sub(due).filter(|late| !late.is_zero())
    }

    fn is_resting(&self) -> bool {
        self.due.load(Relaxed) == NEVER
    }

    /// How often it was restarted.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.restarts.load(Relaxed)
    }

    /// It has panicked and is to be restarted: counts and logs it, and gives the pause before.
    #[must_use]
    pub fn restarting(&self) -> Duration {
        self.due.store(NEVER, Relaxed);
        self.restarts.fetch_add(1, Relaxed);
        let now = Instant::now();
        let mut before = self.pause.lock().unwrap_or_else(PoisonError::into_inner);
        let pause = match *before {
            Some((at, pause)) if now.saturating_duration_since(at) < SETTLED => {
                (pause * 2).min(LONGEST_PAUSE)
            }
            _ => FIRST_PAUSE,
        };
        *before = Some((now, pause));
        error!(part = %self, pause_ms = pause.as_millis(), "a part of the daemon has panicked: it is restarted");
        pause
    }

    /// As [`restarting`](Self::restarting), for a task: waits, too.
    pub async fn restart(&self) {
        tokio::time::sleep(self.restarting()).await;
    }

    /// Runs a thread's work again and again until it ends without a panic.
    pub fn keep_running<T>(&self, mut work: impl FnMut() -> T) -> T {
        loop {
            match catch_unwind(AssertUnwindSafe(&mut work)) {
                Ok(output) => return output,
                Err(_) => std::thread::park_timeout(self.restarting()),
            }
        }
    }

    /// Tests kill and stop parts here.
    #[inline]
    fn strike(&self) {
        #[cfg(debug_assertions)]
        fault::strike(self);
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.as_str())?;
        match self.index {
            Some(index) => write!(f, "-{index}"),
            None => Ok(()),
        }
    }
}

/// A task's work has panicked.
#[derive(Debug)]
pub struct Panicked(
    #[expect(dead_code, reason = "the panic hook has logged it")] Box<dyn Any + Send>,
);

/// The output of a task's work, or that it has panicked.
///
/// # Errors
/// [`Panicked`]; what the work held has been dropped then.
pub async fn caught<F: Future>(work: F) -> Result<F::Output, Panicked> {
    let mut work = pin!(work);
    poll_fn(|context| {
        let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context)));
        match polled {
            Ok(polled) => polled.map(Ok),
            Err(cause) => std::task::Poll::Ready(Err(Panicked(cause))),
        }
    })
    .await
}

/// All parts of a daemon.
#[derive(Debug, Default)]
pub struct Health(Mutex<Vec<Arc<Part>>>);

impl Health {
    /// Watches one more.
    pub fn add(&self, part: &Arc<Part>) {
        self.lock().push(Arc::clone(part));
    }

    /// Makes a part and watches it.
    #[must_use]
    pub fn part(&self, kind: Kind) -> Arc<Part> {
        let part = Part::new(kind);
        self.add(&part);
        part
    }

    /// All parts, in the order of their kinds.
    #[must_use]
    pub fn parts(&self) -> Vec<Arc<Part>> {
        let mut parts = self.lock().clone();
        parts.sort_by_key(|part| (part.kind, part.index));
        parts
    }

    /// How often parts of a kind were restarted.
    #[must_use]
    pub fn restarts(&self, kind: Kind) -> u64 {
        let parts = self.lock();
        let parts = parts.iter().filter(|part| part.kind == kind);
        parts.map(|part| part.restarts()).sum()
    }

    /// The vital part that is overdue by most, in words.
    #[must_use]
    pub fn stalled(&self) -> Option<String> {
        self.most_overdue(Duration::ZERO)
    }

    /// As [`stalled`](Self::stalled), when it has lasted so long that only a restart of the process helps.
    #[must_use]
    pub fn given_up(&self) -> Option<String> {
        self.most_overdue(GIVEN_UP)
    }

    fn most_overdue(&self, by: Duration) -> Option<String> {
        let parts = self.lock();
        let vital = parts.iter().filter(|part| part.kind.is_vital());
        let overdue = vital.filter_map(|part| Some((part.overdue()?, part)));
        let (late, part) = overdue.max_by_key(|(late, _)| *late)?;
        (late >= by).then(|| {
            let seconds = late.as_secs();
            format!("{part} makes no progress, and should have {seconds} s ago")
        })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Part>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Time since the first look at it. A suspended machine doesn't count.
fn clock() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vital_part_that_is_overdue_is_named() {
        let health = Health::default();
        let spool = health.part(Kind::Spool);
        let page = health.part(Kind::Page);
        let delivery = Part::numbered(Kind::Delivery, 3);
        health.add(&delivery);
        assert_eq!(health.stalled(), None);
        spool.works(Duration::from_secs(3600));
        page.works(Duration::ZERO);
        delivery.works(Duration::ZERO);
        while delivery.overdue().is_none() {
            std::thread::yield_now();
        }
        let said = health.stalled().expect("overdue");
        assert!(said.starts_with("delivery-3 makes no progress"), "{said}");
        assert_eq!(health.given_up(), None);
        delivery.rests();
        assert_eq!(health.stalled(), None);
    }

    #[test]
    fn pauses_grow_while_a_part_panics_again_and_again() {
        let part = Part::new(Kind::Spool);
        let pauses: Vec<_> = (0..10).map(|_| part.restarting().as_millis()).collect();
        assert_eq!(
            pauses,
            [50, 100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]
        );
        assert_eq!(part.restarts(), 10);
    }

    #[test]
    fn a_thread_goes_on_with_what_it_had() {
        let (part, mut left) = (Part::new(Kind::SpoolSync), vec![1, 2, 3]);
        let ended = part.keep_running(|| {
            while let Some(next) = left.pop() {
                assert!(next != 2, "one that can't be worked on");
            }
            "done"
        });
        assert_eq!((ended, part.restarts()), ("done", 1));
    }

    #[tokio::test]
    async fn a_task_that_panics_is_noticed_wherever_it_is() {
        let work = async |fails: bool| {
            tokio::task::yield_now().await;
            assert!(!fails, "after it was waited for");
            7
        };
        assert!(caught(work(true)).await.is_err());
        assert_eq!(caught(work(false)).await.ok(), Some(7));
    }
}
