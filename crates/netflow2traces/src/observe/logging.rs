//! The log: lines on stderr as text or JSON.

use std::io::{self, IsTerminal, Write};
use std::panic::{self, PanicHookInfo};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use otlp_wire::controls::push_escaped;
use tracing::{error, info, warn};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::output::{Blocking, Output};
use crate::config::{Loaded, Log, print};
use crate::health::Part;

/// Bytes of lines that may wait for a stderr that isn't read: some thousand lines.
const WAITING: usize = 1 << 20;
/// How long the end waits for a stderr that isn't read.
const LAST_LINES: Duration = Duration::from_millis(200);

/// stderr, once logging has started.
static STDERR: OnceLock<Output> = OnceLock::new();

/// Starts logging for the whole process. No thread that logs waits for stderr: lines that find no room are counted.
///
/// # Errors
/// When logging was started before, the filter can't be read, or the system gives no thread.
pub fn start(log: &Log) -> anyhow::Result<()> {
    let filter: Targets = log.filter.parse()?;
    let output = Output::start("log", Blocking(io::stderr()), WAITING).map_err(|error| {
        anyhow::anyhow!(
            "the thread that writes the log could not be started: {error}; allow the process more threads (`ulimit -u`, \
             TasksMax= in a systemd unit, the container's pids limit)"
        )
    })?;
    let lines = output.clone();
    let builder = tracing_subscriber::fmt()
        .with_writer(move || Line(lines.clone()))
        .with_max_level(LevelFilter::TRACE)
        // It would report on stderr itself.
        .log_internal_errors(false);
    let started = if log.json {
        let builder = builder.json().flatten_event(true);
        builder.finish().with(filter).try_init()
    } else {
        let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let builder = builder.with_target(false).with_ansi(colours);
        builder.finish().with(filter).try_init()
    };
    started.map_err(|error| anyhow::anyhow!("logging can't be started: {error}"))?;
    // Logging starts once, so that this is empty.
    let _ = STDERR.set(output);
    panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// Log lines that were not written because stderr was not read, or was closed.
#[must_use]
pub fn lines_dropped() -> u64 {
    STDERR.get().map_or(0, Output::dropped)
}

/// The thread that writes the log, once it has started.
#[must_use]
pub fn part() -> Option<&'static Arc<Part>> {
    STDERR.get().map(Output::part)
}

/// Writes a line to stderr, behind the lines of the log if there are any.
pub fn write_line(line: &str) {
    match STDERR.get() {
        Some(output) => {
            output.offer(format!("{line}\n").as_bytes());
        }
        // If stderr is closed, the line has no reader.
        None => {
            let _ = writeln!(io::stderr().lock(), "{line}");
        }
    }
}

/// Waits until the log is written, but not for long: stderr may be a pipe that isn't read.
pub fn flush() {
    flush_within(LAST_LINES);
}

/// As [`flush`], within this time.
pub fn flush_within(patience: Duration) {
    if let Some(output) = STDERR.get() {
        output.flush(patience);
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
        // What exporters say must not steer a terminal.
        let mut escaped = Vec::with_capacity(line.len());
        push_escaped(&mut escaped, line);
        self.0.offer(&escaped);
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
    let (exporter, endpoint, protocol) = match &config.relay {
        _ if is_demo => ("embedded backend", None, None),
        Some(kafka) => {
            let topic = print::kafka_topic(kafka, &kafka.topic);
            ("relay", Some(topic), None)
        }
        None => print::exporter(&config.deliver.exporter),
    };
    info!(
        version = env!("CARGO_PKG_VERSION"),
        exporter,
        endpoint,
        protocol,
        workers = config.receive.workers,
        attributes = config.translate.attributes.as_str(),
        span_time = config.translate.span_time.as_str(),
        "netflow2traces starts"
    );
    for warning in &loaded.warnings {
        warn!(warning, "check the configuration");
    }
}
