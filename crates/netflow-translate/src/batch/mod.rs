//! Spans gathered into requests: one room for all exporters, cut by size, count and age.
//!
//! Spans are written where they stay, each exporter's resource before them. Whenever another exporter's spans follow, a
//! resource does: a large batch in which those repetitions take little room leaves as it is, without a copy. Any other
//! is gathered, so that each exporter's resource stands once.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use otlp_wire::{EncodedBatch, ResourceFront, SpanWriter, UnixNanos};

use crate::counters::translate::TranslateCounters;

/// Rooms kept for the next batches: about as many as are on their way at once where delivery keeps up.
const MAX_POOLED: usize = 4;
/// Of a batch, resources that stand there once more may take this part. To send an octet costs about three times what it
/// costs to copy it, so that a copy would pay from a third on; but others have to read them.
const REPEATED: usize = 16;
/// Exporters of one batch, with or without spans in it.
const MAX_GROUPS: usize = 16_384;

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
    /// Of its spans.
    octets: usize,
}

/// Spans of one exporter that stand behind each other, with its resource before them.
#[derive(Clone, Copy, Debug)]
struct Run {
    group: usize,
    front: usize,
    spans: usize,
    end: usize,
}

/// Takes finished batches.
#[derive(Default)]
struct Sink(Option<Box<dyn FnMut(EncodedBatch) + Send>>);

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sink").field(&self.0.is_some()).finish()
    }
}

#[derive(Debug)]
pub(crate) struct Batches {
    max_octets: usize,
    max_spans: usize,
    delay: Duration,
    room: Vec<u8>,
    at: usize,
    /// Counts batches from 1, so that a default membership is of none.
    number: u64,
    groups: Vec<Group>,
    /// All but the last have spans.
    runs: Vec<Run>,
    flow_spans: u32,
    work_spans: u32,
    oldest: UnixNanos,
    opened: Option<Instant>,
    /// Finished batches where there is no sink, until they are asked for.
    ready: VecDeque<EncodedBatch>,
    sink: Sink,
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
            room: vec![0; max_front + max_octets],
            at: 0,
            number: 1,
            groups: Vec::new(),
            runs: Vec::new(),
            flow_spans: 0,
            work_spans: 0,
            oldest: UnixNanos(0),
            opened: None,
            ready: VecDeque::new(),
            sink: Sink::default(),
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
        let last = self.runs.last();
        if member.batch != self.number || last.is_none_or(|run| run.group != member.group) {
            self.end_run();
            // One that left no span may have stood between.
            let is_last = self
                .runs
                .last()
                .is_some_and(|run| run.group == member.group);
            if member.batch != self.number || !is_last {
                let used = self.at + front.octets().len();
                // Members that have left no span would hold their places for nothing.
                let is_crowded = used * 8 > self.max_octets * 7
                    || self.groups.len() >= MAX_GROUPS
                    || self.is_empty();
                if is_crowded && !self.groups.is_empty() {
                    self.finish();
                }
                self.begin_run(member, front);
            }
        }
        if self.opened.is_none() || self.is_empty() {
            self.opened = Some(now);
            self.oldest = received_at;
        }
        self.oldest = self.oldest.min(received_at);
    }

    fn begin_run(&mut self, member: &mut Membership, front: &Arc<ResourceFront>) {
        if member.batch != self.number {
            *member = Membership {
                batch: self.number,
                group: self.groups.len(),
            };
            self.groups.push(Group {
                front: Arc::clone(front),
                octets: 0,
            });
        }
        let octets = front.octets();
        let spans = self.at + octets.len();
        if let Some(room) = self.room.get_mut(self.at..spans) {
            room.copy_from_slice(octets);
        }
        self.runs.push(Run {
            group: member.group,
            front: self.at,
            spans,
            end: spans,
        });
        self.at = spans;
    }

    /// The last run is complete; without spans it wasn't one.
    fn end_run(&mut self) {
        let Some(run) = self.runs.last() else { return };
        if run.end == run.spans {
            self.at = run.front;
            self.runs.pop();
        } else if let Some(group) = self.groups.get(run.group) {
            let front = self.room.get_mut(run.front..run.spans);
            let spans = run.end - run.spans;
            group.front.patch(front.unwrap_or_default(), spans);
        }
    }

    /// Changes the octets of a request, from the next span on.
    pub(crate) fn limit(&mut self, max_octets: usize) {
        self.max_octets = max_octets;
    }

    /// A writer behind the last span. Its room ends where the request would become too large.
    #[inline]
    pub(crate) fn writer(&mut self) -> SpanWriter<'_> {
        let end = self.max_octets.max(self.at).min(self.room.len());
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
        self.flow_spans + self.work_spans == 0
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
        debug_assert!(
            self.runs
                .last()
                .is_some_and(|run| run.group == member.group)
        );
        if let Some(run) = self.runs.last_mut() {
            run.end = to;
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
        mut write: impl FnMut(&mut SpanWriter<'_>) -> bool,
    ) {
        for _ in 0..2 {
            self.enter(member, front, now, received_at);
            let has_room = self.spans_left() >= work_spans as usize || self.is_empty();
            let mut writer = self.writer();
            if has_room && write(&mut writer) {
                let to = writer.position();
                self.commit(*member, to, 0, work_spans);
                return;
            }
            self.finish();
        }
    }

    /// When the batch that is being filled has to leave.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.opened
            .filter(|_| !self.is_empty())
            .map(|opened| opened + self.delay)
    }

    /// Gives every batch to `sink` as soon as it is finished: however much one datagram makes, no more than one
    /// batch of it is kept here.
    pub(crate) fn hand_over_to(&mut self, mut sink: Box<dyn FnMut(EncodedBatch) + Send>) {
        self.ready.drain(..).for_each(&mut sink);
        self.sink = Sink(Some(sink));
    }

    pub(crate) fn has_sink(&self) -> bool {
        self.sink.0.is_some()
    }

    /// The next finished batch; with a sink none is left here.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<EncodedBatch> {
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            self.finish();
        }
        self.ready.pop_front()
    }

    /// Ends the batch that is being filled.
    pub(crate) fn finish(&mut self) {
        self.end_run();
        if !self.is_empty() {
            let octets = if self.may_leave_as_it_is() {
                self.leave()
            } else {
                self.gather()
            };
            self.counters.batches.add(1);
            self.counters.batch_octets.add(octets.len() as u64);
            let batch = EncodedBatch {
                octets,
                flow_spans: self.flow_spans,
                work_spans: self.work_spans,
                oldest: self.oldest,
                receipt: None,
            };
            match &mut self.sink.0 {
                Some(sink) => sink(batch),
                None => self.ready.push_back(batch),
            }
        }
        self.at = 0;
        self.number += 1;
        self.groups.clear();
        self.runs.clear();
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

    /// Whether the room may go along: one that is partly empty holds more memory than its octets are counted for in
    /// the queue.
    fn may_leave_as_it_is(&self) -> bool {
        let fronts = self.runs.iter().map(|run| run.spans - run.front);
        let once = self.groups.iter().filter(|group| group.octets > 0);
        let once = once.map(|group| group.front.octets().len());
        let repeated = fronts.sum::<usize>() - once.sum::<usize>();
        self.at * 4 >= self.room.len() * 3 && repeated * REPEATED <= self.at
    }

    fn leave(&mut self) -> Bytes {
        let next = self.rooms.take();
        let next = next.unwrap_or_else(|| vec![0; self.room.len()]);
        let room = std::mem::replace(&mut self.room, next);
        Pooled::bytes(room, self.at, &self.rooms)
    }

    /// A resource for each exporter, and its spans in the order they came.
    fn gather(&mut self) -> Bytes {
        self.runs.sort_unstable_by_key(|run| (run.group, run.spans));
        let mut out = self.gathered.take().unwrap_or_default();
        out.clear();
        let mut runs = self.runs.iter().peekable();
        for (index, group) in self.groups.iter().enumerate() {
            if group.octets == 0 {
                continue;
            }
            group.front.push_before(&mut out, group.octets);
            while let Some(run) = runs.next_if(|run| run.group == index) {
                out.extend_from_slice(self.room.get(run.spans..run.end).unwrap_or_default());
            }
        }
        let len = out.len();
        if len * 4 < out.capacity() * 3 {
            let octets = Bytes::copy_from_slice(&out);
            self.gathered.put(out);
            return octets;
        }
        Pooled::bytes(out, len, &self.gathered)
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
    len: usize,
    home: Arc<Pool>,
}

impl Pooled {
    fn bytes(buffer: Vec<u8>, len: usize, home: &Arc<Pool>) -> Bytes {
        Bytes::from_owner(Self {
            buffer,
            len,
            home: Arc::clone(home),
        })
    }
}

impl AsRef<[u8]> for Pooled {
    fn as_ref(&self) -> &[u8] {
        self.buffer.get(..self.len).unwrap_or_default()
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        self.home.put(std::mem::take(&mut self.buffer));
    }
}

#[cfg(test)]
mod tests;
