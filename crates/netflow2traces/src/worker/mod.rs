//! What a receive thread does with its datagrams: one translator, whose batches go to the queue of delivery and, while
//! somebody looks, to the page.
//!
//! Architecture invariant: a worker shares nothing with another but counts (of memory, of flow metrics, of
//! conversations), which need no lock. Others reach its state only through its mailbox.

mod mailbox;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::bail;
use netflow_wire::Transport;

use crate::config;
use crate::deliver::{Delivery, Queue};
use crate::kafka::input;
use crate::observe::live::Tap;
use crate::receive::{Handler, wall_clock};
use crate::relay;
use crate::streams::Reading;
use crate::translate::enrich::geo::Databases;
use crate::translate::enrich::interfaces::Interfaces;
use crate::translate::enrich::networks::Networks;
use crate::translate::metrics::Places;
use crate::translate::{ConversationCounts, Datagram, Ids, StateBudget, Translator};

pub use mailbox::{Machine, Mailbox, Mailboxes, Unanswered};

/// What all workers are made with.
pub(crate) struct Shared {
    pub(crate) translate: config::Translate,
    /// `NETFLOW_NETWORKS`.
    pub(crate) networks: Option<Arc<Networks>>,
    /// `NETFLOW_INTERFACES`.
    pub(crate) interfaces: Option<Arc<Interfaces>>,
    /// `NETFLOW_GEOIP_COUNTRY` and `NETFLOW_GEOIP_ASN`.
    pub(crate) databases: Databases,
    pub(crate) places: Places,
    pub(crate) budget: Arc<StateBudget>,
    pub(crate) conversations: Arc<ConversationCounts>,
    pub(crate) tap: Arc<Tap>,
}

/// What a receive thread does with its datagrams.
pub(crate) struct Worker {
    pub(crate) translator: Translator,
    /// What the admin server wants to know of the translator.
    pub(crate) mailbox: Arc<Mailbox>,
    /// The messages of connections, where there are listeners for them.
    pub(crate) streams: Option<Reading>,
    /// The messages of its partitions, where it reads from Kafka.
    pub(crate) kafka: Option<input::Reading>,
    /// Where datagrams and messages go unread, if this is a relay: the translator then has nothing to do.
    pub(crate) relay: Option<relay::Outlet>,
    queue: Arc<Queue>,
    /// Of the socket that is read.
    local_port: u16,
    /// Octets of a request, as the backend has taught.
    request_limit: Arc<AtomicUsize>,
    limit_heeded: usize,
    /// Read once for a burst: it only ages templates and batches.
    now: Instant,
    in_burst: bool,
}

impl Worker {
    /// With `receipts` what becomes of its batches is reported back.
    pub(crate) fn new(
        shared: &Shared,
        delivery: &Delivery,
        receipts: Option<input::Receipts>,
    ) -> anyhow::Result<Self> {
        let mut seed = [0; 32];
        if let Err(error) = getrandom::fill(&mut seed) {
            bail!("the system gave no random numbers for identifiers: {error}");
        }
        let request_limit = delivery.request_limit();
        let mut translator = Translator::new(&shared.translate, wall_clock, Ids::new(seed))
            .with_flow_metrics(&shared.places)
            .with_budget(&shared.budget)
            .with_conversations(&shared.conversations);
        translator.name_networks(shared.networks.clone());
        translator.name_interfaces(shared.interfaces.clone());
        translator.locate(shared.databases.clone());
        let (queue, tap) = (delivery.queue(), Arc::clone(&shared.tap));
        translator.hand_over_to(move |mut batch| {
            tap.offer(&batch);
            batch.receipt = receipts.as_ref().map(input::Receipts::next);
            queue.push_untold(batch);
        });
        Ok(Self {
            translator,
            mailbox: Arc::default(),
            streams: None,
            kafka: None,
            relay: None,
            queue: delivery.queue(),
            local_port: 0,
            limit_heeded: request_limit.load(Ordering::Relaxed),
            request_limit,
            now: Instant::now(),
            in_burst: false,
        })
    }

    /// Reads messages of connections that wait, as long as there is room for what becomes of them. `true`: that was all.
    pub(crate) fn read_with_room(&mut self) -> bool {
        self.now = Instant::now();
        let is_all = self.streams.as_mut().is_none_or(|streams| {
            match &mut self.relay {
                Some(relay) => streams.read_some(relay, self.now),
                None => streams.read_some(&mut self.translator, self.now),
            }
            streams.due(self.now).is_none()
        });
        self.hand_over();
        is_all
    }

    /// Reads the messages of connections that wait, whether or not there is room for what becomes of them.
    pub(crate) fn read_the_rest(&mut self) {
        if let Some(mut streams) = self.streams.take() {
            let now = Instant::now();
            match &mut self.relay {
                Some(relay) => streams.read_rest(relay, now),
                None => streams.read_rest(&mut self.translator, now),
            }
        }
    }

    /// The end: finishes the open batch, and has what exporters have reported written.
    pub(crate) fn finish(&mut self) {
        self.translator.flush();
        self.hand_over();
        if let Some(kafka) = &mut self.kafka {
            kafka.finish(&mut self.translator, Instant::now());
        }
    }

    /// Lets a batch go that is old enough.
    pub(crate) fn hand_over(&mut self) {
        if let Some(relay) = &mut self.relay {
            relay.hand_over();
        }
        let left = self.translator.poll_batch(self.now);
        debug_assert!(left.is_none(), "every batch goes to the queue");
        self.queue.tell();
    }
}

impl Handler for Worker {
    fn on_socket(&mut self, address: SocketAddr) {
        self.local_port = address.port();
    }

    fn on_datagram(&mut self, datagram: &Datagram<'_>) {
        if !self.in_burst {
            self.in_burst = true;
            self.now = Instant::now();
        }
        match &mut self.relay {
            None => self.translator.on_datagram(datagram, self.now),
            Some(relay) => relay.put(datagram, Transport::Udp, self.local_port),
        }
    }

    fn on_burst_end(&mut self) {
        self.in_burst = false;
        let limit = self.request_limit.load(Ordering::Relaxed);
        if limit != self.limit_heeded {
            self.limit_heeded = limit;
            self.translator.limit_requests(limit);
        }
        self.hand_over();
    }

    fn next_deadline(&self) -> Option<Instant> {
        let streams = self.streams.as_ref();
        let messages = streams.and_then(|streams| streams.due(self.now));
        let kafka = self.kafka.as_ref().and_then(|kafka| kafka.due(self.now));
        [self.translator.next_deadline(), messages, kafka]
            .into_iter()
            .flatten()
            .min()
    }

    fn on_deadline(&mut self, now: Instant) {
        self.now = now;
        if let Some(streams) = &mut self.streams {
            match &mut self.relay {
                Some(relay) => streams.read_some(relay, now),
                None => streams.read_some(&mut self.translator, now),
            }
        }
        if let Some(kafka) = &mut self.kafka {
            kafka.read_some(&mut self.translator, now);
        }
        self.translator.on_deadline(now);
        self.hand_over();
    }

    fn on_wake(&mut self, now: Instant) {
        self.mailbox.answer(&mut self.translator, now);
        self.queue.tell();
    }
}
