//! What connections give to a worker: messages in their order, and ends of sessions. Bounded by the octets that may be
//! under way and by the number of connections.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use netflow_wire::{Session, Transport};
use otlp_wire::UnixNanos;
use tokio::sync::OwnedSemaphorePermit;

use super::counters::StreamCounters;
use super::frames::Messages;
use super::registry::{Place, Registry};
use crate::receive::Waker;
use crate::translate::Datagram;
use crate::worker::Machine;

/// Messages that a worker reads before it looks at its sockets again …
const SLICE: usize = 64;
/// … or so many octets.
const SLICE_OCTETS: usize = 256 << 10;
/// How soon it is looked again whether the queue has room.
const PAUSE: Duration = Duration::from_millis(10);

/// Messages of one connection, one after another.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) source: SocketAddr,
    /// The port at which it was accepted.
    pub(super) local_port: u16,
    pub(super) transport: Transport,
    pub(super) received_at: UnixNanos,
    pub(super) messages: Messages,
    pub(super) octets: usize,
    /// Given back when all of them have been read.
    pub(super) _room: OwnedSemaphorePermit,
}

#[derive(Debug)]
enum Item {
    Messages(Chunk),
    /// The connection has ended; its place becomes free when the worker knows.
    Ended(Place),
}

/// The messages that wait for one worker.
#[derive(Debug, Default)]
pub struct Inbox {
    items: Mutex<VecDeque<Item>>,
    /// How many there are, to be read without the lock: whoever puts one in wakes the worker afterwards.
    waiting: AtomicUsize,
}

impl Inbox {
    fn put(&self, item: Item) {
        let mut items = self.lock();
        items.push_back(item);
        self.waiting.store(items.len(), Ordering::Relaxed);
    }

    fn take(&self) -> Option<Item> {
        let mut items = self.lock();
        let item = items.pop_front()?;
        self.waiting.store(items.len(), Ordering::Relaxed);
        Some(item)
    }

    /// Takes an item without reading it; whether there was one.
    #[cfg(test)]
    pub(super) fn discard(&self, counters: &StreamCounters) -> bool {
        let item = self.take();
        if let Some(Item::Messages(chunk)) = &item {
            counters.octets_waiting.subtract(chunk.octets as u64);
        }
        item.is_some()
    }

    #[inline]
    fn is_empty(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) == 0
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Item>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where connections put their messages.
#[derive(Clone, Debug)]
pub(super) struct Outlet {
    pub(super) inbox: Arc<Inbox>,
    pub(super) waker: Waker,
}

impl Outlet {
    pub(super) fn messages(&self, chunk: Chunk) {
        self.inbox.put(Item::Messages(chunk));
        self.waker.wake();
    }

    pub(super) fn ended(&self, place: Place) {
        self.inbox.put(Item::Ended(place));
        self.waker.wake();
    }
}

/// Takes the messages of connections.
pub(crate) trait Sink {
    /// Takes a message that came to this port.
    fn on_message(
        &mut self,
        message: &Datagram<'_>,
        transport: Transport,
        local_port: u16,
        now: Instant,
    );

    /// A connection of the exporter has ended.
    fn end_session(&mut self, exporter: IpAddr, session: Session);

    /// Exporters whose connections are of no more use.
    fn take_disconnected(&mut self) -> Vec<IpAddr>;
}

impl Sink for Machine {
    fn on_message(
        &mut self,
        message: &Datagram<'_>,
        transport: Transport,
        _local_port: u16,
        now: Instant,
    ) {
        Self::on_message(self, message, transport, now);
    }

    fn end_session(&mut self, exporter: IpAddr, session: Session) {
        Self::end_session(self, exporter, session);
    }

    fn take_disconnected(&mut self) -> Vec<IpAddr> {
        Self::take_disconnected(self)
    }
}

/// Whether what a worker makes of a message finds room now.
pub(crate) type Room = Box<dyn Fn() -> bool + Send>;

/// The worker's end.
pub(crate) struct Reading {
    inbox: Arc<Inbox>,
    room: Room,
    counters: Arc<StreamCounters>,
    registry: Arc<Registry>,
    current: Option<Chunk>,
    /// The queue was full, and is looked at again then.
    paused: Option<Instant>,
}

impl Reading {
    pub(super) fn new(
        inbox: Arc<Inbox>,
        room: Room,
        counters: Arc<StreamCounters>,
        registry: Arc<Registry>,
    ) -> Self {
        Self {
            inbox,
            room,
            counters,
            registry,
            current: None,
            paused: None,
        }
    }

    /// When [`read_some`](Self::read_some) is to be called; `now` is at once.
    #[inline]
    pub(crate) fn due(&self, now: Instant) -> Option<Instant> {
        if self.current.is_none() && self.inbox.is_empty() {
            return None;
        }
        Some(self.paused.unwrap_or(now))
    }

    /// Gives the sink some of the messages that wait, as long as there is room for what it makes of them.
    pub(crate) fn read_some(&mut self, sink: &mut impl Sink, now: Instant) {
        if self.paused.is_some_and(|until| now < until) {
            return;
        }
        let (mut messages, mut octets) = (0, 0);
        while messages < SLICE && octets < SLICE_OCTETS && self.due(now).is_some() {
            let has_room = (self.room)();
            self.pause(!has_room, now);
            if !has_room {
                break;
            }
            match self.read_next(sink, now) {
                Some(read) => (messages, octets) = (messages + 1, octets + read),
                None => messages += 1,
            }
        }
        self.close_forgotten(sink);
    }

    /// The end: reads all that is there, whether or not there is room.
    pub(crate) fn read_rest(&mut self, sink: &mut impl Sink, now: Instant) {
        while self.due(now).is_some() {
            self.read_next(sink, now);
        }
        self.pause(false, now);
    }

    /// Octets of the message that was read, if it was one.
    fn read_next(&mut self, sink: &mut impl Sink, now: Instant) -> Option<usize> {
        if self.current.is_none() {
            match self.inbox.take()? {
                Item::Messages(chunk) => self.current = Some(chunk),
                Item::Ended(place) => {
                    sink.end_session(place.address(), place.session());
                    return None;
                }
            }
        }
        let chunk = self.current.as_mut()?;
        let (source, transport, received_at) = (chunk.source, chunk.transport, chunk.received_at);
        let local_port = chunk.local_port;
        let Some(octets) = chunk.messages.next() else {
            self.counters.octets_waiting.subtract(chunk.octets as u64);
            self.current = None;
            return None;
        };
        let counters = self.counters.of(transport);
        counters.messages.add(1);
        counters.octets.add(octets.len() as u64);
        let datagram = Datagram {
            octets,
            source,
            received_at,
        };
        sink.on_message(&datagram, transport, local_port, now);
        Some(octets.len())
    }

    fn pause(&mut self, pause: bool, now: Instant) {
        match (self.paused.is_some(), pause) {
            (false, true) => self.counters.workers_paused.add(1),
            (true, false) => self.counters.workers_paused.subtract(1),
            _ => {}
        }
        self.paused = pause.then(|| now + PAUSE);
    }

    /// Exporters that were forgotten take their templates along: over a connection only a new one brings them back.
    fn close_forgotten(&self, sink: &mut impl Sink) {
        for address in sink.take_disconnected() {
            self.registry.forgotten(address);
        }
    }
}
