//! What one exporter can make a decoder hold, measured by the allocator: the number in the documentation of
//! `Limits` is true.

#![expect(unsafe_code, reason = "an allocator that counts")]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use netflow_wire::write::{Field, MessageWriter};
use netflow_wire::{Limits, Version};
use support::{Session, writer};

/// Octets allocated now, and the most since the last [`reset`].
static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every call goes to the system's allocator unchanged; the counters are atomics and allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(live, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`, which is the system's too.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the pointer came from `alloc` above, that is from the system, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The bound that `Limits` documents for its defaults.
const DOCUMENTED: usize = 3 << 20;

type Send<'a> = &'a dyn Fn(&mut Flood);

/// What one exporter sends, message by message.
struct Flood {
    session: Session,
    message: MessageWriter,
    port: u16,
}

impl Flood {
    fn new() -> Self {
        let mut session = Session {
            counts_only: true,
            ..Session::default()
        };
        session.pass(Duration::from_secs(1));
        Self {
            session,
            message: writer(Version::Ipfix, 0),
            port: 0,
        }
    }

    fn send(&mut self, domain: u32) {
        let message = std::mem::replace(&mut self.message, writer(Version::Ipfix, domain));
        let octets = { message }.finish().expect("fits");
        self.session
            .datagram_from(self.port, &octets)
            .expect("good");
        self.session.pass(Duration::from_millis(1));
    }

    /// Octets that the decoder holds now, and held at most, without what the flood itself needs.
    fn measure(mut self, send: impl FnOnce(&mut Self)) -> (usize, usize) {
        let before = LIVE.load(Ordering::Relaxed);
        PEAK.store(before, Ordering::Relaxed);
        send(&mut self);
        self.message = writer(Version::Ipfix, 0);
        let peak = PEAK.load(Ordering::Relaxed).saturating_sub(before);
        let held = LIVE.load(Ordering::Relaxed).saturating_sub(before);
        drop(self.session);
        (held, peak)
    }
}

/// Every kind of flood, in one test: the counters are the process's.
#[test]
fn a_decoder_holds_no_more_than_its_limits_document() {
    let limits = Limits::default();
    let fields = limits.max_template_fields / limits.max_templates;
    let template = vec![Field::new(1, 4); fields];
    let most = limits.max_templates as u32 + 1000;

    let templates_by_domain = |flood: &mut Flood| {
        for domain in 0..most {
            flood.send(domain);
            flood.message.template(256, &template);
        }
        flood.send(0);
    };
    let templates_by_port = |flood: &mut Flood| {
        for port in 0..most {
            flood.port = port as u16;
            // A definition of its own in every port.
            flood
                .message
                .template(256, &template)
                .template(257, &[Field::new(port as u16 & 0x7fff, 4)]);
            flood.send(0);
        }
    };
    let held_sets = |flood: &mut Flood| {
        let octets = limits.max_held_octets / limits.max_held_sets;
        for _ in 0..2 * limits.max_held_sets {
            flood.message.raw_set(9999, None, &vec![1; octets]);
            flood.send(0);
        }
        assert_eq!(
            flood.session.decoder.waiting(),
            (limits.max_held_sets, limits.max_held_octets)
        );
    };
    let floods: [(&str, Send<'_>); 4] = [
        ("templates by domain", &templates_by_domain),
        ("templates by port", &templates_by_port),
        ("data without templates", &held_sets),
        ("all of it", &|flood| {
            templates_by_domain(flood);
            templates_by_port(flood);
            templates_by_domain(flood);
            held_sets(flood);
        }),
    ];
    for (name, send) in floods {
        let (held, peak) = Flood::new().measure(send);
        println!("{name}: holds {held} octets, {peak} at most");
        assert!(held <= DOCUMENTED, "{name}: holds {held} octets");
        // What a datagram in hand and an eviction need beside it.
        assert!(
            peak <= DOCUMENTED + (1 << 20),
            "{name}: {peak} octets at most"
        );
    }
}
