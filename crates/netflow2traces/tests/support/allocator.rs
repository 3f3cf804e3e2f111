//! An allocator that counts, for tests of what is allocated and held.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Octets that the process holds, and the most that it held.
pub(crate) static LIVE: AtomicUsize = AtomicUsize::new(0);
pub(crate) static PEAK: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Allocations of this thread: tests run beside each other.
    pub(crate) static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    /// Octets that it holds.
    pub(crate) static HELD: Cell<isize> = const { Cell::new(0) };
}

struct Counting;

fn count(octets: usize) {
    let live = LIVE.fetch_add(octets, Relaxed) + octets;
    PEAK.fetch_max(live, Relaxed);
    _ = HELD.try_with(|held| held.set(held.get() + octets.cast_signed()));
    _ = ALLOCATIONS.try_with(|allocations| allocations.set(allocations.get() + 1));
}

// SAFETY: every call goes to the system's allocator unchanged. The counters allocate nothing: they are atomics, and
// constant thread-locals without destructors, which may be gone while a thread ends.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`, which is the system's too.
        unsafe { System.alloc(layout) }
    }

    // The default writes every octet; the system's pages are zero already.
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc_zeroed`, which is the system's too.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        _ = HELD.try_with(|held| held.set(held.get() - layout.size().cast_signed()));
        // SAFETY: the pointer came from `alloc` above, that is from the system, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;
