//! What an operator should hear of one exporter: data that waits for its template, a clock that differs from
//! ours, records that were lost on the way, datagrams over its rate. Said when it begins and when it is over, not
//! while it lasts; and of all exporters together no more than a bounded number of lines.

use std::time::{Duration, Instant};

use otlp_wire::UnixNanos;
use tracing::{info, warn};

use crate::counters::traffic::Protocol;
use crate::exporter::activity::lost_unit;
use crate::exporter::sequence::{Reboot, Unit, Verdict};

/// A difference of clocks that makes spans hard to find.
pub(super) const CLOCK_TOLERANCE: Duration = Duration::from_secs(60);
/// Of what comes and goes more often than this, only the first change is said. What did not happen for so long
/// is over.
const QUIET: Duration = Duration::from_secs(600);
/// Lines about exporters between two sweeps: sources can be invented, and each could have its own.
const MAX_LINES: u32 = 100;

/// What may still be logged about exporters, of all of a worker.
#[derive(Debug)]
pub(crate) struct Lines {
    left: u32,
    suppressed: u64,
}

impl Default for Lines {
    fn default() -> Self {
        Self {
            left: MAX_LINES,
            suppressed: 0,
        }
    }
}

impl Lines {
    /// Whether one more may be written.
    #[cold]
    pub(crate) fn take(&mut self) -> bool {
        let may = self.left > 0;
        if may {
            self.left -= 1;
        } else {
            self.suppressed += 1;
        }
        may
    }

    /// Gives room for more, and says how many found none. To be called now and then.
    pub(crate) fn refill(&mut self) {
        if self.suppressed > 0 {
            info!(
                suppressed = self.suppressed,
                "more events of exporters than are logged; /api/exporters shows the exporters"
            );
        }
        *self = Self::default();
    }
}

#[derive(Debug, Default)]
pub(crate) struct Alerts {
    waiting_said: bool,
    restart_said: Option<Instant>,
    clock: Clock,
    /// Flows, messages, Data Records, datagrams missing by sequence numbers.
    loss: Spell<4>,
    /// Datagrams over the rate.
    limited: Spell<1>,
}

#[derive(Debug, Default)]
struct Clock {
    differs: bool,
    said: Option<Instant>,
}

/// Something that happens again and again for a while.
#[derive(Debug)]
struct Spell<const N: usize> {
    /// Since it was last looked at.
    new: [u64; N],
    /// Since it began.
    all: [u64; N],
    lasts: bool,
    last: Option<Instant>,
}

/// What has become of it.
enum Turn<const N: usize> {
    Began([u64; N]),
    Ended([u64; N]),
}

impl<const N: usize> Default for Spell<N> {
    fn default() -> Self {
        Self {
            new: [0; N],
            all: [0; N],
            lasts: false,
            last: None,
        }
    }
}

impl<const N: usize> Spell<N> {
    fn turn(&mut self, now: Instant) -> Option<Turn<N>> {
        if self.new.iter().any(|count| *count > 0) {
            for (all, new) in self
                .all
                .iter_mut()
                .zip(std::mem::replace(&mut self.new, [0; N]))
            {
                *all += new;
            }
            self.last = Some(now);
            return (!std::mem::replace(&mut self.lasts, true)).then_some(Turn::Began(self.all));
        }
        let quiet = self
            .last
            .is_some_and(|last| now.saturating_duration_since(last) >= QUIET);
        if !self.lasts || !quiet {
            return None;
        }
        self.lasts = false;
        Some(Turn::Ended(std::mem::replace(&mut self.all, [0; N])))
    }
}

impl Alerts {
    /// Sets of data came without their template.
    #[cold]
    pub(crate) fn waiting(&mut self, exporter: &str, lines: &mut Lines) {
        if !self.waiting_said && lines.take() {
            self.waiting_said = true;
            info!(exporter, "received data before its template; buffering it");
        }
    }

    /// Its uptime or its sequence numbers began anew.
    #[cold]
    pub(crate) fn restarted(&mut self, exporter: &str, lines: &mut Lines, now: Instant) {
        let recently = self
            .restart_said
            .is_some_and(|said| now.saturating_duration_since(said) < QUIET);
        if !recently && lines.take() {
            self.restart_said = Some(now);
            info!(
                exporter,
                "exporter restarted, or reset its sequence numbers: nothing counts as lost"
            );
        }
    }

    /// What its sequence numbers and its uptime say.
    #[inline]
    pub(crate) fn judged(
        &mut self,
        exporter: &str,
        verdict: Verdict,
        reboot: Reboot,
        lines: &mut Lines,
        now: Instant,
    ) {
        match verdict {
            Verdict::Restarted => self.restarted(exporter, lines, now),
            Verdict::Adopted(unit) => self.counts(exporter, unit, lines),
            Verdict::Fine | Verdict::Lost(_) | Verdict::Late => {}
        }
        if reboot == Reboot::Engines {
            self.engines(exporter, lines);
        }
    }

    /// It counts its sequence numbers in another unit than its version's own.
    #[cold]
    fn counts(&mut self, exporter: &str, unit: Unit, lines: &mut Lines) {
        if lines.take() {
            info!(
                exporter,
                unit = unit.name(),
                "exporter counts its sequence numbers in another unit than the protocol says: no loss is reported for it"
            );
        }
    }

    /// Several engines send in one session.
    #[cold]
    fn engines(&mut self, exporter: &str, lines: &mut Lines) {
        if lines.take() {
            info!(
                exporter,
                "several engines with uptimes or sequence numbers of their own send from one address and port: their \
                 templates are shared, and no loss is reported for them"
            );
        }
    }

    /// Its flow metrics show bytes long after they passed.
    #[cold]
    pub(crate) fn long_flow(&self, exporter: &str, seconds: u64, lines: &mut Lines) {
        if lines.take() {
            warn!(
                exporter,
                seconds,
                remedy = "set the active timeout of the exporter's flow cache to 60 seconds",
                "exporter reports flows that last longer than five minutes: their bytes are counted when they are \
                 reported, so rates of flow metrics show peaks"
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
        now: Instant,
        lines: &mut Lines,
    ) {
        let apart = Duration::from_nanos(export_time.abs_diff(received_at.0));
        if (apart > CLOCK_TOLERANCE) != self.clock.differs {
            let behind = export_time < received_at.0;
            self.clock_changed(exporter, apart, behind, now, lines);
        }
    }

    #[cold]
    fn clock_changed(
        &mut self,
        exporter: &str,
        apart: Duration,
        behind: bool,
        now: Instant,
        lines: &mut Lines,
    ) {
        let recently = self
            .clock
            .said
            .is_some_and(|said| now.saturating_duration_since(said) < QUIET);
        if recently || !lines.take() {
            return;
        }
        self.clock.said = Some(now);
        self.clock.differs = !self.clock.differs;
        if self.clock.differs {
            warn!(
                exporter,
                seconds = apart.as_secs(),
                direction = if behind { "behind" } else { "ahead" },
                "the exporter's clock differs from ours: its spans have its times; configure NTP on it"
            );
        } else {
            info!(exporter, "the exporter's clock agrees with ours again");
        }
    }

    /// A sequence number jumped.
    #[cold]
    pub(crate) fn lost(&mut self, protocol: Protocol, units: u64) {
        self.loss.new[lost_unit(protocol)] += units;
    }

    /// A datagram was over the exporter's rate.
    #[cold]
    pub(crate) fn limited(&mut self) {
        self.limited.new[0] += 1;
    }

    /// Says what began and what is over. To be called now and then.
    pub(crate) fn say(&mut self, exporter: &str, now: Instant, lines: &mut Lines) {
        if let Some(turn) = self.loss.turn(now)
            && lines.take()
        {
            match turn {
                Turn::Began([flows, messages, records, datagrams]) => warn!(
                    exporter,
                    flows,
                    messages,
                    records,
                    datagrams,
                    "records of an exporter are missing by its sequence numbers: lost on the network, \
                     dropped by the kernel here, or over NETFLOW_MAX_RATE_PER_EXPORTER"
                ),
                Turn::Ended([flows, messages, records, datagrams]) => info!(
                    exporter,
                    flows,
                    messages,
                    records,
                    datagrams,
                    "no more records of an exporter are missing"
                ),
            }
        }
        if let Some(turn) = self.limited.turn(now)
            && lines.take()
        {
            match turn {
                Turn::Began([datagrams]) => warn!(
                    exporter,
                    datagrams,
                    "an exporter sends more than NETFLOW_MAX_RATE_PER_EXPORTER: datagrams over the limit are dropped"
                ),
                Turn::Ended([datagrams]) => info!(
                    exporter,
                    datagrams, "an exporter keeps to NETFLOW_MAX_RATE_PER_EXPORTER again"
                ),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_spell_is_reported_when_it_begins_and_when_it_is_over() {
        let mut spell = Spell::<1>::default();
        let mut now = Instant::now();
        assert!(spell.turn(now).is_none());
        spell.new = [3];
        assert!(matches!(spell.turn(now), Some(Turn::Began([3]))));
        // It continues, with pauses.
        for _ in 0..10 {
            now += QUIET - SECOND;
            assert!(spell.turn(now).is_none());
            spell.new = [1];
            assert!(spell.turn(now).is_none());
        }
        now += QUIET;
        assert!(matches!(spell.turn(now), Some(Turn::Ended([13]))));
        assert!(spell.turn(now + QUIET).is_none());
        spell.new = [5];
        assert!(matches!(spell.turn(now), Some(Turn::Began([5]))));
    }

    #[test]
    fn a_clock_that_comes_and_goes_is_reported_once_in_a_while() {
        let mut alerts = Alerts::default();
        let mut lines = Lines::default();
        let mut now = Instant::now();
        let hour = 3_600_000_000_000;
        let mut tell = |alerts: &mut Alerts, now, apart: u64| {
            let left = lines.left;
            alerts.clock(
                "exporter",
                2 * hour - apart,
                UnixNanos(2 * hour),
                now,
                &mut lines,
            );
            left - lines.left
        };
        assert_eq!(tell(&mut alerts, now, 0), 0);
        assert_eq!(tell(&mut alerts, now, hour), 1);
        assert_eq!(tell(&mut alerts, now, hour), 0);
        // Two line cards, one of which is right.
        for _ in 0..100 {
            assert_eq!(tell(&mut alerts, now, 0), 0);
            assert_eq!(tell(&mut alerts, now, hour), 0);
        }
        now += QUIET;
        assert_eq!(tell(&mut alerts, now, 0), 1);
        assert!(!alerts.clock.differs);
    }

    #[test]
    fn lines_are_bounded_and_what_found_no_room_is_counted() {
        let mut lines = Lines::default();
        assert_eq!(
            (0..1000).filter(|_| lines.take()).count(),
            MAX_LINES as usize
        );
        assert_eq!(lines.suppressed, 1000 - u64::from(MAX_LINES));
        lines.refill();
        assert!(lines.take());
    }
}
