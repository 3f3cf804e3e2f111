//! How a signal reaches the thread that sends.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::time::Duration;

/// Asks for the end; so does dropping it.
pub(super) struct Stopper(#[expect(dead_code, reason = "it is its end that tells")] Sender<()>);

/// What is asked.
pub(super) struct Stop(Receiver<()>);

pub(super) fn stop() -> (Stopper, Stop) {
    let (sender, receiver) = mpsc::channel();
    (Stopper(sender), Stop(receiver))
}

impl Stop {
    pub(super) fn is_asked(&self) -> bool {
        self.0.try_recv() != Err(TryRecvError::Empty)
    }

    /// Waits for so long, or until the end is asked for: whether it is.
    pub(super) fn wait(&self, timeout: Duration) -> bool {
        self.0.recv_timeout(timeout) != Err(RecvTimeoutError::Timeout)
    }
}
