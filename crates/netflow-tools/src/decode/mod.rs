//! `netflow2traces decode`: captures in, a line of JSON for each record out, and a summary of what could not be
//! understood.
//!
//! The datagrams go through the daemon's own [`Translator`], so that what is printed is what would be exported;
//! but times are shown as they were told, or not at all.

mod output;
mod records;
mod summary;

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use netflow_wire::Message;
use otlp_wire::UnixNanos;

use crate::capture::{Capture, CaptureError, UdpPayload};
use netflow_translate::config::{self, AttributeLevel, SpanTime, TraceSampler};
use netflow_translate::{Datagram, Ids, TranslateCounters, Translator};
use records::{Origin, Records, Waiting};
use summary::Summary;

/// From one datagram to the next, whatever the capture's own pace: a translator shows malformed datagrams only
/// once a second, and here all are to be told.
const PACE: Duration = Duration::from_secs(1);
/// Who made the spans of `--format otlp`.
const RESOURCE: [(&str, &str); 5] = [
    ("service.name", "netflow-to-traces"),
    ("service.version", env!("CARGO_PKG_VERSION")),
    ("telemetry.sdk.name", "netflow2traces"),
    ("telemetry.sdk.language", "rust"),
    ("telemetry.sdk.version", env!("CARGO_PKG_VERSION")),
];
/// Of stdout, when nobody waits for single lines.
const BUFFER: usize = 256 * 1024;

/// What to decode, and how to show it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Options {
    /// In this order; `-` is stdin. What one taught of templates holds for those behind it.
    pub files: Vec<PathBuf>,
    pub format: Format,
    pub attributes: AttributeLevel,
    /// UDP destination ports whose payloads are looked at; none: all.
    pub ports: Vec<u16>,
}

/// What a line is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub enum Format {
    /// A flat JSON object for each flow record
    #[default]
    Json,
    /// An OTLP/JSON ExportTraceServiceRequest for each datagram
    Otlp,
}

/// Decodes to stdout, tells the summary on stderr. The exit code: 0 all was understood, 1 something was not, 2 a
/// file could not be read.
///
/// # Errors
/// When stdout can't be written.
pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let is_live = options.files.iter().any(|file| is_stdin(file));
    let mut out = BufWriter::with_capacity(BUFFER, io::stdout().lock());
    let ended = decode(options, &mut io::stdin().lock(), &mut out, is_live);
    match ended {
        Ok(summary) => {
            // Nobody is left to tell when stderr is gone.
            let _ = io::stderr().lock().write_all(summary.text().as_bytes());
            Ok(ExitCode::from(summary.exit_code()))
        }
        // A reader that has seen enough (`| head`) is no failure.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(error) => Err(anyhow::Error::new(error).context("stdout can't be written")),
    }
}

/// Decodes all files. `is_live` lets every record out at once.
fn decode(
    options: &Options,
    stdin: &mut dyn Read,
    out: &mut dyn Write,
    is_live: bool,
) -> io::Result<Summary> {
    let clock = Arc::new(AtomicU64::new(0));
    let wall = Arc::clone(&clock);
    let wall = move || UnixNanos(wall.load(Ordering::Relaxed));
    let ids = Ids::new(rand::random());
    let translator = Translator::new(&configuration(options), wall, ids).for_captures();
    let mut session = Session {
        counters: translator.counters(),
        translator,
        clock,
        now: Instant::now(),
        options,
        waiting: Waiting::default(),
        summary: Summary::default(),
        out,
        is_live,
    };
    for (index, file) in options.files.iter().enumerate() {
        let name = match is_stdin(file) {
            true => "stdin".to_owned(),
            false => file.display().to_string(),
        };
        session.summary.begin_file(name);
        let read = if is_stdin(file) {
            session.read(index, &mut *stdin)?
        } else {
            match File::open(file) {
                Ok(mut file) => session.read(index, &mut file)?,
                Err(error) => Err(CaptureError::Io(error)),
            }
        };
        if let Err(error) = read {
            session.summary.file_failed(error);
        }
    }
    session.out.flush()?;
    let Session {
        translator,
        mut summary,
        counters,
        ..
    } = session;
    summary.finish(&counters, translator.waiting_sets());
    Ok(summary)
}

struct Session<'a, C> {
    translator: Translator<C>,
    counters: Arc<TranslateCounters>,
    /// The capture's time, which is the translator's wall time.
    clock: Arc<AtomicU64>,
    now: Instant,
    options: &'a Options,
    waiting: Waiting,
    summary: Summary,
    out: &'a mut dyn Write,
    is_live: bool,
}

impl<C: Fn() -> UnixNanos> Session<'_, C> {
    /// The outer error is of the output, the inner one of the file.
    fn read(&mut self, file: usize, reader: &mut dyn Read) -> io::Result<Result<(), CaptureError>> {
        let mut capture = match Capture::open(reader) {
            Ok(capture) => capture,
            Err(error) => return Ok(Err(error)),
        };
        let ended = loop {
            match capture.next_payload() {
                Ok(Some(payload)) => {
                    let is_chosen = self.options.ports.is_empty()
                        || payload
                            .addresses
                            .is_none_or(|(_, to)| self.options.ports.contains(&to.port()));
                    if is_chosen {
                        self.payload(file, &payload)?;
                    } else {
                        self.summary.not_chosen += 1;
                    }
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        self.summary.end_file(capture.tally(), capture.frame());
        Ok(ended)
    }

    fn payload(&mut self, file: usize, payload: &UdpPayload<'_>) -> io::Result<()> {
        let source = payload
            .addresses
            .map_or(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), |(from, _)| {
                SocketAddr::new(canonical(from.ip()), from.port())
            });
        // Where a file has no times, work is shown at the time of export.
        let received_at = payload.at.unwrap_or_else(|| {
            let message = Message::parse(payload.octets);
            UnixNanos(message.map_or(0, |message| message.header.export_time))
        });
        let origin = Origin {
            file,
            frame: payload.frame,
            received: payload.at,
            source: payload.addresses.map(|_| source),
        };
        self.clock.store(received_at.0, Ordering::Relaxed);
        self.now += PACE;
        let before = summary::snapshot(&self.counters);
        let datagram = Datagram {
            octets: payload.octets,
            source,
            received_at,
        };
        self.translator.on_datagram(&datagram, self.now);
        self.translator.flush();
        let mut batches: Vec<Bytes> = Vec::new();
        while let Some(batch) = self.translator.poll_batch(self.now) {
            batches.push(batch.octets);
        }
        let records = Records::read(&batches);
        self.summary
            .datagram(&self.counters, &before, &origin, payload.octets, &records);
        if summary::has_waiting(&self.counters, &before) {
            self.waiting.note(source, received_at, origin);
        }
        match self.options.format {
            Format::Json => {
                let names = (self.options.files.len() > 1).then_some(&*self.summary.files);
                for record in records.each(source, &origin, &self.waiting) {
                    output::write_record(&record, names, self.out)?;
                }
            }
            Format::Otlp => {
                for batch in &batches {
                    if let Err(error) = output::write_request(batch, self.out)? {
                        self.summary.unwritable(&origin, &error);
                    }
                }
            }
        }
        if self.is_live {
            self.out.flush()?;
        }
        Ok(())
    }
}

/// The daemon's defaults; but nothing is left out, and no time is shifted.
fn configuration(options: &Options) -> config::Translate {
    config::Translate {
        allowed_exporters: Vec::new(),
        max_rate_per_exporter: None,
        template_store: None,
        template_lifetime: Duration::MAX,
        max_exporters: 65_536,
        max_templates_per_exporter: 65_536,
        sampling_override: Vec::new(),
        scale_sampled: false,
        span_time: SpanTime::Flow,
        span_max_age: Duration::MAX,
        attributes: options.attributes,
        sampler: TraceSampler::AlwaysOn,
        resource: RESOURCE
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        // Every datagram ends its batch.
        batch_delay: Duration::from_secs(3600),
        batch_max_spans: usize::MAX,
        batch_max_octets: 2 * 1024 * 1024,
    }
}

fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

fn is_stdin(file: &Path) -> bool {
    file == Path::new("-")
}
