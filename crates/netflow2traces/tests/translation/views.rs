//! The sums of each view are those of the flow records, as a translator that keeps every span shows them: of every
//! protocol, in both directions of a biflow, whatever becomes a span, and also where series find no place or expire.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use netflow_wire::sflow::{
    DataSource, FlowKind, FlowRecord, Gateway, Interface, InterfaceCounters, SampledIp,
};
use netflow_wire::write::{
    Field, SflowHeader, SflowSample, SflowWriter, V5Header, V5Record, V7Header, V7Record, v5, v7,
};
use netflow2traces::config::{AttributeLevel, Selection, TraceSampler, TraceShape, Translate};
use netflow2traces::translate::enrich::geo::{Database, DatabaseKind, Databases};
use netflow2traces::translate::enrich::networks::Networks;
use netflow2traces::translate::metrics::{
    FlowReading, Places, SeriesKey, Tally as _, TopKind, Totals, View, ViewReading,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::mmdb;
use super::rig::{Rig, SECONDS, Span, UPTIME_MS, f, ipfix, rig_with, spans, v5_header, v9};

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Protocol {
    V5,
    V7,
    V9,
    Ipfix,
    /// IPFIX with reverse elements (RFC 5103).
    Biflow,
    /// A firewall's v9, which counts what its initiator and its responder sent.
    Nsel,
    Sflow,
    SflowExpanded,
}

use Protocol::{Biflow, Ipfix, Nsel, Sflow, SflowExpanded, V5, V7, V9};

impl Protocol {
    fn is_sflow(self) -> bool {
        matches!(self, Sflow | SflowExpanded)
    }
}

/// A flow record as its exporter means it; not every protocol says all of it.
#[derive(Clone, Copy, Debug)]
struct Flow {
    source: [u8; 4],
    destination: [u8; 4],
    /// From the server.
    is_answer: bool,
    interfaces: [u16; 2],
    systems: [u16; 2],
    /// Element 61; 2 is no direction.
    direction: u8,
    bytes: u32,
    packets: u32,
    reverse: [u32; 2],
}

impl Flow {
    fn ports(&self) -> [u16; 2] {
        match self.is_answer {
            true => [443, 50_000],
            false => [50_000, 443],
        }
    }

    fn v5(&self) -> V5Record {
        let [source_port, destination_port] = self.ports();
        V5Record {
            source: self.source.into(),
            destination: self.destination.into(),
            source_port,
            destination_port,
            protocol: 17,
            octets: self.bytes,
            packets: self.packets,
            input: self.interfaces[0],
            output: self.interfaces[1],
            source_as: self.systems[0],
            destination_as: self.systems[1],
            ..V5Record::default()
        }
    }
}

/// Records of one datagram.
#[derive(Clone, Debug)]
struct Datagram {
    protocol: Protocol,
    exporter: u8,
    interval: u16,
    /// Data comes before its template, the first time.
    is_late: bool,
    /// Minutes since the one before.
    wait: u64,
    flows: Vec<Flow>,
}

impl Datagram {
    fn source(&self) -> String {
        format!("192.0.2.{}:2055", self.exporter)
    }

    fn octets(&self) -> Vec<Vec<u8>> {
        let flows = self.flows.iter();
        let fixed = match self.protocol {
            V5 => {
                let header = V5Header {
                    sampling_mode: 1,
                    sampling_interval: self.interval,
                    ..v5_header()
                };
                v5(&header, &flows.map(Flow::v5).collect::<Vec<_>>())
            }
            V7 => {
                let header = V7Header {
                    sys_uptime_ms: UPTIME_MS,
                    unix_secs: SECONDS,
                    ..V7Header::default()
                };
                let flows = flows.map(|flow| V7Record {
                    flow: flow.v5(),
                    ..V7Record::default()
                });
                v7(&header, &flows.collect::<Vec<_>>())
            }
            Sflow | SflowExpanded => return vec![self.sflow()],
            V9 | Ipfix | Biflow | Nsel => return self.templated(),
        };
        vec![fixed.expect("fits")]
    }

    fn templated(&self) -> Vec<Vec<u8>> {
        let (id, counts): (u16, &[Field]) = match self.protocol {
            Biflow => (
                257,
                &[
                    f(1, 8),
                    f(2, 4),
                    f(34, 4),
                    Field::reverse(1, 8),
                    Field::reverse(2, 4),
                ],
            ),
            Nsel => (
                258,
                &[f(231, 8), f(298, 4), f(233, 1), f(232, 8), f(299, 4)],
            ),
            _ => (256, &[f(1, 8), f(2, 4), f(34, 4)]),
        };
        let mut fields = vec![
            f(8, 4),
            f(12, 4),
            f(7, 2),
            f(11, 2),
            f(4, 1),
            f(10, 2),
            f(14, 4),
            f(16, 2),
            f(17, 4),
            f(61, 1),
        ];
        fields.extend(counts);
        let message = || match self.protocol {
            V9 | Nsel => v9(1),
            _ => ipfix(1),
        };
        let mut template = message();
        template.template(id, &fields);
        let mut data = message();
        data.declare(id, &fields).data_set(id, |set| {
            for flow in &self.flows {
                set.record(|record| {
                    let ([from, to], [input, output]) = (flow.ports(), flow.interfaces);
                    record.bytes(&flow.source).bytes(&flow.destination);
                    record
                        .u16(from)
                        .u16(to)
                        .u8(17)
                        .u16(input)
                        .u32(output.into());
                    record.u16(flow.systems[0]).u32(flow.systems[1].into());
                    record
                        .u8(flow.direction)
                        .u64(flow.bytes.into())
                        .u32(flow.packets);
                    match self.protocol {
                        Nsel => record.u8(2),
                        _ => record.u32(self.interval.into()),
                    };
                    if matches!(self.protocol, Biflow | Nsel) {
                        record.u64(flow.reverse[0].into()).u32(flow.reverse[1]);
                    }
                });
            }
        });
        let mut messages = [template, data].map(|mut message| message.finish().expect("fits"));
        if self.is_late {
            messages.reverse();
        }
        messages.into()
    }

    /// Sampled packets, and what the device counts of an interface.
    fn sflow(&self) -> Vec<u8> {
        let mut datagram = SflowWriter::new(&SflowHeader::default());
        for flow in &self.flows {
            let [input, output] = flow.interfaces.map(u32::from);
            let sample = SflowSample {
                kind: match self.protocol {
                    SflowExpanded => FlowKind::Expanded,
                    _ => FlowKind::Flow,
                },
                source: DataSource {
                    kind: 0,
                    index: [input, output, 99][usize::from(flow.direction)],
                },
                sampling_rate: self.interval.into(),
                input: Interface::Index(input),
                output: Interface::Index(output),
                ..SflowSample::default()
            };
            datagram.flow(&sample, |records| {
                records.record(&FlowRecord::Ip(SampledIp {
                    length: flow.bytes % 9_000,
                    protocol: 17,
                    source: flow.source.into(),
                    destination: flow.destination.into(),
                    ports: flow.ports(),
                    tcp_flags: 0,
                    tos: 0,
                }));
                records.record(&FlowRecord::Gateway(Gateway {
                    next_hop: Some([192, 0, 2, 200].into()),
                    router_as: 1,
                    source_as: flow.systems[0].into(),
                    source_peer_as: 2,
                    destination_peer_as: Some(3),
                    destination_as: Some(flow.systems[1].into()),
                }));
            });
            let counters = InterfaceCounters {
                index: input,
                ..InterfaceCounters::default()
            };
            datagram.interface_counters(1, &counters);
        }
        datagram.finish().expect("fits")
    }
}

fn address() -> impl Strategy<Value = [u8; 4]> {
    (select(vec![10_u8, 20, 30]), 0_u8..4).prop_map(|(network, host)| [network, 0, 0, host])
}

fn flow() -> impl Strategy<Value = Flow> {
    let ends = (address(), address(), any::<bool>());
    let numbers = (0_u16..6, 0_u16..6, 0_u16..3, 0_u16..3);
    let counts = (any::<u32>(), any::<u32>(), 0_u32..3, any::<u32>());
    (ends, numbers, select(vec![2_u8, 2, 0, 1]), counts).prop_map(
        |((source, destination, is_answer), numbers, direction, counts)| {
            let (input, output, source_as, destination_as) = numbers;
            let (bytes, packets, has_reverse, reverse) = counts;
            Flow {
                source,
                destination,
                is_answer,
                interfaces: [input, output],
                systems: [source_as, destination_as],
                direction,
                bytes,
                packets,
                reverse: [has_reverse.min(1) * reverse, has_reverse],
            }
        },
    )
}

fn datagram() -> impl Strategy<Value = Datagram> {
    let protocol = select(vec![V5, V7, V9, Ipfix, Biflow, Nsel, Sflow, SflowExpanded]);
    let wait = prop_oneof![6 => Just(0_u64), 3 => 1_u64..8, 1 => 61_u64..130];
    let of = (protocol, 1_u8..5, 1_u16..2_000, any::<bool>(), wait);
    (of, vec(flow(), 1..5)).prop_map(|((protocol, exporter, interval, is_late, wait), flows)| {
        Datagram {
            protocol,
            exporter,
            interval,
            is_late,
            wait,
            flows,
        }
    })
}

/// What doesn't change any sum.
#[derive(Clone, Debug)]
struct Setting {
    sampler: TraceSampler,
    sample_bytes: Option<NonZeroU64>,
    shape: TraceShape,
    level: AttributeLevel,
    scales: bool,
}

fn setting() -> impl Strategy<Value = Setting> {
    let ratio = select(vec![1.0, 1.0, 0.5, 0.0]);
    let sample_bytes = select(vec![None, None, NonZeroU64::new(1 << 32)]);
    let shape = select(vec![
        TraceShape::Packet,
        TraceShape::Flow,
        TraceShape::Conversation {
            window: Duration::from_secs(600),
            key: None,
        },
    ]);
    let level = select(vec![
        AttributeLevel::Minimal,
        AttributeLevel::Standard,
        AttributeLevel::All,
    ]);
    (ratio, sample_bytes, shape, level, any::<bool>()).prop_map(
        |(ratio, sample_bytes, shape, level, scales)| Setting {
            sampler: TraceSampler::Ratio(ratio),
            sample_bytes,
            shape,
            level,
            scales,
        },
    )
}

const NETWORKS: &str = "10.0.0.0/8,office\n20.0.0.0/8,shop\n";
const NAMES: [&str; 2] = ["office", "shop"];

/// Names of networks and countries, so that ends have other series than `other` and `unknown`.
fn name(rig: &mut Rig) {
    let networks = Networks::parse(NETWORKS, None).expect("valid");
    let countries = mmdb::database(&[
        ("10.0.0.0/8", mmdb::country("DE")),
        ("30.0.0.0/8", mmdb::country("FR")),
    ]);
    let countries = Database::new(countries, DatabaseKind::Country).expect("a database");
    rig.translator().name_networks(Some(Arc::new(networks)));
    rig.translator().locate(Databases {
        country: Some(Arc::new(countries)),
        asn: None,
    });
}

/// Exporter, and what the view's numbers stand for.
type Key = (String, String, String);
type Sums = BTreeMap<Key, Totals>;

fn add(sums: &mut Sums, key: Key, totals: Totals) {
    let sum = sums.entry(key).or_default();
    *sum = sum.plus(totals);
}

/// What a record adds in one direction, and between which ends.
#[derive(Clone)]
struct Way {
    totals: Totals,
    /// Input and output.
    interfaces: [u64; 2],
    is_ingress: Option<bool>,
    networks: [String; 2],
    systems: [String; 2],
    countries: [String; 2],
    addresses: [String; 2],
}

impl Way {
    fn reversed(mut self, bytes: u64, packets: u64) -> Self {
        self.totals = Totals {
            bytes,
            packets,
            flows: 0,
        };
        self.interfaces.reverse();
        self.is_ingress = self.is_ingress.map(|is_ingress| !is_ingress);
        for ends in [
            &mut self.networks,
            &mut self.systems,
            &mut self.countries,
            &mut self.addresses,
        ] {
            ends.reverse();
        }
        self
    }
}

/// What spans say of all records.
#[derive(Default)]
struct Truth {
    views: HashMap<&'static str, Sums>,
    by_source: BTreeMap<String, u64>,
    requests: u64,
    /// Directions that an exporter has sent.
    directions: HashMap<String, [bool; 2]>,
}

impl Truth {
    fn take(&mut self, span: &Span) {
        let number = |key: &str| span.get(key).as_u64();
        let text = |key: &str, other: &str| span.get(key).as_str().unwrap_or(other).to_owned();
        let factor = match span.get("netflow.sampling.scaled").as_bool() {
            Some(true) => 1,
            _ => number("netflow.sampling.interval").unwrap_or(1),
        };
        let count = |key: &str| number(key).unwrap_or(0) * factor;
        let system = |key: &str| number(key).unwrap_or(0).to_string();
        let interface = |key: &str| number(key).unwrap_or(0);
        let there = Way {
            totals: Totals {
                bytes: count("netflow.flow.bytes"),
                packets: count("netflow.flow.packets"),
                flows: 1,
            },
            interfaces: [
                interface("netflow.interface.input"),
                interface("netflow.interface.output"),
            ],
            is_ingress: match span.get("network.io.direction").as_str() {
                Some("receive") => Some(true),
                Some("transmit") => Some(false),
                _ => None,
            },
            networks: ["netflow.source.network", "netflow.destination.network"]
                .map(|key| text(key, "")),
            systems: ["netflow.src_as", "netflow.dst_as"].map(system),
            countries: [
                "source.geo.country.iso_code",
                "destination.geo.country.iso_code",
            ]
            .map(|key| text(key, "")),
            addresses: ["source.address", "destination.address"].map(|key| text(key, "")),
        };
        let reverse = ["netflow.flow.reverse.bytes", "netflow.flow.reverse.packets"].map(count);
        let is_biflow = number("netflow.flow.reverse.bytes").is_some();
        if is_biflow || number("destination.port") == Some(443) {
            self.requests += 1;
        }
        let seen = self.directions.entry(span.exporter.clone()).or_default();
        if let Some(is_ingress) = there.is_ingress {
            seen[usize::from(is_ingress)] = true;
        }
        let is_both = *seen == [true, true];
        let back = (reverse != [0, 0]).then(|| there.clone().reversed(reverse[0], reverse[1]));
        for way in [Some(there), back].into_iter().flatten() {
            self.add(&span.exporter, &way, is_both);
        }
    }

    fn add(&mut self, exporter: &str, way: &Way, is_both: bool) {
        let mut count = |view: View, first: &str, second: &str| {
            let key = (exporter.to_owned(), first.to_owned(), second.to_owned());
            add(
                self.views.entry(view.as_str()).or_default(),
                key,
                way.totals,
            );
        };
        let [input, output] = way.interfaces;
        let only = way.is_ingress.filter(|_| is_both);
        if input != 0 && only != Some(false) {
            count(View::Interface, &input.to_string(), "receive");
        }
        if output != 0 && only != Some(true) {
            count(View::Interface, &output.to_string(), "transmit");
        }
        count(View::Exporter, "", "");
        count(View::Application, "", "");
        for (view, [source, destination]) in [
            (View::Network, &way.networks),
            (View::As, &way.systems),
            (View::Country, &way.countries),
        ] {
            count(view, source, destination);
        }
        let [source, _] = &way.addresses;
        *self.by_source.entry(source.clone()).or_default() += way.totals.bytes;
    }

    fn view(&self, view: View) -> Sums {
        self.views.get(view.as_str()).cloned().unwrap_or_default()
    }
}

fn key(view: View, key: &SeriesKey) -> Key {
    let network = |number: u32| match number.checked_sub(1) {
        Some(index) => NAMES[index as usize].to_owned(),
        None => String::new(),
    };
    let country = |number: u32| {
        let letters = number.to_be_bytes().into_iter().filter(|octet| *octet != 0);
        letters.map(char::from).collect::<String>()
    };
    let (first, second) = (key.first, key.second);
    let [first, second] = match view {
        View::Interface => [
            first.to_string(),
            ["receive", "transmit"][second as usize].to_owned(),
        ],
        View::Network => [first, second].map(network),
        View::As => [first, second].map(|number| number.to_string()),
        View::Country => [first, second].map(country),
        _ => [String::new(), String::new()],
    };
    (key.exporter().to_string(), first, second)
}

fn total<'a>(sums: impl IntoIterator<Item = &'a Totals>) -> Totals {
    let sums = sums.into_iter();
    sums.fold(Totals::default(), |all, sum| all.plus(*sum))
}

/// Live series, the overflow series and those that have gone add up to the truth; where none is of the last two, each
/// series does.
fn check(view: View, reading: &ViewReading, truth: &Truth) -> Result<(), TestCaseError> {
    let expected = truth.view(view);
    let live = total(reading.series.iter().map(|series| &series.totals));
    prop_assert_eq!(
        live.plus(reading.expired),
        total(expected.values()),
        "{:?}",
        view
    );
    let has_all = reading.series.iter().all(|series| series.key.is_some());
    if has_all && reading.expired == Totals::default() {
        let mut found = Sums::new();
        for series in &reading.series {
            let key = key(view, &series.key.expect("it is no overflow series"));
            add(&mut found, key, series.totals);
        }
        prop_assert_eq!(found, expected, "{:?}", view);
    }
    Ok(())
}

fn check_all(
    reading: &FlowReading,
    truth: &Truth,
    reports: u64,
    is_one_minute: bool,
) -> Result<(), TestCaseError> {
    for (view, reading) in &reading.views {
        check(*view, reading, truth)?;
    }
    if let Some(graph) = &reading.graph {
        let live: u64 = graph.series.iter().map(|of| of.totals.requests).sum();
        prop_assert_eq!(live + graph.expired.requests, truth.requests, "requests");
    }
    if let Some(devices) = &reading.devices {
        let live: u64 = devices.series.iter().map(|of| of.totals.reports).sum();
        prop_assert_eq!(live + devices.expired.reports, reports, "reports");
    }
    if reading.graph.is_some() && is_one_minute {
        let rows = reading.top();
        let mut sources = BTreeMap::new();
        for row in rows.iter().filter(|row| row.kind == TopKind::Source) {
            let source = row.source.expect("a source").to_string();
            sources.insert(source, row.bytes);
        }
        let expected = truth.by_source.clone().into_iter();
        let expected: BTreeMap<_, _> = expected.filter(|(_, bytes)| *bytes > 0).collect();
        prop_assert_eq!(sources, expected, "top");
    }
    Ok(())
}

fn flow_spans(rig: &mut Rig) -> Vec<Span> {
    let spans = rig.flush().iter().flat_map(spans).collect::<Vec<_>>();
    let flows = spans.into_iter();
    flows.filter(|span| span.name == "netflow.flow").collect()
}

fn filtered(config: &mut Translate, filter: &str) {
    config.selection = Selection {
        filter: (!filter.is_empty()).then(|| filter.parse().expect("a filter")),
        ..config.selection.clone()
    };
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn views_add_up_to_what_the_spans_of_all_records_say(
        datagrams in vec(datagram(), 1..24),
        setting in setting(),
        filter in select(vec!["", "", "bytes > 1000000000", "src net 10.0.0.0/8", "not if 3"]),
        max_series in select(vec![2_u32, 8, 10_000]),
        only_interface in any::<bool>(),
        is_named in any::<bool>(),
    ) {
        // A filter compares the counts as they are shown.
        let mut all = rig_with(|config| {
            config.scale_sampled = setting.scales;
            filtered(config, filter);
        });
        let mut rig = rig_with(|config| {
            config.sampler = setting.sampler;
            config.shape = setting.shape;
            config.attributes = setting.level;
            config.scale_sampled = setting.scales;
            config.selection.sample_bytes = setting.sample_bytes;
            filtered(config, filter);
        });
        let views = match only_interface {
            true => [View::Interface].into_iter().collect(),
            false => View::ALL.into_iter().collect(),
        };
        rig.count_flows(&Places::new(views, max_series).with_top(1_000));
        if is_named {
            name(&mut all);
            name(&mut rig);
        }
        let (mut truth, mut kept, mut reports) = (Truth::default(), Vec::new(), 0);
        for datagram in &datagrams {
            let wait = Duration::from_secs(60 * datagram.wait);
            all.pass(wait);
            rig.pass(wait);
            for octets in datagram.octets() {
                all.take(&datagram.source(), &octets);
                rig.take(&datagram.source(), &octets);
            }
            flow_spans(&mut all).iter().for_each(|span| truth.take(span));
            kept.extend(flow_spans(&mut rig));
            if datagram.protocol.is_sflow() {
                let inputs = datagram.flows.iter().map(|flow| flow.interfaces[0]);
                reports += inputs.filter(|input| *input != 0).count() as u64;
            }
        }
        let reading = rig.flow_metrics();
        let is_one_minute = datagrams.iter().skip(1).all(|datagram| datagram.wait == 0);
        check_all(&reading, &truth, reports, is_one_minute)?;
        // An exemplar is a span that was kept, and has its bytes in one direction or in both.
        let kept: HashMap<&[u8], &Span> = kept.iter().map(|span| (&span.id[..], span)).collect();
        for exemplar in reading.views.iter().flat_map(|(_, view)| &view.series).filter_map(|series| series.exemplar) {
            let span = kept.get(&exemplar.span_id[..]).expect("its span");
            let number = |key: &str| span.get(key).as_u64().unwrap_or(0);
            let factor = match (setting.level, setting.scales) {
                // It says neither how its packets were sampled nor what went the other way.
                (AttributeLevel::Minimal, _) => continue,
                (_, true) => 1,
                (_, false) => number("netflow.sampling.interval").max(1),
            };
            let [there, back] = ["netflow.flow.bytes", "netflow.flow.reverse.bytes"].map(|key| number(key) * factor);
            prop_assert!([there, back, there + back].contains(&exemplar.bytes), "{:?}", exemplar);
        }
    }
}
