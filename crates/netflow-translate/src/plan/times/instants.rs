//! From what a time field holds to an instant: nanoseconds since 1970.

use super::{MAX_AGE, MAX_AHEAD, MILLISECOND, SECOND, TURN, Unit};

/// From 1900 to 1970 in seconds (RFC 5905).
pub(super) const NTP_EPOCH: u64 = 2_208_988_800;

/// What sysUptimes are relative to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Boot {
    /// Milliseconds it has been up at the export time.
    Uptime(u32),
    /// It started then.
    At(u64),
    Unknown,
}

/// When an exporter had been up for `value` milliseconds, if it has been up for `uptime` at the export time.
#[inline]
pub(super) fn before(export: u64, uptime: u32, value: u32) -> u64 {
    // Modulo 2^32 ms, half of it for each side: a wrap is the past, a clock slightly ahead isn't.
    let ago = i64::from(uptime.wrapping_sub(value).cast_signed());
    export.saturating_add_signed(-ago * MILLISECOND as i64)
}

/// `near` decides where the value leaves several times open.
#[inline]
pub(super) fn to_unix(unit: Unit, value: u64, export: u64, near: u64, boot: Boot) -> Option<u64> {
    Some(match unit {
        Unit::Seconds => value.saturating_mul(SECOND),
        Unit::Milliseconds => value.saturating_mul(MILLISECOND),
        Unit::DeltaMicroseconds => export.saturating_sub(value.saturating_mul(1000)),
        Unit::Ntp(nanos_each) => {
            let time = from_ntp(value, near);
            let count = value.saturating_mul(nanos_each);
            // Which of the two was meant only one of them can be near the export.
            if is_near(time, near) || !is_near(count, near) {
                time
            } else {
                count
            }
        }
        Unit::SysUptime => match boot {
            Boot::Unknown => return None,
            Boot::Uptime(uptime) => before(export, uptime, value as u32),
            Boot::At(start) => since_boot(start, value as u32, near),
        },
    })
}

/// When an exporter that started at `start` had been up for `value` milliseconds: of the turns of its 32 bits the
/// one that brings it nearest to `near`. An exporter that replays a capture sends uptimes before its own start, in
/// the turn before it.
pub(super) fn since_boot(start: u64, value: u32, near: u64) -> u64 {
    let first = start.saturating_add(u64::from(value) * MILLISECOND);
    let half = TURN / 2;
    if near.saturating_add(half) < first {
        // One turn before, if that is near; else the clocks have nothing to do with each other.
        let earlier = first.saturating_sub(TURN);
        return if earlier <= near.saturating_add(half) {
            earlier
        } else {
            first
        };
    }
    let turns = (near.saturating_add(half) - first) / TURN;
    first.saturating_add(turns.saturating_mul(TURN))
}

/// Whether an exporter that exported at `export` can have started at `init_time` (element 160): a message that waited
/// for its template may be older than the start that was announced meanwhile.
pub(crate) fn is_same_boot(init_time: u64, export: u64) -> bool {
    init_time.saturating_mul(MILLISECOND) <= export.saturating_add(MAX_AHEAD)
}

/// A time that a flow of this message may have.
#[inline]
pub(super) fn is_near(time: u64, export: u64) -> bool {
    time <= export.saturating_add(MAX_AHEAD) && time >= export.saturating_sub(MAX_AGE)
}

/// An NTP time-stamp in the era that runs until 2036.
pub(crate) fn ntp_to_unix_nanos(value: u64) -> u64 {
    from_ntp(value, 0)
}

/// An NTP time-stamp in the era that brings it nearest to the export time (RFC 5905, section 6: eras of 2^32 s).
pub(super) fn from_ntp(value: u64, export: u64) -> u64 {
    let fraction = (value & 0xffff_ffff) * SECOND;
    // Rounded to nearest, so that whole microseconds come out whole.
    let nanos = (fraction + (1 << 31)) >> 32;
    let seconds = value >> 32;
    let near = export / SECOND + NTP_EPOCH;
    let era = 1_u64 << 32;
    let base = near & !(era - 1);
    let mut best = base | seconds;
    for candidate in [best.wrapping_sub(era), best.wrapping_add(era)] {
        if candidate < era << 8 && candidate.abs_diff(near) < best.abs_diff(near) {
            best = candidate;
        }
    }
    best.saturating_sub(NTP_EPOCH)
        .saturating_mul(SECOND)
        .saturating_add(nanos)
}
