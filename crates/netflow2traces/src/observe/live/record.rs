//! Flow records as the page shows them, read from finished batches; and the filter for them.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use otlp_wire::text::hex;
use otlp_wire::view::{self, SpanView, ValueView};
use serde_json::{Value, json};

use crate::observe::parameters::Parameters;
use crate::translate::{Name, transport};

/// A flow record, once a span.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) trace_id: [u8; 16],
    span_id: [u8; 8],
    start: u64,
    end: u64,
    /// The flow's own start and end, where the span has other times.
    own_times: [Option<u64>; 2],
    is_suspect: bool,
    pub(super) exporter: Arc<str>,
    version: i64,
    pub(crate) source: End,
    pub(crate) destination: End,
    pub(crate) transport: Option<u8>,
    pub(crate) octets: u64,
    /// Its own estimate of what the sampled octets stand for.
    estimated: Option<u64>,
    pub(crate) reverse_octets: u64,
    pub(crate) packets: u64,
    /// Where it came in and went out, by ifIndex.
    pub(super) interfaces: [Option<u32>; 2],
    /// What these are called.
    pub(super) interface_names: [Option<Box<str>>; 2],
    /// Autonomous systems of source and destination; 0: unknown.
    pub(super) systems: [u32; 2],
    /// What the organizations of these systems are called.
    pub(super) organizations: [Option<Box<str>>; 2],
    /// For how many records it stands: 1 if none was passed over.
    pub(super) weight: f64,
    /// One packet in so many was seen, and the counts are not multiplied by it.
    pub(crate) sampling: u64,
    scaled: bool,
}

/// One end of a flow, as far as the record says it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct End {
    pub(crate) address: Option<IpAddr>,
    pub(crate) port: Option<u16>,
}

impl Record {
    /// The flow records of a batch, in their order.
    pub(crate) fn of_batch(octets: &[u8]) -> impl Iterator<Item = Self> {
        let mut exporter: (usize, Arc<str>) = (0, Arc::from(""));
        view::spans(octets)
            .filter(|span| view::is_flow_name(span.name))
            .filter_map(move |span| {
                let key = span.resource_key();
                if key != exporter.0 {
                    exporter = (key, exporter_of(&span));
                }
                Self::read(&span, &exporter.1)
            })
    }

    fn read(span: &SpanView<'_>, exporter: &Arc<str>) -> Option<Self> {
        let mut record = Self {
            trace_id: span.trace_id.try_into().ok()?,
            span_id: span.span_id.try_into().ok()?,
            start: span.start,
            end: span.end,
            own_times: [None; 2],
            is_suspect: false,
            exporter: Arc::clone(exporter),
            version: 0,
            source: End::default(),
            destination: End::default(),
            transport: None,
            octets: 0,
            estimated: None,
            reverse_octets: 0,
            packets: 0,
            interfaces: [None; 2],
            interface_names: [None, None],
            systems: [0; 2],
            organizations: [None, None],
            weight: 1.0,
            sampling: 1,
            scaled: false,
        };
        for (key, value) in span.attributes() {
            record.take_in(key, value);
        }
        Some(record)
    }

    fn take_in(&mut self, key: &str, value: ValueView<'_>) {
        // Not a name of the vocabulary: the same in every schema, first of the span.
        if let ("netflow.version", ValueView::Int(number)) = (key, &value) {
            self.version = *number;
            return;
        }
        let Some(name) = Name::of(key) else { return };
        match (name, value) {
            (Name::SourceAddress, ValueView::Text(text)) => self.source.address = text.parse().ok(),
            (Name::DestinationAddress, ValueView::Text(text)) => {
                self.destination.address = text.parse().ok();
            }
            (Name::Transport, ValueView::Text(text)) => {
                self.transport = (0..=u8::MAX).find(|number| transport(*number) == text);
            }
            (Name::InterfaceInputName, ValueView::Text(text)) => {
                self.interface_names[0] = Some(text.into());
            }
            (Name::InterfaceOutputName, ValueView::Text(text)) => {
                self.interface_names[1] = Some(text.into());
            }
            (Name::SourceOrganization, ValueView::Text(text)) => {
                self.organizations[0] = Some(text.into());
            }
            (Name::DestinationOrganization, ValueView::Text(text)) => {
                self.organizations[1] = Some(text.into());
            }
            (Name::SamplingScaled, ValueView::Bool(scaled)) => self.scaled = scaled,
            (Name::TimeSuspect, ValueView::Bool(suspect)) => self.is_suspect = suspect,
            (name, ValueView::Int(number)) => {
                let count = u64::try_from(number).unwrap_or(0);
                let port = u16::try_from(number).ok();
                let interface = || u32::try_from(number).ok();
                match name {
                    Name::SourcePort => self.source.port = port,
                    Name::DestinationPort => self.destination.port = port,
                    Name::ProtocolNumber => self.transport = u8::try_from(number).ok(),
                    Name::Bytes => self.octets = count,
                    Name::EstimatedBytes => self.estimated = Some(count),
                    Name::ReverseBytes => self.reverse_octets = count,
                    Name::Packets => self.packets = count,
                    Name::InterfaceInput => self.interfaces[0] = interface(),
                    Name::InterfaceOutput => self.interfaces[1] = interface(),
                    Name::FlowStart => self.own_times[0] = Some(count),
                    Name::FlowEnd => self.own_times[1] = Some(count),
                    // A database may know one where the exporter has 0.
                    Name::SourceAs if count > 0 => self.systems[0] = interface().unwrap_or(0),
                    Name::DestinationAs if count > 0 => self.systems[1] = interface().unwrap_or(0),
                    Name::SamplingInterval => self.sampling = count.max(1),
                    _ => {}
                }
            }
            _ => {}
        }
    }

    /// When the flow itself started and ended, in nanoseconds since 1970. Times that can't be right are not used.
    pub(crate) fn times(&self) -> (u64, u64) {
        if self.is_suspect {
            return (self.start, self.end);
        }
        let [start, end] = self.own_times;
        (start.unwrap_or(self.start), end.unwrap_or(self.end))
    }

    /// Octets of the real traffic, as far as the sampling interval tells them, and those of the reverse direction.
    pub(crate) fn estimated(&self) -> [u64; 2] {
        let scale = if self.scaled { 1 } else { self.sampling };
        let octets = self.estimated.unwrap_or(self.octets.saturating_mul(scale));
        [octets, self.reverse_octets.saturating_mul(scale)]
    }

    /// Its counts are of a sample of the packets.
    pub(crate) fn is_estimate(&self) -> bool {
        self.sampling > 1 && !self.scaled
    }

    /// The same, for all the records that it stands for.
    pub(super) fn weighed(&self) -> [u64; 2] {
        /// More than a record can mean.
        const MAX: f64 = 1e15;
        self.estimated()
            .map(|octets| (octets as f64 * self.weight).min(MAX) as u64)
    }

    /// For the page.
    pub(crate) fn shown(&self) -> Value {
        json!({
            "trace": hex(&self.trace_id),
            "span": hex(&self.span_id),
            "end": self.end / 1_000_000,
            "duration": self.end.saturating_sub(self.start) as f64 / 1e6,
            "exporter": *self.exporter,
            "version": self.version,
            "source": self.source.address,
            "source_port": self.source.port,
            "destination": self.destination.address,
            "destination_port": self.destination.port,
            "transport": self.transport.map(transport),
            "octets": self.octets,
            "reverse_octets": self.reverse_octets,
            "packets": self.packets,
            "interfaces": self.interfaces,
            "interface_names": self.interface_names,
            "sampling": (self.sampling > 1).then_some(self.sampling),
        })
    }
}

fn exporter_of(span: &SpanView<'_>) -> Arc<str> {
    let mut attributes = span.resource_attributes();
    let address = attributes.find(|(key, _)| *key == "netflow.exporter.address");
    match address {
        Some((_, ValueView::Text(address))) => Arc::from(address),
        _ => Arc::from(""),
    }
}

/// What is asked for, as it was written; empty is nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct FilterText {
    pub(super) address: String,
    /// The other end, where `address` is one.
    pub(super) peer: String,
    pub(super) port: String,
    pub(super) protocol: String,
    pub(super) exporter: String,
    pub(super) interface: String,
}

impl FilterText {
    pub(super) fn of(given: &Parameters) -> Self {
        let text = |name| given.text(name).unwrap_or_default().to_owned();
        Self {
            address: text("address"),
            peer: text("peer"),
            port: text("port"),
            protocol: text("protocol"),
            exporter: text("exporter"),
            interface: text("interface"),
        }
    }
}

/// Which records are wanted: all that is set has to hold.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Filter {
    address: Option<IpNet>,
    peer: Option<IpNet>,
    port: Option<u16>,
    transport: Option<u8>,
    exporter: Option<IpNet>,
    interface: Option<Interface>,
}

/// An interface by its ifIndex, or by its name in any case.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Interface {
    Index(u32),
    Name(String),
}

impl Interface {
    fn is_of(&self, record: &Record) -> bool {
        match self {
            Self::Index(number) => record.interfaces.contains(&Some(*number)),
            Self::Name(wanted) => {
                let mut names = record.interface_names.iter().flatten();
                names.any(|name| name.eq_ignore_ascii_case(wanted))
            }
        }
    }
}

impl Filter {
    /// Everything is wanted.
    pub(super) fn is_everything(&self) -> bool {
        *self == Self::default()
    }

    /// # Errors
    /// A sentence on the field that can't be understood.
    pub(crate) fn read(text: &FilterText) -> Result<Self, (&'static str, String)> {
        let given = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let network = |field: &'static str, text: &str| {
            let Some(text) = given(text) else {
                return Ok(None);
            };
            let address = text.parse::<IpAddr>().map(IpNet::from);
            let network = address.or_else(|_| text.parse::<IpNet>());
            network.map(Some).map_err(|_| {
                let sentence =
                    format!("{text:?} is neither an IP address nor a network such as 10.0.0.0/8");
                (field, sentence)
            })
        };
        let mut filter = Self {
            address: network("address", &text.address)?,
            peer: network("peer", &text.peer)?,
            exporter: network("exporter", &text.exporter)?,
            ..Self::default()
        };
        if let Some(text) = given(&text.interface) {
            let index = text.parse().map(Interface::Index);
            filter.interface = Some(index.unwrap_or(Interface::Name(text)));
        }
        if let Some(text) = given(&text.port) {
            filter.port = Some(text.parse().map_err(|_| {
                let sentence = format!("{text:?} is not a port: a number from 0 to 65535");
                ("port", sentence)
            })?);
        }
        if let Some(text) = given(&text.protocol) {
            let name = text.to_ascii_lowercase();
            let by_name = || (0..=u8::MAX).find(|number| transport(*number) == name);
            let number = name.parse().ok().or_else(by_name);
            filter.transport = Some(number.ok_or_else(|| {
                let sentence =
                    format!("{text:?} is not an IP protocol, such as tcp, udp, icmp or a number");
                ("protocol", sentence)
            })?);
        }
        Ok(filter)
    }

    pub(crate) fn matches(&self, record: &Record) -> bool {
        let ends = [record.source, record.destination];
        let is = |network: Option<IpNet>, end: End| {
            network.is_none_or(|network| end.address.is_some_and(|it| network.contains(&it)))
        };
        let either_way = |one: End, other: End| is(self.address, one) && is(self.peer, other);
        let exporter = self.exporter.is_none_or(|network| {
            let address = record.exporter.parse::<IpAddr>();
            address.is_ok_and(|address| network.contains(&address))
        });
        let interface = self.interface.as_ref();
        let interface = interface.is_none_or(|wanted| wanted.is_of(record));
        let [one, other] = ends;
        (either_way(one, other) || either_way(other, one))
            && exporter
            && interface
            && self
                .port
                .is_none_or(|port| ends.iter().any(|end| end.port == Some(port)))
            && self
                .transport
                .is_none_or(|number| record.transport == Some(number))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn record(from: &str, to: &str, transport: u8, octets: u64) -> Record {
        let end = |text: &str| {
            let address: std::net::SocketAddr = text.parse().unwrap();
            End {
                address: Some(address.ip()),
                port: Some(address.port()),
            }
        };
        Record {
            trace_id: [1; 16],
            span_id: [2; 8],
            start: 1,
            end: 2,
            own_times: [None; 2],
            is_suspect: false,
            exporter: Arc::from("192.0.2.1"),
            version: 9,
            source: end(from),
            destination: end(to),
            transport: Some(transport),
            octets,
            estimated: None,
            reverse_octets: 0,
            packets: 1,
            interfaces: [Some(3), None],
            interface_names: [Some("Te0/0/0".into()), None],
            systems: [0; 2],
            organizations: [None, None],
            weight: 1.0,
            sampling: 1,
            scaled: false,
        }
    }

    impl Record {
        pub(crate) fn at(mut self, start: u64, end: u64) -> Self {
            (self.start, self.end) = (start, end);
            self
        }
    }

    fn filter(address: &str, port: &str, protocol: &str) -> Result<Filter, (&'static str, String)> {
        Filter::read(&FilterText {
            address: address.to_owned(),
            port: port.to_owned(),
            protocol: protocol.to_owned(),
            ..FilterText::default()
        })
    }

    #[test]
    fn a_filter_for_a_conversation_needs_both_ends() {
        let record = record("10.0.0.1:50000", "192.0.2.7:443", 6, 100);
        for (address, peer, matches) in [
            ("10.0.0.1", "192.0.2.7", true),
            ("192.0.2.7", "10.0.0.1", true),
            ("10.0.0.1", "192.0.2.0/24", true),
            ("", "192.0.2.7", true),
            ("10.0.0.1", "192.0.2.8", false),
            ("10.0.0.1", "10.0.0.1", false),
            ("10.0.0.2", "192.0.2.7", false),
        ] {
            let text = FilterText {
                address: address.to_owned(),
                peer: peer.to_owned(),
                ..FilterText::default()
            };
            let filter = Filter::read(&text).unwrap();
            assert_eq!(filter.matches(&record), matches, "{address} {peer}");
        }
    }

    #[test]
    fn a_filter_finds_the_exporter_and_the_interface() {
        let record = record("10.0.0.1:50000", "192.0.2.7:443", 6, 100);
        for (exporter, interface, matches) in [
            ("192.0.2.1", "", true),
            ("192.0.2.0/30", "3", true),
            ("", " 3 ", true),
            ("", "Te0/0/0", true),
            ("192.0.2.1", "te0/0/0", true),
            ("", "Te0/0/1", false),
            ("192.0.2.2", "", false),
            ("", "4", false),
        ] {
            let text = FilterText {
                exporter: exporter.to_owned(),
                interface: interface.to_owned(),
                ..FilterText::default()
            };
            let filter = Filter::read(&text).unwrap();
            assert_eq!(filter.matches(&record), matches, "{exporter} {interface}");
        }
        let wrong = |text: FilterText| Filter::read(&text).unwrap_err().0;
        let peer = "host".to_owned();
        assert_eq!(
            wrong(FilterText {
                peer,
                ..FilterText::default()
            }),
            "peer"
        );
        let exporter = "router".to_owned();
        assert_eq!(
            wrong(FilterText {
                exporter,
                ..FilterText::default()
            }),
            "exporter"
        );
    }

    #[test]
    fn a_filter_looks_at_both_ends() {
        let record = record("10.0.0.1:50000", "192.0.2.7:443", 6, 100);
        for (address, port, protocol, matches) in [
            ("", "", "", true),
            ("10.0.0.1", "", "", true),
            ("192.0.2.7", "443", "tcp", true),
            ("192.0.2.0/24", "50000", "TCP", true),
            (" 10.0.0.0/8 ", "", "6", true),
            ("10.0.0.2", "", "", false),
            ("2001:db8::/32", "", "", false),
            ("", "80", "", false),
            ("", "443", "udp", false),
        ] {
            let filter = filter(address, port, protocol).unwrap();
            assert_eq!(
                filter.matches(&record),
                matches,
                "{address} {port} {protocol}"
            );
        }
    }

    #[test]
    fn what_is_no_filter_is_named() {
        assert_eq!(filter("router", "", "").unwrap_err().0, "address");
        assert_eq!(filter("", "70000", "").unwrap_err().0, "port");
        assert_eq!(filter("", "", "tpc").unwrap_err().0, "protocol");
        assert!(filter("", "", "ipv6-icmp").is_ok());
    }
}
