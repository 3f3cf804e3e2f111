//! Spans gathered into requests: one room for all exporters, cut by size, count and age.
//!
//! Spans are written where they stay. A batch of one exporter's spans gets its resource put in front, into a
//! gap kept for it, and leaves without a copy; one of several exporters' is gathered by exporter.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use otlp_wire::{EncodedBatch, ResourceFront, SpanWriter, UnixNanos};

use super::counters::TranslateCounters;

/// Rooms kept for the next batches; more than are ever on their way at once isn't worth keeping.
const MAX_POOLED: usize = 8;

/// Where an exporter's spans go in the batch that is being filled.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Membership {
    /// Which batch that was.
    batch: u64,
    group: usize,
}

#[derive(Debug)]
struct Group {
    front: Arc<ResourceFront>,
    octets: usize,
}

#[derive(Clone, Copy, Debug)]
struct Segment {
    group: usize,
    from: usize,
    to: usize,
}

#[derive(Debug)]
pub(crate) struct Batches {
    max_octets: usize,
    max_spans: usize,
    delay: Duration,
    /// Octets at the room's front for the resource of a batch of one exporter.
    gap: usize,
    room: Vec<u8>,
    at: usize,
    /// Counts batches from 1, so that a default membership is of none.
    number: u64,
    groups: Vec<Group>,
    segments: Vec<Segment>,
    /// Octets that the groups' resources take at most.
    fronts: usize,
    flow_spans: u32,
    work_spans: u32,
    oldest: UnixNanos,
    opened: Option<Instant>,
    ready: VecDeque<EncodedBatch>,
    rooms: Arc<Pool>,
    gathered: Arc<Pool>,
    counters: Arc<TranslateCounters>,
}

impl Batches {
    /// `max_front` is the most that one resource takes.
    pub(crate) fn new(
        max_octets: usize,
        max_spans: usize,
        delay: Duration,
        max_front: usize,
        counters: Arc<TranslateCounters>,
    ) -> Self {
        Self {
            max_octets,
            max_spans: max_spans.max(1),
            delay,
            gap: max_front,
            room: vec![0; max_front + max_octets],
            at: max_front,
            number: 1,
            groups: Vec::new(),
            segments: Vec::new(),
            fronts: 0,
            flow_spans: 0,
            work_spans: 0,
            oldest: UnixNanos(0),
            opened: None,
            ready: VecDeque::new(),
            rooms: Arc::default(),
            gathered: Arc::default(),
            counters,
        }
    }

    /// Makes `member` part of the batch that is being filled; finishes that batch before if its resource
    /// leaves no sensible room.
    pub(crate) fn enter(
        &mut self,
        member: &mut Membership,
        front: &Arc<ResourceFront>,
        now: Instant,
        received_at: UnixNanos,
    ) {
        if member.batch != self.number {
            let used = self.at - self.gap + self.fronts + front.max_len();
            // Members that have left no span would take room for nothing.
            let is_crowded = used * 8 > self.max_octets * 7 || self.is_empty();
            if is_crowded && !self.groups.is_empty() {
                self.finish();
            }
            self.fronts += front.max_len();
            *member = Membership {
                batch: self.number,
                group: self.groups.len(),
            };
            self.groups.push(Group {
                front: Arc::clone(front),
                octets: 0,
            });
        }
        if self.opened.is_none() || self.is_empty() {
            self.opened = Some(now);
            self.oldest = received_at;
        }
        self.oldest = self.oldest.min(received_at);
    }

    /// Changes the octets of a request, from the next span on.
    pub(crate) fn limit(&mut self, max_octets: usize) {
        self.max_octets = max_octets;
    }

    /// A writer behind the last span. Its room ends where the request would become too large.
    #[inline]
    pub(crate) fn writer(&mut self) -> SpanWriter<'_> {
        let end = (self.gap + self.max_octets)
            .saturating_sub(self.fronts)
            .max(self.at);
        let end = end.min(self.room.len());
        SpanWriter::new(self.room.get_mut(..end).unwrap_or_default(), self.at)
    }

    /// Spans that the batch may still take.
    #[inline]
    pub(crate) fn spans_left(&self) -> usize {
        self.max_spans
            .saturating_sub((self.flow_spans + self.work_spans) as usize)
    }

    /// Nothing is written yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.at == self.gap
    }

    /// Takes in the spans that a writer has written up to `to`, and gives their octets.
    pub(crate) fn commit(
        &mut self,
        member: Membership,
        to: usize,
        flow_spans: u32,
        work_spans: u32,
    ) -> &[u8] {
        let from = self.at;
        if to == from {
            return &[];
        }
        self.at = to;
        self.flow_spans += flow_spans;
        self.work_spans += work_spans;
        self.counters.flow_spans.add(u64::from(flow_spans));
        self.counters.work_spans.add(u64::from(work_spans));
        self.tell_open();
        if let Some(group) = self.groups.get_mut(member.group) {
            group.octets += to - from;
        }
        match self.segments.last_mut() {
            Some(last) if last.group == member.group => last.to = to,
            _ => self.segments.push(Segment {
                group: member.group,
                from,
                to,
            }),
        }
        self.room.get(from..to).unwrap_or_default()
    }

    /// Writes `work_spans` spans that belong together; if there is no room for them, into the next batch. What
    /// no batch can take is left out.
    pub(crate) fn append(
        &mut self,
        member: &mut Membership,
        front: &Arc<ResourceFront>,
        now: Instant,
        received_at: UnixNanos,
        work_spans: u32,
        write: impl FnMut(&mut SpanWriter<'_>) -> bool,
    ) {
        self.place(member, front, now, received_at, [0, work_spans], write);
    }

    /// Writes one flow span, likewise, and gives its octets; `None` if no batch can take it.
    pub(crate) fn append_flow(
        &mut self,
        member: &mut Membership,
        front: &Arc<ResourceFront>,
        now: Instant,
        received_at: UnixNanos,
        write: impl FnMut(&mut SpanWriter<'_>) -> bool,
    ) -> Option<&[u8]> {
        let from = self.place(member, front, now, received_at, [1, 0], write)?;
        self.room.get(from..self.at)
    }

    /// Writes so many flow spans and work spans; where they begin in the room.
    fn place(
        &mut self,
        member: &mut Membership,
        front: &Arc<ResourceFront>,
        now: Instant,
        received_at: UnixNanos,
        [flow_spans, work_spans]: [u32; 2],
        mut write: impl FnMut(&mut SpanWriter<'_>) -> bool,
    ) -> Option<usize> {
        for _ in 0..2 {
            self.enter(member, front, now, received_at);
            let spans = (flow_spans + work_spans) as usize;
            let has_room = self.spans_left() >= spans || self.is_empty();
            let mut writer = self.writer();
            if has_room && write(&mut writer) {
                let to = writer.position();
                let from = self.at;
                self.commit(*member, to, flow_spans, work_spans);
                return Some(from);
            }
            self.finish();
        }
        None
    }

    /// When the batch that is being filled has to leave.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.opened
            .filter(|_| !self.is_empty())
            .map(|opened| opened + self.delay)
    }

    /// The next finished batch.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<EncodedBatch> {
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            self.finish();
        }
        self.ready.pop_front()
    }

    /// Ends the batch that is being filled.
    pub(crate) fn finish(&mut self) {
        if !self.is_empty() {
            let octets = match self.groups.as_slice() {
                [group] => {
                    let front = Arc::clone(&group.front);
                    self.leave_alone(&front)
                }
                _ => self.gather(),
            };
            self.counters.batches.add(1);
            self.counters.batch_octets.add(octets.len() as u64);
            self.ready.push_back(EncodedBatch {
                octets,
                flow_spans: self.flow_spans,
                work_spans: self.work_spans,
                oldest: self.oldest,
            });
        }
        self.at = self.gap;
        self.number += 1;
        self.groups.clear();
        self.segments.clear();
        self.fronts = 0;
        self.flow_spans = 0;
        self.work_spans = 0;
        self.tell_open();
        self.opened = None;
    }

    #[inline]
    fn tell_open(&self) {
        self.counters
            .open_flow_spans
            .set(u64::from(self.flow_spans));
        self.counters
            .open_work_spans
            .set(u64::from(self.work_spans));
    }

    /// One exporter: its resource goes into the gap.
    fn leave_alone(&mut self, front: &ResourceFront) -> Bytes {
        let spans = self.at - self.gap;
        let mut before = Vec::with_capacity(front.max_len());
        front.push_before(&mut before, spans);
        let from = self.gap.saturating_sub(before.len());
        if let Some(to) = self.room.get_mut(from..self.gap) {
            to.copy_from_slice(&before);
        }
        let to = self.at;
        // A room that is mostly empty would hold far more memory than its octets are counted for.
        if (to - from) * 2 < self.room.len() {
            return Bytes::copy_from_slice(self.room.get(from..to).unwrap_or_default());
        }
        let next = self
            .rooms
            .take()
            .unwrap_or_else(|| vec![0; self.room.len()]);
        let room = std::mem::replace(&mut self.room, next);
        Pooled::bytes(room, from, to, &self.rooms)
    }

    /// Several exporters: a resource each, and its spans in the order they came.
    fn gather(&mut self) -> Bytes {
        self.segments
            .sort_unstable_by_key(|segment| (segment.group, segment.from));
        let mut out = self.gathered.take().unwrap_or_default();
        out.clear();
        let mut segments = self.segments.iter().peekable();
        for (index, group) in self.groups.iter().enumerate() {
            if group.octets == 0 {
                continue;
            }
            group.front.push_before(&mut out, group.octets);
            while let Some(segment) = segments.next_if(|segment| segment.group == index) {
                out.extend_from_slice(self.room.get(segment.from..segment.to).unwrap_or_default());
            }
        }
        let len = out.len();
        if len * 2 < out.capacity() {
            let octets = Bytes::copy_from_slice(&out);
            self.gathered.put(out);
            return octets;
        }
        Pooled::bytes(out, 0, len, &self.gathered)
    }
}

/// Buffers that come back when the last reference to their octets goes.
#[derive(Debug, Default)]
struct Pool(Mutex<Vec<Vec<u8>>>);

impl Pool {
    fn take(&self) -> Option<Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn put(&self, buffer: Vec<u8>) {
        let mut buffers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buffers.len() < MAX_POOLED {
            buffers.push(buffer);
        }
    }
}

struct Pooled {
    buffer: Vec<u8>,
    from: usize,
    to: usize,
    home: Arc<Pool>,
}

impl Pooled {
    fn bytes(buffer: Vec<u8>, from: usize, to: usize, home: &Arc<Pool>) -> Bytes {
        Bytes::from_owner(Self {
            buffer,
            from,
            to,
            home: Arc::clone(home),
        })
    }
}

impl AsRef<[u8]> for Pooled {
    fn as_ref(&self) -> &[u8] {
        self.buffer.get(self.from..self.to).unwrap_or_default()
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        self.home.put(std::mem::take(&mut self.buffer));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::common::v1::any_value::Value as AnyValue;
    use otlp_wire::{SpanFront, SpanHead, SpanKind, Status, Value};
    use prost::Message as _;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// One exporter's side of the batches.
    struct Source {
        member: Membership,
        front: Arc<ResourceFront>,
    }

    struct Test {
        batches: Batches,
        span: SpanFront,
        now: Instant,
        written: u64,
        max_octets: usize,
    }

    fn source(name: &str) -> Source {
        let front = ResourceFront::new([("exporter", Value::Text(name))], "scope", "1");
        Source {
            member: Membership::default(),
            front: Arc::new(front),
        }
    }

    fn test(max_octets: usize, max_spans: usize) -> Test {
        let gap = source("an exporter's name of some length").front.max_len();
        let counters = Arc::new(TranslateCounters::default());
        Test {
            batches: Batches::new(max_octets, max_spans, SECOND, gap, counters),
            span: SpanFront::new("netflow.flow", SpanKind::Internal, false).unwrap(),
            now: Instant::now(),
            written: 0,
            max_octets,
        }
    }

    impl Test {
        /// Writes a span with a number of its own and so many octets more.
        fn write(&mut self, source: &mut Source, octets: usize) {
            self.written += 1;
            let head = SpanHead {
                trace_id: [1; 16],
                span_id: self.written.to_be_bytes(),
                parent: [0; 8],
                start: UnixNanos(1),
                end: UnixNanos(2),
            };
            let text = "x".repeat(octets);
            let (batches, span) = (&mut self.batches, &self.span);
            batches.append(
                &mut source.member,
                &source.front,
                self.now,
                UnixNanos(self.written),
                1,
                |writer| {
                    writer.begin(span, &head);
                    writer.attribute("text", Value::Text(&text));
                    writer.end(Status::Ok)
                },
            );
        }

        /// The batches that are ready: for each exporter the numbers of its spans.
        fn poll(&mut self) -> Vec<Vec<(String, Vec<u64>)>> {
            let ready = std::iter::from_fn(|| self.batches.poll(self.now));
            let ready: Vec<_> = ready.collect();
            ready
                .iter()
                .map(|batch| {
                    assert!(
                        batch.octets.len() <= self.max_octets,
                        "{}",
                        batch.octets.len()
                    );
                    content(batch)
                })
                .collect()
        }

        fn flush(&mut self) -> Vec<Vec<(String, Vec<u64>)>> {
            self.batches.finish();
            self.poll()
        }
    }

    fn content(batch: &EncodedBatch) -> Vec<(String, Vec<u64>)> {
        let request = ExportTraceServiceRequest::decode(&batch.octets[..]).unwrap();
        let mut spans = 0;
        let resources = request.resource_spans.iter().map(|resource| {
            let attribute = &resource.resource.as_ref().unwrap().attributes[0];
            let name = match attribute.value.as_ref().unwrap().value.as_ref().unwrap() {
                AnyValue::StringValue(name) => name.clone(),
                other => panic!("{other:?}"),
            };
            let [scope] = resource.scope_spans.as_slice() else {
                panic!("one scope")
            };
            let numbers = scope.spans.iter().map(|span| {
                spans += 1;
                u64::from_be_bytes(span.span_id.as_slice().try_into().unwrap())
            });
            (name, numbers.collect())
        });
        let content = resources.collect();
        assert_eq!(batch.spans(), spans);
        content
    }

    fn named(content: &[(&str, &[u64])]) -> Vec<(String, Vec<u64>)> {
        content
            .iter()
            .map(|(name, spans)| ((*name).to_owned(), spans.to_vec()))
            .collect()
    }

    #[test]
    fn spans_of_one_exporter_stand_in_the_order_they_came() {
        let (mut t, mut a) = (test(10_000, 100), source("a"));
        for _ in 0..3 {
            t.write(&mut a, 10);
        }
        assert!(t.poll().is_empty());
        assert_eq!(t.flush(), [named(&[("a", &[1, 2, 3])])]);
        assert!(t.flush().is_empty());
    }

    #[test]
    fn each_exporter_has_one_resource_however_its_datagrams_come() {
        let (mut t, mut a, mut b) = (test(10_000, 100), source("a"), source("b"));
        for _ in 0..3 {
            t.write(&mut a, 10);
            t.write(&mut b, 10);
        }
        assert_eq!(t.flush(), [named(&[("a", &[1, 3, 5]), ("b", &[2, 4, 6])])]);
        // And in the next batch, in its own order.
        t.write(&mut b, 10);
        t.write(&mut a, 10);
        assert_eq!(t.flush(), [named(&[("b", &[7]), ("a", &[8])])]);
    }

    #[test]
    fn a_batch_leaves_when_it_holds_its_spans() {
        let (mut t, mut a) = (test(10_000, 2), source("a"));
        for _ in 0..5 {
            t.write(&mut a, 10);
        }
        assert_eq!(
            t.poll(),
            [named(&[("a", &[1, 2])]), named(&[("a", &[3, 4])])]
        );
        assert_eq!(t.flush(), [named(&[("a", &[5])])]);
    }

    #[test]
    fn a_batch_leaves_when_it_is_old_enough() {
        let (mut t, mut a) = (test(10_000, 100), source("a"));
        assert_eq!(t.batches.deadline(), None);
        t.write(&mut a, 10);
        let deadline = t.batches.deadline().unwrap();
        assert_eq!(deadline, t.now + SECOND);
        t.now = deadline - Duration::from_nanos(1);
        t.write(&mut a, 10);
        assert!(t.poll().is_empty());
        t.now = deadline;
        assert_eq!(t.poll(), [named(&[("a", &[1, 2])])]);
        assert_eq!(t.batches.deadline(), None);
    }

    #[test]
    fn no_batch_is_larger_than_asked_and_every_span_is_in_one() {
        for max_octets in [700, 1000, 4096, 70_000] {
            let mut t = test(max_octets, usize::MAX);
            let mut sources: Vec<_> = (0..7).map(|n| source(&format!("exporter {n}"))).collect();
            let mut batches = Vec::new();
            for round in 0..700 {
                let octets = (round * 37) % 300;
                t.write(&mut sources[round * round % 7], octets);
                batches.extend(t.poll());
            }
            batches.extend(t.flush());
            let mut seen = HashSet::new();
            for batch in &batches {
                let names: HashSet<_> = batch.iter().map(|(name, _)| name).collect();
                assert_eq!(names.len(), batch.len(), "a resource twice");
                for number in batch.iter().flat_map(|(_, numbers)| numbers) {
                    assert!(seen.insert(*number), "span {number} twice");
                }
            }
            assert_eq!(seen.len(), 700, "at most {max_octets} octets");
        }
    }

    #[test]
    fn what_no_batch_can_take_costs_nothing_else() {
        let (mut t, mut a) = (test(1000, 100), source("a"));
        t.write(&mut a, 10);
        t.write(&mut a, 2000);
        t.write(&mut a, 10);
        let batches = [t.poll(), t.flush()].concat();
        assert_eq!(batches, [named(&[("a", &[1])]), named(&[("a", &[3])])]);
    }

    #[test]
    fn a_lower_limit_holds_from_the_next_span_on() {
        let (mut t, mut a) = (test(10_000, 100), source("a"));
        t.write(&mut a, 1000);
        t.batches.limit(800);
        t.write(&mut a, 100);
        t.write(&mut a, 100);
        assert_eq!(t.poll(), [named(&[("a", &[1])])]);
        t.max_octets = 800;
        assert_eq!(t.flush(), [named(&[("a", &[2, 3])])]);
        t.batches.limit(10_000);
        t.max_octets = 10_000;
        t.write(&mut a, 3000);
        assert_eq!(t.flush(), [named(&[("a", &[4])])]);
    }

    #[test]
    fn oldest_is_the_arrival_of_the_oldest_datagram_inside() {
        let (mut t, mut a) = (test(10_000, 100), source("a"));
        t.written = 10;
        t.write(&mut a, 10);
        t.write(&mut a, 10);
        // A Set that waited came before.
        t.batches
            .enter(&mut a.member, &a.front, t.now, UnixNanos(5));
        t.batches.finish();
        assert_eq!(t.batches.poll(t.now).unwrap().oldest, UnixNanos(5));
        t.write(&mut a, 10);
        t.batches.finish();
        assert_eq!(t.batches.poll(t.now).unwrap().oldest, UnixNanos(13));
    }

    /// The sampler leaves out most traces: their datagrams don't age what comes after them.
    #[test]
    fn a_datagram_that_leaves_nothing_makes_no_batch_old() {
        let (mut t, mut a) = (test(10_000, 100), source("a"));
        t.batches
            .enter(&mut a.member, &a.front, t.now, UnixNanos(0));
        t.now += SECOND * 60;
        t.write(&mut a, 10);
        assert_eq!(t.batches.deadline(), Some(t.now + SECOND));
        t.batches.finish();
        assert_eq!(t.batches.poll(t.now).unwrap().oldest, UnixNanos(1));
    }

    /// Nor do their resources take the room of what does leave something.
    #[test]
    fn a_datagram_that_leaves_nothing_takes_no_room() {
        let mut t = test(700, 100);
        for n in 0..50 {
            let mut quiet = source(&format!("quiet {n}"));
            t.batches
                .enter(&mut quiet.member, &quiet.front, t.now, UnixNanos(0));
        }
        let mut a = source("a");
        t.write(&mut a, 400);
        assert_eq!(t.flush(), [named(&[("a", &[1])])]);
    }

    #[test]
    fn a_small_batch_takes_no_large_room_along() {
        let (mut t, mut a, mut b) = (test(1 << 20, 10_000), source("a"), source("b"));
        let room = t.batches.room.as_ptr();
        t.write(&mut a, 10);
        t.batches.finish();
        let alone = t.batches.poll(t.now).unwrap();
        assert_eq!(t.batches.room.as_ptr(), room, "the room went along");
        // Several exporters' spans are gathered, at first in a buffer of their size.
        for _ in 0..2000 {
            t.write(&mut a, 200);
            t.write(&mut b, 200);
        }
        t.batches.finish();
        let large = t.batches.poll(t.now).unwrap();
        drop(large);
        let gathered = |t: &Test| t.batches.gathered.0.lock().unwrap().len();
        assert_eq!(gathered(&t), 1);
        t.write(&mut a, 10);
        t.write(&mut b, 10);
        t.batches.finish();
        let small = t.batches.poll(t.now).unwrap();
        assert_eq!(gathered(&t), 1, "the large buffer went along");
        assert_eq!((content(&alone).len(), content(&small).len()), (1, 2));
    }

    #[test]
    fn a_full_room_leaves_without_a_copy_and_comes_back() {
        let (mut t, mut a) = (test(10_000, 100), source("a"));
        let room = t.batches.room.as_ptr();
        for _ in 0..9 {
            t.write(&mut a, 900);
        }
        t.batches.finish();
        let batch = t.batches.poll(t.now).unwrap();
        assert_ne!(t.batches.room.as_ptr(), room);
        assert_eq!(content(&batch)[0].1.len(), 9);
        drop(batch);
        for _ in 0..9 {
            t.write(&mut a, 900);
        }
        t.batches.finish();
        assert_eq!(t.batches.room.as_ptr(), room);
    }

    #[test]
    fn rooms_kept_for_later_are_bounded() {
        let (mut t, mut a) = (test(10_000, 100), source("a"));
        let mut batches = Vec::new();
        for _ in 0..3 * MAX_POOLED {
            for _ in 0..9 {
                t.write(&mut a, 900);
            }
            t.batches.finish();
            batches.extend(t.batches.poll(t.now));
        }
        batches.clear();
        assert_eq!(t.batches.rooms.0.lock().unwrap().len(), MAX_POOLED);
    }
}
