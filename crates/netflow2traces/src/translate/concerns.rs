//! What an operator should hear of one exporter: that it appeared or restarted, data that waits for its template, a
//! clock that differs from ours, records that were lost on the way. Said when it begins, and not again and again; and
//! of many exporters at once a bounded number is heard, the others are counted.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use netflow_wire::Version;
use otlp_wire::UnixNanos;
use tracing::{info, warn};

use crate::observe::logging::RateLimit;

/// A difference of clocks that makes spans hard to find.
pub(super) const CLOCK_TOLERANCE: Duration = Duration::from_secs(60);
/// Loss is said at most once in this time, with its sum; a restart likewise.
const INTERVAL: Duration = Duration::from_secs(60);
/// Lines of one sense in that time, of all exporters of a worker.
const LINES: u32 = 60;

/// The limits of one worker, for each sense: invented exporters must not fill the log.
#[derive(Debug)]
pub(crate) struct Notices {
    appeared: RateLimit,
    restarted: RateLimit,
    waiting: RateLimit,
    clock: RateLimit,
    loss: RateLimit,
}

impl Default for Notices {
    fn default() -> Self {
        let limit = RateLimit::new(LINES, INTERVAL);
        Self {
            appeared: limit.clone(),
            restarted: limit.clone(),
            waiting: limit.clone(),
            clock: limit.clone(),
            loss: limit,
        }
    }
}

impl Notices {
    /// The first decodable datagram of an address.
    #[cold]
    pub(crate) fn appeared(&mut self, exporter: IpAddr, version: &str, now: Instant) {
        if let Some(suppressed) = self.appeared.admit(now) {
            let suppressed = if_any(suppressed);
            info!(%exporter, version, suppressed, "exporter appeared");
        }
    }
}

/// Lines held back are worth a field only when there are any.
fn if_any(suppressed: u64) -> Option<u64> {
    (suppressed > 0).then_some(suppressed)
}

#[derive(Debug, Default)]
pub(crate) struct Concerns {
    waiting_said: bool,
    clock_said: bool,
    lost: Lost,
    loss_said: Option<Instant>,
    restart_said: Option<Instant>,
}

/// Units missing by sequence numbers, since it was last said.
#[derive(Debug, Default)]
struct Lost {
    flows: u64,
    messages: u64,
    records: u64,
    /// Of sFlow.
    samples: u64,
}

impl Concerns {
    /// Sets of data came without their template.
    #[cold]
    pub(crate) fn waiting(&mut self, exporter: &str, notices: &mut Notices, now: Instant) {
        if std::mem::replace(&mut self.waiting_said, true) {
            return;
        }
        if let Some(suppressed) = notices.waiting.admit(now) {
            info!(
                exporter,
                suppressed = if_any(suppressed),
                "data came before its template and waits for it"
            );
        }
    }

    /// Its sequence numbers, or its uptime, began anew.
    #[cold]
    pub(crate) fn restarted(&mut self, exporter: &str, notices: &mut Notices, now: Instant) {
        if is_recent(self.restart_said, now) {
            return;
        }
        self.restart_said = Some(now);
        if let Some(suppressed) = notices.restarted.admit(now) {
            info!(
                exporter,
                suppressed = if_any(suppressed),
                "exporter restarted, or counts anew: nothing is taken for lost"
            );
        }
    }

    /// Compares a message's export time with its arrival.
    #[inline]
    pub(crate) fn clock(
        &mut self,
        exporter: &str,
        export_time: u64,
        received_at: UnixNanos,
        notices: &mut Notices,
        now: Instant,
    ) {
        let apart = Duration::from_nanos(export_time.abs_diff(received_at.0));
        if apart > CLOCK_TOLERANCE && !self.clock_said {
            self.clock_differs(exporter, apart, export_time < received_at.0, notices, now);
        }
    }

    #[cold]
    fn clock_differs(
        &mut self,
        exporter: &str,
        apart: Duration,
        behind: bool,
        notices: &mut Notices,
        now: Instant,
    ) {
        self.clock_said = true;
        let Some(suppressed) = notices.clock.admit(now) else {
            return;
        };
        warn!(
            exporter,
            seconds = apart.as_secs(),
            direction = if behind { "behind" } else { "ahead" },
            suppressed = if_any(suppressed),
            "the exporter's clock differs from ours: its spans lie at its time; set its NTP right"
        );
    }

    /// A sequence number jumped.
    #[cold]
    pub(crate) fn lost(&mut self, version: Version, units: u64) {
        match version {
            Version::V9 => self.lost.messages += units,
            Version::Ipfix => self.lost.records += units,
            _ => self.lost.flows += units,
        }
    }

    /// A sequence number of sFlow jumped.
    #[cold]
    pub(crate) fn lost_samples(&mut self, datagrams: u64) {
        self.lost.samples += datagrams;
    }

    /// Says what was lost since it was last said. To be called now and then.
    pub(crate) fn say_loss(&mut self, exporter: &str, notices: &mut Notices, now: Instant) {
        let Lost {
            flows,
            messages,
            records,
            samples,
        } = self.lost;
        if flows + messages + records + samples == 0 || is_recent(self.loss_said, now) {
            return;
        }
        // What is not said is summed up until it is.
        let Some(suppressed) = notices.loss.admit(now) else {
            return;
        };
        self.loss_said = Some(now);
        self.lost = Lost::default();
        warn!(
            exporter,
            flows = if_any(flows),
            messages = if_any(messages),
            records = if_any(records),
            sflow_datagrams = if_any(samples),
            suppressed = if_any(suppressed),
            "records of an exporter are missing by its sequence numbers: lost on the network, or dropped by \
             the kernel here"
        );
    }
}

fn is_recent(said: Option<Instant>, now: Instant) -> bool {
    said.is_some_and(|said| now.saturating_duration_since(said) < INTERVAL)
}
