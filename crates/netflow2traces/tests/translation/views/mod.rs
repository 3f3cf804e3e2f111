//! The sums of each view are those of the flow records, as a translator that keeps every span shows them: of every
//! protocol, in both directions of a biflow, whatever becomes a span, and also where series find no place or expire.

mod traffic;

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use netflow2traces::config::{AttributeLevel, Selection, TraceSampler, TraceShape, Translate};
use netflow2traces::translate::enrich::geo::{Database, DatabaseKind, Databases};
use netflow2traces::translate::enrich::networks::Networks;
use netflow2traces::translate::metrics::{
    FlowReading, Places, SeriesKey, Tally as _, TopKind, Totals, View, ViewReading,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use self::traffic::datagram;
use super::mmdb;
use super::rig::{Rig, Span, rig_with, spans};

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
