//! One connection: its octets into messages, as fast as they can be used and no faster.
//!
//! A connection that waits holds no buffer. It reads only while there is room for what it reads, so that a full queue
//! slows the exporter down through TCP's own flow control.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use netflow_wire::Transport;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;

use super::Bounds;
use super::counters::{Reason, StreamCounters};
use super::frames::{FramingError, Messages, whole};
use super::inbox::{Chunk, Outlet};
use super::registry::{Place, Registry};
use crate::receive::wall_clock;

/// Octets that are read at once.
const READ: usize = 64 << 10;
/// Octets for which one permit stands.
const UNIT: usize = 1 << 10;
/// Octets that are read while a connection waits without a buffer.
const FIRST: usize = 16;
/// After the stop no more is read: about what the kernel can hold of a connection.
const LAST: usize = 512 << 10;

/// What all connections share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) bounds: Bounds,
    pub(super) registry: Arc<Registry>,
    pub(super) counters: Arc<StreamCounters>,
    /// For octets that were read and wait for their worker.
    pub(super) room: Arc<Semaphore>,
}

impl Shared {
    pub(super) fn new(
        bounds: Bounds,
        registry: Arc<Registry>,
        counters: Arc<StreamCounters>,
    ) -> Self {
        Self {
            room: Arc::new(Semaphore::new(bounds.octets_waiting.max(4 * READ) / UNIT)),
            bounds,
            registry,
            counters,
        }
    }
}

/// How a connection ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct End {
    pub(super) reason: Reason,
    /// More about it, for the log.
    pub(super) detail: Option<String>,
}

impl From<Reason> for End {
    fn from(reason: Reason) -> Self {
        Self {
            reason,
            detail: None,
        }
    }
}

impl From<FramingError> for End {
    fn from(error: FramingError) -> Self {
        Self {
            reason: Reason::Framing,
            detail: Some(error.to_string()),
        }
    }
}

/// When the daemon stops, and how long reading what is left may take.
pub(super) type Stop = watch::Receiver<Option<Instant>>;

/// A connection while it is read.
pub(super) struct Connection<'a, S> {
    pub(super) stream: S,
    pub(super) peer: SocketAddr,
    local_port: u16,
    pub(super) transport: Transport,
    pub(super) place: &'a Place,
    pub(super) outlet: &'a Outlet,
    pub(super) shared: &'a Shared,
    /// The beginning of a message.
    partial: Vec<u8>,
    /// How long the rest of it has been waited for.
    waited: Duration,
    pub(super) messages: u64,
}

/// What came of an attempt to read.
struct Took {
    octets: usize,
    /// The exporter sends no more.
    ended: bool,
}

impl<'a, S: AsyncRead + Unpin> Connection<'a, S> {
    pub(super) fn new(
        stream: S,
        (peer, local_port): (SocketAddr, u16),
        transport: Transport,
        place: &'a Place,
        outlet: &'a Outlet,
        shared: &'a Shared,
    ) -> Self {
        Self {
            stream,
            peer,
            local_port,
            transport,
            place,
            outlet,
            shared,
            partial: Vec::new(),
            waited: Duration::ZERO,
            messages: 0,
        }
    }

    /// Reads until there is a reason to end.
    pub(super) async fn read(&mut self, stop: &mut Stop) -> End {
        let place = self.place;
        let ended = {
            let until_end = self.read_on();
            tokio::select! {
                biased;
                reason = place.asked_to_close() => return reason.into(),
                end = until_end => Some(end),
                _ = stop.wait_for(Option::is_some) => None,
            }
        };
        match ended {
            Some(Err(end)) => end,
            Some(Ok(never)) => match never {},
            None => {
                let until = stop.borrow().unwrap_or_else(Instant::now);
                let _ = tokio::time::timeout_at(until.into(), self.read_rest()).await;
                Reason::Stop.into()
            }
        }
    }

    /// What had come when the daemon was asked to stop.
    async fn read_rest(&mut self) -> Result<(), End> {
        let mut left = LAST;
        while left > 0 {
            let took = self.take_with_room().await?;
            if took.octets == 0 || took.ended {
                break;
            }
            left = left.saturating_sub(took.octets);
        }
        Ok(())
    }

    async fn read_on(&mut self) -> Result<std::convert::Infallible, End> {
        loop {
            self.wait_for_octets().await?;
            let took = self.take_with_room().await?;
            if took.ended {
                return Err(self.ended_by_exporter(None));
            }
        }
    }

    /// Waits for the next octets, without a buffer for more than a few.
    async fn wait_for_octets(&mut self) -> Result<(), End> {
        let bounds = &self.shared.bounds;
        let (limit, reason) = if self.partial.is_empty() {
            (bounds.idle, Reason::Idle)
        } else {
            let left = bounds.incomplete.saturating_sub(self.waited);
            (left, Reason::Incomplete)
        };
        let began = tokio::time::Instant::now();
        let mut first = [0; FIRST];
        let read = timeout(limit, self.stream.read(&mut first)).await;
        if !self.partial.is_empty() {
            self.waited += began.elapsed();
        }
        match read {
            Err(_) => Err(reason.into()),
            Ok(Err(error)) => Err(self.ended_by_exporter(Some(&error))),
            Ok(Ok(0)) => Err(self.ended_by_exporter(None)),
            Ok(Ok(read)) => {
                self.partial.extend_from_slice(&first[..read]);
                Ok(())
            }
        }
    }

    /// Waits for room, reads what is there, and gives the messages in it to the worker.
    async fn take_with_room(&mut self) -> Result<Took, End> {
        let most = self.partial.len() + READ;
        let units = u32::try_from(most.div_ceil(UNIT)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.shared.room).acquire_many_owned(units);
        let Ok(room) = room.await else {
            return Err(Reason::Stop.into());
        };
        let before = self.partial.len();
        self.partial.reserve_exact(READ);
        let mut failed = None;
        let mut ended = false;
        while self.partial.len() < most {
            match now(self.stream.read_buf(&mut self.partial)).await {
                None => break,
                Some(Ok(0)) => {
                    ended = true;
                    break;
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        let octets = self.partial.len() - before;
        self.give_whole(room).await?;
        match failed {
            Some(error) => Err(self.ended_by_exporter(Some(&error))),
            None => Ok(Took { octets, ended }),
        }
    }

    /// Gives the whole messages to the worker, and keeps the beginning of the next one.
    async fn give_whole(&mut self, mut room: OwnedSemaphorePermit) -> Result<(), End> {
        let found = whole(&self.partial);
        let rest = self
            .partial
            .get(found.octets..)
            .unwrap_or_default()
            .to_vec();
        let mut octets = std::mem::replace(&mut self.partial, rest);
        octets.truncate(found.octets);
        self.place
            .keeps(self.partial.len(), found.messages > 0, Instant::now());
        if found.messages > 0 {
            self.waited = Duration::ZERO;
            self.messages += found.messages as u64;
            if let Some(kept) = room.split(found.octets.div_ceil(UNIT)) {
                room = kept;
            }
            self.shared.counters.octets_waiting.add(found.octets as u64);
            self.outlet.messages(Chunk {
                source: self.peer,
                local_port: self.local_port,
                transport: self.transport,
                received_at: wall_clock(),
                messages: Messages::new(octets.into_boxed_slice()),
                octets: found.octets,
                _room: room,
            });
        }
        if let Some(error) = found.error {
            return Err(error.into());
        }
        let registry = &self.shared.registry;
        let pause = registry.pause_for_rate(self.peer.ip(), found.messages, Instant::now());
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }

    /// A close between messages is how a session ends, also without TLS's farewell.
    fn ended_by_exporter(&self, error: Option<&io::Error>) -> End {
        let is_clean = error.is_none_or(|error| error.kind() == io::ErrorKind::UnexpectedEof);
        if is_clean && self.partial.is_empty() {
            return Reason::Exporter.into();
        }
        let detail = match error {
            Some(error) => error.to_string(),
            None => format!("{} bytes of a message had come", self.partial.len()),
        };
        End {
            reason: Reason::Broken,
            detail: Some(detail),
        }
    }
}

/// The output of a future if it has one now.
async fn now<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}
