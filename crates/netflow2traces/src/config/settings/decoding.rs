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
        preset: Preset::Nothing("everyone"),
        accepted: "networks in CIDR form or addresses, separated by commas, such as \
            10.0.0.0/8,192.0.2.1,2001:db8::/32",
        summary: "Exporters that may send",
        details: "Datagrams of other sources are dropped and counted \
            (`netflow_packets_dropped_total`, `not_allowed`) before anything is kept of them. UDP \
            source addresses can be forged: a firewall that knows the network's paths protects \
            better.",
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
        details: "Keeps one exporter from using up what all share. After a pause a second's worth \
            may come at once. What is over it is dropped after its header was read, and counted: \
            `netflow_packets_dropped_total`, `rate_limited`, and by exporter in `/api/exporters`. \
            Its records then are missing by sequence number, too.",
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
        details: "A datagram holds one flow record or thousands, so that a limit of datagrams \
            alone doesn't bound the spans of an exporter. After a pause a second's worth may come \
            at once. Records over it are read and counted, without a span: \
            `netflow_flows_skipped_total`, `rate_limited`. Templates and options data are still \
            learnt from their datagrams.",
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
        details: "Without it, v9 and IPFIX data of the first minutes after a restart wait until \
            their exporters send their templates again. The file is replaced as a whole, within \
            seconds of a change, and read at the start; it doesn't matter how many workers there \
            are then. A damaged file is set aside with a warning. Each daemon needs a file of \
            its own. docs/template-store.md describes the format.",
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
        details: "Exporters repeat their templates every few minutes to every hour. A lifetime \
            shorter than three of these intervals risks that data waits for a template that was \
            known before.",
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
        details: "Bounds memory when many sources send, real or invented. When it is reached, the \
            source that was silent longest is forgotten, one that never sent anything decodable \
            first. Each worker has a table of its own with this bound: workers share nothing.",
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
        details: "Bounds memory against an exporter that invents templates without end.",
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
        details: "Each line is `enterprise,element,name,type[,attribute]` and gives an element that no registry \
            here knows a name and a type, without a new version of the daemon. Its value is shown as `attribute` \
            with `NETFLOW_ATTRIBUTES=standard` and `all`; without an attribute as `ipfix.<name>` with `all`. A \
            mistake in the file stops the start and names the line. The file is read once, at the start. \
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
        details: "`10.0.0.0/8=1000` says that exporters in this network see one packet in 1000, and \
            `192.0.2.1@7=100` that this exporter sees one in 100 at the interface with ifIndex 7. \
            The setting wins over what exporters announce. Of several networks that match, the most specific one \
            holds; in it an interface comes before the whole exporter. A flow counts at its input interface, or at \
            its output interface when its direction (element 61) is egress; if that one isn't configured, the \
            other one counts.",
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
        details: "When `true`, `netflow.flow.bytes` and `netflow.flow.packets` are estimates of \
            the real traffic, and `netflow.sampling.scaled` says so. When `false`, they are what \
            was exported.",
        switch: true,
        parse: values::switch,
    }
}
