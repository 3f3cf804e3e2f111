//! Whether sources that can be made to wait may add more: then nothing of theirs is dropped because a queue is full.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::counters::Counters;
use crate::config::{self, SpoolMode};

/// The room of the queue and the spool, as one look at the counters shows it.
#[derive(Clone, Debug)]
pub struct Room {
    counters: Arc<Counters>,
    queue_size: u64,
    spool: Option<(SpoolMode, u64)>,
}

impl Room {
    pub(super) fn new(counters: Arc<Counters>, config: &config::Deliver) -> Self {
        Self {
            counters,
            queue_size: config.queue_size as u64,
            spool: config
                .spool
                .as_ref()
                .map(|spool| (spool.mode, spool.max_size)),
        }
    }

    /// Whether there is room. What remains is for batches that are being filled, and for those that are under way and may
    /// come back.
    #[must_use]
    pub fn is_there(&self) -> bool {
        let counters = &self.counters;
        let kept =
            counters.queued_octets.load(Relaxed) + counters.live_octets_in_flight.load(Relaxed);
        let failing = counters.spool.failing.load(Relaxed);
        match self.spool.filter(|_| !failing) {
            None => kept <= self.queue_size / 2,
            // The oldest segment of a full spool is dropped for the next one.
            Some((_, size)) if counters.spool.octets.load(Relaxed) <= size / 2 => {
                kept <= self.queue_size / 4 * 3
            }
            // Half of the queue is written to the spool.
            Some((SpoolMode::Overflow, _)) => kept <= self.queue_size / 4,
            Some((SpoolMode::Always, _)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_and_what_is_under_way_and_the_spool_decide() {
        let counters = Arc::new(Counters::default());
        let room = |mode: Option<SpoolMode>| Room {
            counters: Arc::clone(&counters),
            queue_size: 100,
            spool: mode.map(|mode| (mode, 1_000)),
        };
        let none = room(None);
        let overflow = room(Some(SpoolMode::Overflow));
        let always = room(Some(SpoolMode::Always));
        let all = || [&none, &overflow, &always].map(Room::is_there);
        counters.queued_octets.store(40, Relaxed);
        counters.live_octets_in_flight.store(10, Relaxed);
        assert_eq!(all(), [true; 3]);
        counters.live_octets_in_flight.store(11, Relaxed);
        assert_eq!(all(), [false, true, true]);
        counters.queued_octets.store(70, Relaxed);
        assert_eq!(all(), [false; 3]);
        // The spool is half full.
        counters.spool.octets.store(501, Relaxed);
        counters.queued_octets.store(14, Relaxed);
        assert_eq!(all(), [true, true, false]);
        counters.queued_octets.store(15, Relaxed);
        assert_eq!(all(), [true, false, false]);
        // It can't be written: what there is is the memory.
        counters.spool.failing.store(true, Relaxed);
        assert_eq!(all(), [true; 3]);
    }
}
