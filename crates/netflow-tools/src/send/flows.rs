//! Flows that never were: a pattern, an address family and a seed in, flow after flow out.
//!
//! A conversation makes two flows, there and back. Which hosts talk follows Zipf's law: few are in most flows. Every
//! address and autonomous system is private or reserved for documentation (RFC 1918, 3849, 5398, 5737).
//!
//! The pattern [`Pattern::Random`] has no conversations: each field of a flow is random, IPv4 addresses included.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use super::Pattern;
use crate::traffic::{ICMP, ICMP_V6, Kind, Sizes, TCP, UDP, WHOLE, next_kind};

/// Flows end this long before their export, in milliseconds. The least is a second, because the headers of v9
/// and IPFIX have whole seconds.
const AGE: RangeInclusive<u32> = 1_000..=4_000;

/// One flow. Its times are relative to the export, so that a datagram can be sent at any time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Flow {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) next_hop: IpAddr,
    pub(super) source_port: u16,
    /// For ICMP type × 256 + code.
    pub(super) destination_port: u16,
    pub(super) protocol: u8,
    pub(super) tos: u8,
    pub(super) tcp_flags: u8,
    pub(super) packets: u32,
    pub(super) octets: u32,
    /// What they are drawn from anew whenever the flow is sent.
    pub(super) size: Size,
    /// SNMP indexes.
    pub(super) input: u16,
    pub(super) output: u16,
    pub(super) source_as: u16,
    pub(super) destination_as: u16,
    /// Milliseconds between its first packet and its export.
    pub(super) first_age_ms: u32,
    /// Milliseconds between its last packet and its export.
    pub(super) last_age_ms: u32,
}

/// What the packets and octets of a flow are drawn from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Size {
    pub(super) packets: Packets,
    /// Octets of a packet: at least so many, and less than so many more.
    pub(super) octets: (u32, u32),
}

/// What the packets of a flow are drawn from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Packets {
    /// Always so many.
    Exactly(u32),
    /// At least so many; a few flows have far more of them.
    HeavyTailed(u32),
    /// At least one, and each number below this is as likely.
    Below(u32),
}

impl Size {
    /// Packets and octets, chosen by random bits.
    #[inline]
    pub(super) fn draw(self, sizes: &Sizes, bits: u64) -> (u32, u32) {
        let packets = match self.packets {
            Packets::Exactly(packets) => packets,
            Packets::HeavyTailed(least) => sizes.size(least.into(), bits) as u32,
            Packets::Below(end) => 1 + (bits as u32 % end.saturating_sub(1).max(1)),
        };
        let (least, more) = self.octets;
        let each = least + ((u64::from(more) * (bits >> 32)) >> 32) as u32;
        (packets, packets * each)
    }
}

/// A heavy flow has up to so many times the packets of a light one: 60,000 packets in all.
pub(super) const HEAVIEST: u32 = 3_000;

/// Random flows have fewer packets: times the octets of a packet, they stay within 32 bits.
const RANDOM_PACKETS: u32 = 1_000_000;
/// Octets of their packets, and how many more there may be.
const RANDOM_OCTETS: (u32, u32) = (40, 1_461);
/// Random flows began up to so many milliseconds before they ended.
const RANDOM_DURATION: u32 = 15_000;

/// What a service's conversations are like.
struct Service {
    protocol: u8,
    port: u16,
    tos: u8,
    /// Packets of the client.
    packets: RangeInclusive<u32>,
    /// Octets of a packet, from the client and from the server.
    octets: [RangeInclusive<u32>; 2],
    duration_ms: RangeInclusive<u32>,
}

const HTTP: Service = Service {
    protocol: TCP,
    port: 80,
    tos: 0,
    packets: 4..=60,
    octets: [52..=400, 300..=1_400],
    duration_ms: 20..=4_000,
};
const HTTPS: Service = Service {
    protocol: TCP,
    port: 443,
    tos: 0,
    packets: 8..=400,
    octets: [60..=500, 400..=1_400],
    duration_ms: 100..=15_000,
};
const QUIC: Service = Service {
    protocol: UDP,
    ..HTTPS
};
const DNS: Service = Service {
    protocol: UDP,
    port: 53,
    tos: 0,
    packets: 1..=1,
    octets: [56..=90, 90..=480],
    duration_ms: 0..=60,
};
const SSH: Service = Service {
    protocol: TCP,
    port: 22,
    tos: 0x10,
    packets: 20..=900,
    octets: [60..=120, 80..=240],
    duration_ms: 1_000..=15_000,
};
const NTP: Service = Service {
    protocol: UDP,
    port: 123,
    tos: 0xb8,
    packets: 1..=1,
    octets: [76..=76, 76..=76],
    duration_ms: 1..=40,
};
const SMTP: Service = Service {
    protocol: TCP,
    port: 25,
    tos: 0,
    packets: 8..=120,
    octets: [200..=1_400, 52..=90],
    duration_ms: 200..=12_000,
};
const PING: Service = Service {
    protocol: ICMP,
    port: 0,
    tos: 0,
    packets: 1..=4,
    octets: [84..=84, 84..=84],
    duration_ms: 0..=4_000,
};

/// Invents flows.
pub(super) struct Flows {
    random: Xoshiro256PlusPlus,
    pattern: Pattern,
    is_v6: bool,
    sizes: Sizes,
    /// The other direction of the conversation that was reported last.
    back: Option<Flow>,
}

impl Flows {
    pub(super) fn new(pattern: Pattern, is_v6: bool, seed: u64) -> Self {
        Self {
            random: Xoshiro256PlusPlus::seed_from_u64(seed),
            pattern,
            is_v6,
            sizes: Sizes::new(HEAVIEST),
            back: None,
        }
    }

    pub(super) fn next(&mut self) -> Flow {
        if let Some(back) = self.back.take() {
            return back;
        }
        let service = match self.pattern {
            Pattern::Http => &HTTP,
            Pattern::Https => self.web(),
            Pattern::Dns => &DNS,
            Pattern::Ssh => &SSH,
            Pattern::Random => return self.random(),
            Pattern::Mixed => match next_kind(&mut self.random) {
                Kind::Web => &HTTPS,
                Kind::Quic => &QUIC,
                Kind::PlainWeb => &HTTP,
                Kind::Dns => &DNS,
                Kind::Ssh => &SSH,
                Kind::Ntp => &NTP,
                Kind::Mail => &SMTP,
                Kind::Ping => &PING,
            },
        };
        let (there, back) = self.conversation(service);
        self.back = Some(back);
        there
    }

    fn web(&mut self) -> &'static Service {
        if self.random.random_bool(0.2) {
            &QUIC
        } else {
            &HTTPS
        }
    }

    fn conversation(&mut self, service: &Service) -> (Flow, Flow) {
        let random = &mut self.random;
        let is_heavy = service.packets.end() > &(4 * service.packets.start());
        let packets = if is_heavy {
            Packets::HeavyTailed(*service.packets.start())
        } else {
            Packets::Exactly(random.random_range(service.packets.clone()))
        };
        let [request, answer] = service.octets.clone().map(|octets| Size {
            packets,
            octets: (*octets.start(), octets.end() - octets.start() + 1),
        });
        let [of_request, of_answer] =
            [request, answer].map(|size| size.draw(&self.sizes, random.random()));
        let last_age_ms = random.random_range(AGE);
        let first_age_ms = last_age_ms + random.random_range(service.duration_ms.clone());
        let client_number = client_of_rank(zipf(random, CLIENTS));
        let server_number = 1 + zipf(random, SERVERS) as u8;
        let (client, server, next_hop): (IpAddr, IpAddr, IpAddr) = if self.is_v6 {
            (
                client_v6(client_number).into(),
                server_v6(server_number).into(),
                Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1).into(),
            )
        } else {
            (
                client_v4(client_number).into(),
                server_v4(server_number).into(),
                Ipv4Addr::new(10, 255, 0, 1).into(),
            )
        };
        let (protocol, there_ports, back_ports) = match (service.protocol, self.is_v6) {
            // Echo and its reply by type × 256 (RFC 792, RFC 4443).
            (ICMP, false) => (ICMP, [0, 8 << 8], [0, 0]),
            (ICMP, true) => (ICMP_V6, [0, 128 << 8], [0, 129 << 8]),
            (protocol, _) if service.port == NTP.port => (protocol, [123; 2], [123; 2]),
            (protocol, _) => {
                let port = random.random_range(32_768..=60_999);
                (protocol, [port, service.port], [service.port, port])
            }
        };
        let customer = 1 + (client_number % 8) as u16;
        let there = Flow {
            source: client,
            destination: server,
            next_hop,
            source_port: there_ports[0],
            destination_port: there_ports[1],
            protocol,
            tos: service.tos,
            tcp_flags: if protocol == TCP { WHOLE } else { 0 },
            packets: of_request.0,
            octets: of_request.1,
            size: request,
            input: customer,
            output: 9,
            source_as: 64_512,
            destination_as: 64_496 + u16::from(server_number % 12),
            first_age_ms,
            last_age_ms,
        };
        let back = Flow {
            source: server,
            destination: client,
            source_port: back_ports[0],
            destination_port: back_ports[1],
            packets: of_answer.0,
            octets: of_answer.1,
            size: answer,
            input: there.output,
            output: there.input,
            source_as: there.destination_as,
            destination_as: there.source_as,
            ..there
        };
        (there, back)
    }

    /// A flow of which nothing follows from another: what compresses worst.
    fn random(&mut self) -> Flow {
        let random = &mut self.random;
        let mut address = || -> IpAddr {
            if self.is_v6 {
                random_v6(random.random()).into()
            } else {
                Ipv4Addr::from(random.random::<u32>()).into()
            }
        };
        let (source, destination, next_hop) = (address(), address(), address());
        let size = Size {
            packets: Packets::Below(RANDOM_PACKETS),
            octets: RANDOM_OCTETS,
        };
        let (packets, octets) = size.draw(&self.sizes, random.random());
        let last_age_ms = random.random_range(AGE);
        Flow {
            source,
            destination,
            next_hop,
            source_port: random.random(),
            destination_port: random.random(),
            protocol: random.random(),
            tos: random.random(),
            tcp_flags: random.random(),
            packets,
            octets,
            size,
            // A router has only so many interfaces.
            input: random.random_range(1..=48),
            output: random.random_range(1..=48),
            source_as: random.random(),
            destination_as: random.random(),
            first_age_ms: last_age_ms + random.random_range(0..=RANDOM_DURATION),
            last_age_ms,
        }
    }
}

/// Hosts that ask, and hosts that answer.
const CLIENTS: u32 = 1 << 16;
const SERVERS: u32 = 60;

/// A rank below `hosts`, from 0: the n-th host has a share of about 1/n.
fn zipf(random: &mut Xoshiro256PlusPlus, hosts: u32) -> u32 {
    let power: f64 = random.random();
    // From 1 to just below one more than the hosts.
    let rank = f64::from(hosts + 1).powf(power) as u32;
    rank.clamp(1, hosts) - 1
}

/// The hosts in most flows are not neighbours: a step through all of them, since it is odd.
fn client_of_rank(rank: u32) -> u32 {
    rank.wrapping_mul(40_503) % CLIENTS
}

/// 10.16.0.0/16.
fn client_v4(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a10_0000 | number)
}

/// 192.0.2.0/24, 198.51.100.0/24 and 203.0.113.0/24 in turn (RFC 5737).
fn server_v4(number: u8) -> Ipv4Addr {
    match number % 3 {
        0 => Ipv4Addr::new(192, 0, 2, number),
        1 => Ipv4Addr::new(198, 51, 100, number),
        _ => Ipv4Addr::new(203, 0, 113, number),
    }
}

/// A network of 2001:db8:10::/48 and the host's interface identifier, which looks random and stays the same.
fn client_v6(number: u32) -> Ipv6Addr {
    let network = 0x2001_0db8_0010_0000_u64 | u64::from(number & 0xff);
    let identifier = u64::from(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Ipv6Addr::from(u128::from(network) << 64 | u128::from(identifier))
}

/// Any address of 2001:db8::/32.
fn random_v6(bits: u128) -> Ipv6Addr {
    Ipv6Addr::from(0x2001_0db8 << 96 | bits >> 32)
}

fn server_v6(number: u8) -> Ipv6Addr {
    Ipv6Addr::new(
        0x2001,
        0xdb8,
        0xa0 + u16::from(number % 3),
        0,
        0,
        0,
        0,
        u16::from(number),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(pattern: Pattern, is_v6: bool, seed: u64) -> Vec<Flow> {
        let mut flows = Flows::new(pattern, is_v6, seed);
        (0..500).map(|_| flows.next()).collect()
    }

    #[test]
    fn flows_follow_from_the_seed() {
        let flows = some(Pattern::Mixed, true, 3);
        assert_eq!(flows, some(Pattern::Mixed, true, 3));
        assert_ne!(flows, some(Pattern::Mixed, true, 4));
    }

    #[test]
    fn a_pattern_has_its_port_on_one_side() {
        for (pattern, port) in [
            (Pattern::Http, 80),
            (Pattern::Https, 443),
            (Pattern::Dns, 53),
            (Pattern::Ssh, 22),
        ] {
            let flows = some(pattern, false, 1);
            assert!(
                flows
                    .iter()
                    .all(|flow| { (flow.source_port == port) != (flow.destination_port == port) })
            );
        }
    }

    #[test]
    fn few_hosts_are_in_most_flows() {
        for is_v6 in [false, true] {
            let mut flows = Flows::new(Pattern::Mixed, is_v6, 5);
            let mut of_client = std::collections::HashMap::new();
            for _ in 0..10_000 {
                let there = flows.next();
                flows.next();
                *of_client.entry(there.source).or_insert(0_u32) += 1;
            }
            let mut counts: Vec<_> = of_client.into_values().collect();
            counts.sort_unstable_by(|a, b| b.cmp(a));
            let most: u32 = counts.iter().take(counts.len() / 10).sum();
            // And still there are many.
            assert!(counts.len() > 2_000, "{}", counts.len());
            assert!(most > 5_000, "{most} of 10000");
        }
    }

    #[test]
    fn of_random_flows_no_field_follows_from_another() {
        for is_v6 in [false, true] {
            let flows = some(Pattern::Random, is_v6, 1);
            let different = |field: fn(&Flow) -> u128| {
                let all: std::collections::HashSet<_> = flows.iter().map(field).collect();
                all.len()
            };
            let bits = |address| match address {
                IpAddr::V4(address) => u32::from(address).into(),
                IpAddr::V6(address) => u128::from(address),
            };
            assert_eq!(
                different(|flow| u128::from(flow.packets) << 32 | u128::from(flow.octets)),
                500
            );
            assert!(different(|flow| flow.source_port.into()) > 490);
            assert!(different(|flow| flow.destination_port.into()) > 490);
            // 500 draws of 256 values leave about 36 out.
            assert!(different(|flow| flow.protocol.into()) > 200);
            assert!(different(|flow| flow.tcp_flags.into()) > 200);
            let addresses: std::collections::HashSet<u128> = flows
                .iter()
                .flat_map(|flow| [flow.source, flow.destination, flow.next_hop])
                .map(bits)
                .collect();
            assert_eq!(addresses.len(), 1_500);
            for flow in flows {
                assert_eq!(flow.source.is_ipv6(), is_v6);
                assert!(flow.packets >= 1 && flow.packets < 1_000_000);
                assert!((40..=1_500).contains(&(flow.octets / flow.packets)));
                assert!(flow.first_age_ms < 20_000 && flow.last_age_ms >= 1_000);
            }
        }
    }

    #[test]
    fn flows_are_plausible() {
        for is_v6 in [false, true] {
            for flow in some(Pattern::Mixed, is_v6, 5) {
                assert_eq!(flow.source.is_ipv6(), is_v6);
                assert_eq!(flow.destination.is_ipv6(), is_v6);
                assert!(flow.packets >= 1 && flow.octets >= 40 * flow.packets);
                assert!(flow.first_age_ms >= flow.last_age_ms && flow.last_age_ms >= 1_000);
                // Within what a daemon takes for recent.
                assert!(flow.first_age_ms < 20_000);
                assert_eq!(flow.tcp_flags != 0, flow.protocol == TCP);
            }
        }
    }
}
