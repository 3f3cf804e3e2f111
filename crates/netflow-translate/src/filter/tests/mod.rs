//! The language against a plain evaluator, its terms one by one, its errors, and the examples of docs/filter.md.

mod documented;
mod errors;
mod language;
mod plain;
mod printed;
mod properties;

use std::net::IpAddr;

use super::{Filter, FlowView, Name, Number, Place};

/// A flow of HTTPS that an edge router exported.
fn https() -> FlowView<'static> {
    flow(
        &[
            (Place::Source, "10.1.2.3"),
            (Place::Destination, "203.0.113.7"),
            (Place::Exporter, "192.0.2.1"),
            (Place::NextHop, "192.0.2.254"),
        ],
        &[
            (Number::SourcePort, 50_123),
            (Number::DestinationPort, 443),
            (Number::Protocol, 6),
            (Number::TcpFlags, 0x1b),
            (Number::Tos, 0xb8),
            (Number::Bytes, 2_000_000),
            (Number::Packets, 1_500),
            (Number::Duration, 4_000_000_000),
            (Number::InputInterface, 3),
            (Number::OutputInterface, 7),
            (Number::SourceAs, 64_512),
            (Number::DestinationAs, 65_551),
            (Number::SourceMask, 24),
            (Number::DestinationMask, 22),
            (Number::InputVlan, 100),
            (Number::OutputVlan, 200),
            (Number::SourceMac, 0x0053_0012_3456),
            (Number::DestinationMac, 0x0053_0000_0001),
            (Number::Direction, 0),
            (Number::Version, 9),
        ],
    )
}

/// A ping over IPv6.
fn ping() -> FlowView<'static> {
    flow(
        &[
            (Place::Source, "2001:db8::1"),
            (Place::Destination, "2001:db8:ffff::2"),
            (Place::Exporter, "2001:db8::fe"),
        ],
        &[
            (Number::SourcePort, 0),
            (Number::DestinationPort, 0),
            (Number::Protocol, 58),
            (Number::TcpFlags, 0),
            (Number::IcmpType, 128),
            (Number::IcmpCode, 0),
            (Number::Bytes, 0),
            (Number::Packets, 0),
            (Number::Duration, 0),
            (Number::Direction, 1),
            (Number::Version, 10),
        ],
    )
}

fn flow(addresses: &[(Place, &str)], numbers: &[(Number, u64)]) -> FlowView<'static> {
    let mut view = FlowView::default();
    for (place, address) in addresses {
        view.set_address(*place, address.parse::<IpAddr>().unwrap().into());
    }
    for (number, value) in numbers {
        view.set(*number, *value);
    }
    view.set_name(Name::SourceNetwork, "office");
    view.set_name(Name::DestinationNetwork, "the internet");
    view
}

fn filter(text: &str) -> Filter {
    text.parse()
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}
