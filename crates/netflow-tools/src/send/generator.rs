//! Exporters that take turns: options and the time in, datagrams of one exporter out. No sockets, no clock.
//!
//! Each exporter keeps its own boot time, domain, sequence and template interval. Which datagrams it sends, and in
//! which order the exporters have their turns, follows from the options alone; only times, and when templates are
//! due again, follow the clock.

use std::net::Ipv4Addr;
use std::time::Duration;

use netflow_wire::write::WriteError;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use super::format::Stamp;
use super::ring::{Ring, fill_in};
use super::{GenerateOptions, Protocol};

/// Datagrams of a turn: the kernel takes so many at once and more (UDP_MAX_SEGMENTS is 64 at least).
const MAX_TURN: usize = 32;
/// A paced turn takes this long at most, by its rate.
const TURN: Duration = Duration::from_millis(1);
/// Exporters have been up for up to this long.
const MAX_UPTIME_MS: u64 = 40 * 24 * 60 * 60 * 1_000;
const MIN_UPTIME_MS: u64 = 60 * 60 * 1_000;
/// Exporters begin at different datagrams of the ring: this far apart, a prime.
const STRIDE: usize = 7;
/// An agent of sFlow whose address isn't one of loopback.
const AGENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// What one exporter sends at once.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    /// Its number, from 0.
    pub(super) exporter: usize,
    /// Where it sends from; `None`: the socket's address.
    pub(super) source: Option<Ipv4Addr>,
    /// All its datagrams.
    pub(super) octets: &'a [u8],
    /// Octets of each.
    pub(super) segment: usize,
    pub(super) datagrams: u64,
    pub(super) flows: u64,
    /// It is a datagram of templates.
    pub(super) is_template: bool,
}

struct Exporter {
    source: Option<Ipv4Addr>,
    stamp: Stamp,
    /// Of its next datagram in the ring.
    position: usize,
    /// When templates were sent last: milliseconds since 1970.
    templates_at: Option<u64>,
}

pub(super) struct Generator {
    options: GenerateOptions,
    ring: Ring,
    templates: Vec<u8>,
    /// The last datagram, where fewer records than usual were left.
    rest: Vec<u8>,
    exporters: Vec<Exporter>,
    next: usize,
    turn: usize,
    flows_left: u64,
}

impl Generator {
    /// `now_ms`: milliseconds since 1970.
    pub(super) fn new(
        options: &GenerateOptions,
        sources: impl Iterator<Item = Option<Ipv4Addr>>,
        now_ms: u64,
    ) -> Result<Self, WriteError> {
        let ring = Ring::new(options)?;
        let templates = if options.protocol.has_templates() {
            options.protocol.templates()?
        } else {
            Vec::new()
        };
        let mut random = Xoshiro256PlusPlus::seed_from_u64(options.seed ^ 0x5eed);
        let exporters = (0..options.exporters)
            .zip(sources)
            .map(|(number, source)| {
                let domain = match options.protocol {
                    Protocol::V1 | Protocol::V7 => 0,
                    // If exporters differ in their addresses, they are equal otherwise.
                    _ if source.is_some() || options.exporters == 1 => 1,
                    _ => number + 1,
                };
                let stamp = Stamp {
                    now_ms,
                    boot_ms: now_ms
                        .saturating_sub(random.random_range(MIN_UPTIME_MS..MAX_UPTIME_MS)),
                    sequence: 0,
                    domain,
                    agent: source.unwrap_or(AGENT),
                    samples: 0,
                    random: random.random::<u64>() | 1,
                };
                Exporter {
                    source,
                    stamp,
                    position: number as usize * STRIDE % ring.len(),
                    templates_at: None,
                }
            })
            .collect();
        Ok(Self {
            options: *options,
            ring,
            templates,
            rest: Vec::new(),
            exporters,
            next: 0,
            turn: turn(options),
            flows_left: options.count.unwrap_or(u64::MAX),
        })
    }

    /// The next turn; `None` when all flow records were sent.
    pub(super) fn next(&mut self, now_ms: u64) -> Result<Option<Turn<'_>>, WriteError> {
        if self.flows_left == 0 {
            return Ok(None);
        }
        let number = self.next;
        let after = (number + 1) % self.exporters.len().max(1);
        let Some(exporter) = self.exporters.get_mut(number) else {
            return Ok(None);
        };
        // Time doesn't go back for an exporter, whatever the clock does.
        exporter.stamp.now_ms = exporter.stamp.now_ms.max(now_ms);
        let source = exporter.source;
        let protocol = self.options.protocol;
        let interval = self.options.template_interval.as_millis();
        let is_due = |last: u64| u128::from(exporter.stamp.now_ms - last) >= interval;
        if protocol.has_templates() && exporter.templates_at.is_none_or(is_due) {
            exporter.templates_at = Some(exporter.stamp.now_ms);
            let sizes = self.ring.sizes();
            fill_in(
                protocol,
                &mut self.templates,
                &[],
                0,
                sizes,
                &mut exporter.stamp,
            );
            return Ok(Some(Turn {
                exporter: number,
                source,
                octets: &self.templates,
                segment: self.templates.len(),
                datagrams: 1,
                flows: 0,
                is_template: true,
            }));
        }
        let position = exporter.position;
        let left = self.flows_left;
        self.next = after;
        let Some(run) = self.ring.run(position, self.turn, left) else {
            let prepared = self
                .ring
                .beginning_of(&self.options, position, left as usize)?;
            self.flows_left = 0;
            self.rest = prepared.octets;
            let exporter = self.exporters.get_mut(number);
            if let Some(exporter) = exporter {
                let stamp = &mut exporter.stamp;
                fill_in(
                    protocol,
                    &mut self.rest,
                    &prepared.patches,
                    prepared.flows,
                    self.ring.sizes(),
                    stamp,
                );
            }
            return Ok(Some(Turn {
                exporter: number,
                source,
                octets: &self.rest,
                segment: self.rest.len(),
                datagrams: 1,
                flows: u64::from(prepared.flows),
                is_template: false,
            }));
        };
        self.flows_left -= run.flows;
        exporter.position = (position + run.datagrams) % self.ring.len();
        Ok(Some(Turn {
            exporter: number,
            source,
            octets: self.ring.stamp(run, &mut exporter.stamp),
            segment: run.segment,
            datagrams: run.datagrams as u64,
            flows: run.flows,
            is_template: false,
        }))
    }
}

/// Datagrams that an exporter sends in its turn: one, unless so many are due that system calls would count.
fn turn(options: &GenerateOptions) -> usize {
    match options.rate {
        None => MAX_TURN,
        Some(rate) => {
            let datagrams = rate * TURN.as_secs_f64() / options.flows_per_datagram() as f64;
            (datagrams as usize).clamp(1, MAX_TURN)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Family, Pattern};
    use super::*;

    const NOW: u64 = 1_700_000_000_250;

    fn options(protocol: Protocol) -> GenerateOptions {
        GenerateOptions {
            protocol,
            pattern: Pattern::Mixed,
            family: Family::V4,
            flows_per_packet: Some(10),
            rate: Some(1_000.0),
            count: Some(1_234),
            exporters: 3,
            template_interval: Duration::from_secs(10),
            seed: 1,
        }
    }

    const PROTOCOLS: [Protocol; 6] = [
        Protocol::V1,
        Protocol::V5,
        Protocol::V7,
        Protocol::V9,
        Protocol::Ipfix,
        Protocol::Sflow,
    ];

    /// Exporter and octets of every datagram, and the flow records in all.
    fn all(options: &GenerateOptions, tick_ms: u64) -> (Vec<(usize, Vec<u8>)>, u64) {
        let sources = (1..).map(|last| Some(Ipv4Addr::new(127, 0, 0, last)));
        let mut generator = Generator::new(options, sources, NOW).unwrap();
        let (mut now, mut datagrams, mut flows) = (NOW, Vec::new(), 0);
        while let Some(turn) = generator.next(now).unwrap() {
            assert_eq!(turn.octets.len(), turn.segment * turn.datagrams as usize);
            let each = turn.octets.chunks(turn.segment);
            datagrams.extend(each.map(|octets| (turn.exporter, octets.to_vec())));
            flows += turn.flows;
            now += tick_ms;
        }
        (datagrams, flows)
    }

    fn u32_at(octets: &[u8], at: usize) -> u32 {
        u32::from_be_bytes(octets[at..at + 4].try_into().unwrap())
    }

    #[test]
    fn the_octets_follow_from_the_seed_and_the_clock() {
        for protocol in PROTOCOLS {
            let options = options(protocol);
            assert_eq!(all(&options, 7), all(&options, 7));
            let other = GenerateOptions { seed: 2, ..options };
            assert_ne!(all(&options, 7), all(&other, 7));
        }
    }

    #[test]
    fn the_count_is_exact() {
        for protocol in PROTOCOLS {
            for rate in [Some(1_000.0), Some(1e6), None] {
                let options = GenerateOptions {
                    rate,
                    ..options(protocol)
                };
                assert_eq!(all(&options, 1).1, 1_234);
            }
        }
    }

    #[test]
    fn every_protocol_carries_random_flows() {
        for protocol in PROTOCOLS {
            for family in [Family::V4, Family::V6] {
                if family == Family::V6 && !protocol.has_v6() {
                    continue;
                }
                let options = GenerateOptions {
                    pattern: Pattern::Random,
                    family,
                    ..options(protocol)
                };
                let (datagrams, flows) = all(&options, 1);
                assert_eq!(flows, 1_234);
                // IPFIX templates of exporters that began together are equal.
                let is_data = |octets: &[u8]| protocol != Protocol::Ipfix || octets[17] != 2;
                let mut data: Vec<_> = datagrams
                    .iter()
                    .map(|(_, octets)| octets.as_slice())
                    .filter(|octets| is_data(octets))
                    .collect();
                let all = data.len();
                data.sort_unstable();
                data.dedup();
                assert_eq!(data.len(), all, "{protocol:?}");
            }
        }
    }

    #[test]
    fn turns_of_both_families_are_of_equal_datagrams() {
        let options = GenerateOptions {
            family: Family::Both,
            rate: None,
            count: Some(50_001),
            ..options(Protocol::Ipfix)
        };
        let (datagrams, flows) = all(&options, 1);
        assert_eq!(flows, 50_001);
        let of_set = |id| {
            datagrams
                .iter()
                .filter(|(_, octets)| octets[17] == id)
                .count()
        };
        // Sets 256 and 257.
        assert!(of_set(0) > of_set(1) && of_set(1) > 100);
    }

    #[test]
    fn sequences_count_in_each_versions_unit() {
        for (protocol, at, unit) in [
            (Protocol::V5, 16, 10),
            (Protocol::V7, 16, 10),
            (Protocol::V9, 12, 1),
            (Protocol::Ipfix, 8, 10),
            (Protocol::Sflow, 16, 1),
        ] {
            let (datagrams, _) = all(&options(protocol), 100);
            let mut expected = [0; 3];
            for (exporter, octets) in datagrams {
                assert_eq!(u32_at(&octets, at), expected[exporter], "{protocol:?}");
                let is_template = match protocol {
                    Protocol::Ipfix => octets[17] == 2,
                    _ => false,
                };
                expected[exporter] += if is_template { 0 } else { unit };
            }
        }
    }

    #[test]
    fn templates_come_first_and_again() {
        let options = GenerateOptions {
            exporters: 2,
            ..options(Protocol::V9)
        };
        let (datagrams, _) = all(&options, 500);
        let template_sets = |exporter| {
            let own = datagrams
                .iter()
                .filter(move |(number, _)| *number == exporter);
            let sets = own.map(|(_, octets)| octets[20] == 0);
            sets.collect::<Vec<_>>()
        };
        for exporter in [0, 1] {
            let sets = template_sets(exporter);
            assert!(sets[0] && !sets[1]);
            // 124 data datagrams of both in steps of half a second: 62 seconds.
            assert_eq!(sets.iter().filter(|is_template| **is_template).count(), 7);
        }
    }

    #[test]
    fn uptime_export_time_and_flow_times_agree() {
        let (datagrams, _) = all(&options(Protocol::V5), 100);
        let mut boot = [None; 3];
        for (exporter, octets) in datagrams {
            let now =
                u64::from(u32_at(&octets, 8)) * 1_000 + u64::from(u32_at(&octets, 12)) / 1_000_000;
            let uptime = u32_at(&octets, 4);
            // The low 32 bits: uptime wraps.
            let booted = now.wrapping_sub(u64::from(uptime)) as u32;
            assert_eq!(*boot[exporter].get_or_insert(booted), booted);
            for record in octets[24..].chunks(48) {
                let [first, last] = [24, 28].map(|at| uptime.wrapping_sub(u32_at(record, at)));
                assert!(first >= last && (1_000..=4_000).contains(&last) && first < 20_000);
            }
        }
    }

    #[test]
    fn what_comes_again_has_other_sizes_and_the_same_ends() {
        for (protocol, header, record, ends) in [
            (Protocol::V5, 24, 48, 0..16),
            (Protocol::V9, 24, 51, 0..12),
            (Protocol::Ipfix, 20, 59, 0..12),
        ] {
            let options = GenerateOptions {
                exporters: 1,
                count: Some(3 * 32_770),
                ..options(protocol)
            };
            let (datagrams, _) = all(&options, 1);
            let data: Vec<_> = datagrams
                .iter()
                .filter(|(_, octets)| octets.len() > header + 5 * record)
                .collect();
            let (mut same, mut all) = (0, 0);
            let again = data.iter().skip(3_276).zip(&data);
            for ((_, later), (_, earlier)) in again.take(500) {
                assert_ne!(later[header..], earlier[header..]);
                for index in 0..10 {
                    let at = header + index * record;
                    let of = ends.start + at..ends.end + at;
                    assert_eq!(later[of.clone()], earlier[of], "{protocol:?}");
                    let size = at
                        + if protocol == Protocol::V5 {
                            16
                        } else {
                            record - 24
                        };
                    same += usize::from(later[size..size + 8] == earlier[size..size + 8]);
                    all += 1;
                }
            }
            // Flows of one packet, such as NTP's, have one size.
            assert!(same * 3 < all, "{protocol:?}: {same} of {all}");
        }
    }

    #[test]
    fn one_address_means_many_domains() {
        let sources = std::iter::repeat(None);
        let mut generator = Generator::new(&options(Protocol::Ipfix), sources, NOW).unwrap();
        let mut domains = Vec::new();
        while let Some(turn) = generator.next(NOW).unwrap() {
            domains.push(u32_at(turn.octets, 12));
        }
        domains.sort_unstable();
        domains.dedup();
        assert_eq!(domains, [1, 2, 3]);
    }
}
