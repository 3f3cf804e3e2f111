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
table and run: UPDATE_GENERATED=1 cargo test -p netflow2traces --test reference -->

Every flow record becomes a span `netflow.flow`; so does every packet that sFlow samples. An attribute is present if the
record has the field, whatever its value: 0 is a value. Missing fields are not invented.

`NETFLOW_ATTRIBUTES` sets how many attributes a span has: `minimal`, `standard` (the default) or `all`; each level includes
the attributes of the previous one. Numbers are OTLP integers (signed, 64 bits), text is UTF-8.

`NETFLOW_SEMCONV` sets the names of attributes: `netflow` (the default), `flow`, or `both`. If the second column below is
empty, the attribute has the same name in both schemas; so have `netflow.version` and all names of level `all`.

## Attributes with several elements

Elements are named as in IANA's registry of IPFIX Information Elements, whose numbers NetFlow v9 shares; the fields of v1, v5
and v7 are mapped to the same elements. *Reverse* elements are those of RFC 5103, for the other direction; *v9 only* marks
numbers above IANA's range that vendors use in NetFlow v9. The elements of an attribute are listed in order of preference.

- If a record has an element **more than once**, its first value that isn't zero counts: in a tunnel that is the outermost
  header (RFC 7011 section 8).
- **first**: the first element of the list that the template has.
- **first not zero**: the first element of the list whose value isn't zero (for text: isn't blank); if all are, the first
  that the template has. An element marked † counts whenever the template has it, even if it is zero: a port of 0 is the
  port, and a delta counter of 0 is what the flow adds to a sum. A total or post counter in its place would be counted twice.
- **by family**: IPv4 and IPv6 forms of the same value. The record's family is the value of element 60, otherwise the family
  of the first address that isn't zero. If the form of that family is zero and the other isn't, the other is used.

Some values need several rules:

- **ICMP in the destination port** (11), used by many exporters: type in the high octet and code in the low one, if IANA has
  assigned that pair, otherwise the other way round if that pair is assigned. If both are assigned, the order that the
  exporter has used before applies. The attributes are absent if the port is 0 or the source port isn't, or if the record has
  ICMP's own elements. Only ICMP's elements in a record without protocol and ports make `network.transport` `icmp` or
  `ipv6-icmp`.
- **MPLS labels** end at the bottom of the stack; trailing sections of zeros are not labels.
- **A prefix** is written without the bits beyond its length, and only if the length is known.
- **Cisco's client and server** (AVC) become source and destination; the server's counters are those of the reverse
  direction. NetFlow v9 numbers elements of Cisco from 32768 on, and those of ntop from 57472 on.
";

const LEVELS: &[(AttributeLevel, &str)] = &[
    (
        AttributeLevel::Minimal,
        "Which hosts communicated over which protocol, how much, and through which interfaces.",
    ),
    (
        AttributeLevel::Standard,
        "Further fields that exporters often send, and what their options data adds: names, and sampling.",
    ),
    (
        AttributeLevel::All,
        "Attributes with names of their own at this level; every other element has one too (see below).",
    ),
];

const EVERYTHING: &str = "\
### `all`: every other element

Every element without an attribute above becomes `ipfix.<name>`, with the registry's name in snake case
(`ipfix.minimum_ttl`). If no registry known to the daemon has the element, it gets the name and type that the exporter
describes (RFC 5610), otherwise `ipfix.enterprise_<number>.<id>`; so does the second of two elements with the same name.
Reverse elements are `ipfix.reverse_<name>`. If an attribute chooses one of several counters, those not in first place are
included here too, because they measure something else; of addresses of two families, the other one is included if it isn't
zero. Padding (210) is left out.

| abstract data type | OTLP value |
|---|---|
| unsigned and signed integers | int |
| float32, float64 | double |
| boolean | bool; int if it is neither 1 nor 2 |
| macAddress, ipv4Address, ipv6Address | string, as above |
| string | string, without padding zeros |
| dateTimeSeconds, dateTimeMilliseconds, dateTimeMicroseconds, dateTimeNanoseconds | int since 1970, in the unit of the type |
| octetArray, an unknown type, or a length that doesn't fit the type | string: hexadecimal, of the first 256 octets |
| an element that the template repeats | array of its values |
| basicList, subTemplateList, subTemplateMultiList (RFC 6313) | arrays and key-value lists, up to four deep and 64 KiB |
";

const SAMPLING: &str = "\
### Sampling

With `standard` and `all`, the first two on every span that has bytes or packets, the others when the interval is known:

| attribute | type | value |
|---|---|---|
| `netflow.flow.estimated.bytes` | int | `netflow.flow.bytes` times the sampling interval (1 if unknown), so that sums over sampled and unsampled exporters are correct. Absent with `NETFLOW_SCALE_SAMPLED=true` |
| `netflow.flow.estimated.packets` | int | `netflow.flow.packets` times the sampling interval |
| `netflow.sampling.interval` | int | N, if the exporter samples one packet in N |
| `netflow.sampling.origin` | string | where the interval was learned: `config`, `record`, `header` or `options` |
| `netflow.sampling.scaled` | bool | `true` if `NETFLOW_SCALE_SAMPLED` has multiplied `netflow.flow.bytes`, `netflow.flow.packets` and those of the reverse direction (with every level) |
| `netflow.sample.adjusted_bytes` | int | with `NETFLOW_SAMPLE_BYTES`: the record's bytes (times the sampling interval) divided by the probability that it becomes a span, so that sums are unbiased (with every level) |

The interval comes from the first of these that has one: `NETFLOW_SAMPLING_OVERRIDE` (`config`); the record's own elements
(`record`); the v5 header (`header`); the exporter's options data (`options`). An interval of zero counts as none.

If there are several elements, selectorAlgorithm (304) decides: 1 is (305 + 306) / 305, 3 is 310 / 309, 4 is 1 / 311. Without
it, with another algorithm, or if the elements it needs are absent or zero: 305 with 306, otherwise 310 / 309, otherwise 1 /
311 (not with an algorithm that filters or hashes), otherwise 50, otherwise 34, otherwise 305 alone if it is greater than 1.
A fraction is rounded to the nearest whole number. Sampling of whole flows (RFC 7014: 390, 396, 397) counts likewise.

Options data applies to a record by its sampler (302, otherwise 48) and interface, by its sampler, by its interface, by its
direction (61), by its template (145; in NetFlow v9 the scope Template), or to the whole domain, in this order. What is
reported for an interface and a direction holds for records of both. What is reported for a part of the device that
records don't name, such as a line card, holds where all parts agree; so does what is reported for a sampler at several
interfaces, for records without an interface. The interface is the input (10, otherwise 252), or the output (14, otherwise 253) if the
record's direction (61) is egress; if nothing is known about that interface, the other one counts. A record without a
sampler's number has the interval that all samplers of its domain share, if they share one. Options data of another
Observation Domain counts only if there is none for the record's own.
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

const ENRICHMENT: &str = "\
### What files say

With every level, where the settings name files ([flow-metrics.md](flow-metrics.md)):

| attribute | type | value |
|---|---|---|
| `netflow.source.network`, `netflow.destination.network` | string | `NETFLOW_NETWORKS`: the name of the longest prefix that holds the address |
| `source.KEY`, `destination.KEY` | string | `NETFLOW_NETWORKS`: each further key of that line |
| `source.geo.country.iso_code`, `destination.geo.country.iso_code` | string | `NETFLOW_GEOIP_COUNTRY`: two letters |
| `source.as.number`, `destination.as.number` | int | with `NETFLOW_GEOIP_ASN`: the number that the exporter reports, unless it is 0; else the database's. Under `NETFLOW_SEMCONV=flow` and `both` the record's own number stands there, zero or not, if it has one |
| `source.as.organization.name`, `destination.as.organization.name` | string | `NETFLOW_GEOIP_ASN`: the organization that runs that system, if the database has the same number |
| `netflow.as.origin` | string | where these numbers come from: `exporter`, `database`, or `both`, one for each end |
";

const TIMES: &str = "\
## Times

A span starts and ends with its flow, unless `NETFLOW_SPAN_TIME` says otherwise. These elements have the times, in order of
preference (if there are several, a time of zero counts as none):

";

const TOLD_TIMES: &str = " If one time is missing, it is computed from the other one and a duration (161, otherwise 162).
Without a duration, a missing end is the event's time or otherwise the start, and a missing start is the end. If a record has
only an event's time, that is both start and end; if it has no time, the export time of its message is used.

With every level, if the span's times aren't the flow's own:

| attribute | type | value |
|---|---|---|
| `netflow.flow.start_unix_nano` | int | the flow's start in nanoseconds since 1970, as exported |
| `netflow.flow.end_unix_nano` | int | the flow's end in nanoseconds since 1970, as exported |
| `netflow.time.suspect` | bool | `true`: the exported times are implausible (an end before the start, over 24 hours before or over a minute after the export time), or can't be derived (uptimes without the exporter's start). The span then ends at the export time, and keeps its duration if that is plausible; if the end lies less than a minute before the start, the span lies at the end and has no length |

Uptimes (21, 22) have 32 bits and wrap after 49.7 days. The end is the instant nearest to the export time, and the start is
(end - start) modulo 2^32 ms before it: flows of up to 49 days are correct. If the start is after the end, the span has no
length, lies at the end, and is suspect; so is a flow that would last more than 49 days. In IPFIX, uptimes count from the
exporter's start (160), in the record or otherwise in options data; a start of zero counts as none. If start and end have
different units, an end in the same second as the start isn't before it.

If export time and receive time are more than 24 hours apart, the exporter's clock is wrong, and times that are plausible
relative to the receive time are accepted. A smaller difference is reported and not corrected.
";

const SPANS: &str = "\
## Processing spans

With every level. Their times are those of the processing itself, on this machine's clock.

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
        "The root: from the datagram's arrival to the end of processing. Its status is ERROR, with the reason, if \
         the datagram could not be read (at most one such span a second and exporter, and one a second for all \
         unknown sources), and also if one Set of an otherwise valid datagram could not be used.",
        &[
            (
                "netflow.exporter.address",
                "string",
                "the datagram's source address; IPv4-mapped IPv6 as IPv4",
            ),
            ("netflow.exporter.port", "int", "its UDP source port"),
            (
                "netflow.version",
                "int",
                "1, 5, 7, 9, or 10 for IPFIX; sFlow has `sflow.version`",
            ),
            (
                "netflow.packet.size_bytes",
                "int",
                "bytes of the datagram's payload",
            ),
            (
                "netflow.flow.count",
                "int",
                "flow records in it; those that wait for a template appear later, in a trace of their own",
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
                "if there is a gap in the sequence: how much is missing before this datagram, in flows (v5, v7), \
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
                "templates and options templates in it, if there are any",
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
                "Sets whose template has not arrived yet, if there are any",
            ),
        ],
    ),
];

const RESOURCE: &str = "\
## Resource

A request has one resource for each exporter, and with `NETFLOW_SERVICE_GRAPH=spans` one for each exporter and client:

| attribute | value |
|---|---|
| `service.name` | `OTEL_SERVICE_NAME`, by default `netflow-to-traces`; with `NETFLOW_SERVICE_NAME=exporter` the exporter's name, else its address (sFlow: the agent's); of a request of the service graph the network of its client |
| `service.version` | `OTEL_SERVICE_VERSION`, by default the version of netflow2traces |
| `service.instance.id` | a random UUID for each start |
| `telemetry.sdk.name`, `telemetry.sdk.language`, `telemetry.sdk.version` | `netflow2traces`, `rust`, its version |
| `host.name` | this machine's, if known |
| `netflow.exporter.address` | the exporter's address |
| `netflow.exporter.agent` | sFlow: the agent's address in the datagram |
| `netflow.exporter.name` | the exporter's name, if a line of `NETFLOW_NETWORKS` is for its address alone |
| `netflow.exporter.network` | the name of the longest prefix in `NETFLOW_NETWORKS` that contains its address |

`OTEL_RESOURCE_ATTRIBUTES` adds others and replaces these, except those that begin with `netflow.exporter.`. When names
change, an exporter's next spans have the new ones. The instrumentation scope is `netflow2traces` with its version.
";

const PACKETS: &str = "\
## Sampled packets

If exporters send part of a packet, it is decoded like a record: sFlow's raw headers, and in v9 and IPFIX the sections of
packets in elements 315 dataLinkFrameSection, 104, 313 and 317 (the first of these). The outermost headers provide
`source.address`, ports, protocol, `network.type`, TCP flags, TOS, ICMP, VLAN, MAC addresses and MPLS labels as above. A
section only provides attributes for which its record has no element; without counters it counts as one packet with its own
length.

With `standard` and `all`, for a tunnel in the packet:

| attribute | type | value |
|---|---|---|
| `netflow.tunnel.type` | string | the kind of tunnel, in lower case (`vxlan`, `gre`) |
| `netflow.tunnel.vni`, `netflow.tunnel.key` | int | the network identifier; GRE's key |
| `netflow.tunnel.inner.source.address`, `netflow.tunnel.inner.source.port` | string, int | the packet inside |
| `netflow.tunnel.inner.destination.address`, `netflow.tunnel.inner.destination.port` | string, int | the packet inside |
| `netflow.tunnel.inner.protocol` | int | the packet inside |

## sFlow

Each flow sample, expanded or not, and each discarded packet becomes a span `netflow.flow` for one packet. Counter samples
are counted, not shown. [sflow.md](sflow.md) says where each attribute comes from, and lists further ones: those that begin
with `sflow.`, and `netflow.tunnel.` for tunnels.

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
    let _ = write!(
        text,
        "\n{EVERYTHING}\n{SAMPLING}\n{GRAPH}\n{ENRICHMENT}\n{TIMES}"
    );
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
