//! A worker's way into the queue: datagrams of a burst are copied one after another, and put in together.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use netflow_wire::{Session, Transport};

use super::counters::DropReason;
use super::queue::Queue;
use crate::kafka::{FlowMessage, Record};
use crate::streams::Sink;
use crate::translate::{AllowList, Datagram};

/// Octets of datagrams that share an allocation.
const SHARED: usize = 64 << 10;

/// What a worker puts its datagrams into.
#[derive(Debug)]
pub(crate) struct Outlet {
    queue: Arc<Queue>,
    topic: Arc<str>,
    allowed: AllowList,
    room: BytesMut,
    burst: Vec<Record>,
}

impl Outlet {
    pub(super) fn new(queue: Arc<Queue>, topic: Arc<str>, allowed: AllowList) -> Self {
        Self {
            queue,
            topic,
            allowed,
            room: BytesMut::new(),
            burst: Vec::new(),
        }
    }

    /// Copies what came to this port, if its sender is allowed.
    pub(crate) fn put(&mut self, datagram: &Datagram<'_>, transport: Transport, local_port: u16) {
        if !self.allowed.allows(datagram.source.ip()) {
            return self.queue.counters.count_dropped(DropReason::NotAllowed, 1);
        }
        let message = FlowMessage {
            octets: self.copied(datagram.octets),
            source: datagram.source,
            local_port,
            transport,
            received_at: datagram.received_at,
        };
        self.burst.push(message.to_record(&self.topic));
    }

    /// The burst is over.
    pub(crate) fn hand_over(&mut self) {
        if !self.burst.is_empty() {
            self.queue.push(&mut self.burst);
        }
    }

    fn copied(&mut self, octets: &[u8]) -> Bytes {
        if self.room.capacity() < octets.len() {
            self.room = BytesMut::with_capacity(SHARED.max(octets.len()));
        }
        self.room.extend_from_slice(octets);
        self.room.split().freeze()
    }
}

impl Sink for Outlet {
    fn on_message(
        &mut self,
        message: &Datagram<'_>,
        transport: Transport,
        local_port: u16,
        _now: Instant,
    ) {
        self.put(message, transport, local_port);
    }

    /// The worker that reads the topic forgets sessions by their age.
    fn end_session(&mut self, _exporter: IpAddr, _session: Session) {}

    /// A relay keeps nothing of an exporter that could be forgotten.
    fn take_disconnected(&mut self) -> Vec<IpAddr> {
        Vec::new()
    }
}
