//! Records that a capture must give, as its `.expected.json` states them.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

/// Fields that every flow span must carry when the record has them.
pub(crate) const CORE: [&str; 13] = [
    "version",
    "src_addr",
    "src_port",
    "dst_addr",
    "dst_port",
    "protocol",
    "bytes",
    "packets",
    "next_hop",
    "input_if",
    "output_if",
    "src_as",
    "dst_as",
];

/// Fields that hold an IP address.
pub(crate) const ADDRESSES: [&str; 6] = [
    "src_addr",
    "dst_addr",
    "next_hop",
    "bgp_next_hop",
    "post_nat_src_addr",
    "post_nat_dst_addr",
];

/// Fields by which flows of a capture differ.
pub(crate) const KEY: [&str; 4] = ["src_addr", "dst_addr", "src_port", "dst_port"];

/// What speaks of the record and is not in it, or is changed by a replay.
const NOT_COMPARED: [&str; 8] = [
    "fields", "alts", "frame", "datagram", "why", "optional", "notes", "exporter",
];

/// Fields by which the same quantity may be counted where the first is absent.
const INSTEAD: [(&str, &[&str]); 4] = [
    (
        "bytes",
        &[
            "bytes_total",
            "out_bytes",
            "initiator_octets",
            "layer2_bytes",
        ],
    ),
    (
        "packets",
        &["packets_total", "out_packets", "initiator_packets"],
    ),
    ("input_if", &["ingress_phys_if"]),
    ("output_if", &["egress_phys_if"]),
];

/// Fields that are in an expected record under one of several names.
const ALIASES: [(&str, &[&str]); 2] = [
    (
        "rev_bytes",
        &["reverse_bytes", "reverse_bytes_total", "responder_octets"],
    ),
    (
        "rev_packets",
        &[
            "reverse_packets",
            "reverse_packets_total",
            "responder_packets",
        ],
    ),
];

/// A record: its fields by name.
pub(crate) type Record = BTreeMap<String, Value>;

/// What a capture must give.
#[derive(Debug, Deserialize)]
pub(crate) struct Expected {
    /// `false` for hostile input, of which only a bound on the output is asked.
    #[serde(default = "yes")]
    pub(crate) strict: bool,
    pub(crate) records: Vec<Record>,
    /// May come as well.
    #[serde(default)]
    pub(crate) optional_records: Vec<Record>,
    #[serde(default)]
    pub(crate) totals: Totals,
    /// Spans beyond all records that are let pass.
    #[serde(default)]
    pub(crate) allow_extra: usize,
}

/// Sums over a capture.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Totals {
    /// Octets of all payloads.
    #[serde(default)]
    pub(crate) bytes: usize,
}

fn yes() -> bool {
    true
}

impl Expected {
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        let text = std::fs::read_to_string(path)?;
        serde_json::from_str(&text).map_err(|error| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{}: {error}", path.display()),
            )
        })
    }
}

/// The values of a field that a span may carry.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Accepted {
    pub(crate) values: Vec<Value>,
    /// The span may also lack the field, though it is one of [`CORE`].
    pub(crate) absent: bool,
}

impl Accepted {
    fn these(values: Vec<Value>) -> Self {
        Self {
            values,
            absent: false,
        }
    }
}

/// The fields of a record with the values that are acceptable for each.
pub(crate) type Acceptance = BTreeMap<String, Accepted>;

/// What a span of `record` may look like.
pub(crate) fn acceptance(record: &Record) -> Acceptance {
    let mut accepted = Acceptance::new();
    let alternatives = record.get("alts");
    for (field, value) in record {
        if NOT_COMPARED.contains(&field.as_str()) || value.is_object() {
            continue;
        }
        let values = match alternatives
            .and_then(|all| all.get(field))
            .and_then(Value::as_array)
        {
            Some(values) if !values.is_empty() => values.clone(),
            _ => vec![value.clone()],
        };
        accepted.insert(field.clone(), Accepted::these(values));
    }
    for field in ADDRESSES {
        if let Some(accepted) = accepted.get_mut(field) {
            accepted.values = addresses(&accepted.values);
        }
    }
    for field in KEY.into_iter().chain(["protocol"]) {
        let framed = record.get("frame").and_then(|frame| frame.get(field));
        if let Some(value) = framed {
            accepted
                .entry(field.to_owned())
                .or_insert_with(|| Accepted::these(vec![canonical(field, value)]));
        }
    }
    if let Some(labels) = accepted.get_mut("mpls_labels") {
        labels.values = labels.values.iter().map(without_zeros_behind).collect();
    }
    if record
        .get("version")
        .is_some_and(|version| version == "sflow5")
    {
        accept_sflow(record, &mut accepted);
        return accepted;
    }
    for (field, others) in INSTEAD {
        let values: Vec<Value> = others
            .iter()
            .filter_map(|other| record.get(*other))
            .cloned()
            .collect();
        if !record.contains_key(field) && !values.is_empty() {
            accepted.insert(
                field.to_owned(),
                Accepted {
                    values,
                    absent: true,
                },
            );
        }
    }
    for (field, names) in ALIASES {
        let values: Vec<Value> = names
            .iter()
            .filter_map(|name| record.get(*name))
            .cloned()
            .collect();
        if !values.is_empty() {
            accepted.insert(field.to_owned(), Accepted::these(values));
        }
    }
    if let (None, Some(vlan)) = (record.get("vlan"), record.get("dot1q_vlan")) {
        accepted.insert("vlan".to_owned(), Accepted::these(vec![vlan.clone()]));
    }
    if record
        .get("ip_version_derived")
        .is_some_and(|derived| derived == true)
    {
        accepted.remove("ip_version");
    }
    accepted
}

/// The interface number that stands for the device itself.
const INTERNAL_INTERFACE: u64 = 0x3fff_ffff;

/// What an sFlow sample may be shown as: its length by any of its records, with or without the frame's
/// check sequence; an interface only where its format is an index; the AS of a source that has none as that of
/// its router or peer.
fn accept_sflow(record: &Record, accepted: &mut Acceptance) {
    let number = |field: &str| record.get(field).and_then(Value::as_u64);
    accepted.insert("version".to_owned(), Accepted::these(vec![5.into()]));
    let lengths: Vec<u64> = ["bytes", "bytes_ip", "ethernet_length"]
        .into_iter()
        .filter_map(number)
        .collect();
    if !lengths.is_empty() {
        let without_check = lengths.iter().map(|length| length.saturating_sub(4));
        let values = lengths.iter().copied().chain(without_check);
        let values = values.map(Value::from).collect();
        accepted.insert("bytes".to_owned(), Accepted::these(values));
    }
    for (field, format) in [
        ("input_if", "input_if_format"),
        ("output_if", "output_if_format"),
    ] {
        let (format, value) = (number(format).unwrap_or(0), number(field).unwrap_or(0));
        if format != 0 || value == INTERNAL_INTERFACE {
            let accepted_interface = Accepted {
                values: vec![value.into(), (format << 30 | value).into(), 0.into()],
                absent: true,
            };
            accepted.insert(field.to_owned(), accepted_interface);
        }
    }
    let sources = ["src_as", "router_as", "src_peer_as"];
    let values: Vec<Value> = sources
        .into_iter()
        .filter_map(number)
        .map(Value::from)
        .collect();
    if !values.is_empty() {
        let absent = values.len() < sources.len();
        accepted.insert("src_as".to_owned(), Accepted { values, absent });
    }
    if let Some(vlan) = record.get("ext_src_vlan") {
        let entry = accepted
            .entry("vlan".to_owned())
            .or_insert_with(|| Accepted::these(Vec::new()));
        entry.values.push(vlan.clone());
    }
}

/// Addresses in one spelling, without the unspecified ones where another is there: of two families
/// in a record the zero one is no answer.
fn addresses(values: &[Value]) -> Vec<Value> {
    let all: Vec<Value> = values
        .iter()
        .map(|value| canonical("src_addr", value))
        .collect();
    let specified: Vec<Value> = all
        .iter()
        .filter(|value| *value != "0.0.0.0" && *value != "::")
        .cloned()
        .collect();
    if specified.is_empty() { all } else { specified }
}

/// A value as it is compared: an address in the spelling of RFC 5952, all else unchanged.
pub(crate) fn canonical(field: &str, value: &Value) -> Value {
    let address = value.as_str().filter(|_| ADDRESSES.contains(&field));
    match address.and_then(|text| text.parse::<IpAddr>().ok()) {
        Some(address) => Value::from(address.to_string()),
        None => value.clone(),
    }
}

/// Sections of zeros behind the bottom of a stack are no labels.
fn without_zeros_behind(labels: &Value) -> Value {
    let labels = labels.as_array().map(Vec::as_slice).unwrap_or_default();
    let last = labels.iter().rposition(|label| *label != 0);
    labels
        .get(..last.map_or(0, |last| last + 1))
        .unwrap_or_default()
        .into()
}
