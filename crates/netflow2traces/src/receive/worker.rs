//! The loop of one worker: its sockets in, each datagram to its [`Handler`]. Sleeps when there is
//! nothing, naps when there is little, and ends with what the sockets held at the stop.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use libc::pollfd;
use socket2::Socket;

use super::burst::DatagramBurst;
use super::counters::WorkerCounters;
use super::drops::{DropCounter, DropWatch, warn_of_drops};
use super::pace::Pace;
use super::socket::{BoundSocket, accounted_buffer, granted_buffer};
use super::stop::Stopper;
use super::wake::Waker;
use super::{Handler, sys, wall_clock};

/// The pause after a failed read, so that a lasting failure doesn't cost a core.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

/// No queued datagram takes less of the kernel's memory.
const LEAST_OCTETS_QUEUED: usize = 256;

/// What a receive buffer may hold whose size can't be read.
const UNKNOWN_BUFFER: usize = 64 << 20;

/// One worker before it runs.
pub(super) struct Worker {
    index: usize,
    sockets: Vec<WorkerSocket>,
    counters: Arc<[WorkerCounters]>,
    stopper: Stopper,
    waker: Waker,
    burst: DatagramBurst,
    pace: Pace,
    drop_watch: DropWatch,
    failing: bool,
}

struct WorkerSocket {
    socket: Socket,
    address: SocketAddr,
    drops: DropCounter,
    /// The receive buffer in the kernel's accounting.
    buffer_octets: usize,
    /// Whether the next round reads it.
    ready: bool,
    /// The last attempt to read it failed.
    unreadable: bool,
}

/// What one round over the sockets brought.
#[derive(Clone, Copy, Default)]
struct Round {
    datagrams: usize,
    /// A socket may hold more.
    more: bool,
    failed: bool,
}

impl Worker {
    pub(super) fn new(
        index: usize,
        sockets: Vec<BoundSocket>,
        counters: Arc<[WorkerCounters]>,
        stopper: Stopper,
        waker: Waker,
    ) -> Self {
        let sockets: Vec<_> = sockets.into_iter().map(WorkerSocket::new).collect();
        let buffers = sockets.iter().map(|socket| socket.buffer_octets);
        Self {
            index,
            pace: Pace::new(buffers.min().unwrap_or(0)),
            sockets,
            counters,
            stopper,
            waker,
            burst: DatagramBurst::new(),
            drop_watch: DropWatch::default(),
            failing: false,
        }
    }

    /// Receives until the stop; gives back the handler, and the sockets, which are to be closed when
    /// every worker has ended, so that none inherits another's exporters on its way out.
    pub(super) fn run<H: Handler>(mut self, mut handler: H) -> (H, Vec<Socket>) {
        let mut poll = vec![
            sys::readable(self.stopper.event()),
            sys::readable(self.waker.event()),
        ];
        poll.extend(self.sockets.iter().map(|s| sys::readable(s.socket.as_fd())));
        let mut since_wait = 0;
        while self.stopper.stopped_at().is_none() {
            let round = self.read_ready(&mut handler);
            since_wait += round.datagrams;
            let now = Instant::now();
            if handler.next_deadline().is_some_and(|at| at <= now) {
                handler.on_deadline(now);
            }
            if self.waker.was_woken() {
                handler.on_wake(now);
            }
            if self.drop_watch.is_due(now, round.datagrams > 0) {
                self.look_for_drops(now, false);
            }
            if round.more {
                continue;
            }
            let nap = match round.failed {
                true => Some(ERROR_PAUSE),
                false => self.pace.after(since_wait, now),
            };
            since_wait = 0;
            let deadlines = handler.next_deadline().into_iter();
            let deadline = deadlines.chain(self.drop_watch.next_look()).min();
            let until_deadline = deadline.map(|at| at.saturating_duration_since(now));
            self.wait(&mut poll, nap, until_deadline);
        }
        self.drain(&mut handler);
        self.look_for_drops(Instant::now(), true);
        let sockets = self.sockets.into_iter().map(|socket| socket.socket);
        (handler, sockets.collect())
    }

    /// Naps, or waits for a datagram; a stop or the deadline ends either. Says which sockets to read.
    fn wait(&mut self, poll: &mut [pollfd], nap: Option<Duration>, deadline: Option<Duration>) {
        let waited = match nap {
            Some(nap) => {
                let nap = deadline.map_or(nap, |deadline| deadline.min(nap));
                sys::wait(&mut poll[..1], Some(nap))
            }
            None => sys::wait(poll, deadline),
        };
        if let Err(error) = &waited {
            self.note_failure("waiting", error);
            // Nothing else keeps this loop from spinning.
            std::thread::park_timeout(ERROR_PAUSE);
        }
        if poll[1].revents != 0 {
            self.waker.settle();
        }
        for (socket, entry) in self.sockets.iter_mut().zip(&poll[2..]) {
            socket.ready = nap.is_some() || waited.is_err() || entry.revents != 0;
        }
    }

    /// Reads one burst of each socket that is ready, so that none waits for another's backlog.
    fn read_ready<H: Handler>(&mut self, handler: &mut H) -> Round {
        let mut round = Round::default();
        for at in 0..self.sockets.len() {
            if !self.sockets[at].ready {
                continue;
            }
            match self.read_burst(at, handler) {
                Ok(burst) => {
                    round.datagrams += burst.datagrams;
                    round.more |= burst.is_full;
                }
                Err(ReadFailed) => round.failed = true,
            }
        }
        if round.datagrams > 0 && !round.failed {
            self.failing = false;
        }
        if round.more {
            // There will be no wait that says which of the others have become ready.
            self.sockets.iter_mut().for_each(|s| s.ready = true);
        }
        round
    }

    /// Takes one burst of a socket to the handler, and counts it.
    fn read_burst<H: Handler>(
        &mut self,
        at: usize,
        handler: &mut H,
    ) -> Result<ReadBurst, ReadFailed> {
        let counters = &self.counters[self.index];
        let socket = &mut self.sockets[at];
        let received = match self.burst.fill(socket.socket.as_fd()) {
            Ok(0) => {
                self.note_readable(at);
                return Ok(ReadBurst::default());
            }
            Ok(received) => received,
            Err(error) => {
                socket.unreadable = true;
                self.count_unreadable();
                self.note_failure("receiving", &error);
                return Err(ReadFailed);
            }
        };
        let (mut datagrams, mut octets) = (0, 0);
        handler.on_socket(socket.address);
        let leftovers = self.burst.for_each(wall_clock, |datagram| {
            handler.on_datagram(datagram);
            datagrams += 1;
            octets += datagram.octets.len() as u64;
        });
        counters.datagrams.add(datagrams);
        counters.octets.add(octets);
        if leftovers.truncated > 0 {
            counters.truncated.add(leftovers.truncated.into());
        }
        if leftovers.without_source > 0 {
            counters.receive_errors.add(leftovers.without_source.into());
        }
        if let Some(reading) = leftovers.drops {
            let dropped = socket.drops.advance_to(reading);
            counters.kernel_drops.add(dropped.into());
            self.drop_watch.note(dropped);
        }
        handler.on_burst_end();
        self.note_readable(at);
        let is_full = received == self.burst.capacity();
        Ok(ReadBurst {
            datagrams: received,
            is_full,
            newest: leftovers.newest,
        })
    }

    /// Takes what the sockets held at the stop: each until it is empty, or shows a datagram that
    /// came after the stop, or as many came as its memory can have held.
    fn drain<H: Handler>(&mut self, handler: &mut H) {
        for at in 0..self.sockets.len() {
            let socket = &self.sockets[at];
            let queued_octets = sys::socket_memory(socket.socket.as_fd())
                .map_or(socket.buffer_octets, |memory| memory.queued_octets as usize);
            let queued_octets = match queued_octets {
                // The system reports nothing about its buffers.
                0 => UNKNOWN_BUFFER,
                octets => octets,
            };
            let mut left = queued_octets / LEAST_OCTETS_QUEUED + self.burst.capacity();
            while let Ok(burst) = self.read_burst(at, handler) {
                left = left.saturating_sub(burst.datagrams);
                if !burst.is_full || left == 0 || burst.newest > self.stopper.stopped_at() {
                    break;
                }
            }
        }
        handler.on_burst_end();
    }

    /// Asks the sockets for their drops, and warns where a warning is due.
    fn look_for_drops(&mut self, now: Instant, last: bool) {
        let counters = &self.counters[self.index];
        for socket in &mut self.sockets {
            // Absent before Linux 4.12; the readings that come with datagrams are left.
            if let Ok(memory) = sys::socket_memory(socket.socket.as_fd()) {
                let dropped = socket.drops.advance_to(memory.drops);
                counters.kernel_drops.add(dropped.into());
                self.drop_watch.note(dropped);
            }
        }
        if let Some(dropped) = self.drop_watch.take_report(now, last) {
            let buffers = self.sockets.iter().map(|s| granted_buffer(&s.socket));
            warn_of_drops(self.index, dropped, buffers.min().unwrap_or(0));
        }
    }

    fn note_readable(&mut self, at: usize) {
        if self.sockets[at].unreadable {
            self.sockets[at].unreadable = false;
            self.count_unreadable();
        }
    }

    fn count_unreadable(&self) {
        let unreadable = self.sockets.iter().filter(|socket| socket.unreadable);
        self.counters[self.index]
            .unreadable
            .set(unreadable.count() as u64);
    }

    /// Counts a failure, and logs the first of a row.
    fn note_failure(&mut self, action: &'static str, error: &std::io::Error) {
        self.counters[self.index].receive_errors.add(1);
        if !self.failing {
            self.failing = true;
            tracing::warn!(worker = self.index, action, %error, "a receive socket fails");
        }
    }
}

impl WorkerSocket {
    fn new(bound: BoundSocket) -> Self {
        Self {
            buffer_octets: accounted_buffer(&bound.socket),
            drops: DropCounter::starting_at(bound.drops_before),
            socket: bound.socket,
            address: bound.address,
            ready: true,
            unreadable: false,
        }
    }
}

/// What one burst of one socket was.
#[derive(Clone, Copy, Default)]
struct ReadBurst {
    datagrams: usize,
    is_full: bool,
    newest: Option<otlp_wire::UnixNanos>,
}

/// A read that failed; it is already counted.
struct ReadFailed;
