//! Settings: templates, exporters, sampling.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::{DAY, SECOND};
use crate::config::SamplingOverride;
use crate::config::fields;
use crate::config::sampling_overrides::sampling_overrides;
use crate::config::setting::{About, Preset, Secrecy, Section, Setting};
use crate::config::values;
use crate::translate::enrich::fields::Fields;

settings! { DECODING:
    ALLOWED_EXPORTERS: Vec<IpNet> {
        section: Decoding,
        variables: ["NETFLOW_ALLOWED_EXPORTERS"],
        flag: "allowed-exporters",
        placeholder: "CIDR,…",
        preset: Preset::Nothing("all"),
        accepted: "networks in CIDR form or addresses, separated by commas, such as \
            10.0.0.0/8,192.0.2.1,2001:db8::/32",
        summary: "Exporters to accept",
        details: "Datagrams from other sources are dropped and counted (`netflow_packets_dropped_total`, \
            `not_allowed`) without keeping any state for them. UDP source addresses can be forged: a firewall that \
            knows the network's paths protects better.",
        parse: values::networks,
    }
    MAX_RATE_PER_EXPORTER: u32 {
        section: Decoding,
        variables: ["NETFLOW_MAX_RATE_PER_EXPORTER"],
        flag: "max-rate-per-exporter",
        placeholder: "N",
        preset: Preset::Nothing("no limit"),
        accepted: "datagrams a second, a whole number from 1 to 10000000",
        summary: "Datagrams a second to accept from one exporter",
        details: "Stops one exporter from using up the resources that all share. After a pause, it may send a \
            second's worth in one burst. Datagrams over the limit are dropped after their header was read, and \
            counted: `netflow_packets_dropped_total`, `rate_limited`, and for each exporter in `/api/exporters`. By \
            sequence numbers, their records count as missing too.",
        parse: |text| values::whole_number(text, 1..=10_000_000)
            .map(|number| u32::try_from(number).unwrap_or(u32::MAX)),
    }
    MAX_RECORD_RATE_PER_EXPORTER: u32 {
        section: Decoding,
        variables: ["NETFLOW_MAX_RECORD_RATE_PER_EXPORTER"],
        flag: "max-record-rate-per-exporter",
        placeholder: "N",
        preset: Preset::Nothing("no limit"),
        accepted: "flow records a second, a whole number from 1 to 10000000",
        summary: "Flow records a second to turn into spans for one exporter",
        details: "A datagram holds between one and thousands of flow records, so a limit on datagrams alone doesn't \
            bound the spans of an exporter. After a pause, it may send a second's worth in one burst. Records over \
            the limit are read and counted, but get no span: `netflow_flows_skipped_total`, `rate_limited`. The \
            daemon still learns templates and options data from their datagrams.",
        parse: |text| values::whole_number(text, 1..=10_000_000)
            .map(|number| u32::try_from(number).unwrap_or(u32::MAX)),
    }

    TEMPLATE_STORE: PathBuf {
        section: Decoding,
        variables: ["NETFLOW_TEMPLATE_STORE"],
        flag: "template-store",
        placeholder: "FILE",
        preset: Preset::Nothing("none: templates are kept in memory only"),
        accepted: "a file in a directory that exists and can be written to, such as \
            /var/lib/netflow2traces/templates",
        summary: "File that keeps templates and options data over a restart",
        details: "Without it, v9 and IPFIX data in the first minutes after a restart waits until the exporters send \
            their templates again. The file is read at the start and replaced as a whole within seconds of a change; \
            the number of workers may change in between. If the file is damaged, it is renamed, with a warning. Each \
            daemon needs a file of its own. docs/template-store.md describes the format.",
        parse: values::file_to_write,
    }
    TEMPLATE_LIFETIME: Duration {
        section: Decoding,
        variables: ["NETFLOW_TEMPLATE_LIFETIME"],
        flag: "template-lifetime",
        placeholder: "DURATION",
        preset: Preset::Text("24h"),
        accepted: "a duration from 1s to 365d, such as 30m or 24h",
        summary: "How long a template that is not re-sent is kept",
        details: "Exporters repeat their templates every few minutes to every hour. If the lifetime is shorter than \
            three of these intervals, data may have to wait for a template that was known before.",
        parse: |text| values::duration(text, SECOND..=365 * DAY),
    }
    MAX_EXPORTERS: usize {
        section: Decoding,
        variables: ["NETFLOW_MAX_EXPORTERS"],
        flag: "max-exporters",
        placeholder: "N",
        preset: Preset::Text("65536"),
        accepted: "a whole number from 1 to 16777216",
        summary: "Exporters to remember",
        details: "Bounds memory if many sources send, real or forged. When the limit is reached, the daemon forgets \
            the source that has been silent longest, beginning with sources that never sent anything decodable. The \
            limit applies to each worker separately, because workers share nothing.",
        parse: |text| values::count(text, 1..=1 << 24),
    }
    MAX_TEMPLATES_PER_EXPORTER: usize {
        section: Decoding,
        variables: ["NETFLOW_MAX_TEMPLATES_PER_EXPORTER"],
        flag: "max-templates-per-exporter",
        placeholder: "N",
        preset: Preset::Text("4096"),
        accepted: "a whole number from 1 to 1048576",
        summary: "Templates to remember for each exporter",
        details: "Bounds memory if an exporter announces ever more templates.",
        parse: |text| values::count(text, 1..=1 << 20),
    }
    FIELDS: Arc<Fields> {
        section: Decoding,
        variables: ["NETFLOW_FIELDS"],
        flag: "fields",
        placeholder: "FILE",
        preset: Preset::Nothing("none"),
        accepted: "a readable CSV file with lines such as \
            32473,7,acmeTenant,string,acme.tenant",
        summary: "CSV file that defines Information Elements",
        details: "Each line is `enterprise,element,name,type[,attribute]` and gives a name and a type to an element \
            that the daemon doesn't know, without a new version. Its value is shown as `attribute` with \
            `NETFLOW_ATTRIBUTES=standard` and `all`; without an attribute, as `ipfix.<name>` with `all`. If the file \
            has an error, the daemon doesn't start and names the line. The file is read once, at the start. \
            [fields.md](fields.md) describes it, and has files for NetObserv and Antrea.",
        parse: fields::read,
    }
    SAMPLING_OVERRIDE: Vec<SamplingOverride> {
        section: Decoding,
        variables: ["NETFLOW_SAMPLING_OVERRIDE"],
        flag: "sampling-override",
        placeholder: "CIDR[@IFINDEX]=N,…",
        preset: Preset::Nothing("none"),
        accepted: "NETWORK=INTERVAL or NETWORK@IFINDEX=INTERVAL pairs separated by commas, such as \
            10.0.0.0/8=1000,192.0.2.1@7=100",
        summary: "Sampling intervals of exporters or interfaces that don't announce theirs, or announce it wrong",
        details: "`10.0.0.0/8=1000` means that exporters in this network sample one packet in 1000, and \
            `192.0.2.1@7=100` that this exporter samples one in 100 at the interface with ifIndex 7. The setting \
            takes precedence over what exporters announce. If several networks match, the most specific one applies; \
            within it, an entry for the interface takes precedence over one for the whole exporter. A flow counts at \
            its input interface, or at its output interface when its direction (element 61) is egress; if that one \
            isn't configured, the other one counts.",
        parse: sampling_overrides,
    }
    SCALE_SAMPLED: bool {
        section: Decoding,
        variables: ["NETFLOW_SCALE_SAMPLED"],
        flag: "scale-sampled",
        placeholder: "BOOL",
        preset: Preset::Text("false"),
        accepted: "true or false",
        summary: "Multiply bytes and packets by the sampling interval",
        details: "If `true`, `netflow.flow.bytes` and `netflow.flow.packets` are estimates of the real traffic, \
            marked by `netflow.sampling.scaled`. If `false`, they have the exported values.",
        switch: true,
        parse: values::switch,
    }
}
