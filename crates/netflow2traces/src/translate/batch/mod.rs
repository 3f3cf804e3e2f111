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
mod tests;
