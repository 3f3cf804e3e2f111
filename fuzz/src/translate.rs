//! A sequence of datagrams through the real translator: every request is what a backend can read, no larger
//! than asked, and its spans are those that were counted.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use netflow2traces::config::{self, AttributeLevel, Machine, Purpose, Sources, SpanTime};
use netflow2traces::translate::{Datagram, Ids, Translator};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use otlp_wire::{EncodedBatch, UnixNanos};
use prost::Message as _;

use super::sequence::steps;

/// 2023-11-14 22:13:20 UTC, the export time of the seeds.
const WALL: u64 = 1_700_000_000_000_000_000;

/// Octets of spans that an octet of input may become at most: a record of one octet can be an interface
/// whose name, of up to 256 octets, an options record told before.
const MOST_PER_OCTET: usize = 2048;
/// And what every datagram becomes, whatever is in it.
const MOST_PER_DATAGRAM: usize = 4096;

fn configuration() -> config::Translate {
    static DEFAULTS: OnceLock<config::Translate> = OnceLock::new();
    let defaults = DEFAULTS.get_or_init(|| {
        let sources = Sources::collect(vec![], &[("OTEL_TRACES_EXPORTER", "none")]);
        config::load(Purpose::Run, &sources, &Machine::read())
            .expect("defaults are sound")
            .config
            .translate
    });
    defaults.clone()
}

/// What came out so far.
#[derive(Default)]
struct Output {
    flow_spans: u64,
    work_spans: u64,
    octets: usize,
    ids: HashSet<Vec<u8>>,
}

impl Output {
    fn take(&mut self, batch: &EncodedBatch, most: usize) {
        let octets = batch.octets.len();
        assert!(
            octets <= most,
            "a request of {octets} octets, at most {most}"
        );
        let request = ExportTraceServiceRequest::decode(&batch.octets[..]).expect("a request");
        let mut exporters = HashSet::new();
        let (mut flows, mut works) = (0, 0);
        let mut repeated = 0;
        for resource in &request.resource_spans {
            let attributes = &resource.resource.as_ref().expect("a resource").attributes;
            let mut keys = attributes.iter().map(|attribute| attribute.key.as_str());
            assert!(keys.any(|key| key == "netflow.exporter.address"));
            // Sources not known make no state, not even for their malformed datagrams.
            let spans = || resource.scope_spans.iter().flat_map(|scope| &scope.spans);
            if spans().any(|span| span.name != "netflow.export") {
                let is_new = exporters.insert(format!("{attributes:?}"));
                let octets = resource
                    .resource
                    .as_ref()
                    .map_or(0, |resource| resource.encoded_len());
                repeated += if is_new { 0 } else { octets };
            }
            for span in resource.scope_spans.iter().flat_map(|scope| &scope.spans) {
                self.check(span);
                match span.name.as_str() {
                    "netflow.flow" => flows += 1,
                    _ => works += 1,
                }
            }
        }
        assert!(
            repeated * 16 <= octets,
            "{repeated} of {octets} octets are resources again"
        );
        assert_eq!((flows, works), (batch.flow_spans, batch.work_spans));
        assert!(batch.spans() > 0, "a request without spans");
        self.flow_spans += u64::from(flows);
        self.work_spans += u64::from(works);
        self.octets += octets;
    }

    fn check(&mut self, span: &Span) {
        assert_eq!(span.trace_id.len(), 16);
        assert_eq!(span.span_id.len(), 8);
        assert!(span.trace_id.iter().any(|octet| *octet != 0));
        assert!(span.span_id.iter().any(|octet| *octet != 0));
        assert!(self.ids.insert(span.span_id.clone()), "a span twice");
        assert!(
            span.start_time_unix_nano <= span.end_time_unix_nano,
            "{span:?}"
        );
        let names = [
            "netflow.export",
            "netflow.parse_packet",
            "netflow.process_flows",
            "netflow.flow",
        ];
        assert!(names.contains(&span.name.as_str()), "{span:?}");
        let is_root = span.name == names[0];
        assert_eq!(span.parent_span_id.is_empty(), is_root);
        assert!(span.status.is_some());
        let mut keys = HashSet::new();
        for attribute in &span.attributes {
            assert!(!attribute.key.is_empty());
            assert!(keys.insert(&attribute.key), "{} twice", attribute.key);
            let value = attribute
                .value
                .as_ref()
                .and_then(|value| value.value.as_ref());
            assert!(value.is_some(), "{} has no value", attribute.key);
        }
    }
}

pub fn run(input: &[u8]) {
    let Some((&choice, input)) = input.split_first() else {
        return;
    };
    let most = if choice & 1 == 0 { 16 << 10 } else { 256 << 10 };
    let config = config::Translate {
        attributes: match choice >> 1 & 3 {
            0 => AttributeLevel::Minimal,
            1 => AttributeLevel::Standard,
            _ => AttributeLevel::All,
        },
        span_time: match choice >> 3 & 3 {
            0 | 1 => SpanTime::Flow,
            2 => SpanTime::Received,
            _ => SpanTime::Clamped,
        },
        scale_sampled: choice >> 5 & 1 == 1,
        batch_max_octets: most,
        allowed_exporters: Vec::new(),
        max_rate_per_exporter: None,
        max_record_rate_per_exporter: None,
        template_store: None,
        max_exporters: 4,
        max_templates_per_exporter: 8,
        template_lifetime: Duration::from_secs(300),
        ..configuration()
    };
    let mut translator = Translator::new(&config, || UnixNanos(WALL), Ids::new([7; 32]));
    let counters = translator.counters();
    let mut output = Output::default();
    let mut now = Instant::now();
    let (mut datagrams, mut octets) = (0, 0);
    for step in steps(input) {
        now += Duration::from_secs(u64::from(step.seconds));
        let address = Ipv4Addr::new(192, 0, 2, step.flags & 7);
        let datagram = Datagram {
            octets: step.octets,
            source: SocketAddr::new(IpAddr::V4(address), step.port),
            received_at: UnixNanos(WALL),
        };
        translator.on_datagram(&datagram, now);
        translator.on_deadline(now);
        datagrams += 1;
        octets += step.octets.len();
        while let Some(batch) = translator.poll_batch(now) {
            output.take(&batch, most);
        }
    }
    translator.flush();
    while let Some(batch) = translator.poll_batch(now) {
        output.take(&batch, most);
    }
    assert_eq!(output.flow_spans, counters.flow_spans.value());
    assert_eq!(output.work_spans, counters.work_spans.value());
    let understood = counters.datagrams_decoded.value() + counters.datagrams_rejected();
    assert_eq!(understood, datagrams as u64);
    let waiting = translator.sets_waiting() as u64;
    let ended = counters.sets_decoded_late.value() + counters.sets_expired.value();
    // Sets of exporters that were forgotten went with them.
    assert!(waiting + ended <= counters.sets_waited.value());
    let bound = octets * MOST_PER_OCTET + datagrams * MOST_PER_DATAGRAM;
    assert!(
        output.octets <= bound,
        "{} octets of {octets}",
        output.octets
    );
}
