//! Records found again in the requests that a translator made of a datagram.

use std::collections::HashMap;
use std::net::SocketAddr;

use bytes::Bytes;
use otlp_wire::UnixNanos;
use otlp_wire::messages::{ExportTraceServiceRequest, KeyValue, Resource, Span, any_value::Value};
use prost::Message as _;

/// Datagrams that are remembered for their Sets that wait.
const MAX_WAITING: usize = 100_000;

/// Where a datagram stood.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Origin {
    /// Index of the file.
    pub(super) file: usize,
    pub(super) frame: u64,
    /// When it was captured, if the file says it.
    pub(super) received: Option<UnixNanos>,
    /// Nobody, in a file of messages.
    pub(super) source: Option<SocketAddr>,
}

/// The datagrams that have Sets which wait for their template.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// `None`: there are several of one time, and it isn't known which of them it is.
    origins: HashMap<(SocketAddr, UnixNanos), Option<Origin>>,
}

impl Waiting {
    pub(super) fn note(&mut self, source: SocketAddr, received_at: UnixNanos, origin: Origin) {
        if self.origins.len() >= MAX_WAITING {
            return;
        }
        self.origins
            .entry((source, received_at))
            .and_modify(|known| *known = None)
            .or_insert(Some(origin));
    }

    fn find(&self, source: SocketAddr, received_at: UnixNanos) -> Option<Origin> {
        *self.origins.get(&(source, received_at))?
    }
}

/// The spans of one datagram, and of the Sets that its templates set free.
#[derive(Debug, Default)]
pub(super) struct Records {
    requests: Vec<ExportTraceServiceRequest>,
    /// A request could not be read back.
    pub(super) problem: Option<String>,
}

/// A flow record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    /// `None`: it waited, and its datagram is not known any more.
    pub(super) origin: Option<Origin>,
    pub(super) source: SocketAddr,
    /// Octets of a source that isn't there are zero.
    pub(super) has_source: bool,
    pub(super) domain: Option<i64>,
    pub(super) resource: Option<&'a Resource>,
    pub(super) span: &'a Span,
}

impl Records {
    pub(super) fn read(batches: &[Bytes]) -> Self {
        let mut read = Self::default();
        for batch in batches {
            match ExportTraceServiceRequest::decode(batch.as_ref()) {
                Ok(request) => read.requests.push(request),
                Err(error) => read.problem = Some(error.to_string()),
            }
        }
        read
    }

    /// The records in their order.
    pub(super) fn each<'a>(
        &'a self,
        source: SocketAddr,
        origin: &Origin,
        waiting: &Waiting,
    ) -> Vec<Record<'a>> {
        // The datagram's own export span comes first, then those of Sets that have waited.
        let mut traces: HashMap<&[u8], Trace> = HashMap::new();
        for (_, span) in self.spans().filter(|(_, span)| is_export(span)) {
            let is_own = traces.is_empty();
            traces
                .entry(&span.trace_id)
                .or_insert_with(|| Trace::of(span, source, is_own.then_some(origin), waiting));
        }
        let flows = self.spans().filter(|(_, span)| span.name == FLOW);
        flows
            .map(|(resource, span)| {
                let trace = traces.get(span.trace_id.as_slice());
                Record {
                    origin: trace.and_then(|trace| trace.origin),
                    source: trace.map_or(source, |trace| trace.source),
                    has_source: origin.source.is_some(),
                    domain: trace.and_then(|trace| trace.domain),
                    resource,
                    span,
                }
            })
            .collect()
    }

    /// Flow spans.
    pub(super) fn flows(&self) -> impl Iterator<Item = &Span> {
        self.spans()
            .map(|(_, span)| span)
            .filter(|span| span.name == FLOW)
    }

    /// What is wrong with the datagram, as its export span says; of several things the first.
    pub(super) fn error(&self) -> Option<&str> {
        self.spans()
            .filter(|(_, span)| is_export(span))
            .filter_map(|(_, span)| Some(span.status.as_ref()?.message.as_str()))
            .find(|message| !message.is_empty())
    }

    fn spans(&self) -> impl Iterator<Item = (Option<&Resource>, &Span)> {
        let resources = self.requests.iter().flat_map(|r| &r.resource_spans);
        resources.flat_map(|of_resource| {
            let spans = of_resource.scope_spans.iter().flat_map(|s| &s.spans);
            spans.map(|span| (of_resource.resource.as_ref(), span))
        })
    }
}

const FLOW: &str = "netflow.flow";

fn is_export(span: &Span) -> bool {
    span.name == "netflow.export"
}

#[derive(Clone, Copy, Debug)]
struct Trace {
    origin: Option<Origin>,
    source: SocketAddr,
    domain: Option<i64>,
}

impl Trace {
    fn of(span: &Span, source: SocketAddr, own: Option<&Origin>, waiting: &Waiting) -> Self {
        // What has waited came from the same address, perhaps from another port.
        let port = int(&span.attributes, "netflow.exporter.port");
        let port = port.and_then(|port| u16::try_from(port).ok());
        let source = SocketAddr::new(source.ip(), port.unwrap_or(source.port()));
        let received_at = UnixNanos(span.start_time_unix_nano);
        Self {
            origin: own.copied().or_else(|| waiting.find(source, received_at)),
            source,
            domain: int(&span.attributes, "netflow.observation_domain"),
        }
    }
}

/// The value of an attribute.
pub(super) fn value<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    let attribute = attributes.iter().find(|attribute| attribute.key == key)?;
    attribute.value.as_ref()?.value.as_ref()
}

/// The value of an attribute that is a whole number.
pub(super) fn int(attributes: &[KeyValue], key: &str) -> Option<i64> {
    match value(attributes, key)? {
        Value::IntValue(value) => Some(*value),
        _ => None,
    }
}
