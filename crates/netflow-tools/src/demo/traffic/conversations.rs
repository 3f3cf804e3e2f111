//! The conversations of a simulated company network, one after the other.
//!
//! The content follows from the seed alone; only the times follow the clock that is given. Every
//! address and autonomous system is private or reserved for documentation (RFC 1918, 3849, 5398,
//! 5737).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use super::tide;
use crate::traffic::{ICMP, ICMP_V6, Kind, Sizes, TCP, UDP, WHOLE, next_kind};

/// Wall time in milliseconds since 1970.
pub(super) type UnixMillis = u64;

// Types of ICMP (RFC 792) and ICMPv6 (RFC 4443) with code 0, as NetFlow puts them into the
// destination port: type × 256 + code.
const ECHO: u16 = 8 << 8;
const ECHO_V6: u16 = 128 << 8;
pub(super) const ECHO_REPLY: u16 = 0;
pub(super) const ECHO_REPLY_V6: u16 = 129 << 8;

const SYN: u8 = 0x02;
/// RST and ACK.
const REFUSED: u8 = 0x14;
/// PSH and ACK: a part of a connection that continues.
const ONGOING: u8 = 0x18;

/// The largest answers are so many times as long as the smallest: some 12 MB.
const HEAVIEST: u32 = 2_000;
/// How long before now conversations ended, in milliseconds. The least is a second, because v9 says
/// its export time in whole seconds: so no flow ends after the second that its packet names.
const AGE: std::ops::Range<u64> = 1_000..2_500;

/// One of the exporters, by what it stands before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Site {
    Branch,
    Core,
    DataCentre,
}

/// Where a host is, seen from any of the exporters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Side {
    Internet,
    Offices,
    Servers,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Host {
    pub address: IpAddr,
    pub side: Side,
    pub autonomous_system: u32,
    pub prefix: u8,
}

/// What is talked, with its number and name in the registry of applications that the IPFIX exporter
/// tells (RFC 6759: engine 3 is the IANA port registry, engine 1 the protocol registry).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Application {
    pub engine: u8,
    pub selector: u16,
    pub name: &'static str,
    pub description: &'static str,
}

pub(super) const APPLICATIONS: [Application; 10] = [
    application(3, 22, "ssh", "Secure Shell"),
    application(3, 25, "smtp", "Simple Mail Transfer"),
    application(3, 53, "dns", "Domain Name System"),
    application(3, 80, "http", "World Wide Web HTTP"),
    application(3, 123, "ntp", "Network Time Protocol"),
    application(3, 443, "https", "HTTP over TLS or QUIC"),
    application(3, 873, "rsync", "Backups by rsync"),
    application(3, 993, "imaps", "IMAP over TLS"),
    application(1, 1, "icmp", "Internet Control Message"),
    application(1, 58, "ipv6-icmp", "ICMP for IPv6"),
];

const fn application(
    engine: u8,
    selector: u16,
    name: &'static str,
    description: &'static str,
) -> Application {
    Application {
        engine,
        selector,
        name,
        description,
    }
}

/// What went one way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Direction {
    pub packets: u64,
    pub octets: u64,
    pub tcp_flags: u8,
    pub start: UnixMillis,
    pub end: UnixMillis,
}

/// A conversation that ended, or a part of one that continues.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Conversation {
    /// The exporter that saw it.
    pub site: Site,
    pub client: Host,
    pub server: Host,
    pub client_port: u16,
    /// For ICMP, type and code of the way there.
    pub server_port: u16,
    pub protocol: u8,
    pub tos: u8,
    /// The number of one of [`APPLICATIONS`]; 0:0 where none is recognised.
    pub application: (u8, u16),
    pub there: Direction,
    pub back: Option<Direction>,
    /// Whether it continues: the exporter reports it because its active timeout has expired.
    pub goes_on: bool,
}

/// Invents conversations.
#[derive(Debug)]
pub(super) struct Conversations {
    random: Xoshiro256PlusPlus,
    scan: Scan,
    sizes: Sizes,
}

/// A port scan, which lasts for a few conversations.
#[derive(Clone, Copy, Debug, Default)]
struct Scan {
    target: u8,
    port: u16,
    left: u32,
}

impl Conversations {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: Xoshiro256PlusPlus::seed_from_u64(seed),
            scan: Scan::default(),
            sizes: Sizes::new(HEAVIEST),
        }
    }

    /// The next conversation, which ended shortly before `now`.
    pub(super) fn next(&mut self, now: UnixMillis) -> Conversation {
        if self.scan.left > 0 {
            return self.scan(now);
        }
        let backups = if tide::is_backup_time(now) { 12 } else { 1 };
        match self.random.random_range(0..98 + backups) {
            0..96 => match next_kind(&mut self.random) {
                Kind::Web => self.web(now),
                Kind::Quic => self.quic(now),
                Kind::PlainWeb => self.plain_web(now),
                Kind::Dns => self.dns(now),
                Kind::Mail => self.mail(now),
                Kind::Ntp => self.ntp(now),
                Kind::Ssh => self.ssh(now),
                Kind::Ping => self.ping(now),
            },
            98.. => self.backup(now),
            _ => {
                self.scan = Scan {
                    target: self.random.random_range(10..60),
                    port: self.random.random_range(20..900),
                    left: self.random.random_range(6..16),
                };
                self.scan(now)
            }
        }
    }

    fn web(&mut self, now: UnixMillis) -> Conversation {
        let octets = self.octets(4_000);
        let mut made = self.with_internet(now, TCP, 443, 120..30_000, octets);
        made.tos = if self.random.random_bool(0.1) {
            0x28
        } else {
            0
        };
        made
    }

    fn quic(&mut self, now: UnixMillis) -> Conversation {
        let octets = self.octets(6_000);
        self.with_internet(now, UDP, 443, 200..45_000, octets)
    }

    fn plain_web(&mut self, now: UnixMillis) -> Conversation {
        let octets = self.octets(600);
        self.with_internet(now, TCP, 80, 20..4_000, octets)
    }

    fn dns(&mut self, now: UnixMillis) -> Conversation {
        let site = self.any_site();
        let (client, server) = self.inside(site, 53);
        let (duration, question, answer) = (
            self.random.random_range(1..60),
            self.random.random_range(56..90),
            self.random.random_range(90..480),
        );
        let (there, back) = self.exchange(now, duration, (1, question), (1, answer), 0);
        Conversation {
            application: (3, 53),
            ..self.conversation(site, client, server, UDP, 53, there, Some(back))
        }
    }

    fn mail(&mut self, now: UnixMillis) -> Conversation {
        let port = if self.random.random_bool(0.5) {
            993
        } else {
            25
        };
        let octets = self.octets(2_000);
        self.with_internet(now, TCP, port, 300..20_000, octets)
    }

    fn ntp(&mut self, now: UnixMillis) -> Conversation {
        let site = self.any_site();
        let (client, server) = self.inside(site, 123);
        let duration = self.random.random_range(1..40);
        let (there, back) = self.exchange(now, duration, (1, 76), (1, 76), 0);
        let made = self.conversation(site, client, server, UDP, 123, there, Some(back));
        Conversation {
            client_port: 123,
            tos: 0xb8,
            ..made
        }
    }

    fn ssh(&mut self, now: UnixMillis) -> Conversation {
        let (client, server) = self.inside(Site::DataCentre, 22);
        let duration = self.random.random_range(2_000..60_000);
        let packets = self.random.random_range(20..900);
        let goes_on = self.random.random_bool(0.6);
        let flags = if goes_on { ONGOING } else { WHOLE };
        let (there, back) = self.exchange(
            now,
            duration,
            (packets, packets * 92),
            (packets, packets * 140),
            flags,
        );
        let made = self.conversation(Site::DataCentre, client, server, TCP, 22, there, Some(back));
        Conversation {
            tos: 0x10,
            goes_on,
            ..made
        }
    }

    /// A part of a night's backup, cut by an active timeout of a minute.
    fn backup(&mut self, now: UnixMillis) -> Conversation {
        let client = servers(self.random.random_range(10..30));
        let server = servers(200);
        let octets = self.random.random_range(50_000_000..900_000_000);
        let packets = octets / 1_448;
        let (there, back) = self.exchange(
            now,
            60_000,
            (packets, octets),
            (packets / 2, packets * 26),
            ONGOING,
        );
        let made = self.conversation(
            Site::DataCentre,
            client,
            server,
            TCP,
            873,
            there,
            Some(back),
        );
        Conversation {
            tos: 0x20,
            goes_on: true,
            ..made
        }
    }

    fn ping(&mut self, now: UnixMillis) -> Conversation {
        let site = self.any_site();
        let (client, server) = self.inside(site, 0);
        let packets = self.random.random_range(1..6);
        let (there, back) = self.exchange(
            now,
            packets * 1_000,
            (packets, packets * 84),
            (packets, packets * 84),
            0,
        );
        let (protocol, echo) = match client.address {
            IpAddr::V4(_) => (ICMP, ECHO),
            IpAddr::V6(_) => (ICMP_V6, ECHO_V6),
        };
        let made = self.conversation(site, client, server, protocol, echo, there, Some(back));
        Conversation {
            client_port: 0,
            application: (1, protocol.into()),
            ..made
        }
    }

    fn scan(&mut self, now: UnixMillis) -> Conversation {
        let scan = self.scan;
        self.scan = Scan {
            port: scan.port + 1,
            left: scan.left - 1,
            ..scan
        };
        let scanner = internet(Ipv4Addr::new(198, 51, 100, 66));
        let target = offices(scan.target);
        let (there, back) = self.exchange(now, 1, (1, 44), (1, 40), SYN);
        let back = self.random.random_bool(0.4).then_some(Direction {
            tcp_flags: REFUSED,
            ..back
        });
        let port = scan.port;
        let made = self.conversation(Site::Core, scanner, target, TCP, port, there, back);
        Conversation {
            application: (0, 0),
            ..made
        }
    }

    fn with_internet(
        &mut self,
        now: UnixMillis,
        protocol: u8,
        port: u16,
        duration: std::ops::Range<u64>,
        octets: u64,
    ) -> Conversation {
        let site = self.any_site();
        let duration = self.random.random_range(duration);
        let packets = octets / 1_300 + 4;
        let flags = if protocol == TCP { WHOLE } else { 0 };
        let request = packets / 2 + 3;
        let (there, back) = self.exchange(
            now,
            duration,
            (request, request * 72 + 420),
            (packets, octets),
            flags,
        );
        let (client, server) = if site == Site::DataCentre && self.random.random_bool(0.5) {
            self.inside_v6()
        } else {
            let client = offices(self.random.random_range(10..60));
            let network =
                [[192, 0, 2], [198, 51, 100], [203, 0, 113]][self.random.random_range(0..3_usize)];
            let host = self.random.random_range(1..40);
            (
                client,
                internet(Ipv4Addr::new(network[0], network[1], network[2], host)),
            )
        };
        self.conversation(site, client, server, protocol, port, there, Some(back))
    }

    /// A client in the offices and the server that serves this port.
    fn inside(&mut self, site: Site, port: u16) -> (Host, Host) {
        let last = match port {
            53 => 53,
            123 => 123,
            _ => self.random.random_range(10..30),
        };
        if site == Site::DataCentre && self.random.random_bool(0.3) {
            return self.inside_v6();
        }
        (offices(self.random.random_range(10..60)), servers(last))
    }

    fn inside_v6(&mut self) -> (Host, Host) {
        let client = Ipv6Addr::new(
            0x2001,
            0xdb8,
            0x20,
            1,
            0,
            0,
            0,
            self.random.random_range(16..96),
        );
        let server = Ipv6Addr::new(
            0x2001,
            0xdb8,
            0x40,
            1,
            0,
            0,
            0,
            self.random.random_range(1..24),
        );
        let host = |address, side| Host {
            address: IpAddr::V6(address),
            side,
            autonomous_system: 64_500,
            prefix: 64,
        };
        (host(client, Side::Offices), host(server, Side::Servers))
    }

    fn any_site(&mut self) -> Site {
        [Site::Branch, Site::Core, Site::DataCentre][self.random.random_range(0..3_usize)]
    }

    /// Octets, most often few, now and then very many.
    fn octets(&mut self, least: u64) -> u64 {
        self.sizes.size(least, self.random.random())
    }

    /// What went there and back, each packets and octets; the answer begins a little later.
    fn exchange(
        &mut self,
        now: UnixMillis,
        duration: u64,
        there: (u64, u64),
        back: (u64, u64),
        tcp_flags: u8,
    ) -> (Direction, Direction) {
        let end = now.saturating_sub(self.random.random_range(AGE));
        let start = end.saturating_sub(duration);
        let delay = self.random.random_range(0..=duration.min(30));
        let direction = |(packets, octets), start| Direction {
            packets,
            octets,
            tcp_flags,
            start,
            end,
        };
        (direction(there, start), direction(back, start + delay))
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "a conversation has as many parts"
    )]
    fn conversation(
        &mut self,
        site: Site,
        client: Host,
        server: Host,
        protocol: u8,
        server_port: u16,
        there: Direction,
        back: Option<Direction>,
    ) -> Conversation {
        Conversation {
            site,
            client,
            server,
            client_port: self.random.random_range(32_768..61_000),
            server_port,
            protocol,
            tos: 0,
            application: (3, server_port),
            there,
            back,
            goes_on: false,
        }
    }
}

fn offices(last: u8) -> Host {
    let address = IpAddr::V4(Ipv4Addr::new(10, 20, 0, last));
    Host {
        address,
        side: Side::Offices,
        autonomous_system: 0,
        prefix: 24,
    }
}

fn servers(last: u8) -> Host {
    let address = IpAddr::V4(Ipv4Addr::new(10, 40, 1, last));
    Host {
        address,
        side: Side::Servers,
        autonomous_system: 0,
        prefix: 24,
    }
}

fn internet(address: Ipv4Addr) -> Host {
    let autonomous_system = 64_496 + u32::from(address.octets()[3] % 8);
    Host {
        address: IpAddr::V4(address),
        side: Side::Internet,
        autonomous_system,
        prefix: 24,
    }
}
