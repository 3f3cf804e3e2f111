//! What flow metrics cost a flow: NetFlow v9 whose addresses, interfaces and AS numbers follow Zipf's law, by view. And
//! what a scrape of full views costs, with the memory that it takes for a moment.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Instant;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use netflow_wire::write::{Field, MessageWriter, V9Header};
use netflow2traces::config::{self, Machine, Purpose, Sources};
use netflow2traces::observe::flow_metrics::Exposition;
use netflow2traces::observe::flow_metrics::otlp::Stretches;
use netflow2traces::observe::flow_metrics::text::Parts;
use netflow2traces::observe::metrics::Format;
use netflow2traces::translate::enrich::geo::{Database, DatabaseKind, Databases, Locator};
use netflow2traces::translate::enrich::networks::Networks;
use netflow2traces::translate::metrics::{FlowReading, Places, View};
use netflow2traces::translate::{Datagram, Ids, Translator};
use otlp_wire::UnixNanos;
use prost::Message;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use self::mmdb::Data;

#[path = "../tests/support/mmdb.rs"]
mod mmdb;

const SECONDS: u32 = 1_700_000_000;
const NOW: UnixNanos = UnixNanos(SECONDS as u64 * 1_000_000_000);
const DATAGRAMS: usize = 200;
const FLOWS: usize = 24;

/// Tells what a scrape allocates; nothing else that is measured here allocates for a flow.
#[global_allocator]
static ALLOCATOR: divan::AllocProfiler = divan::AllocProfiler::system();

fn main() {
    divan::main();
}

/// A number below `n`, small ones more often.
fn zipf(rng: &mut SmallRng, n: u32) -> u32 {
    let exponent: f64 = rng.random();
    (f64::from(n).powf(exponent) - 1.0) as u32
}

fn datagrams() -> Vec<Vec<u8>> {
    let fields: Vec<Field> = [
        (8, 4),
        (12, 4),
        (7, 2),
        (11, 2),
        (4, 1),
        (6, 1),
        (1, 4),
        (2, 4),
        (10, 4),
        (14, 4),
        (22, 4),
        (21, 4),
        (16, 4),
        (17, 4),
    ]
    .into_iter()
    .map(|(element, length)| Field::new(element, length))
    .collect();
    let mut rng = SmallRng::seed_from_u64(7);
    let header = V9Header {
        sys_uptime_ms: 3_600_000,
        unix_secs: SECONDS,
        source_id: 1,
        ..V9Header::default()
    };
    let datagrams = (0..DATAGRAMS).map(|_| {
        let mut message = MessageWriter::v9(header);
        message.template(256, &fields).data_set(256, |set| {
            for _ in 0..FLOWS {
                set.record(|record| {
                    record
                        .u32(0x0a00_0000 | zipf(&mut rng, 60_000))
                        .u32(0xc633_6400 | zipf(&mut rng, 200))
                        .u16(rng.random_range(40_000..60_000))
                        .u16([443, 80, 53, 22, 5432][zipf(&mut rng, 6) as usize])
                        .u8(6)
                        .u8(0x1b)
                        .u32(rng.random_range(1_000..100_000))
                        .u32(10)
                        .u32(1 + zipf(&mut rng, 40))
                        .u32(1 + zipf(&mut rng, 40))
                        .u32(3_590_000)
                        .u32(3_599_000)
                        .u32(64_512 + zipf(&mut rng, 30))
                        .u32(64_512 + zipf(&mut rng, 30));
                });
            }
        });
        message.finish().expect("fits")
    });
    datagrams.collect()
}

/// A thousand networks with twenty names.
fn networks() -> Networks {
    let mut text = "198.51.100.0/24,web\n".to_owned();
    for n in 0..1_000 {
        let _ = writeln!(text, "10.{}.{}.0/24,office {}", n / 256, n % 256, n % 20);
    }
    Networks::parse(&text, None).expect("valid")
}

/// Both databases: a record for each of 4,096 networks of sources, and for each destination.
fn databases() -> Databases {
    const CODES: [&str; 4] = ["DE", "FR", "NL", "US"];
    let names: Vec<String> = (0..4_096_u32)
        .map(|n| format!("10.{}.{}.0/20", n / 16, n % 16 * 16))
        .chain((0..256).map(|n| format!("198.51.100.{n}/32")))
        .collect();
    let all = |make: &dyn Fn(usize) -> Data| {
        let networks = names.iter().enumerate();
        let networks: Vec<_> = networks.map(|(n, name)| (name.as_str(), make(n))).collect();
        mmdb::database(&networks)
    };
    let country = all(&|n| mmdb::country(CODES[n % 4]));
    let asn = all(&|n| mmdb::system(64_512 + n as u32, "Example Networks"));
    let open = |octets, kind| Arc::new(Database::new(octets, kind).expect("a database"));
    Databases {
        country: Some(open(country, DatabaseKind::Country)),
        asn: Some(open(asn, DatabaseKind::Asn)),
    }
}

fn run(bencher: Bencher<'_, '_>, views: &[View], named: bool) {
    run_with(bencher, views, named, Databases::default());
}

fn run_with(bencher: Bencher<'_, '_>, views: &[View], named: bool, databases: Databases) {
    let sources = Sources::collect(vec![], &[("OTEL_TRACES_EXPORTER", "none")]);
    let loaded =
        config::load(Purpose::Run, &sources, &Machine::read()).expect("defaults are valid");
    let clock: fn() -> UnixNanos = || NOW;
    let places = Places::new(views.iter().copied().collect(), 2_000);
    let mut translator = Translator::new(&loaded.config.translate, clock, Ids::new([7; 32]))
        .with_flow_metrics(&places);
    translator.name_networks(named.then(|| Arc::new(networks())));
    translator.locate(databases);
    let (datagrams, now) = (datagrams(), Instant::now());
    let source = "192.0.2.1:2055".parse().expect("an address");
    bencher
        .counter(ItemsCount::new(DATAGRAMS * FLOWS))
        .bench_local(|| {
            for octets in &datagrams {
                let datagram = Datagram {
                    octets,
                    source,
                    received_at: NOW,
                };
                translator.on_datagram(&datagram, now);
                while let Some(batch) = translator.poll_batch(now) {
                    divan::black_box(batch);
                }
            }
        });
}

#[divan::bench]
fn none(bencher: Bencher<'_, '_>) {
    run(bencher, &[], false);
}

#[divan::bench]
fn none_with_networks(bencher: Bencher<'_, '_>) {
    run(bencher, &[], true);
}

/// Of views none; addresses follow Zipf's law.
#[divan::bench]
fn none_with_databases(bencher: Bencher<'_, '_>) {
    run_with(bencher, &[], false, databases());
}

/// A look-up of an address that isn't remembered: with 16 times as many addresses as are, in an order without repetition.
#[divan::bench]
fn a_new_address(bencher: Bencher<'_, '_>) {
    let mut locator = Locator::new(databases());
    let mut n = 0_u32;
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
        n = n.wrapping_add(1);
        let address = Ipv4Addr::from_bits(0x0a00_0000 | n.wrapping_mul(0x9e37_79b1) >> 15);
        divan::black_box(locator.ends(Some(address.into()), None));
    });
}

#[divan::bench]
fn interface_and_country_with_databases(bencher: Bencher<'_, '_>) {
    run_with(
        bencher,
        &[View::Interface, View::Country],
        false,
        databases(),
    );
}

#[divan::bench]
fn interface(bencher: Bencher<'_, '_>) {
    run(bencher, &[View::Interface], false);
}

/// In so many rounds `top` sees as many records as in ten seconds of 240,000 flows a second.
#[divan::bench(
    sample_count = 500,
    args = [View::Exporter, View::Application, View::As, View::Top],
)]
fn interface_and(bencher: Bencher<'_, '_>, view: View) {
    run(bencher, &[View::Interface, view], false);
}

/// The first 48,000 records of ten seconds, of which nearly each gets a place.
#[divan::bench(sample_count = 10)]
fn interface_and_top_at_first(bencher: Bencher<'_, '_>) {
    run(bencher, &[View::Interface, View::Top], false);
}

#[divan::bench(args = [View::Network, View::ServiceGraph])]
fn interface_with_networks_and(bencher: Bencher<'_, '_>, view: View) {
    run(bencher, &[View::Interface, view], true);
}

#[divan::bench(sample_count = 500)]
fn all_with_networks(bencher: Bencher<'_, '_>) {
    run(bencher, &View::ALL, true);
}

/// A record of each of so many exporters: as many series of each view that counts records.
fn full(series: u32) -> Translator {
    let sources = Sources::collect(vec![], &[("OTEL_TRACES_EXPORTER", "none")]);
    let loaded =
        config::load(Purpose::Run, &sources, &Machine::read()).expect("defaults are valid");
    let clock: fn() -> UnixNanos = || NOW;
    let places = Places::new(View::ALL.into_iter().collect(), series);
    let mut translator = Translator::new(&loaded.config.translate, clock, Ids::new([7; 32]))
        .with_flow_metrics(&places);
    translator.name_networks(Some(Arc::new(networks())));
    let (datagrams, now) = (datagrams(), Instant::now());
    for (exporter, octets) in (0..series).zip(datagrams.iter().cycle()) {
        let [.., high, low] = exporter.to_be_bytes();
        let datagram = Datagram {
            octets,
            source: ([172, 16, high, low], 2055).into(),
            received_at: NOW,
        };
        translator.on_datagram(&datagram, now);
        while translator.poll_batch(now).is_some() {}
    }
    translator
}

/// Series of each view in the benches of what is shown.
const SERIES: u32 = 2_000;

fn shown(translator: &mut Translator) -> Exposition {
    let reading = translator.flow_metrics(Instant::now());
    let reading = reading.expect("views are counted");
    Exposition::new(Arc::new(FlowReading::merge(vec![reading])))
}

/// 2,000 series of each view, read and written as OpenMetrics text with exemplars, part by part as they are sent.
#[divan::bench]
fn scrape(bencher: Bencher<'_, '_>) {
    let mut translator = full(SERIES);
    let reading = translator.flow_metrics(Instant::now());
    for (view, reading) in &reading.expect("views are counted").views {
        assert!(reading.series.len() >= SERIES as usize, "{view:?}");
    }
    let mut scrape = || {
        let parts = Parts::new(shown(&mut translator), Format::OpenMetrics);
        parts
            .map(|part| divan::black_box(part).len())
            .sum::<usize>()
    };
    bencher
        .counter(BytesCount::new(scrape()))
        .bench_local(scrape);
}

/// The same as OTLP, in requests of 1 MiB.
#[divan::bench]
fn export(bencher: Bencher<'_, '_>) {
    const REQUEST: usize = 1 << 20;
    let mut translator = full(SERIES);
    let mut export = || {
        let mut stretches = Stretches::new(shown(&mut translator), 1, 2);
        let mut octets = 0;
        loop {
            let metrics = stretches.next(REQUEST);
            if metrics.is_empty() {
                return octets;
            }
            octets += metrics.iter().map(Message::encoded_len).sum::<usize>();
        }
    };
    bencher
        .counter(BytesCount::new(export()))
        .bench_local(export);
}
