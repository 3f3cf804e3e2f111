//! The stop: the signals that ask for it, the time that each of its parts has, and a watch that ends the process when a
//! part takes longer.

use std::process;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

use crate::observe::logging;

/// A second signal so soon after the first is its echo, not a second wish: `timeout` signals its child and
/// then its group, and some wrappers pass on what a terminal sends to all.
const ECHO: Duration = Duration::from_millis(250);
/// Of the time to stop, a spool has this part to write what could not be delivered …
const SPOOL_PART: u32 = 4;
/// … but not more than this …
const SPOOL_MOST: Duration = Duration::from_secs(2);
/// … and this beyond the end, for a disk that is slow.
const SPOOL_MORE: Duration = Duration::from_millis(400);
/// Of the time to stop, connections have this part to bring what had been sent …
const CONNECTIONS_PART: u32 = 4;
/// … but not more than this.
const CONNECTIONS_MOST: Duration = Duration::from_secs(2);
/// After a second signal.
const AT_ONCE: Duration = Duration::from_millis(500);
/// How long the last request with own metrics may take, though the time to deliver is over.
const LAST_METRICS: Duration = Duration::from_millis(200);
/// The process never lives longer than this beyond `NETFLOW_SHUTDOWN_TIMEOUT`.
const LAST_RESORT: Duration = Duration::from_millis(800);

/// SIGTERM and SIGINT, which stop the daemon, and SIGHUP, which does not.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// From here on none of them ends the process by itself.
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("SIGTERM can't be handled")?,
            interrupt: signal(SignalKind::interrupt()).context("SIGINT can't be handled")?,
            hangup: signal(SignalKind::hangup()).context("SIGHUP can't be handled")?,
        })
    }

    /// Waits for a signal that stops the daemon. Calls `reload` for each SIGHUP until then.
    pub(crate) async fn stop(&mut self, mut reload: impl FnMut()) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.hangup.recv() => {
                    info!("SIGHUP: reading files again");
                    reload();
                }
            }
        }
    }

    /// Waits for a second signal, which ends the stop at once.
    pub(crate) async fn second(&mut self, schedule: &Schedule) {
        loop {
            let signal = self.stop(|| {}).await;
            if schedule.asked.elapsed() >= ECHO {
                warn!(signal, "stopping at once");
                return;
            }
        }
    }
}

/// Until when each part of the stop is to be done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    asked: Instant,
    deadline: Instant,
    connections: Instant,
    delivered: Instant,
    written: Instant,
}

impl Schedule {
    /// Begins now. A process that doesn't end in time is ended.
    pub(crate) fn begin(timeout: Duration, with_spool: bool) -> Self {
        let schedule = Self::new(Instant::now(), timeout, with_spool);
        end_at(schedule.deadline + LAST_RESORT);
        schedule
    }

    fn new(asked: Instant, timeout: Duration, with_spool: bool) -> Self {
        let deadline = asked + timeout;
        let for_spool = if with_spool {
            (timeout / SPOOL_PART).min(SPOOL_MOST)
        } else {
            Duration::ZERO
        };
        Self {
            asked,
            deadline,
            connections: asked + (timeout / CONNECTIONS_PART).min(CONNECTIONS_MOST),
            delivered: deadline - for_spool,
            written: deadline + SPOOL_MORE,
        }
    }

    /// No connection is read after this.
    pub(crate) const fn connections(&self) -> Instant {
        self.connections
    }

    /// What connections brought is read until then only as far as there is room for it; what remains is read then.
    pub(crate) fn rest(&self) -> Instant {
        self.asked + (self.delivered - self.asked) / 2
    }

    /// No attempt to deliver after this.
    pub(crate) const fn delivered(&self) -> Instant {
        self.delivered
    }

    /// What isn't on the disk by then is lost.
    pub(crate) const fn written(&self) -> Instant {
        self.written
    }

    /// The last request with own metrics.
    pub(crate) fn metrics(&self) -> Instant {
        self.deadline.max(Instant::now() + LAST_METRICS)
    }

    /// A second signal came: all is to be done within moments.
    pub(crate) fn hurry(&mut self) {
        let soon = Instant::now() + AT_ONCE;
        self.deadline = self.deadline.min(soon);
        self.delivered = self.delivered.min(Instant::now());
        self.written = self.written.min(soon);
        end_at(soon + LAST_RESORT);
    }
}

/// Ends the process at this instant, if it still lives then: whatever thread hangs, and in whatever.
fn end_at(instant: Instant) {
    let watch = move || {
        let (_never, wait) = mpsc::channel::<()>();
        let left = instant.saturating_duration_since(Instant::now());
        if wait.recv_timeout(left).is_err() {
            logging::write_line("error: the stop took too long: what is left is lost");
            logging::flush_within(Duration::from_millis(50));
            process::exit(1);
        }
    };
    if let Err(error) = thread::Builder::new().name("stop".into()).spawn(watch) {
        warn!(%error, "no thread could be created to limit the time of the stop: it may take longer than it should");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_ends_within_the_timeout_and_a_second() {
        let asked = Instant::now();
        for timeout in [0, 1, 200, 8_000, 3_600_000].map(Duration::from_millis) {
            for with_spool in [false, true] {
                let schedule = Schedule::new(asked, timeout, with_spool);
                assert!(schedule.delivered() <= asked + timeout);
                assert!(schedule.connections() <= schedule.delivered());
                assert!(schedule.rest() <= schedule.delivered());
                assert!(schedule.delivered() + SPOOL_MOST >= asked + timeout);
                assert!(schedule.delivered() >= asked + timeout / 2);
                assert!(schedule.written() < asked + timeout + LAST_RESORT);
            }
        }
        assert!(LAST_RESORT < Duration::from_secs(1));
    }
}
