//! What a batch promises.

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
    let gap = source("an exporter's name of some length")
        .front
        .octets()
        .len();
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
                let content = content(batch);
                assert!(
                    repeated(&content) * REPEATED <= batch.octets.len(),
                    "{content:?}"
                );
                content
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

/// Octets of resources that stand there once more.
fn repeated(content: &[(String, Vec<u64>)]) -> usize {
    let mut seen = HashSet::new();
    let names = content.iter().map(|(name, _)| name);
    let again = names.filter(|name| !seen.insert(*name));
    again.map(|name| source(name).front.octets().len()).sum()
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
fn long_runs_of_several_exporters_leave_without_a_copy() {
    let (mut t, mut a, mut b) = (test(20_000, 100), source("a"), source("b"));
    let room = t.batches.room.as_ptr();
    for _ in 0..5 {
        t.write(&mut a, 900);
        t.write(&mut a, 900);
        t.write(&mut b, 900);
    }
    let batch = t.flush().pop().unwrap();
    assert_ne!(t.batches.room.as_ptr(), room);
    assert_eq!(batch.len(), 10);
    assert_eq!(
        batch[..3],
        named(&[("a", &[1, 2]), ("b", &[3]), ("a", &[4, 5])])
    );
}

#[test]
fn short_runs_are_gathered() {
    let (mut t, mut a, mut b) = (test(20_000, 1000), source("a"), source("b"));
    for _ in 0..60 {
        t.write(&mut a, 50);
        t.write(&mut b, 50);
    }
    let batch = t.flush().pop().unwrap();
    let names: Vec<_> = batch.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
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

#[test]
fn a_sink_gets_every_batch_as_soon_as_it_is_finished() {
    let (mut t, mut a) = (test(10_000, 100), source("a"));
    for _ in 0..12 {
        t.write(&mut a, 900);
    }
    let (sink, given) = std::sync::mpsc::channel();
    let mut spans = 0;
    t.batches
        .hand_over_to(Box::new(move |batch| sink.send(batch).unwrap()));
    assert_eq!(given.try_recv().unwrap().spans(), 10, "finished before");
    for _ in 0..100 {
        t.write(&mut a, 900);
        assert!(t.batches.ready.is_empty());
        spans += given.try_iter().map(|batch| batch.spans()).sum::<u32>();
    }
    assert_eq!(spans, 100);
    t.now += SECOND;
    assert!(t.batches.poll(t.now).is_none());
    assert_eq!(given.try_recv().unwrap().spans(), 2);
}

#[test]
fn an_exporter_that_leaves_no_span_cuts_no_run() {
    let mut test = test(10_000, 100);
    let (mut one, mut other) = (source("one"), source("other"));
    for _ in 0..4 {
        test.write(&mut one, 10);
        let Source { member, front } = &mut other;
        test.batches.enter(member, front, test.now, UnixNanos(1));
    }
    test.write(&mut one, 10);
    assert_eq!(test.batches.runs.len(), 1);
    let expected = vec![("one".to_owned(), vec![1, 2, 3, 4, 5])];
    assert_eq!(test.flush(), [expected]);
}
