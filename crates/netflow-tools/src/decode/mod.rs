//! `netflow2traces decode`: captures in, a line for each record or totals out, and a summary of what could not be
//! understood.
//!
//! The datagrams go through the daemon's own [`Translator`], so that what is printed is what would be exported;
//! but times are shown as they were exported, or not at all.

mod counters;
mod csv;
mod fields;
mod output;
mod progress;
mod records;
mod summary;
mod table;
mod top;

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal as _, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use netflow_wire::Message;
use otlp_wire::UnixNanos;
use otlp_wire::controls::Escaped;

use crate::capture::{Capture, CaptureError, UdpPayload};
use crate::stdout::checked;
use csv::Csv;
use netflow_translate::config::{self, AttributeLevel, Selection, SpanTime, TraceSampler};
use netflow_translate::enrich::fields::Fields;
use netflow_translate::filter::Filter;
use netflow_translate::{Datagram, Ids, TranslateCounters, Translator};
use progress::Watched;
use records::{Origin, Records, Waiting};
use summary::Summary;
use table::Table;
use top::{Style, Top};

pub use fields::{Field, UnknownField};

/// From one datagram to the next, whatever the capture's own pace: a translator shows malformed datagrams only
/// once a second, and here all are to be shown.
const PACE: Duration = Duration::from_secs(1);
/// The resource of the spans of `--format otlp`.
const RESOURCE: [(&str, &str); 5] = [
    ("service.name", "netflow-to-traces"),
    ("service.version", env!("CARGO_PKG_VERSION")),
    ("telemetry.sdk.name", "netflow2traces"),
    ("telemetry.sdk.language", "rust"),
    ("telemetry.sdk.version", env!("CARGO_PKG_VERSION")),
];
/// Of stdout, if no reader waits for single lines.
const BUFFER: usize = 256 * 1024;

/// What to decode, and how to show it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Options {
    /// In this order; `-` is stdin. Templates learnt from one hold for those behind it.
    pub files: Vec<PathBuf>,
    /// None: a table on a terminal, else JSON.
    pub format: Option<Format>,
    pub attributes: AttributeLevel,
    /// UDP destination ports whose payloads are looked at; none: all.
    pub ports: Vec<u16>,
    /// Definitions of elements besides those of the registries.
    pub fields: Option<Arc<Fields>>,
    /// Which records are shown.
    pub filter: Option<Filter>,
    /// Instead of records the largest of so many totals, by these fields.
    pub top: Option<(usize, Vec<Field>)>,
}

/// What a line is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Format {
    /// For people: a line for each flow record, in columns
    Table,
    /// Comma-separated values, with a line of names first
    Csv,
    /// A flat JSON object for each flow record
    Json,
    /// An OTLP/JSON ExportTraceServiceRequest for each datagram
    Otlp,
}

/// Decodes to stdout, and writes the summary to stderr. The exit code: 0 all was understood, 1 something was not, 2
/// there was nothing to decode, or a file could not be read.
///
/// # Errors
/// When stdout can't be written.
pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let is_live = options.files.iter().any(|file| is_stdin(file));
    let stdout = io::stdout();
    let show = Show {
        format: options.format.unwrap_or(match stdout.is_terminal() {
            true => Format::Table,
            false => Format::Json,
        }),
        is_live,
        // A bar and lines would stand in each other's way.
        progress: io::stderr().is_terminal() && (!stdout.is_terminal() || options.top.is_some()),
    };
    let out = BufWriter::with_capacity(BUFFER, stdout.lock());
    // Texts from the network must not steer a terminal.
    let mut out = match show.format {
        Format::Json | Format::Otlp => Escaped::json(out),
        Format::Table | Format::Csv => Escaped::plain(out),
    };
    if is_live && io::stdin().is_terminal() {
        let hint = "reading hexadecimal text from the terminal; Ctrl-D ends it. A capture comes through a pipe or `<`\n";
        let _ = io::stderr().write_all(hint.as_bytes());
    }
    let ended = decode(options, show, &mut io::stdin().lock(), &mut out);
    match ended {
        Ok(summary) => {
            // If stderr is closed, there is nowhere to report this.
            let _ = Escaped::plain(io::stderr().lock()).write_all(summary.text().as_bytes());
            Ok(ExitCode::from(summary.exit_code()))
        }
        Err(error) => checked(Err(error)).map(|()| ExitCode::SUCCESS),
    }
}

/// How what is decoded is shown.
#[derive(Clone, Copy, Debug)]
struct Show {
    format: Format,
    /// Every record leaves at once.
    is_live: bool,
    progress: bool,
}

/// Decodes all files.
fn decode(
    options: &Options,
    show: Show,
    stdin: &mut dyn Read,
    out: &mut dyn Write,
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
        lines: Lines::new(options, show),
        out,
        is_live: show.is_live,
    };
    for (index, file) in options.files.iter().enumerate() {
        let name = match is_stdin(file) {
            true => "stdin".to_owned(),
            false => file.display().to_string(),
        };
        session.summary.begin_file(name);
        let read = if is_stdin(file) {
            let mut stdin = Watched::new(&mut *stdin, None, show.progress);
            session.read(index, &mut stdin)?
        } else {
            match File::open(file) {
                Ok(file) => {
                    let total = file.metadata().ok().filter(|about| about.is_file());
                    let total = total.map(|about| about.len());
                    session.read(index, &mut Watched::new(file, total, show.progress))?
                }
                Err(error) => Err(CaptureError::Io(error)),
            }
        };
        if let Err(error) = read {
            session.summary.file_failed(error);
        }
    }
    session.lines.end(session.out, &mut session.summary)?;
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

/// What stdout gets.
enum Lines {
    Json,
    Otlp,
    Table(Table),
    Csv(Csv),
    Top(Box<Top>, Style),
}

impl Lines {
    fn new(options: &Options, show: Show) -> Self {
        match (&options.top, show.format) {
            (Some((count, fields)), format) => {
                let style = match format {
                    Format::Table => Style::Table,
                    Format::Csv => Style::Csv,
                    Format::Json | Format::Otlp => Style::Json,
                };
                Self::Top(Box::new(Top::new(*count, fields)), style)
            }
            (None, Format::Table) => Self::Table(Table::new(show.is_live)),
            (None, Format::Csv) => Self::Csv(Csv::new()),
            (None, Format::Json) => Self::Json,
            (None, Format::Otlp) => Self::Otlp,
        }
    }

    fn end(&mut self, out: &mut dyn Write, summary: &mut Summary) -> io::Result<()> {
        match self {
            Self::Json | Self::Otlp => Ok(()),
            Self::Table(table) => table.end(out),
            Self::Csv(csv) => csv.begin(out),
            Self::Top(top, style) => {
                summary.notes = top.notes();
                top.write(*style, out)
            }
        }
    }
}

struct Session<'a> {
    translator: Translator,
    counters: Arc<TranslateCounters>,
    /// The capture's time, which is the translator's wall time.
    clock: Arc<AtomicU64>,
    now: Instant,
    options: &'a Options,
    waiting: Waiting,
    summary: Summary,
    lines: Lines,
    out: &'a mut dyn Write,
    is_live: bool,
}

impl Session<'_> {
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
        let before = counters::snapshot(&self.counters);
        let datagram = Datagram {
            octets: payload.octets,
            source,
            received_at,
        };
        let transport = payload.transport;
        if payload.begins_session {
            let session = netflow_wire::Session {
                transport,
                port: source.port(),
            };
            self.translator.end_session(source.ip(), session);
        }
        self.translator.on_message(&datagram, transport, self.now);
        self.translator.flush();
        let mut batches: Vec<Bytes> = Vec::new();
        while let Some(batch) = self.translator.poll_batch(self.now) {
            batches.push(batch.octets);
        }
        let records = Records::read(&batches);
        self.summary
            .datagram(&self.counters, &before, &origin, payload, &records);
        if counters::has_waiting(&self.counters, &before) {
            self.waiting.note(source, received_at, origin);
        }
        self.show(&records, &batches, source, &origin)?;
        if self.is_live {
            self.out.flush()?;
        }
        Ok(())
    }

    fn show(
        &mut self,
        records: &Records,
        batches: &[Bytes],
        source: SocketAddr,
        origin: &Origin,
    ) -> io::Result<()> {
        let files = &*self.summary.files;
        let records_of = || records.each(source, origin, &self.waiting);
        match &mut self.lines {
            Lines::Json => {
                let names = (self.options.files.len() > 1).then_some(files);
                for record in records_of() {
                    output::write_record(&record, names, self.out)?;
                }
            }
            Lines::Otlp => {
                for batch in batches {
                    if let Err(error) = output::write_request(batch, self.out)? {
                        self.summary.unwritable(origin, &error);
                    }
                }
            }
            Lines::Table(table) => {
                for record in records_of() {
                    table.record(&record, self.out)?;
                }
            }
            Lines::Csv(csv) => {
                for record in records_of() {
                    csv.record(&record, files, self.out)?;
                }
            }
            Lines::Top(top, _) => {
                for record in records_of() {
                    top.record(&record, files);
                }
            }
        }
        Ok(())
    }
}

/// The daemon's defaults; but nothing is left out that the filter doesn't exclude, and no time is shifted.
fn configuration(options: &Options) -> config::Translate {
    config::Translate {
        allowed_exporters: Vec::new(),
        max_rate_per_exporter: None,
        max_record_rate_per_exporter: None,
        template_store: None,
        template_lifetime: Duration::MAX,
        max_exporters: 65_536,
        max_templates_per_exporter: 65_536,
        sampling_override: Vec::new(),
        fields: options.fields.clone(),
        scale_sampled: false,
        span_time: SpanTime::Flow,
        span_max_age: Duration::MAX,
        semconv: config::Semconv::Netflow,
        shape: config::TraceShape::Packet,
        span_name: config::SpanName::Schema,
        service_name: config::ServiceName::Fixed,
        service_graph: config::ServiceGraph::None,
        // Totals may be of any attribute.
        attributes: match options.top {
            Some(_) => AttributeLevel::All,
            None => options.attributes,
        },
        sampler: TraceSampler::AlwaysOn,
        selection: Selection {
            filter: options.filter.clone(),
            ..Selection::default()
        },
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
