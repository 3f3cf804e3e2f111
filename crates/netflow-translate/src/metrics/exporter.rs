//! What flow metrics know of one exporter besides its series.

use super::Direction;

/// Minutes of one look at the longest flow.
const LOOK: u32 = 10;
/// Seconds: longer flows spoil every rate, for they are counted when they are reported.
const LONG_SECONDS: u64 = 300;
const NANOS: u64 = 1_000_000_000;

/// Which look at the longest flow a minute belongs to.
pub(super) const fn look(minute: u32) -> u32 {
    minute / LOOK
}

/// Kept with the exporter's other state.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ExporterFlows {
    has_sent_ingress: bool,
    has_sent_egress: bool,
    /// Which ten minutes `longest` is of.
    look: u32,
    /// Nanoseconds.
    longest: u64,
    /// Of the ten minutes before.
    longest_before: u64,
    is_long_said: bool,
}

impl ExporterFlows {
    /// Takes in the direction of a record, before it is counted.
    #[inline(always)]
    pub(super) fn saw(&mut self, direction: Direction) {
        match direction {
            Direction::Ingress => self.has_sent_ingress = true,
            Direction::Egress => self.has_sent_egress = true,
        }
    }

    /// Takes in how many nanoseconds a flow lasted.
    #[inline(always)]
    pub(super) fn observe(&mut self, duration: u64, look: u32) {
        if look > self.look {
            let is_next = look == self.look + 1;
            self.longest_before = if is_next { self.longest } else { 0 };
            (self.look, self.longest) = (look, 0);
        }
        self.longest = self.longest.max(duration);
    }

    /// Records of each direction are of one side of an interface: the exporter sends both.
    #[inline]
    pub(super) fn sends_both_directions(&self) -> bool {
        self.has_sent_ingress && self.has_sent_egress
    }

    /// Seconds of the longest flow of the last ten to twenty minutes.
    pub(crate) fn longest_seconds(&self, minute: u32) -> f64 {
        let nanos = match look(minute).saturating_sub(self.look) {
            0 => self.longest.max(self.longest_before),
            1 => self.longest,
            _ => 0,
        };
        nanos as f64 / NANOS as f64
    }

    /// Whole seconds of the longest flow, once, if it is too long for rates.
    #[inline]
    pub(crate) fn take_long(&mut self) -> Option<u64> {
        let seconds = self.longest / NANOS;
        if seconds <= LONG_SECONDS || self.is_long_said {
            return None;
        }
        self.is_long_said = true;
        Some(seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_flow_is_forgotten_after_two_looks() {
        let mut exporter = ExporterFlows::default();
        exporter.observe(100 * NANOS, look(3));
        exporter.observe(20 * NANOS, look(4));
        assert_eq!(exporter.longest_seconds(9), 100.0);
        exporter.observe(5 * NANOS, look(12));
        assert_eq!(exporter.longest_seconds(19), 100.0);
        assert_eq!(exporter.longest_seconds(20), 5.0);
        assert_eq!(exporter.longest_seconds(30), 0.0);
    }

    #[test]
    fn a_flow_above_five_minutes_is_said_once() {
        let mut exporter = ExporterFlows::default();
        exporter.observe(300 * NANOS, look(0));
        assert_eq!(exporter.take_long(), None);
        exporter.observe(1_800 * NANOS, look(0));
        assert_eq!(exporter.take_long(), Some(1_800));
        exporter.observe(3_600 * NANOS, look(0));
        assert_eq!(exporter.take_long(), None);
    }
}
