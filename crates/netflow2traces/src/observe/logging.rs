//! The log: lines on stderr as text or JSON, and a limit for lines that could come without end.

use std::io::{self, IsTerminal, Write};
use std::panic::{self, PanicHookInfo};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use tracing::{error, info, warn};
use tracing_subscriber::EnvFilter;

use super::output::{Blocking, Output};
use crate::config::{Exporter, Loaded, Log, print};

/// Bytes of lines that may wait for a stderr that nobody reads: some thousand lines.
const WAITING: usize = 1 << 20;
/// How long the end waits for a stderr that nobody reads.
const LAST_LINES: Duration = Duration::from_millis(300);

/// stderr, once logging has started.
static STDERR: OnceLock<Output> = OnceLock::new();

/// Starts logging for the whole process. No thread that logs waits for stderr: lines that find no room are counted.
///
/// # Errors
/// When logging was started before, the filter can't be read, or the system gives no thread.
pub fn start(log: &Log) -> anyhow::Result<()> {
    let filter = EnvFilter::builder().parse(&log.filter)?;
    let output = Output::start("log", Blocking(io::stderr()), WAITING).map_err(|error| {
        anyhow::anyhow!(
            "the thread that writes the log could not be started: {error}; allow the process more threads (`ulimit -u`, \
             TasksMax= in a systemd unit, the container's pids limit)"
        )
    })?;
    let lines = output.clone();
    let builder = tracing_subscriber::fmt()
        .with_writer(move || Line(lines.clone()))
        .with_env_filter(filter)
        // It would report on stderr itself.
        .log_internal_errors(false);
    let started = if log.json {
        builder.json().flatten_event(true).try_init()
    } else {
        let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        builder.with_target(false).with_ansi(colours).try_init()
    };
    started.map_err(|error| anyhow::anyhow!("logging can't be started: {error}"))?;
    // Logging starts once, so that this is empty.
    let _ = STDERR.set(output);
    panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// Log lines that were not written because nobody read stderr, or because it was closed.
#[must_use]
pub fn lines_dropped() -> u64 {
    STDERR.get().map_or(0, Output::dropped)
}

/// Writes a line to stderr, behind the lines of the log if there are any.
pub fn write_line(line: &str) {
    match STDERR.get() {
        Some(output) => {
            output.offer(format!("{line}\n").as_bytes());
        }
        // If stderr is closed, nobody is left to read the line.
        None => {
            let _ = writeln!(io::stderr().lock(), "{line}");
        }
    }
}

/// Waits until the log is written, but not for long: stderr may be a pipe that nobody reads.
pub fn flush() {
    if let Some(output) = STDERR.get() {
        output.flush(LAST_LINES);
    }
}

/// The library's own hook would write to stderr, and wait for it.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let thread = thread::current();
    error!(
        thread = thread.name(),
        location = panic.location().map(tracing::field::display),
        cause = panic.payload_as_str(),
        "a thread panicked: this is a bug; please report it"
    );
}

/// The subscriber writes each line whole.
struct Line(Output);

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.offer(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Says what is about to start, and what is odd about the configuration. The demo brings its own
/// backend.
pub fn announce(loaded: &Loaded, is_demo: bool) {
    let config = &loaded.config;
    let (exporter, otlp) = match &config.deliver.exporter {
        _ if is_demo => ("embedded backend", None),
        Exporter::Otlp(otlp) => ("otlp", Some(otlp)),
        Exporter::Console => ("console", None),
        Exporter::None => ("none", None),
    };
    info!(
        version = env!("CARGO_PKG_VERSION"),
        exporter,
        endpoint = otlp.map(print::endpoint),
        protocol = otlp.map(|otlp| otlp.protocol.as_str()),
        workers = config.receive.workers,
        attributes = config.translate.attributes.as_str(),
        span_time = config.translate.span_time.as_str(),
        "netflow2traces starts"
    );
    for warning in &loaded.warnings {
        warn!(warning, "check the configuration");
    }
}

/// Lets a few log lines pass in each interval and counts the others.
///
/// ```
/// # use std::time::{Duration, Instant};
/// # use netflow2traces::observe::logging::RateLimit;
/// let mut limit = RateLimit::new(1, Duration::from_secs(60));
/// let start = Instant::now();
/// assert_eq!(limit.admit(start), Some(0));
/// assert_eq!(limit.admit(start), None);
/// assert_eq!(limit.admit(start + Duration::from_secs(60)), Some(1));
/// ```
#[derive(Clone, Debug)]
pub struct RateLimit {
    lines: u32,
    interval: Duration,
    /// Start of the interval and lines that passed in it.
    current: Option<(Instant, u32)>,
    held_back: u64,
}

impl RateLimit {
    /// Lets `lines` pass in each `interval`, which begins with the first of them.
    #[must_use]
    pub const fn new(lines: u32, interval: Duration) -> Self {
        Self {
            lines,
            interval,
            current: None,
            held_back: 0,
        }
    }

    /// Whether a line may be written: then how many were held back since the last one.
    pub fn admit(&mut self, now: Instant) -> Option<u64> {
        match self.admit_of(1, now) {
            (0, _) => None,
            (_, held_back) => Some(held_back),
        }
    }

    /// How many of these lines may be written, and how many were held back between the last one and
    /// the first of them.
    pub fn admit_of(&mut self, lines: u32, now: Instant) -> (u32, u64) {
        let (start, passed) = self
            .current
            .filter(|(start, _)| now.saturating_duration_since(*start) < self.interval)
            .unwrap_or((now, 0));
        let admitted = lines.min(self.lines.saturating_sub(passed));
        let held_back = match admitted {
            0 => 0,
            _ => std::mem::take(&mut self.held_back),
        };
        self.held_back += u64::from(lines - admitted);
        self.current = Some((start, passed + admitted));
        (admitted, held_back)
    }

    /// How many lines were held back since the last one that passed.
    #[must_use]
    pub fn held_back(&self) -> u64 {
        self.held_back
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn lines_beyond_the_limit_are_counted_and_told() {
        let start = Instant::now();
        let mut limit = RateLimit::new(2, MINUTE);
        assert_eq!(limit.admit(start), Some(0));
        assert_eq!(limit.admit(start), Some(0));
        assert_eq!(limit.admit(start), None);
        assert_eq!(limit.admit(start + MINUTE / 2), None);
        assert_eq!(limit.held_back(), 2);
        assert_eq!(limit.admit(start + MINUTE), Some(2));
        assert_eq!(limit.admit(start + MINUTE), Some(0));
        assert_eq!(limit.admit(start + MINUTE), None);
    }

    #[test]
    fn of_several_lines_the_first_pass() {
        let start = Instant::now();
        let mut limit = RateLimit::new(3, MINUTE);
        assert_eq!(limit.admit_of(2, start), (2, 0));
        assert_eq!(limit.admit_of(5, start), (1, 0));
        assert_eq!(limit.admit_of(5, start), (0, 0));
        assert_eq!(limit.held_back(), 9);
        assert_eq!(limit.admit_of(0, start + MINUTE), (0, 0));
        assert_eq!(limit.admit_of(5, start + MINUTE), (3, 9));
        assert_eq!(limit.held_back(), 2);
    }

    #[test]
    fn an_interval_begins_with_its_first_line() {
        let start = Instant::now();
        let mut limit = RateLimit::new(1, MINUTE);
        assert_eq!(limit.admit(start), Some(0));
        assert_eq!(limit.admit(start + 3 * MINUTE), Some(0));
        assert_eq!(limit.admit(start + 3 * MINUTE + MINUTE / 2), None);
    }

    #[test]
    fn an_instant_before_the_interval_belongs_to_it() {
        let start = Instant::now();
        let mut limit = RateLimit::new(1, MINUTE);
        assert_eq!(limit.admit(start + MINUTE), Some(0));
        assert_eq!(limit.admit(start), None);
    }
}
