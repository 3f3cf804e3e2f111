//! The receiver for systems without the Linux calls: one thread, `recv_from` with a timeout, the
//! clock for a time-stamp. For a developer's machine; it counts no kernel drops.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::Socket;

use super::counters::WorkerCounters;
use super::socket::BoundSocket;
use super::stop::Stopper;
use super::wake::Waker;
use super::{Handler, wall_clock};
use crate::translate::Datagram;

/// How soon a stop is seen, and a datagram on another socket.
const LONGEST_WAIT: Duration = Duration::from_millis(20);

/// A timeout of zero would mean none.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// Datagrams handed over as one burst at most.
const BURST: usize = 64;

/// Datagrams taken from each socket after the stop at most: more than any default buffer holds.
const DRAINED_AT_MOST: usize = 16_384;

/// An octet more than any datagram has, which would show that one was cut off.
const BUFFER_OCTETS: usize = 65_536;

/// The only worker, before it runs.
pub(super) struct PortableWorker {
    sockets: Vec<(UdpSocket, SocketAddr)>,
    counters: Arc<[WorkerCounters]>,
    stopper: Stopper,
    waker: Waker,
    buffer: Box<[u8]>,
}

impl PortableWorker {
    pub(super) fn new(
        sockets: Vec<BoundSocket>,
        counters: Arc<[WorkerCounters]>,
        stopper: Stopper,
        waker: Waker,
    ) -> Self {
        let sockets = sockets.into_iter();
        let sockets = sockets.map(|bound| (bound.socket.into(), bound.address));
        let sockets = sockets.collect();
        let buffer = vec![0; BUFFER_OCTETS].into_boxed_slice();
        Self {
            sockets,
            counters,
            stopper,
            waker,
            buffer,
        }
    }

    /// Receives until the stop; gives back the handler, and the sockets, still open.
    pub(super) fn run<H: Handler>(mut self, mut handler: H) -> (H, Vec<Socket>) {
        let sockets = std::mem::take(&mut self.sockets);
        let turn = LONGEST_WAIT / u32::try_from(sockets.len().max(1)).unwrap_or(u32::MAX);
        while self.stopper.stopped_at().is_none() {
            for (socket, address) in &sockets {
                handler.on_socket(*address);
                let now = Instant::now();
                let deadline = handler.next_deadline();
                let wait = deadline.map_or(turn, |at| turn.min(at.saturating_duration_since(now)));
                self.read_burst(socket, Some(wait.max(SHORTEST_WAIT)), BURST, &mut handler);
                let now = Instant::now();
                if handler
                    .next_deadline()
                    .is_some_and(|deadline| deadline <= now)
                {
                    handler.on_deadline(now);
                }
                if self.waker.was_woken() {
                    handler.on_wake(now);
                }
            }
        }
        for (socket, address) in &sockets {
            handler.on_socket(*address);
            self.read_burst(socket, None, DRAINED_AT_MOST, &mut handler);
        }
        handler.on_burst_end();
        let sockets = sockets.into_iter();
        let sockets = sockets.map(|(socket, _)| Socket::from(socket));
        (handler, sockets.collect())
    }

    /// Waits for a datagram, if asked to, and reads up to `most` that are there.
    fn read_burst<H: Handler>(
        &mut self,
        socket: &UdpSocket,
        wait: Option<Duration>,
        most: usize,
        handler: &mut H,
    ) {
        let mut taken = 0;
        let mut read = || -> io::Result<()> {
            if let Some(wait) = wait {
                socket.set_nonblocking(false)?;
                socket.set_read_timeout(Some(wait))?;
                taken += self.read(socket, handler)?;
            }
            socket.set_nonblocking(true)?;
            while taken < most {
                taken += self.read(socket, handler)?;
            }
            Ok(())
        };
        let outcome = read();
        if taken > 0 {
            handler.on_burst_end();
        }
        if let Err(error) = outcome
            && !matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
            )
        {
            // Windows reports here that a datagram that was never sent was refused.
            self.counters[0].receive_errors.add(1);
            tracing::debug!(%error, "receiving failed");
        }
    }

    fn read<H: Handler>(&mut self, socket: &UdpSocket, handler: &mut H) -> io::Result<usize> {
        let (length, source) = match socket.recv_from(&mut self.buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(0),
            outcome => outcome?,
        };
        if length == self.buffer.len() {
            self.counters[0].truncated.add(1);
            return Ok(1);
        }
        let octets = &self.buffer[..length];
        self.counters[0].datagrams.add(1);
        self.counters[0].octets.add(length as u64);
        let source = super::canonical(source);
        handler.on_datagram(&Datagram {
            octets,
            source,
            received_at: wall_clock(),
        });
        Ok(1)
    }
}
