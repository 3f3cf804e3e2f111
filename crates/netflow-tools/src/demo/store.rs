//! The last traces, in memory: spans in, whole traces out.
//!
//! Bounded in octets and in traces; when either bound is passed, the trace that came first leaves
//! whole, also when spans still come for it (those then begin it anew). Octets are an estimate of
//! what the spans take in memory, four to five times their size on the wire. Readers get shared
//! traces and hold no lock while they look at them.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use otlp_wire::messages::{
    AnyValue, InstrumentationScope, KeyValue, Resource, ResourceSpans, ScopeSpans, Span,
    TracesData, any_value::Value,
};
use tokio::sync::watch;

/// A trace's id as it is on the wire.
pub type TraceId = [u8; 16];

/// What the store holds at most.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StoreLimits {
    /// Octets of memory, estimated.
    pub octets: usize,
    /// Traces.
    pub traces: usize,
}

impl Default for StoreLimits {
    /// 128 MiB and 50,000 traces: some ten minutes of the demo's own traffic.
    fn default() -> Self {
        Self {
            octets: 128 << 20,
            traces: 50_000,
        }
    }
}

/// What came, what is there, what left.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct StoreTotals {
    /// Spans taken since the start.
    pub spans_accepted: u64,
    /// Spans refused since the start, because an id was malformed.
    pub spans_refused: u64,
    /// Traces that had to make room since the start.
    pub traces_evicted: u64,
    /// Traces held.
    pub traces: usize,
    /// Octets held, estimated.
    pub octets: usize,
}

/// The outcome of one request.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Inserted {
    /// Spans taken.
    pub accepted: u64,
    /// Spans refused: a trace id that isn't 16 octets or a span id that isn't 8, or all zero.
    pub refused: u64,
}

/// A handle to the store; clones share it.
#[derive(Clone, Debug)]
pub struct TraceStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limits: StoreLimits,
    inner: Mutex<Inner>,
    totals: watch::Sender<StoreTotals>,
}

#[derive(Debug, Default)]
struct Inner {
    /// By order of arrival.
    traces: BTreeMap<u64, Arc<StoredTrace>>,
    by_id: HashMap<TraceId, u64>,
    next_arrival: u64,
    totals: StoreTotals,
}

/// A trace as far as it came.
#[derive(Clone, Debug)]
pub struct StoredTrace {
    /// Its id.
    pub id: TraceId,
    /// Its spans, by where they come from, in the order they came.
    pub batches: Vec<Batch>,
    /// Start of its earliest span, in nanoseconds since 1970.
    pub start: u64,
    /// End of its latest span, in nanoseconds since 1970.
    pub end: u64,
    /// Where the first span without a parent is: batch and span.
    root: Option<(usize, usize)>,
    octets: usize,
}

/// Spans of one resource and scope.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Resource and scope.
    pub origin: Arc<Origin>,
    /// The spans.
    pub spans: Vec<Span>,
}

/// Resource and scope of spans.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Origin {
    /// Resource.
    pub resource: Resource,
    /// Schema of the resource.
    pub resource_schema_url: String,
    /// Instrumentation scope.
    pub scope: Option<InstrumentationScope>,
    /// Schema of the scope's spans.
    pub scope_schema_url: String,
}

impl TraceStore {
    /// An empty store.
    #[must_use]
    pub fn new(limits: StoreLimits) -> Self {
        let inner = Mutex::default();
        let totals = watch::Sender::new(StoreTotals::default());
        Self {
            shared: Arc::new(Shared {
                limits,
                inner,
                totals,
            }),
        }
    }

    /// Takes the spans of a request.
    pub fn insert(&self, request: Vec<ResourceSpans>) -> Inserted {
        let mut inserted = Inserted::default();
        let totals = {
            let mut inner = self.inner();
            for resource_spans in request {
                let resource = resource_spans.resource.unwrap_or_default();
                for scope_spans in resource_spans.scope_spans {
                    let origin = Arc::new(Origin {
                        resource: resource.clone(),
                        resource_schema_url: resource_spans.schema_url.clone(),
                        scope: scope_spans.scope,
                        scope_schema_url: scope_spans.schema_url,
                    });
                    let origin_octets = origin.footprint();
                    for span in scope_spans.spans {
                        match trace_id(&span) {
                            Some(id) => {
                                inserted.accepted += 1;
                                inner.add(id, span, &origin, origin_octets);
                            }
                            None => inserted.refused += 1,
                        }
                    }
                    inner.make_room(self.shared.limits);
                }
            }
            inner.totals.spans_accepted += inserted.accepted;
            inner.totals.spans_refused += inserted.refused;
            inner.totals
        };
        self.shared.totals.send_replace(totals);
        inserted
    }

    /// The trace of this id.
    #[must_use]
    pub fn trace(&self, id: TraceId) -> Option<Arc<StoredTrace>> {
        let inner = self.inner();
        let arrival = inner.by_id.get(&id)?;
        inner.traces.get(arrival).cloned()
    }

    /// All traces, those that came last first.
    #[must_use]
    pub fn newest_first(&self) -> Vec<Arc<StoredTrace>> {
        self.inner().traces.values().rev().cloned().collect()
    }

    /// The counts.
    #[must_use]
    pub fn totals(&self) -> StoreTotals {
        *self.shared.totals.borrow()
    }

    /// The counts, and news of every change of them.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<StoreTotals> {
        self.shared.totals.subscribe()
    }

    /// The guarded state. A panic elsewhere leaves counts at worst stale, never a broken structure.
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.shared
            .inner
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn add(&mut self, id: TraceId, span: Span, origin: &Arc<Origin>, origin_octets: usize) {
        let arrival = *self.by_id.entry(id).or_insert_with(|| {
            self.next_arrival += 1;
            self.next_arrival
        });
        let trace = self.traces.entry(arrival).or_insert_with(|| {
            self.totals.octets += StoredTrace::EMPTY_OCTETS;
            Arc::new(StoredTrace::new(id))
        });
        let trace = Arc::make_mut(trace);
        let before = trace.octets;
        trace.add(span, origin, origin_octets);
        self.totals.octets += trace.octets - before;
        self.totals.traces = self.traces.len();
    }

    fn make_room(&mut self, limits: StoreLimits) {
        while self.totals.octets > limits.octets || self.traces.len() > limits.traces {
            let Some((_, oldest)) = self.traces.pop_first() else {
                return;
            };
            self.by_id.remove(&oldest.id);
            self.totals.octets = self.totals.octets.saturating_sub(oldest.octets);
            self.totals.traces_evicted += 1;
            self.totals.traces = self.traces.len();
        }
    }
}

impl StoredTrace {
    /// The trace itself, its entries in both maps, and the allocations' own cost.
    const EMPTY_OCTETS: usize = size_of::<Self>() + 128;

    fn new(id: TraceId) -> Self {
        let octets = Self::EMPTY_OCTETS;
        Self {
            id,
            batches: Vec::new(),
            start: u64::MAX,
            end: 0,
            root: None,
            octets,
        }
    }

    fn add(&mut self, span: Span, origin: &Arc<Origin>, origin_octets: usize) {
        self.start = self.start.min(span.start_time_unix_nano);
        self.end = self.end.max(span.end_time_unix_nano);
        self.octets += span_footprint(&span);
        let known = self
            .batches
            .iter()
            .rposition(|batch| Arc::ptr_eq(&batch.origin, origin) || batch.origin == *origin);
        let batch = known.unwrap_or_else(|| {
            self.octets += origin_octets;
            self.batches.push(Batch {
                origin: Arc::clone(origin),
                spans: Vec::new(),
            });
            self.batches.len() - 1
        });
        let Some(spans) = self.batches.get_mut(batch).map(|batch| &mut batch.spans) else {
            return;
        };
        if self.root.is_none() && is_root(&span) {
            self.root = Some((batch, spans.len()));
        }
        // prost leaves room for as many attributes again.
        let mut span = span;
        span.attributes.shrink_to_fit();
        spans.push(span);
    }

    /// All spans with where they come from.
    pub fn spans(&self) -> impl Iterator<Item = (&Origin, &Span)> {
        self.batches
            .iter()
            .flat_map(|batch| batch.spans.iter().map(|span| (&*batch.origin, span)))
    }

    /// The first span without a parent, as soon as it came.
    #[must_use]
    pub fn root(&self) -> Option<(&Origin, &Span)> {
        let (batch, span) = self.root?;
        let batch = self.batches.get(batch)?;
        Some((&*batch.origin, batch.spans.get(span)?))
    }

    /// From the start of the earliest span to the end of the latest, in nanoseconds.
    #[must_use]
    pub fn duration(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether a part of it lies in this time, in nanoseconds since 1970.
    #[must_use]
    pub fn is_in(&self, times: &RangeInclusive<u64>) -> bool {
        self.start <= *times.end() && self.end >= *times.start()
    }

    /// The trace as OTLP has it.
    #[must_use]
    pub fn to_otlp(&self) -> TracesData {
        let resource_spans = self.batches.iter().map(|batch| ResourceSpans {
            resource: Some(batch.origin.resource.clone()),
            scope_spans: vec![ScopeSpans {
                scope: batch.origin.scope.clone(),
                spans: batch.spans.clone(),
                schema_url: batch.origin.scope_schema_url.clone(),
            }],
            schema_url: batch.origin.resource_schema_url.clone(),
        });
        TracesData {
            resource_spans: resource_spans.collect(),
        }
    }
}

impl Origin {
    /// `service.name` of the resource, or nothing.
    #[must_use]
    pub fn service_name(&self) -> &str {
        match attribute(&self.resource.attributes, "service.name") {
            Some(Value::StringValue(name)) => name,
            _ => "",
        }
    }

    fn footprint(&self) -> usize {
        let scope = self.scope.as_ref().map_or(0, |scope| {
            block(scope.name.len())
                + block(scope.version.len())
                + attributes_footprint(&scope.attributes)
        });
        block(size_of::<Self>())
            + attributes_footprint(&self.resource.attributes)
            + block(self.resource_schema_url.len())
            + block(self.scope_schema_url.len())
            + scope
    }
}

/// The value of an attribute.
#[must_use]
pub fn attribute<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    attributes
        .iter()
        .find(|attribute| attribute.key == key)?
        .value
        .as_ref()?
        .value
        .as_ref()
}

/// The trace id, if it and the span id are what OTLP asks for.
fn trace_id(span: &Span) -> Option<TraceId> {
    let id = TraceId::try_from(span.trace_id.as_slice()).ok()?;
    let span_id_sound = span.span_id.len() == 8 && span.span_id.iter().any(|&octet| octet != 0);
    (span_id_sound && id != TraceId::default()).then_some(id)
}

fn is_root(span: &Span) -> bool {
    span.parent_span_id.iter().all(|&octet| octet == 0)
}

fn span_footprint(span: &Span) -> usize {
    let events = span.events.iter().map(|event| {
        size_of_val(event) + block(event.name.len()) + attributes_footprint(&event.attributes)
    });
    let links = span.links.iter().map(|link| {
        size_of_val(link)
            + block(link.trace_id.len())
            + block(link.span_id.len())
            + block(link.trace_state.len())
            + attributes_footprint(&link.attributes)
    });
    // A trace's list of spans has room for as many again at worst.
    2 * size_of_val(span)
        + block(span.trace_id.len())
        + block(span.span_id.len())
        + block(span.parent_span_id.len())
        + block(span.trace_state.len())
        + block(span.name.len())
        + span
            .status
            .as_ref()
            .map_or(0, |status| block(status.message.len()))
        + attributes_footprint(&span.attributes)
        + events.sum::<usize>()
        + links.sum::<usize>()
}

/// A list of attributes and what they hold.
fn attributes_footprint(attributes: &[KeyValue]) -> usize {
    let each = attributes.iter().map(|attribute| {
        block(attribute.key.len()) + attribute.value.as_ref().map_or(0, value_footprint)
    });
    block(size_of_val(attributes)) + each.sum::<usize>()
}

/// What a value holds on the heap.
fn value_footprint(value: &AnyValue) -> usize {
    match &value.value {
        Some(Value::StringValue(text)) => block(text.len()),
        Some(Value::BytesValue(octets)) => block(octets.len()),
        Some(Value::ArrayValue(array)) => {
            let each = array.values.iter().map(value_footprint);
            block(size_of_val(array.values.as_slice())) + each.sum::<usize>()
        }
        Some(Value::KvlistValue(list)) => attributes_footprint(&list.values),
        _ => 0,
    }
}

/// What an allocation of so many octets takes: allocators add a word, round up to two, and have no
/// block of less than four.
fn block(octets: usize) -> usize {
    if octets == 0 {
        0
    } else {
        (octets + 8).next_multiple_of(16).max(32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(trace: u8, span: u8, parent: u8) -> Span {
        Span {
            trace_id: vec![trace; 16],
            span_id: vec![span; 8],
            parent_span_id: if parent == 0 {
                Vec::new()
            } else {
                vec![parent; 8]
            },
            name: format!("span {span}"),
            start_time_unix_nano: 100 * u64::from(span),
            end_time_unix_nano: 100 * u64::from(span) + 50,
            ..Span::default()
        }
    }

    fn request(spans: Vec<Span>) -> Vec<ResourceSpans> {
        let scope_spans = vec![ScopeSpans {
            spans,
            ..ScopeSpans::default()
        }];
        vec![ResourceSpans {
            scope_spans,
            ..ResourceSpans::default()
        }]
    }

    #[test]
    fn spans_of_several_requests_make_one_trace() {
        let store = TraceStore::new(StoreLimits::default());
        store.insert(request(vec![span(1, 2, 1)]));
        let early = store.trace([1; 16]).unwrap();
        assert!(early.root().is_none());
        store.insert(request(vec![span(2, 1, 0), span(1, 1, 0)]));
        let trace = store.trace([1; 16]).unwrap();
        assert_eq!(trace.spans().count(), 2);
        assert_eq!(trace.batches.len(), 1, "equal origins share a batch");
        assert_eq!((trace.start, trace.end, trace.duration()), (100, 250, 150));
        assert_eq!(trace.root().unwrap().1.name, "span 1");
        assert_eq!(early.spans().count(), 1, "a reader's trace doesn't change");
        let newest: Vec<u8> = store
            .newest_first()
            .iter()
            .map(|trace| trace.id[0])
            .collect();
        assert_eq!(newest, [2, 1]);
    }

    #[test]
    fn malformed_ids_are_refused_and_counted() {
        let store = TraceStore::new(StoreLimits::default());
        let mut short = span(1, 1, 0);
        short.trace_id.pop();
        let inserted = store.insert(request(vec![
            short,
            span(0, 1, 0),
            span(1, 0, 0),
            span(1, 1, 0),
        ]));
        assert_eq!(
            inserted,
            Inserted {
                accepted: 1,
                refused: 3
            }
        );
        assert_eq!(store.totals().spans_refused, 3);
    }

    #[test]
    fn oldest_trace_makes_room() {
        let store = TraceStore::new(StoreLimits {
            octets: usize::MAX,
            traces: 2,
        });
        store.insert(request(vec![span(1, 1, 0)]));
        store.insert(request(vec![span(2, 1, 0)]));
        store.insert(request(vec![span(1, 2, 1), span(3, 1, 0)]));
        assert!(store.trace([1; 16]).is_none());
        assert!(store.trace([2; 16]).is_some() && store.trace([3; 16]).is_some());
        assert_eq!(store.totals().traces_evicted, 1);
    }

    #[test]
    fn octets_are_bounded_and_return_to_nothing() {
        let store = TraceStore::new(StoreLimits {
            octets: 20_000,
            traces: usize::MAX,
        });
        for trace in 1..=200 {
            store.insert(request(
                (1..=3).map(|index| span(trace, index, 0)).collect(),
            ));
            assert!(store.totals().octets <= 20_000);
        }
        let totals = store.totals();
        assert!(totals.traces > 2 && totals.traces_evicted == 200 - totals.traces as u64);
        let giant = (0..100).map(|_| span(250, 1, 0)).collect();
        store.insert(request(giant));
        let totals = store.totals();
        assert_eq!(
            (totals.traces, totals.octets),
            (0, 0),
            "a trace above the bound isn't kept"
        );
    }
}
