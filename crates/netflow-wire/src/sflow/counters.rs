//! Counter records: what a device counts of its interfaces.

use super::error::SampleError;
use super::xdr::Xdr;

/// A record of a counter sample.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum CounterRecord {
    /// `if_counters` (1).
    Interface(InterfaceCounters),
    /// Any other; its values aren't read.
    Other {
        /// The vendor's enterprise number, 0 for sFlow's own.
        enterprise: u32,
        /// Of that enterprise.
        format: u32,
    },
}

/// One direction of an interface. `None`: the device doesn't count it, which it says with all bits set.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct DirectionCounters {
    /// Octets.
    pub octets: Option<u64>,
    /// Unicast packets.
    pub unicast: Option<u32>,
    /// Multicast packets.
    pub multicast: Option<u32>,
    /// Broadcast packets.
    pub broadcast: Option<u32>,
    /// Packets dropped without an error.
    pub discards: Option<u32>,
    /// Packets with errors.
    pub errors: Option<u32>,
}

/// `if_counters`: totals since the device started, as of RFC 2233.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct InterfaceCounters {
    /// ifIndex.
    pub index: u32,
    /// Bits a second; 0 where it isn't known.
    pub speed: u64,
    /// What came in.
    pub received: DirectionCounters,
    /// What went out.
    pub transmitted: DirectionCounters,
}

/// The records of a counter sample. A record that goes past the sample's end is the last.
#[derive(Clone, Debug)]
pub struct CounterRecords<'a> {
    left: u32,
    rest: Xdr<'a>,
}

impl<'a> CounterRecords<'a> {
    pub(super) fn new(left: u32, rest: Xdr<'a>) -> Self {
        Self { left, rest }
    }
}

impl Iterator for CounterRecords<'_> {
    type Item = Result<CounterRecord, SampleError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let offset = self.rest.offset();
        let Some((enterprise, format, mut body)) = self.rest.tagged() else {
            self.left = 0;
            return Some(Err(SampleError::TruncatedRecord { offset }));
        };
        if (enterprise, format) != (0, 1) {
            return Some(Ok(CounterRecord::Other { enterprise, format }));
        }
        let counters = interface(&mut body).map(CounterRecord::Interface);
        Some(counters.ok_or(SampleError::MalformedRecord { offset, format }))
    }
}

fn interface(xdr: &mut Xdr<'_>) -> Option<InterfaceCounters> {
    let index = xdr.u32()?;
    let _kind = xdr.u32()?;
    let speed = long(xdr)?;
    let _direction = xdr.u32()?;
    let _status = xdr.u32()?;
    let received = direction(xdr)?;
    let _unknown_protocols = xdr.u32()?;
    let transmitted = direction(xdr)?;
    Some(InterfaceCounters {
        index,
        speed,
        received,
        transmitted,
    })
}

fn direction(xdr: &mut Xdr<'_>) -> Option<DirectionCounters> {
    let octets = long(xdr)?;
    let mut known = || xdr.u32().map(|count| (count != u32::MAX).then_some(count));
    Some(DirectionCounters {
        octets: (octets != u64::MAX).then_some(octets),
        unicast: known()?,
        multicast: known()?,
        broadcast: known()?,
        discards: known()?,
        errors: known()?,
    })
}

fn long(xdr: &mut Xdr<'_>) -> Option<u64> {
    Some(u64::from(xdr.u32()?) << 32 | u64::from(xdr.u32()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sflow::{Datagram, Sample};
    use crate::write::{SflowHeader, SflowWriter};

    fn counters() -> InterfaceCounters {
        InterfaceCounters {
            index: 7,
            speed: 10_000_000_000,
            received: DirectionCounters {
                octets: Some(1 << 40),
                unicast: Some(1),
                multicast: Some(2),
                broadcast: Some(3),
                discards: Some(4),
                errors: None,
            },
            transmitted: DirectionCounters {
                octets: None,
                unicast: Some(u32::MAX - 1),
                ..DirectionCounters::default()
            },
        }
    }

    fn records(octets: &[u8]) -> Vec<Result<CounterRecord, SampleError>> {
        let datagram = Datagram::parse(octets).unwrap();
        let sample = datagram.samples().next().unwrap().unwrap();
        let Sample::Counters(sample) = sample else {
            panic!("{sample:?}")
        };
        sample.records().collect()
    }

    #[test]
    fn counters_of_an_interface_come_out_as_they_were_written() {
        let mut writer = SflowWriter::new(&SflowHeader::default());
        let written = writer.interface_counters(1, &counters()).finish().unwrap();
        assert_eq!(
            records(&written),
            [Ok(CounterRecord::Interface(counters()))]
        );
    }

    #[test]
    fn a_record_that_is_cut_is_an_error_and_the_last() {
        let mut body: Vec<u8> = Vec::new();
        // Sequence, source, two records: one of format 2, one that is cut.
        for word in [1_u32, 0, 7, 3, 2, 4, 0, 1, 4, 7, 1, 88, 7] {
            body.extend(word.to_be_bytes());
        }
        let mut writer = SflowWriter::new(&SflowHeader::default());
        let written = writer.sample(0, 4, &body).finish().unwrap();
        let found = records(&written);
        let format_two = CounterRecord::Other {
            enterprise: 0,
            format: 2,
        };
        assert_eq!(found[0], Ok(format_two));
        assert!(matches!(
            found[1],
            Err(SampleError::MalformedRecord { format: 1, .. })
        ));
        assert!(matches!(found[2], Err(SampleError::TruncatedRecord { .. })));
        assert_eq!(found.len(), 3);
    }
}
