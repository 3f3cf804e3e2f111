//! Wakes one worker from outside, so that it looks whether it was asked something. Costs a worker that is not
//! woken one relaxed load a round.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Wakes a worker; may be cloned and used from any thread.
#[derive(Clone, Debug)]
pub struct Waker(Arc<WakeSignal>);

impl Waker {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(WakeSignal {
            asked: AtomicBool::new(false),
            #[cfg(target_os = "linux")]
            event: super::sys::event()?,
        })))
    }

    /// Lets the worker call [`Handler::on_wake`](super::Handler::on_wake) soon, be it asleep or busy. One call
    /// may answer several wakes.
    pub fn wake(&self) {
        // Release pairs with the worker's acquire: what was put down before is seen by it.
        self.0.asked.store(true, Ordering::Release);
        #[cfg(target_os = "linux")]
        {
            use std::io::Write as _;
            // Eight octets are an eventfd's only form; at 2^64 - 1 it is readable anyway.
            let _ = (&self.0.event).write(&1_u64.to_ne_bytes());
        }
    }

    /// Whether it was woken since this was last asked.
    #[inline]
    pub(super) fn was_woken(&self) -> bool {
        self.0.asked.load(Ordering::Relaxed) && self.0.asked.swap(false, Ordering::Acquire)
    }

    /// Readable once it was woken, until [`settle`](Self::settle).
    #[cfg(target_os = "linux")]
    pub(super) fn event(&self) -> std::os::fd::BorrowedFd<'_> {
        use std::os::fd::AsFd as _;
        self.0.event.as_fd()
    }

    /// Makes the event unreadable; what was asked stays asked.
    #[cfg(target_os = "linux")]
    #[cold]
    pub(super) fn settle(&self) {
        use std::io::Read as _;
        let _ = (&self.0.event).read(&mut [0; 8]);
    }
}

#[derive(Debug)]
struct WakeSignal {
    asked: AtomicBool,
    #[cfg(target_os = "linux")]
    event: std::fs::File,
}
