//! Ends the workers: one signal that all of them see, asleep or busy.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use otlp_wire::UnixNanos;

use super::wall_clock;

/// Stops the workers of one [`Running`](super::Running); may be cloned and used from any thread.
#[derive(Clone, Debug)]
pub struct Stopper(Arc<StopSignal>);

impl Stopper {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(StopSignal {
            stop_at: AtomicU64::new(0),
            #[cfg(target_os = "linux")]
            event: super::sys::event()?,
        })))
    }

    /// Asks every worker to take what its sockets hold at this moment and to end. Doing so again
    /// changes nothing.
    pub fn stop(&self) {
        let now = wall_clock().0.max(1);
        // Release pairs with the workers' acquire: what happened before the stop is seen by them.
        let first = self
            .0
            .stop_at
            .compare_exchange(0, now, Ordering::AcqRel, Ordering::Relaxed);
        #[cfg(target_os = "linux")]
        if first.is_ok() {
            use std::io::Write as _;
            // Eight octets are an eventfd's only form; it refuses more only at 2^64 - 1.
            let _ = (&self.0.event).write(&1_u64.to_ne_bytes());
        }
        #[cfg(not(target_os = "linux"))]
        let _ = first;
    }

    /// When [`stop`](Self::stop) was called first.
    #[must_use]
    pub fn stopped_at(&self) -> Option<UnixNanos> {
        match self.0.stop_at.load(Ordering::Acquire) {
            0 => None,
            at => Some(UnixNanos(at)),
        }
    }

    /// Readable from the stop on.
    #[cfg(target_os = "linux")]
    pub(super) fn event(&self) -> std::os::fd::BorrowedFd<'_> {
        use std::os::fd::AsFd as _;
        self.0.event.as_fd()
    }
}

#[derive(Debug)]
struct StopSignal {
    /// Nanoseconds since 1970, 0 while running.
    stop_at: AtomicU64,
    #[cfg(target_os = "linux")]
    event: std::fs::File,
}
