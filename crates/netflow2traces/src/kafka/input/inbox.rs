//! What the consumer gives to a worker: messages of its partitions in their order, and their beginnings and ends.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use otlp_wire::UnixNanos;
use tokio::sync::oneshot;
use tracing::warn;

use super::counters::InputCounters;
use super::ledger::{Holding, Ledger, Read};
use super::states::Outbox;
use crate::kafka::{FlowMessage, Message};
use crate::receive::wall_clock;
use crate::streams::Room;
use crate::translate::counters::RateLimit;
use crate::translate::{Datagram, SavedExporter, TranslateCounters};
use crate::worker::Machine;

/// Messages that a worker reads before it looks at other things again …
const SLICE: usize = 128;
/// … or so many octets.
const SLICE_OCTETS: usize = 256 << 10;
/// How soon it is looked again whether the queue has room.
const PAUSE: Duration = Duration::from_millis(10);
/// How often it is looked whether Sets that waited found their template.
const LOOK: Duration = Duration::from_secs(1);
/// No relay was there before 2000.
const EARLIEST: UnixNanos = UnixNanos(946_684_800_000_000_000);
/// Clocks may differ by so much.
const AHEAD: u64 = 60_000_000_000;

/// Something for a worker.
#[derive(Debug)]
pub(super) enum Item {
    /// It has this partition from now on; what is known of its exporters.
    Begin {
        partition: i32,
        saved: Vec<SavedExporter>,
    },
    Messages {
        partition: i32,
        messages: VecDeque<Message>,
    },
    /// It doesn't have this partition any more. Asked for in order, it finishes what it began before it answers.
    End {
        partition: i32,
        in_order: bool,
        answer: oneshot::Sender<()>,
    },
}

/// What waits for one worker.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    items: Mutex<VecDeque<Item>>,
    /// How many there are, to be read without the lock: whoever puts one in wakes the worker afterwards.
    waiting: AtomicUsize,
    /// Of messages.
    octets: AtomicUsize,
}

/// What a message takes besides its value.
const OVERHEAD: usize = 256;

fn octets_of(message: &Message) -> usize {
    OVERHEAD + message.value.as_ref().map_or(0, bytes::Bytes::len)
}

impl Inbox {
    pub(super) fn put(&self, item: Item) {
        if let Item::Messages { messages, .. } = &item {
            let octets = messages.iter().map(octets_of).sum();
            self.octets.fetch_add(octets, Relaxed);
        }
        let mut items = self.lock();
        items.push_back(item);
        self.waiting.store(items.len(), Relaxed);
    }

    fn take(&self) -> Option<Item> {
        let mut items = self.lock();
        let item = items.pop_front()?;
        self.waiting.store(items.len(), Relaxed);
        Some(item)
    }

    /// Octets of messages that wait.
    pub(super) fn octets(&self) -> usize {
        self.octets.load(Relaxed)
    }

    /// Takes the messages of a partition back that were not begun.
    pub(super) fn withdraw(&self, partition: i32) {
        let mut items = self.lock();
        items.retain(|item| match item {
            Item::Messages {
                partition: of,
                messages,
            } if *of == partition => {
                self.octets
                    .fetch_sub(messages.iter().map(octets_of).sum(), Relaxed);
                false
            }
            _ => true,
        });
        self.waiting.store(items.len(), Relaxed);
    }

    fn is_empty(&self) -> bool {
        self.waiting.load(Relaxed) == 0
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Item>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The worker's end.
pub(crate) struct Reading {
    inbox: Arc<Inbox>,
    ledger: Arc<Ledger>,
    outbox: Arc<Outbox>,
    counters: Arc<InputCounters>,
    room: Room,
    translated: Arc<TranslateCounters>,
    current: Option<(i32, VecDeque<Message>)>,
    /// The queue was full, and is looked at again then.
    paused: Option<Instant>,
    /// Changes of exporters' states that were saved.
    saved_changes: u64,
    /// Sets wait for their template.
    is_holding: bool,
    next_look: Option<Instant>,
    lines: RateLimit,
}

impl Reading {
    pub(super) fn new(
        inbox: Arc<Inbox>,
        ledger: Arc<Ledger>,
        outbox: Arc<Outbox>,
        counters: Arc<InputCounters>,
        room: Room,
        machine: &mut Machine,
    ) -> Self {
        machine.keep_changes();
        machine.put_behind_relay();
        Self {
            inbox,
            ledger,
            outbox,
            counters,
            room,
            translated: machine.counters(),
            current: None,
            paused: None,
            saved_changes: 0,
            is_holding: false,
            next_look: None,
            lines: RateLimit::new(1, Duration::from_secs(60)),
        }
    }

    /// When [`read_some`](Self::read_some) is to be called; `now` is at once.
    #[inline]
    pub(crate) fn due(&self, now: Instant) -> Option<Instant> {
        let waits = self.current.is_some() || !self.inbox.is_empty();
        let read = waits.then(|| self.paused.unwrap_or(now));
        let look = self.next_look.filter(|_| self.is_holding);
        [read, look].into_iter().flatten().min()
    }

    /// Gives the machine some of the messages that wait, as long as there is room for what it makes of them.
    pub(crate) fn read_some(&mut self, machine: &mut Machine, now: Instant) {
        if self.is_holding && self.next_look.is_none_or(|look| look <= now) {
            self.look(machine, now);
        }
        if self.paused.is_some_and(|until| now < until) {
            return;
        }
        let (mut messages, mut octets) = (0, 0);
        while messages < SLICE && octets < SLICE_OCTETS {
            if self.current.is_none() && !self.begin_next(machine, now) {
                break;
            }
            if self.current.is_some() {
                let read = self.read_current(machine, now, SLICE - messages, SLICE_OCTETS - octets);
                messages += read.0;
                octets += read.1;
                if self.paused.is_some() {
                    break;
                }
            }
        }
        // Nobody here can close the connections that a relay holds.
        machine.take_disconnected();
    }

    /// Takes the next item; `false`: there is none.
    fn begin_next(&mut self, machine: &mut Machine, now: Instant) -> bool {
        match self.inbox.take() {
            None => return false,
            Some(Item::Messages {
                partition,
                messages,
            }) => self.current = Some((partition, messages)),
            Some(Item::Begin { partition, saved }) => {
                machine.read_from(origin(partition));
                for saved in saved {
                    if machine.restore(saved, now) > 0 {
                        self.counters.restored.add(1);
                    }
                }
            }
            Some(Item::End {
                partition,
                in_order,
                answer,
            }) => {
                if in_order {
                    self.finish(machine, now);
                }
                machine.forget(origin(partition));
                // Whoever asked may wait no more.
                let _ = answer.send(());
            }
        }
        true
    }

    /// Messages and octets that were read.
    fn read_current(
        &mut self,
        machine: &mut Machine,
        now: Instant,
        most: usize,
        most_octets: usize,
    ) -> (usize, usize) {
        let Some((partition, mut messages)) = self.current.take() else {
            return (0, 0);
        };
        if !self.ledger.has(partition) {
            // It went while there was no room: whoever has it now reads them.
            let octets = messages.iter().map(octets_of).sum();
            self.inbox.octets.fetch_sub(octets, Relaxed);
            self.paused = None;
            return (0, 0);
        }
        machine.read_from(origin(partition));
        let waited = self.translated.sets_waited.value();
        let first = messages.front().map(|message| message.offset);
        let (mut read, mut octets, mut next) = (0, 0, None);
        while read < most && octets < most_octets {
            let has_room = (self.room)();
            self.paused = (!has_room).then(|| now + PAUSE);
            if !has_room {
                break;
            }
            let Some(message) = messages.pop_front() else {
                break;
            };
            self.inbox.octets.fetch_sub(octets_of(&message), Relaxed);
            octets += self.give(machine, &message, now);
            next = Some(message.offset + 1);
            read += 1;
        }
        if let (Some(first), Some(next)) = (first, next) {
            self.save(machine, now);
            let brought_waiting = self.translated.sets_waited.value() != waited;
            self.is_holding |= brought_waiting;
            let read = Read {
                partition,
                first,
                next,
                brought_waiting,
            };
            self.ledger.read(read, self.holding(machine), now);
        }
        if !messages.is_empty() {
            self.current = Some((partition, messages));
        }
        (read, octets)
    }

    /// Octets of the datagram.
    fn give(&mut self, machine: &mut Machine, message: &Message, now: Instant) -> usize {
        let flow = match FlowMessage::read(message) {
            Ok(flow) => flow,
            Err(reason) => {
                self.counters.count_alien(&reason);
                if let Some(suppressed) = self.lines.admit(now) {
                    warn!(
                        partition = message.partition,
                        offset = message.offset,
                        %reason,
                        suppressed,
                        "a message in the topic of datagrams was not written by a relay, and is ignored"
                    );
                }
                return 0;
            }
        };
        let received_at = self.time_of(&flow, message);
        let octets = flow.octets.len();
        self.counters.datagrams.add(1);
        self.counters.octets.add(octets as u64);
        let datagram = Datagram {
            octets: &flow.octets,
            source: flow.source,
            received_at,
        };
        machine.on_message(&datagram, flow.transport, now);
        octets
    }

    /// When the relay received it; else when Kafka had it; else now.
    fn time_of(&self, flow: &FlowMessage, message: &Message) -> UnixNanos {
        let now = wall_clock();
        let is_possible =
            |time: &UnixNanos| (EARLIEST.0..=now.0.saturating_add(AHEAD)).contains(&time.0);
        if is_possible(&flow.received_at) {
            return flow.received_at;
        }
        self.counters.times_replaced.add(1);
        let stored = u64::try_from(message.timestamp_ms).unwrap_or(0);
        let stored = UnixNanos(stored.saturating_mul(1_000_000));
        Some(stored).filter(is_possible).unwrap_or(now)
    }

    fn holding(&self, machine: &Machine) -> Holding {
        Holding {
            has_open_batch: machine.has_open_batch(),
            waiting: self.translated.sets_waiting.value() > 0,
        }
    }

    /// Has what changed of exporters written.
    fn save(&mut self, machine: &mut Machine, now: Instant) {
        let changes = self.translated.state_changes.value();
        if changes == self.saved_changes {
            return;
        }
        self.saved_changes = changes;
        loop {
            let changed = machine.take_changes(now);
            for saved in &changed.exporters {
                self.outbox.put(saved, self.ledger.state());
            }
            if !changed.more {
                return;
            }
        }
    }

    fn look(&mut self, machine: &mut Machine, now: Instant) {
        self.next_look = Some(now + LOOK);
        self.save(machine, now);
        self.is_holding = self.ledger.look(self.holding(machine), now);
    }

    /// Ends the open batch, and has all that was learnt written.
    pub(crate) fn finish(&mut self, machine: &mut Machine, now: Instant) {
        machine.flush();
        self.save(machine, now);
        self.ledger.look(self.holding(machine), now);
    }
}

/// Numbers a worker's batches.
#[derive(Debug)]
pub(crate) struct Receipts(Arc<Ledger>);

impl Receipts {
    pub(super) fn of(ledger: &Arc<Ledger>) -> Self {
        Self(Arc::clone(ledger))
    }

    /// That of the next batch.
    pub(crate) fn next(&self) -> otlp_wire::Receipt {
        self.0.batch()
    }
}

/// As the machine numbers them.
const fn origin(partition: i32) -> u32 {
    partition.cast_unsigned()
}
