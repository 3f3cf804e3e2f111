//! Loss by sequence numbers, each version in its own unit, tolerant of reordering, aware of restarts.
//!
//! v5 and v7 count flows, v9 export packets (RFC 3954, section 5.1), IPFIX Data Records (RFC 7011, section 3.1),
//! sFlow datagrams of a sub-agent.

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use netflow_wire::{Header, Version};

use crate::counters::traffic::Protocol;
use crate::counters::translate::TranslateCounters;

/// Counts by exporter: its ports, versions and domains.
const MAX_SEQUENCES: usize = 4096;
/// Of these so many go at once, those unused longest, so that a flood pays the search for them once in many.
const SHARE: usize = MAX_SEQUENCES / 16;

/// A jump further than this isn't loss but another count: a restart, or a forged datagram.
const MAX_GAP: u32 = 1 << 20;
/// A number this little behind is a datagram that was overtaken.
const MAX_LATE: u32 = 1 << 12;

/// What one sequence number says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// Nothing is missing, or it can't be told.
    Fine,
    /// So many units are missing before this message.
    Lost(u64),
    /// An overtaken message: its units were taken for lost before.
    Late,
    /// The exporter began anew.
    Restarted,
}

impl Verdict {
    /// Counts what is missing, or has come late, in the protocol's own unit; what is missing.
    pub(crate) fn count(
        self,
        counters: &TranslateCounters,
        protocol: Protocol,
        units: Option<u32>,
    ) -> Option<u64> {
        let (lost, late) = match protocol {
            Protocol::V9 => (&counters.lost_messages, &counters.late_messages),
            Protocol::Ipfix => (&counters.lost_records, &counters.late_records),
            Protocol::Sflow => (&counters.lost_datagrams, &counters.late_datagrams),
            _ => (&counters.lost_flows, &counters.late_flows),
        };
        match self {
            Self::Fine => None,
            Self::Lost(units) => {
                lost.add(units);
                Some(units)
            }
            Self::Late => {
                late.add(u64::from(units.unwrap_or(0)));
                None
            }
            Self::Restarted => {
                counters.exporter_restarts.add(1);
                None
            }
        }
    }
}

/// The count of one Transport Session and Observation Domain.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sequence {
    /// `None`: unknown until the next message.
    expected: Option<u32>,
    uptime_ms: Option<u32>,
}

impl Sequence {
    /// Judges a message before its records are read.
    pub(crate) fn judge(&mut self, header: &Header) -> Verdict {
        match header.sequence {
            Some(sequence) => self.judge_number(sequence, header.sys_uptime_ms),
            None => Verdict::Fine,
        }
    }

    /// Judges a sequence number and the uptime told with it.
    pub(crate) fn judge_number(&mut self, sequence: u32, uptime_ms: Option<u32>) -> Verdict {
        // A wrap of sysUptime (49.7 days) goes from the top to the bottom; a restart from anywhere.
        let restarted = match (self.uptime_ms, uptime_ms) {
            (Some(before), Some(uptime)) => {
                let back = before.wrapping_sub(uptime);
                (60_000..=u32::MAX / 2).contains(&back)
            }
            _ => false,
        };
        self.uptime_ms = uptime_ms;
        let Some(expected) = self.expected else {
            return Verdict::Fine;
        };
        if restarted {
            self.expected = None;
            return Verdict::Restarted;
        }
        let ahead = sequence.wrapping_sub(expected);
        let behind = expected.wrapping_sub(sequence);
        if ahead == 0 {
            Verdict::Fine
        } else if ahead <= MAX_GAP {
            Verdict::Lost(u64::from(ahead))
        } else if behind <= MAX_LATE {
            Verdict::Late
        } else {
            self.expected = None;
            Verdict::Restarted
        }
    }

    /// Takes in what the message carried; `None`: a Set of it could not be decoded, and then the count is
    /// unknown until the next message.
    pub(crate) fn advance(&mut self, header: &Header, units: Option<u32>, verdict: Verdict) {
        let Some(sequence) = header.sequence else {
            return;
        };
        if verdict != Verdict::Late {
            self.expect(units.map(|units| sequence.wrapping_add(units)));
        }
    }

    /// The number of the next message; `None`: unknown.
    pub(crate) fn expect(&mut self, sequence: Option<u32>) {
        self.expected = sequence;
    }
}

/// A Transport Session's Observation Domain.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct SequenceKey {
    pub(crate) port: u16,
    pub(crate) version: Version,
    pub(crate) domain: u32,
}

/// The counts of one exporter; the one unused longest makes room, and begins anew when it comes again.
#[derive(Debug, Default)]
pub(crate) struct Sequences {
    counts: HashMap<SequenceKey, (Sequence, u64), RandomState>,
    /// Counts uses, so that they have an order.
    uses: u64,
}

impl Sequences {
    pub(crate) fn len(&self) -> usize {
        self.counts.len()
    }

    /// The count of a session and domain.
    pub(crate) fn of(&mut self, key: SequenceKey) -> &mut Sequence {
        if self.counts.len() >= MAX_SEQUENCES && !self.counts.contains_key(&key) {
            self.make_room();
        }
        self.uses += 1;
        let (sequence, used) = self.counts.entry(key).or_default();
        *used = self.uses;
        sequence
    }

    #[cold]
    fn make_room(&mut self) {
        let mut uses: Vec<u64> = self.counts.values().map(|(_, used)| *used).collect();
        let (_, last_to_go, _) = uses.select_nth_unstable(SHARE - 1);
        let last_to_go = *last_to_go;
        self.counts.retain(|_, (_, used)| *used > last_to_go);
    }
}

/// What a message adds to its exporter's count.
pub(crate) fn units(header: &Header, records: Option<u32>) -> Option<u32> {
    match header.version {
        Version::V9 => Some(1),
        // What the exporter counted, even where the datagram held less.
        Version::V1 | Version::V5 | Version::V7 => Some(u32::from(header.count)),
        Version::Ipfix => records,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(version: Version, sequence: u32, count: u16) -> Header {
        Header {
            version,
            count,
            sys_uptime_ms: (version != Version::Ipfix).then_some(1_000_000),
            export_time: 0,
            sequence: Some(sequence),
            observation_domain: 0,
            sampling: None,
        }
    }

    fn run(version: Version, messages: &[(u32, u16)]) -> Vec<Verdict> {
        let mut sequence = Sequence::default();
        messages
            .iter()
            .map(|(number, records)| {
                let header = header(version, *number, *records);
                let verdict = sequence.judge(&header);
                sequence.advance(&header, units(&header, Some(u32::from(*records))), verdict);
                verdict
            })
            .collect()
    }

    #[test]
    fn each_version_counts_its_own_unit() {
        use Verdict::{Fine, Lost};
        assert_eq!(
            run(Version::V5, &[(10, 30), (40, 30), (100, 30)]),
            [Fine, Fine, Lost(30)]
        );
        assert_eq!(
            run(Version::V9, &[(7, 9), (8, 9), (11, 1)]),
            [Fine, Fine, Lost(2)]
        );
        assert_eq!(
            run(Version::Ipfix, &[(0, 3), (3, 5), (9, 1)]),
            [Fine, Fine, Lost(1)]
        );
    }

    #[test]
    fn an_overtaken_message_gives_its_loss_back() {
        use Verdict::{Fine, Late, Lost};
        assert_eq!(
            run(Version::V9, &[(1, 0), (3, 0), (2, 0), (4, 0)]),
            [Fine, Lost(1), Late, Fine]
        );
    }

    #[test]
    fn the_count_wraps() {
        assert_eq!(
            run(Version::V9, &[(u32::MAX, 0), (0, 0)]),
            [Verdict::Fine; 2]
        );
    }

    #[test]
    fn a_far_jump_is_a_restart() {
        let far = run(Version::Ipfix, &[(5_000_000, 1), (3, 1), (4, 1)]);
        assert_eq!(far, [Verdict::Fine, Verdict::Restarted, Verdict::Fine]);
    }

    #[test]
    fn counts_are_bounded_and_the_one_unused_longest_goes() {
        let mut sequences = Sequences::default();
        let key = |domain| SequenceKey {
            port: 1,
            version: Version::V9,
            domain,
        };
        let flood = 3 * MAX_SEQUENCES as u32;
        for domain in 0..flood {
            sequences.of(key(domain)).expect(Some(domain));
            // One that keeps being used.
            sequences.of(key(1 << 20)).expect(Some(domain));
            assert!(sequences.counts.len() <= MAX_SEQUENCES);
        }
        let last = sequences.of(key(flood - 1));
        assert_eq!(last.judge_number(flood + 2, None), Verdict::Lost(3));
        let followed = sequences.of(key(1 << 20));
        assert_eq!(followed.judge_number(flood - 1, None), Verdict::Fine);
        assert!(!sequences.counts.contains_key(&key(8)));
        assert!(
            sequences
                .counts
                .contains_key(&key(flood - MAX_SEQUENCES as u32 / 2))
        );
    }
}
