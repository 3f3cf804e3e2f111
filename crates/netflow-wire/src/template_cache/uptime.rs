//! Whether an exporter has restarted between two of its messages.

use crate::message::Header;

/// How long an exporter had been up when it sent a message; IPFIX doesn't say it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Uptime {
    /// Milliseconds.
    pub ms: u32,
    /// When the message was exported: nanoseconds since 1970.
    pub export_time: u64,
}

/// An uptime that goes back by no more than this, in milliseconds, is that of an overtaken datagram, or a clock was set.
const MAX_BACK: i64 = 10_000;
/// Milliseconds by which an uptime may have grown more or less than the time, over a wrap.
const MAX_DRIFT: u64 = 60_000;
/// A whole turn of 32 bits.
const TURN: i64 = 1 << 32;

impl Uptime {
    /// What a message says of it.
    #[must_use]
    pub fn of(header: &Header) -> Option<Self> {
        Some(Self {
            ms: header.sys_uptime_ms?,
            export_time: header.export_time,
        })
    }

    /// Whether it went back since `before`, and with it the time of the start moved: of an older message it doesn't.
    pub(super) fn is_after_restart(self, before: Self) -> bool {
        let Some(back) = before.ms.checked_sub(self.ms).map(i64::from) else {
            return false;
        };
        let [now, then] = [self, before].map(|uptime| uptime.export_time / 1_000_000);
        let elapsed = now.cast_signed().saturating_sub(then.cast_signed());
        // After 49.7 days it begins again at zero.
        let has_wrapped = elapsed.abs_diff(TURN - back) <= MAX_DRIFT;
        let moved = elapsed.saturating_add(back).saturating_abs();
        back > MAX_BACK && moved > MAX_BACK && !has_wrapped
    }
}
