//! Settings: sockets and the threads that read them.

use std::net::IpAddr;

use super::{GIB, KIB, MIB};
use crate::config::setting::{About, Preset, Secrecy, Section, Setting};
use crate::config::values;

settings! { RECEIVING:
    LISTEN_HOST: Vec<IpAddr> {
        section: Receiving,
        variables: ["NETFLOW_LISTEN_HOST"],
        flag: "listen-host",
        placeholder: "ADDRESS,…",
        preset: Preset::Text("0.0.0.0"),
        accepted: "IP addresses of this machine, separated by commas, such as 0.0.0.0 or ::",
        summary: "Addresses to receive on",
        details: "`0.0.0.0` means every IPv4 address, `::` every IPv4 and IPv6 address; a comma-separated list binds \
            several.",
        parse: values::addresses,
    }
    LISTEN_PORT: Vec<u16> {
        section: Receiving,
        variables: ["NETFLOW_LISTEN_PORT"],
        flag: "listen-port",
        placeholder: "PORT,…",
        preset: Preset::Text("2055"),
        accepted: "UDP ports from 0 to 65535, separated by commas; 0 lets the system choose",
        summary: "UDP ports to receive on",
        details: "The daemon accepts NetFlow, IPFIX and sFlow on each port; a list (`2055,4739`) binds several. \
            Ports below 1024 need the capability `CAP_NET_BIND_SERVICE`.",
        parse: values::ports,
    }
    WORKERS: usize {
        section: Receiving,
        variables: ["NETFLOW_WORKERS"],
        flag: "workers",
        placeholder: "N",
        preset: Preset::Computed("the number of cores, at most 4"),
        accepted: "a whole number from 1 to 256",
        summary: "Threads that receive and translate",
        details: "Each worker has a socket for each address and port. All datagrams of one \
            exporter go to the same worker, so more workers help only when several exporters \
            send.",
        parse: |text| values::count(text, 1..=256),
    }
    MEMORY_LIMIT: usize {
        section: Receiving,
        variables: ["NETFLOW_MEMORY_LIMIT"],
        flag: "memory-limit",
        placeholder: "SIZE",
        preset: Preset::Computed("half of the cgroup's or the machine's memory, at most 320MiB"),
        accepted: "a size from 32MiB to 1024GiB",
        summary: "Memory for exporters' state and everything that waits",
        details: "Covers the state of exporters (templates, options data, sets that wait for a template, the \
            exporters themselves), batches that are being filled, the queue and requests in flight; the process uses \
            at most 64MiB more. Near the limit, the daemon forgets the least proven exporters, the largest first, \
            counts them (`netflow_memory_evictions_total`) and logs a warning. A container needs this limit, plus \
            64MiB, plus twice the receive buffers; if less than 192MiB is available, a warning at the start says how \
            much. docs/bounds.md lists every bound.",
        parse: |text| values::size(text, 32 * MIB..=1024 * GIB),
    }
    RECEIVE_BUFFER: usize {
        section: Receiving,
        variables: ["NETFLOW_RECEIVE_BUFFER"],
        flag: "receive-buffer",
        placeholder: "SIZE",
        preset: Preset::Computed("64MiB; less if a cgroup limits the memory"),
        accepted: "a size from 64KiB (the largest datagram) to 1GiB (the kernel's limit)",
        summary: "Kernel buffer of each socket",
        details: "Holds what arrives while a worker is busy; larger buffers survive longer bursts. The kernel limits \
            it to `net.core.rmem_max`: if it grants less, the daemon warns at the start. The kernel counts twice the \
            requested size; if a cgroup limits the memory, the default is chosen so that all sockets together use at \
            most a quarter of the limit.",
        parse: |text| values::size(text, 64 * KIB..=GIB),
    }
}
