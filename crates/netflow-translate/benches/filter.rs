//! What a filter costs a flow: views of flows against compiled filters. One item is one flow.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use divan::Bencher;
use divan::counter::ItemsCount;
use netflow_translate::filter::{Filter, FlowView, Number, Place};

fn main() {
    divan::main();
}

/// Each with what it shows. "every_term" is true term by term, so that all ten are run for each flow.
const FILTERS: &[(&str, &str)] = &[
    ("one_term", "port 443"),
    (
        "every_term",
        "src net 10.0.0.0/8 and dst net 192.168.0.0/16 and exporter 192.0.2.1 and tcp and src port > 1023 \
         and dst port in [80, 443, 8080-8089] and bytes > 10 and packets >= 1 and flags A and in if < 100",
    ),
    (
        "alternatives",
        "src host 10.0.0.1 or port 53 or port 123 or icmp or bytes > 1g or packets > 10m or duration > 1h \
         or flags R or src as 64513 or vlan 7",
    ),
    ("rates", "bps > 1m and pps > 10 and bpp > 40"),
];

/// Few enough for the first cache, where the daemon's view of a record is.
const FLOWS: u32 = 64;

/// A number that differs from flow to flow.
fn spread(index: u32) -> u32 {
    index.wrapping_mul(2_654_435_761)
}

fn flows() -> Vec<FlowView<'static>> {
    let flow = |index| {
        let x = spread(index);
        let mut view = FlowView::default();
        for (place, bits) in [
            (Place::Source, 0x0a00_0000 | x >> 8),
            (Place::Destination, 0xc0a8_0000 | x & 0xffff),
            (Place::Exporter, 0xc000_0201),
        ] {
            view.set_address(place, IpAddr::from(Ipv4Addr::from(bits)).into());
        }
        for (number, value) in [
            (Number::SourcePort, 1_024 + (x >> 17)),
            (Number::DestinationPort, 443),
            (Number::Protocol, 6),
            (Number::TcpFlags, 0x1b),
            (Number::Bytes, 64 + (x >> 10)),
            (Number::Packets, 1 + (x >> 20)),
            (Number::Duration, 1 + (x >> 2)),
            (Number::InputInterface, x & 0x3f),
            (Number::SourceAs, 64_512),
            (Number::InputVlan, 1),
        ] {
            view.set(number, u64::from(value));
        }
        view
    };
    (0..FLOWS).map(flow).collect()
}

#[divan::bench(args = FILTERS.iter().map(|(name, _)| *name))]
fn matches(bencher: Bencher<'_, '_>, name: &str) {
    let text = FILTERS.iter().find(|(known, _)| *known == name);
    let (_, text) = text.expect("named in the list");
    let filter: Filter = text.parse().expect("a filter");
    let flows = flows();
    bencher
        .counter(ItemsCount::new(flows.len()))
        .bench_local(|| {
            let flows = black_box(&flows);
            flows.iter().filter(|flow| filter.matches(flow)).count()
        });
}
