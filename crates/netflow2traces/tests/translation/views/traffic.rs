//! Records of every protocol, as one flow says them in each.

use super::super::rig::{SECONDS, UPTIME_MS, f, ipfix, v5_header, v9};
use netflow_wire::sflow::{
    DataSource, FlowKind, FlowRecord, Gateway, Interface, InterfaceCounters, SampledIp,
};
use netflow_wire::write::{
    Field, SflowHeader, SflowSample, SflowWriter, V5Header, V5Record, V7Header, V7Record, v5, v7,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Protocol {
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
    pub(super) fn is_sflow(self) -> bool {
        matches!(self, Sflow | SflowExpanded)
    }
}

/// A flow record as its exporter means it; not every protocol says all of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    pub(super) source: [u8; 4],
    pub(super) destination: [u8; 4],
    /// From the server.
    pub(super) is_answer: bool,
    pub(super) interfaces: [u16; 2],
    pub(super) systems: [u16; 2],
    /// Element 61; 2 is no direction.
    pub(super) direction: u8,
    pub(super) bytes: u32,
    pub(super) packets: u32,
    pub(super) reverse: [u32; 2],
}

impl Flow {
    pub(super) fn ports(&self) -> [u16; 2] {
        match self.is_answer {
            true => [443, 50_000],
            false => [50_000, 443],
        }
    }

    pub(super) fn v5(&self) -> V5Record {
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
pub(super) struct Datagram {
    pub(super) protocol: Protocol,
    pub(super) exporter: u8,
    pub(super) interval: u16,
    /// Data comes before its template, the first time.
    pub(super) is_late: bool,
    /// Minutes since the one before.
    pub(super) wait: u64,
    pub(super) flows: Vec<Flow>,
}

impl Datagram {
    pub(super) fn source(&self) -> String {
        format!("192.0.2.{}:2055", self.exporter)
    }

    pub(super) fn octets(&self) -> Vec<Vec<u8>> {
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

    pub(super) fn templated(&self) -> Vec<Vec<u8>> {
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
    pub(super) fn sflow(&self) -> Vec<u8> {
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

pub(super) fn address() -> impl Strategy<Value = [u8; 4]> {
    (select(vec![10_u8, 20, 30]), 0_u8..4).prop_map(|(network, host)| [network, 0, 0, host])
}

pub(super) fn flow() -> impl Strategy<Value = Flow> {
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

pub(super) fn datagram() -> impl Strategy<Value = Datagram> {
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
