//! What an operator should hear of one exporter: data that waits for its template, a clock that differs from
//! ours, records that were lost on the way. Said when it begins, and not again and again.

use std::time::{Duration, Instant};

use netflow_wire::Version;
use otlp_wire::UnixNanos;
use tracing::{info, warn};

/// A difference of clocks that makes spans hard to find.
pub(super) const CLOCK_TOLERANCE: Duration = Duration::from_secs(60);
/// Loss is said at most once in this time, with its sum.
const LOSS_INTERVAL: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(crate) struct Concerns {
    waiting_said: bool,
    clock_said: bool,
    lost: Lost,
    loss_said: Option<Instant>,
}

/// Units missing by sequence numbers, since it was last said.
#[derive(Debug, Default)]
struct Lost {
    flows: u64,
    messages: u64,
    records: u64,
}

impl Concerns {
    /// Sets of data came without their template.
    #[cold]
    pub(crate) fn waiting(&mut self, exporter: &str) {
        if !self.waiting_said {
            self.waiting_said = true;
            info!(exporter, "data came before its template and waits for it");
        }
    }

    /// Compares a message's export time with its arrival.
    #[inline]
    pub(crate) fn clock(&mut self, exporter: &str, export_time: u64, received_at: UnixNanos) {
        let apart = Duration::from_nanos(export_time.abs_diff(received_at.0));
        if apart > CLOCK_TOLERANCE && !self.clock_said {
            self.clock_differs(exporter, apart, export_time < received_at.0);
        }
    }

    #[cold]
    fn clock_differs(&mut self, exporter: &str, apart: Duration, behind: bool) {
        self.clock_said = true;
        warn!(
            exporter,
            seconds = apart.as_secs(),
            direction = if behind { "behind" } else { "ahead" },
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

    /// Says what was lost since it was last said. To be called now and then.
    pub(crate) fn say_loss(&mut self, exporter: &str, now: Instant) {
        let Lost {
            flows,
            messages,
            records,
        } = self.lost;
        let recently = self
            .loss_said
            .is_some_and(|said| now.saturating_duration_since(said) < LOSS_INTERVAL);
        if flows + messages + records == 0 || recently {
            return;
        }
        self.loss_said = Some(now);
        self.lost = Lost::default();
        warn!(
            exporter,
            flows,
            messages,
            records,
            "records of an exporter are missing by its sequence numbers: lost on the network, or dropped by \
             the kernel here"
        );
    }
}
