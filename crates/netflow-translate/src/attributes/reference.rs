//! The text of `docs/attributes.md`, made from the table of attributes and the registries' names.

use std::fmt::Write as _;

use netflow_wire::ie;

use crate::attributes::names::Name;
use crate::attributes::table::{ATTRIBUTES, Attribute, Form, Pick, Source};
use crate::config::AttributeLevel;
use crate::plan::HOLDS_AT_ZERO;
use crate::plan::times::{ENDS, EVENTS, STARTS, Unit};

const OPENING: &str = "\
# Attributes

<!-- Made from the table in crates/netflow-translate/src/attributes/table.rs. To change it, change the
table and run: UPDATE_GENERATED=1 cargo test -p netflow2traces --test attributes_reference -->

Every flow record is a span `netflow.flow`; so is every packet that sFlow samples. An
attribute is there when the record has the field, whatever
its value: 0 is a value. What the record lacks is not made up.

`NETFLOW_ATTRIBUTES` says how much a span tells: `minimal`, `standard` (the default) or `all`; each level has
the attributes of the one before. Numbers are OTLP integers (signed, of 64 bits), text is UTF-8.

`NETFLOW_SEMCONV` says how attributes are spelled: `netflow` (the default), `flow`, or `both`. An attribute whose second
column below is empty has one name in both schemas; so have `netflow.version` and all names of level `all`.

## Which element, of several

Elements are named as in IANA's registry of IPFIX Information Elements, whose numbers NetFlow v9 shares; the
fields of v1, v5 and v7 are read as the same elements. *Reverse* elements are those of RFC 5103, of the other
direction; *v9 only* marks numbers that vendors took in NetFlow v9 above IANA's range. The elements of an
attribute stand in order of preference.

- An element that a record has **more than once** counts with its first value that isn't zero: in a tunnel that is the
  outermost header (RFC 7011 section 8).
- **first**: the first element of the list that the template has.
- **first not zero**: the first element of the list whose value isn't zero, of text isn't blank; if all are, the first that the template
  has. An element marked † holds whenever the template has it, zero or not: a port that is there is the port, and
  a delta counter that is there is what the flow adds to a sum. A total or post counter in its place would count
  twice.
- **by family**: IPv4 and IPv6 forms of one thing. The record's family is what element 60 says, else that of the
  first address that isn't zero. Should the form of that family be zero and another not, the other holds.

Some values are put together:

- **ICMP in the destination port** (11), where many exporters put it: type in the high octet and code in the low one if
  IANA has assigned that pair, else the other way round if that is assigned; where both are, in the order that the
  exporter has used before. Nothing is said if the port is 0 or the source port isn't, or if ICMP's own elements say
  something. Only ICMP's elements in a record without protocol and ports make `network.transport` `icmp` or `ipv6-icmp`.
- **MPLS labels** end at the bottom of the stack; sections of zeros with nothing behind them are no labels.
- **A prefix** is written without the bits behind its length, and not without a length.
- **Cisco's client and server** (AVC) are source and destination, and the server's counters those of the reverse
  direction. NetFlow v9 numbers elements of Cisco from 32768 on, and those of ntop from 57472 on.
";

const LEVELS: &[(AttributeLevel, &str)] = &[
    (
        AttributeLevel::Minimal,
        "Who talked to whom by what, how much, and through which door.",
    ),
    (
        AttributeLevel::Standard,
        "What else exporters often tell, and what their options data add to it: names, and sampling.",
    ),
    (
        AttributeLevel::All,
        "Named attributes of this level, besides those of every other element.",
    ),
];

const EVERYTHING: &str = "\
### `all`: every other element

Every element that no attribute above shows is `ipfix.<name>`, the registry's name in snake case
(`ipfix.minimum_ttl`). One that no registry here knows has the name and type that the exporter itself tells of it (RFC
5610), else it is `ipfix.enterprise_<number>.<id>`; so is the second of two elements of one name. Reverse elements are
`ipfix.reverse_<name>`. Of counters that one attribute chooses from, those not at the first place are shown too, for they
measure something else; of addresses of two families the other one, when it isn't zero. Padding (210) is left out.

| abstract data type | OTLP value |
|---|---|
| unsigned and signed integers | int |
| float32, float64 | double |
| boolean | bool; int where it is neither 1 nor 2 |
| macAddress, ipv4Address, ipv6Address | string, as above |
| string | string, without the zeros that fill it up |
| dateTimeSeconds, dateTimeMilliseconds, dateTimeMicroseconds, dateTimeNanoseconds | int since 1970, in the unit that the type says |
| octetArray, an unknown type, or a length that doesn't fit the type | string: hexadecimal, of the first 256 octets |
| an element that the template repeats | array of its values |
| basicList, subTemplateList, subTemplateMultiList (RFC 6313) | arrays and key-value lists, up to four deep and 64 KiB |
";

const SAMPLING: &str = "\
### Sampling

With `standard` and `all`, the first two on every span that has bytes or packets, the others when the interval is known:

| attribute | type | value |
|---|---|---|
| `netflow.flow.estimated.bytes` | int | `netflow.flow.bytes` times the sampling interval, which is 1 where nothing says otherwise: a sum over sampled and unsampled exporters is right. Absent with `NETFLOW_SCALE_SAMPLED=true` |
| `netflow.flow.estimated.packets` | int | likewise, of `netflow.flow.packets` |
| `netflow.sampling.interval` | int | one packet in so many was looked at |
| `netflow.sampling.origin` | string | where that was learnt: `config`, `record`, `header` or `options` |
| `netflow.sampling.scaled` | bool | `true` where `NETFLOW_SCALE_SAMPLED` has multiplied `netflow.flow.bytes`, `netflow.flow.packets` and those of the reverse direction (with every level) |
| `netflow.sample.adjusted_bytes` | int | with `NETFLOW_SAMPLE_BYTES`: the record's bytes (times the sampling interval) divided by the probability that it becomes a span, so that sums are unbiased (with every level) |

The first of these that says something holds: `NETFLOW_SAMPLING_OVERRIDE` (`config`); the record's own elements
(`record`); the v5 header (`header`); the exporter's options data (`options`). An interval of zero yields to the next.

Of several elements, selectorAlgorithm (304) chooses: 1 is (305 + 306) / 305, 3 is 310 / 309, 4 is 1 / 311. Without it,
with another algorithm, or where the chosen ones are absent or zero: 305 with 306, else 310 / 309, else 1 / 311 (not with
an algorithm that filters or hashes), else 50, else 34, else 305 alone if it is greater than 1. A fraction is rounded to
the nearest whole number.

Options data count for a record by its sampler (302, else 48) and interface, by its sampler, by its interface, or for
the whole domain. The interface is the input (10, else 252), or the output (14, else 253) of a record whose direction
(61) is egress; if nothing is known of it, the other one counts. A record without a sampler's number has the interval
that all samplers of its domain share, if they share one. What was reported in another Observation Domain counts only
if nothing was reported in the record's own.
";

const GRAPH: &str = "\
### Service graph

With `NETFLOW_SERVICE_GRAPH=spans`, at every level, on the spans of requests alone:

| attribute | type | value |
|---|---|---|
| `peer.service`, `service.peer.name` | string | the network of the server by its name in `NETFLOW_NETWORKS`, or `other` |

The span of a request has the kind CLIENT (others INTERNAL), and the status ERROR if the request failed. The `service.name` of
its resource is the network of the client. [traces.md](traces.md#a-service-graph-of-spans) describes the graph.
";

const TIMES: &str = "\
## Times

A span starts and ends with its flow, unless `NETFLOW_SPAN_TIME` says otherwise. Elements, in order of preference (a
time of zero counts as none while another is there):

";

const TOLD_TIMES: &str = "
A time that is missing is made up from the other one and a duration (161, else 162). Without a duration, a missing
end is the event's time or else the start, and a missing start is the end. A record with only an event's time has it as
both, and one without any time the export time of its message.

With every level, where the span's times aren't the flow's own:

| attribute | type | value |
|---|---|---|
| `netflow.flow.start_unix_nano` | int | the flow's start in nanoseconds since 1970, as the exporter told it |
| `netflow.flow.end_unix_nano` | int | its end |
| `netflow.time.suspect` | bool | `true`: the exported times are implausible (an end before the start, over 24 hours before or over a minute after the export time), or can't be derived (uptimes without the exporter's start). The span ends at the export time then, with its duration kept where it makes sense |

Uptimes (21, 22) have 32 bits and wrap after 49.7 days. The end is the instant nearest to the export time, and the start
lies (start - end) modulo 2^32 ms before it: flows of up to 49 days are right. A start that lies behind its end gives a
span without length at the end, and is suspect; so is what would be a flow of more than 49 days. In IPFIX, uptimes count
from the exporter's start (160), in the record or else in options data; a start of zero is none. Where start and end are
told in different units, an end in the same second as the start isn't before it.

If export time and receive time are more than 24 hours apart, the exporter's clock is wrong, and times that are plausible
against the receive time are believed. A smaller difference is reported and not corrected.
";

const SPANS: &str = "\
## Spans around the flows

With every level. Their times are those of the work itself, on this machine's clock.

";

/// The spans of the work: name, what it covers, attributes.
type WorkSpan = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str, &'static str)],
);

const WORK_SPANS: &[WorkSpan] = &[
    (
        "netflow.export",
        "The root: from the datagram's arrival to the end of the work. Its status is ERROR, with the reason, when \
         the datagram could not be read (at most one such span a second and exporter, and one a second for all \
         unknown sources), and also when one Set of an otherwise good datagram could not be used.",
        &[
            (
                "netflow.exporter.address",
                "string",
                "who sent it; IPv4-mapped IPv6 as IPv4",
            ),
            ("netflow.exporter.port", "int", "from which UDP port"),
            (
                "netflow.version",
                "int",
                "1, 5, 7, 9, or 10 for IPFIX; sFlow has `sflow.version`",
            ),
            (
                "netflow.packet.size_bytes",
                "int",
                "octets of the datagram's payload",
            ),
            (
                "netflow.flow.count",
                "int",
                "flow records in it; those that wait for a template are in a trace of their own later",
            ),
            (
                "netflow.flow.kept",
                "int",
                "how many of them became spans, if not all did",
            ),
            ("netflow.sequence", "int", "sequence number; not v1"),
            (
                "netflow.observation_domain",
                "int",
                "Observation Domain ID; v9: Source ID; v5: engine type and id; sFlow: sub-agent; 0 without one",
            ),
            (
                "netflow.exporter.uptime_ms",
                "int",
                "the exporter's uptime; not IPFIX",
            ),
            (
                "netflow.lost",
                "int",
                "when the sequence jumped: how much is missing before this datagram, in flows (v5, v7), \
                 datagrams (v9, sFlow) or Data Records (IPFIX)",
            ),
        ],
    ),
    (
        "netflow.parse_packet",
        "Header, Sets and templates, up to the first flow record.",
        &[
            ("netflow.version", "int", "as above"),
            ("netflow.packet.size_bytes", "int", "as above"),
            (
                "netflow.templates",
                "int",
                "templates and options templates in it, when there are any",
            ),
        ],
    ),
    (
        "netflow.process_flows",
        "From the first flow record to the end; the parent of the flows.",
        &[
            ("netflow.flow.count", "int", "as above"),
            (
                "netflow.sets.waiting",
                "int",
                "Sets whose template hasn't come yet, when there are any",
            ),
        ],
    ),
];

const RESOURCE: &str = "\
## Resource

One for each exporter in a request, and with `NETFLOW_SERVICE_GRAPH=spans` for each exporter and client:

| attribute | value |
|---|---|
| `service.name` | `OTEL_SERVICE_NAME`, by default `netflow-to-traces`; with `NETFLOW_SERVICE_NAME=exporter` the exporter's name, else its address (sFlow: the agent's); of a request of the service graph the network of its client |
| `service.version` | `OTEL_SERVICE_VERSION`, by default the version of netflow2traces |
| `service.instance.id` | a random UUID for each start |
| `telemetry.sdk.name`, `telemetry.sdk.language`, `telemetry.sdk.version` | `netflow2traces`, `rust`, its version |
| `host.name` | this machine's, where it is known |
| `netflow.exporter.address` | the exporter's address |
| `netflow.exporter.agent` | sFlow: the agent's address, as the datagram reports it |
| `netflow.exporter.name` | the exporter's name, where a line of `NETFLOW_NETWORKS` names its address alone |
| `netflow.exporter.network` | the name of the longest prefix in `NETFLOW_NETWORKS` that holds its address |

`OTEL_RESOURCE_ATTRIBUTES` adds others and replaces these, but not those that begin with `netflow.exporter.`. When names
change, an exporter's next spans have the new ones. The instrumentation scope is `netflow2traces` with its version.
";

const PACKETS: &str = "\
## Sampled packets

What exporters send of a packet itself is read like a record: sFlow's raw headers, and in v9 and IPFIX the sections of
packets in elements 315 dataLinkFrameSection, 104, 313 and 317 (the first of these). The outermost headers give
`source.address`, ports, protocol, `network.type`, TCP flags, TOS, ICMP, VLAN, MAC addresses and MPLS labels as above. A
section only fills what its record has no element for; without counters it is one packet, and its length the bytes.

With `standard` and `all`, of a tunnel in the packet:

| attribute | type | value |
|---|---|---|
| `netflow.tunnel.type` | string | which kind, in lower case (`vxlan`, `gre`) |
| `netflow.tunnel.vni`, `netflow.tunnel.key` | int | network identifier; of GRE its key |
| `netflow.tunnel.inner.source.address`, `netflow.tunnel.inner.source.port` | string, int | the packet inside |
| `netflow.tunnel.inner.destination.address`, `netflow.tunnel.inner.destination.port` | string, int | the packet inside |
| `netflow.tunnel.inner.protocol` | int | the packet inside |

## sFlow

Each flow sample, expanded or not, and each discarded packet is a span `netflow.flow` of one packet. Counter samples are
counted, not shown. [sflow.md](sflow.md) says where each attribute comes from, and which there are besides: those that
begin with `sflow.`, and `netflow.tunnel.` for tunnels.

";

/// The text of `docs/attributes.md`.
#[must_use]
pub fn attributes_reference() -> String {
    let mut text = format!("{OPENING}\n## `netflow.flow`\n");
    for (level, introduction) in LEVELS {
        let rows: Vec<_> = ATTRIBUTES
            .iter()
            .filter(|attribute| attribute.name.level() == *level)
            .collect();
        if rows.is_empty() {
            continue;
        }
        let _ = write!(text, "\n### `{}`\n\n{introduction}\n\n", level.as_str());
        text.push_str(
            "| attribute | under `flow` | type | elements | of several |\n|---|---|---|---|---|\n",
        );
        if *level == AttributeLevel::Minimal {
            let version = "int: 1, 5, 7, 9, or 10 for IPFIX";
            let _ = writeln!(
                text,
                "| `netflow.version` | | {version} | the message's header | |"
            );
        }
        for attribute in rows {
            row(&mut text, attribute);
        }
    }
    let _ = write!(text, "\n{EVERYTHING}\n{SAMPLING}\n{GRAPH}\n{TIMES}");
    text.push_str("| | elements |\n|---|---|\n");
    for (what, elements) in [
        ("start", STARTS),
        ("end", ENDS),
        ("event, for both", EVENTS),
    ] {
        let elements: Vec<_> = elements.iter().map(time_source).collect();
        let _ = writeln!(text, "| {what} | {} |", elements.join(", "));
    }
    let _ = write!(text, "{TOLD_TIMES}\n{PACKETS}\n{SPANS}");
    for (name, covers, attributes) in WORK_SPANS {
        let _ = writeln!(text, "### `{name}`\n\n{covers}\n");
        text.push_str("| attribute | type | value |\n|---|---|---|\n");
        for (key, kind, value) in *attributes {
            let _ = writeln!(text, "| `{key}` | {kind} | {value} |");
        }
        text.push('\n');
    }
    text.push_str(RESOURCE);
    text
}

fn row(text: &mut String, attribute: &Attribute) {
    let elements: Vec<_> = attribute
        .sources
        .iter()
        .map(|source| {
            let holds = attribute.pick == Pick::FirstNonZero && HOLDS_AT_ZERO.contains(&source.1);
            let mark = if holds { "†" } else { "" };
            format!("{}{mark}", element(*source))
        })
        .collect();
    let elements = elements.join(", ");
    let pick = match attribute.pick {
        _ if attribute.sources.len() == 1 => "",
        _ if attribute.form == Form::NetworkType => "by family",
        Pick::First => "first",
        Pick::FirstNonZero => "first not zero",
        Pick::Family => "by family",
    };
    let key = attribute.name.netflow().unwrap_or_default();
    let _ = writeln!(
        text,
        "| `{key}` | {} | {} | {elements} | {pick} |",
        under_flow(attribute.name),
        form(attribute.form)
    );
    if attribute.form == Form::Protocol {
        let _ = writeln!(
            text,
            "| `network.protocol.number` | not written | int | {elements} | {pick} |"
        );
    }
}

/// The key under `NETFLOW_SEMCONV=flow`, where it is another one.
fn under_flow(name: Name) -> String {
    match name.flow() {
        None => "not written".to_owned(),
        Some(key) if name.netflow() == Some(key) => String::new(),
        Some(key) => format!("`{key}`"),
    }
}

/// Type and form of the value.
fn form(form: Form) -> &'static str {
    match form {
        Form::Unsigned => "int",
        Form::Address => "string: text as RFC 5952",
        Form::Mac => "string: `aa:bb:cc:dd:ee:ff`",
        Form::Text => "string",
        Form::Protocol => {
            "string: IANA's keyword in lower case (`tcp`, `ipv6-icmp`), `protocol-N` without one"
        }
        Form::NetworkType => "string: `ipv4` or `ipv6`, the record's family",
        Form::Direction => "string: `receive` (0) or `transmit` (1)",
        Form::ValueName => {
            "string: the registry's name of the value in snake case (`idle_timeout`), else the number"
        }
        Form::IcmpType | Form::IcmpCode => {
            "int, of records whose protocol is ICMP or isn't exported; 32, 139 and 11 hold type and code in one"
        }
        Form::MplsLabel => "int: the 20-bit label",
        Form::ApplicationId => {
            "string: `engine:selector`, of engine 20 `20:PEN:selector`, without leading zeros"
        }
        Form::InterfaceName => {
            "string: the record's own name (82, 83; of the output where 61 is egress), else the options data's (82, else 83)"
        }
        Form::VrfName => "string: the options data's name of the VRF (236)",
        Form::ApplicationName => {
            "string: the record's own, else the options data's name of 95 (96)"
        }
        Form::Prefix => {
            "string: `192.0.2.0/24`, with the length of 9, 13, 29 or 30; of an address only if it is zero"
        }
        Form::Cumulative => "bool: `true` where bytes or packets are those of 85 or 86",
    }
}

/// Number and name.
fn element((enterprise, id): Source) -> String {
    let known = match enterprise {
        ie::IANA => ie::lookup_v9(id),
        _ => ie::lookup(enterprise, id),
    };
    let name = known.map_or("", |element| element.name);
    match enterprise {
        ie::IANA if id > 0x7fff => format!("{id} {name} (v9 only)"),
        ie::IANA => format!("{id} {name}"),
        ie::REVERSE => format!("reverse {id} {name}"),
        _ => format!("{enterprise}/{id} {name}"),
    }
}

fn time_source((id, unit): &(u16, Unit)) -> String {
    let element = element((ie::IANA, *id));
    match unit {
        Unit::SysUptime => {
            format!(
                "{element} (against the header's uptime, else element 160 of the record or of options data)"
            )
        }
        Unit::DeltaMicroseconds => format!("{element} (before the export time)"),
        Unit::Seconds | Unit::Milliseconds | Unit::Ntp(_) => element,
    }
}
