//! Requests of traffic that never repeats: what a branch predictor can't learn from one iteration to the next.

use std::time::Instant;

use netflow_wire::write::{Field, IpfixHeader, MessageWriter, V5Header, V5Record, v5};
use netflow2traces::config::{self, AttributeLevel, Machine, Purpose, Sources};
use netflow2traces::receive::wall_clock;
use netflow2traces::translate::{Datagram, Ids, Translator};
use otlp_wire::EncodedBatch;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};

const SECONDS: u32 = 1_700_000_000;
/// Hosts of heavy-tailed traffic.
const HOSTS: f64 = 20_000.0;
/// Ports of services, the most used first.
const SERVICES: [u16; 12] = [443, 80, 53, 22, 3306, 5432, 8080, 123, 25, 6379, 9092, 3389];

#[derive(Clone, Copy, Debug)]
pub(crate) enum Traffic {
    /// Addresses and services by Zipf's law, clients' ports at random, sizes of a heavy tail.
    HeavyTailed,
    /// Addresses, ports and sizes all at random.
    Random,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Form {
    V5,
    Ipfix4,
    Ipfix6,
}

struct Flow {
    hosts: [u64; 2],
    ports: [u16; 2],
    protocol: u8,
    flags: u8,
    packets: u32,
    octets: u32,
    interfaces: [u16; 2],
    /// Milliseconds before the export.
    began: u32,
    ended: u32,
}

impl Flow {
    fn new(random: &mut Xoshiro256PlusPlus, traffic: Traffic) -> Self {
        let unit = |random: &mut Xoshiro256PlusPlus| random.random_range(0.000_001..1.0_f64);
        let packets = match traffic {
            // Pareto of shape 1.1.
            Traffic::HeavyTailed => unit(random).powf(-1.0 / 1.1).min(1e6) as u32,
            Traffic::Random => random.random_range(1..1_000_000),
        };
        let host = |random: &mut Xoshiro256PlusPlus| match traffic {
            // The n-th host has a share of about 1/n.
            Traffic::HeavyTailed => HOSTS.powf(unit(random)) as u64,
            Traffic::Random => random.random(),
        };
        let service = match traffic {
            Traffic::HeavyTailed => SERVICES[(12_f64.powf(unit(random)) as usize - 1).min(11)],
            Traffic::Random => random.random(),
        };
        let mut flow = Self {
            hosts: [host(random), host(random)],
            ports: [random.random_range(1024..=65_535), service],
            protocol: if service == 53 || service == 123 {
                17
            } else {
                6
            },
            flags: random.random_range(0..32),
            packets,
            octets: packets.saturating_mul(random.random_range(40..1500)),
            interfaces: [random.random_range(1..8), random.random_range(1..8)],
            began: random.random_range(5_000..60_000),
            ended: random.random_range(0..5_000),
        };
        if random.random() {
            flow.hosts.reverse();
            flow.ports.reverse();
        }
        flow
    }

    fn ipv4(host: u64) -> [u8; 4] {
        // Spread over the networks that a host's number would not show.
        (host.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32).to_be_bytes()[4..]
            .try_into()
            .unwrap_or_default()
    }

    fn ipv6(host: u64) -> [u8; 16] {
        let low = host.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (0x2001_0db8_u128 << 96 | u128::from(low >> 56) << 64 | u128::from(low)).to_be_bytes()
    }
}

fn configuration(level: AttributeLevel) -> config::Translate {
    let sources = Sources::collect(vec![], &[("OTEL_TRACES_EXPORTER", "none")]);
    let loaded = config::load(Purpose::Run, &sources, &Machine::read());
    config::Translate {
        attributes: level,
        ..loaded.expect("defaults are valid").config.translate
    }
}

/// Requests of one exporter's fresh flows without end, of about 2 MiB each; another `seed` makes others.
pub(crate) struct Batches {
    form: Form,
    traffic: Traffic,
    translator: Translator,
    random: Xoshiro256PlusPlus,
    count: u32,
}

impl Batches {
    pub(crate) fn new(form: Form, traffic: Traffic, level: AttributeLevel, seed: u64) -> Self {
        Self {
            form,
            traffic,
            translator: Translator::new(&configuration(level), wall_clock, Ids::new([7; 32])),
            random: Xoshiro256PlusPlus::seed_from_u64(seed),
            count: 0,
        }
    }
}

impl Iterator for Batches {
    type Item = EncodedBatch;

    fn next(&mut self) -> Option<EncodedBatch> {
        let now = Instant::now();
        loop {
            if let Some(batch) = self.translator.poll_batch(now) {
                return Some(batch);
            }
            let datagram = datagram(self.form, self.traffic, &mut self.random, self.count);
            self.count = self.count.wrapping_add(1);
            let datagram = Datagram {
                octets: &datagram,
                source: ([192, 0, 2, 1], 2055).into(),
                received_at: wall_clock(),
            };
            self.translator.on_datagram(&datagram, now);
        }
    }
}

fn datagram(form: Form, traffic: Traffic, random: &mut Xoshiro256PlusPlus, count: u32) -> Vec<u8> {
    let mut flows =
        |number: usize| -> Vec<Flow> { (0..number).map(|_| Flow::new(random, traffic)).collect() };
    match form {
        Form::V5 => {
            let records: Vec<_> = flows(30).iter().map(v5_record).collect();
            let header = V5Header {
                sys_uptime_ms: 1_000_000 + count,
                unix_secs: SECONDS + count / 1000,
                unix_nsecs: count % 1000 * 1_000_000,
                flow_sequence: count.wrapping_mul(30),
                ..V5Header::default()
            };
            v5(&header, &records).expect("fits")
        }
        Form::Ipfix4 => ipfix(&flows(24), count, false),
        Form::Ipfix6 => ipfix(&flows(15), count, true),
    }
}

fn v5_record(flow: &Flow) -> V5Record {
    V5Record {
        source: Flow::ipv4(flow.hosts[0]).into(),
        destination: Flow::ipv4(flow.hosts[1]).into(),
        next_hop: [10, 255, 0, 1].into(),
        input: flow.interfaces[0],
        output: flow.interfaces[1],
        packets: flow.packets,
        octets: flow.octets,
        first_ms: 1_000_000 - flow.began,
        last_ms: 1_000_000 - flow.ended,
        source_port: flow.ports[0],
        destination_port: flow.ports[1],
        tcp_flags: flow.flags,
        protocol: flow.protocol,
        source_as: (flow.hosts[0] % 64) as u16,
        destination_as: (flow.hosts[1] % 64) as u16,
        ..V5Record::default()
    }
}

fn ipfix(flows: &[Flow], count: u32, is_ipv6: bool) -> Vec<u8> {
    let addresses = if is_ipv6 {
        [(27, 16), (28, 16), (62, 16)]
    } else {
        [(8, 4), (12, 4), (15, 4)]
    };
    let rest = [
        (7, 2),
        (11, 2),
        (4, 1),
        (6, 1),
        (1, 8),
        (2, 8),
        (10, 4),
        (14, 4),
        (16, 4),
        (17, 4),
        (152, 8),
        (153, 8),
    ];
    let fields: Vec<_> = addresses
        .iter()
        .chain(&rest)
        .map(|(element, length)| Field::new(*element, *length))
        .collect();
    let mut message = MessageWriter::ipfix(IpfixHeader {
        export_time: SECONDS + count / 1000,
        sequence: count.wrapping_mul(flows.len() as u32),
        ..IpfixHeader::default()
    });
    // As many exporters do with each minute; here it is so for the first datagram alone.
    if count == 0 {
        message.template(256, &fields);
    } else {
        message.declare(256, &fields);
    }
    message.data_set(256, |set| {
        for flow in flows {
            set.record(|record| {
                for host in [flow.hosts[0], flow.hosts[1], 1] {
                    if is_ipv6 {
                        record.bytes(&Flow::ipv6(host));
                    } else {
                        record.bytes(&Flow::ipv4(host));
                    }
                }
                let end = u64::from(SECONDS) * 1000 + u64::from(count);
                record
                    .u16(flow.ports[0])
                    .u16(flow.ports[1])
                    .u8(flow.protocol)
                    .u8(flow.flags)
                    .u64(flow.octets.into())
                    .u64(flow.packets.into())
                    .u32(flow.interfaces[0].into())
                    .u32(flow.interfaces[1].into())
                    .u32((flow.hosts[0] % 64) as u32)
                    .u32((flow.hosts[1] % 64) as u32)
                    .u64(end - u64::from(flow.began))
                    .u64(end - u64::from(flow.ended));
            });
        }
    });
    message.finish().expect("fits")
}
