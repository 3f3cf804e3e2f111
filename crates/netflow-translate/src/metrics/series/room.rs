//! How many series a view may have, counted over all workers without a lock.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

/// Places that one worker may ask of the others at once.
const MAX_CLAIMS: u32 = 64;

/// The places of a view, which all workers share.
#[derive(Debug)]
pub(crate) struct Room {
    max: u32,
    used: AtomicU32,
    /// Places that series which earned one wait for.
    claims: AtomicU32,
    /// Places that others gave up for them; they count as used.
    granted: AtomicU32,
}

impl Room {
    pub(crate) fn new(max: u32) -> Self {
        Self {
            max,
            used: AtomicU32::new(0),
            claims: AtomicU32::new(0),
            granted: AtomicU32::new(0),
        }
    }

    pub(super) const fn max(&self) -> u32 {
        self.max
    }

    /// Places that are taken.
    #[cfg(test)]
    pub(super) fn used(&self) -> u32 {
        self.used.load(Relaxed)
    }

    /// Places that series of any worker wait for.
    pub(super) fn claims(&self) -> u32 {
        self.claims.load(Relaxed)
    }

    pub(super) fn take(&self) -> bool {
        take_one(&self.used, |used| (used < self.max).then_some(used + 1))
    }

    pub(super) fn give_back(&self) {
        self.used.fetch_sub(1, Relaxed);
    }

    pub(super) fn take_granted(&self) -> bool {
        take_one(&self.granted, |granted| granted.checked_sub(1))
    }

    pub(super) fn claim(&self) {
        take_one(&self.claims, |claims| {
            (claims < MAX_CLAIMS).then_some(claims + 1)
        });
    }

    pub(super) fn grant(&self) {
        if take_one(&self.claims, |claims| claims.checked_sub(1)) {
            self.granted.fetch_add(1, Relaxed);
        } else {
            self.give_back();
        }
    }
}

fn take_one(number: &AtomicU32, next: impl Fn(u32) -> Option<u32>) -> bool {
    number.fetch_update(Relaxed, Relaxed, next).is_ok()
}
