//! A sequence of datagrams from several sources, with a worker that may keep little: what comes out, what it holds
//! and how long it works for each octet that comes in stay within the bounds of docs/bounds.md.
//!
//! Inputs are those of `translate`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use netflow2traces::config::{self, AttributeLevel, Machine, Purpose, Sources};
use netflow2traces::translate::{Datagram, Ids, StateBudget, Translator};
use otlp_wire::UnixNanos;

use super::memory::peak_of;
use super::sequence::{Step, steps};

const WALL: u64 = 1_700_000_000_000_000_000;
/// What the worker may keep for exporters.
const STATE: usize = 2 << 20;
const REQUEST: usize = 256 << 10;
/// The batch that is being filled and its spare rooms, the tables of a worker, a table that grows.
const BESIDE: usize = 8 << 20;

/// Octets of spans that a datagram may cause, with the work spans and the batch that others have begun.
fn allowed(octets: usize) -> usize {
    (4 << 20).max(128 * octets) + 2 * REQUEST
}

fn configuration(choice: u8) -> config::Translate {
    static DEFAULTS: OnceLock<config::Translate> = OnceLock::new();
    let defaults = DEFAULTS.get_or_init(|| {
        let sources = Sources::collect(vec![], &[("OTEL_TRACES_EXPORTER", "none")]);
        config::load(Purpose::Run, &sources, &Machine::read())
            .expect("the defaults are valid")
            .config
            .translate
    });
    config::Translate {
        attributes: match choice % 3 {
            0 => AttributeLevel::Minimal,
            1 => AttributeLevel::Standard,
            _ => AttributeLevel::All,
        },
        batch_max_octets: REQUEST,
        ..defaults.clone()
    }
}

/// Measures output and memory.
pub fn run(input: &[u8]) {
    run_within(input, None);
}

/// And the time that each datagram takes, where it is limited.
pub fn run_within(input: &[u8], limit: Option<Duration>) {
    let Some((&choice, input)) = input.split_first() else {
        return;
    };
    let config = configuration(choice);
    let ((), peak) = peak_of(|| translate(&config, steps(input), limit));
    assert!(peak <= STATE + BESIDE, "{peak} octets of memory");
}

fn translate<'a>(
    config: &config::Translate,
    steps: impl Iterator<Item = Step<'a>>,
    limit: Option<Duration>,
) {
    let budget = StateBudget::new(STATE, 1);
    let made = Arc::new(AtomicUsize::new(0));
    let sum = Arc::clone(&made);
    let mut translator =
        Translator::new(config, || UnixNanos(WALL), Ids::new([7; 32])).with_budget(&budget);
    translator.hand_over_to(move |batch| {
        sum.fetch_add(batch.octets.len(), Relaxed);
    });
    let mut now = Instant::now();
    for step in steps {
        now += Duration::from_secs(u64::from(step.seconds));
        let address = Ipv4Addr::new(192, 0, 2, step.flags & 7);
        let datagram = Datagram {
            octets: step.octets,
            source: SocketAddr::new(IpAddr::V4(address), step.port),
            received_at: UnixNanos(WALL),
        };
        let (before, began) = (made.load(Relaxed), Instant::now());
        translator.on_datagram(&datagram, now);
        check(made.load(Relaxed) - before, step.octets.len(), began, limit);
        // Rounds of late Sets, and the batch that is old enough.
        while translator.next_deadline().is_some_and(|due| due <= now) {
            let (before, began) = (made.load(Relaxed), Instant::now());
            translator.on_deadline(now);
            translator.poll_batch(now);
            check(made.load(Relaxed) - before, 2 * 65_535, began, limit);
        }
        assert!(budget.used() <= STATE, "{} octets kept", budget.used());
    }
    translator.flush();
}

fn check(made: usize, octets: usize, began: Instant, limit: Option<Duration>) {
    assert!(
        made <= allowed(octets),
        "{made} octets of spans of {octets}"
    );
    let took = began.elapsed();
    assert!(
        limit.is_none_or(|limit| took <= limit),
        "{took:?} for {octets} octets"
    );
}
