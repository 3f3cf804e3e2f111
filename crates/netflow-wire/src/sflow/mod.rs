//! sFlow version 5: a datagram's octets in, its samples and their records out.
//!
//! [`Datagram::parse`] reads the header, [`Datagram::samples`] one sample after another, and
//! [`FlowSample::records`] what the agent says of the sampled packet. Every length is checked against the
//! octets, what is unknown is stepped over by its length, and a bad sample costs only itself. Source: "sFlow
//! Version 5" (sflow.org, July 2004) and the structures published beside it.
//!
//! ```
//! use netflow_wire::sflow::{Datagram, FlowRecord, Sample};
//!
//! # let octets: Vec<u8> = [
//! #     5, 1, 0xc000_0201, 0, 7, 1000, 1, // a datagram of one sample
//! #     1, 56, 1, 3, 400, 4000, 0, 3, 4, 1, // a flow sample, one packet in 400, of one record
//! #     1002, 16, 1, 0xc633_6401, 24, 16, // router: next hop and masks
//! # ].iter().flat_map(|word: &u32| word.to_be_bytes()).collect();
//! let datagram = Datagram::parse(&octets)?;
//! assert_eq!(datagram.header.sequence, 7);
//! for sample in datagram.samples() {
//!     let Sample::Flow(flow) = sample? else { continue };
//!     assert_eq!(flow.sampling_rate, Some(400));
//!     for record in flow.records() {
//!         if let FlowRecord::Router(router) = record? {
//!             assert_eq!(router.next_hop.unwrap().to_string(), "198.51.100.1");
//!         }
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod counters;
mod error;
mod reason;
mod record;
#[cfg(test)]
mod tests;
mod xdr;

use std::net::IpAddr;

pub use counters::{CounterRecord, CounterRecords, DirectionCounters, InterfaceCounters};
pub use error::{DatagramError, SampleError};
pub use reason::discard_reason;
pub use record::{
    Ethernet, FlowRecord, FlowRecords, Gateway, Mpls, Nat, NatPorts, RawHeader, Router, SampledIp,
    Switch, TunnelHeader, TunnelVni, Url, User,
};

use xdr::Xdr;

/// The version in the first four octets.
pub const VERSION: u32 = 5;

/// What a datagram says of itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    /// The device that sampled, whichever sent the datagram; `None` where it doesn't know its address.
    pub agent: Option<IpAddr>,
    /// A part of the agent that counts by itself.
    pub sub_agent: u32,
    /// Datagrams that the sub-agent sent before.
    pub sequence: u32,
    /// Milliseconds since the device started.
    pub uptime_ms: u32,
    /// Samples in the datagram, as it says.
    pub samples: u32,
}

/// A datagram whose header was understood.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// Its header.
    pub header: Header,
    body: Xdr<'a>,
}

impl<'a> Datagram<'a> {
    /// Whether octets are an sFlow datagram of version 5: no other protocol's begin so.
    #[must_use]
    pub fn is_sflow(octets: &[u8]) -> bool {
        octets.starts_with(&VERSION.to_be_bytes())
    }

    /// Reads the header of a datagram.
    ///
    /// # Errors
    /// [`DatagramError`]: nothing of the datagram can be used.
    pub fn parse(octets: &'a [u8]) -> Result<Self, DatagramError> {
        let mut body = Xdr::new(octets, 0);
        let truncated = DatagramError::Truncated {
            octets: octets.len(),
        };
        let version = body.u32().ok_or(truncated)?;
        if version != VERSION {
            return Err(DatagramError::UnknownVersion { version });
        }
        let (mut peek, kind) = (body, body.u32().ok_or(truncated)?);
        if kind > 2 {
            return Err(DatagramError::UnknownAddressType { kind });
        }
        let agent = peek.address().ok_or(truncated)?;
        let mut word = || peek.u32().ok_or(truncated);
        let header = Header {
            agent,
            sub_agent: word()?,
            sequence: word()?,
            uptime_ms: word()?,
            samples: word()?,
        };
        Ok(Self { header, body: peek })
    }

    /// The samples, one after another.
    #[must_use]
    pub fn samples(&self) -> Samples<'a> {
        Samples {
            left: self.header.samples,
            rest: self.body,
        }
    }
}

/// A sample of a datagram.
#[derive(Clone, Copy, Debug)]
pub enum Sample<'a> {
    /// A packet.
    Flow(FlowSample<'a>),
    /// Counters of an interface or of something else.
    Counters(CounterSample<'a>),
    /// Unknown, or a vendor's.
    Other {
        /// The vendor's enterprise number, 0 for sFlow's own.
        enterprise: u32,
        /// Of that enterprise.
        format: u32,
    },
}

/// How a flow sample was sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FlowKind {
    /// `flow_sample` (format 1).
    Flow,
    /// `flow_sample_expanded` (format 3).
    Expanded,
    /// `discarded_packet` (format 5).
    Discarded,
}

/// A sampled packet.
#[derive(Clone, Copy, Debug)]
pub struct FlowSample<'a> {
    /// How it was sent.
    pub kind: FlowKind,
    /// Samples of the source before this one.
    pub sequence: u32,
    /// What sampled.
    pub source: DataSource,
    /// One packet in so many; `None` for discarded packets, which aren't sampled.
    pub sampling_rate: Option<u32>,
    /// Packets that could have been sampled; `None` for discarded ones.
    pub pool: Option<u32>,
    /// Samples dropped for lack of resources.
    pub drops: u32,
    /// Where the packet came in.
    pub input: Interface,
    /// Where it went out.
    pub output: Interface,
    /// Why a [`FlowKind::Discarded`] packet went nowhere.
    pub reason: Option<u32>,
    records: u32,
    body: Xdr<'a>,
}

impl<'a> FlowSample<'a> {
    /// What is said of the packet.
    #[must_use]
    pub fn records(&self) -> FlowRecords<'a> {
        FlowRecords::new(self.records, self.body)
    }
}

/// Counters of an interface or of something else.
#[derive(Clone, Copy, Debug)]
pub struct CounterSample<'a> {
    /// Samples of the source before this one.
    pub sequence: u32,
    /// What counts.
    pub source: DataSource,
    body: Xdr<'a>,
}

impl<'a> CounterSample<'a> {
    /// What was counted. A sample that ends behind its source has no records.
    #[must_use]
    pub fn records(&self) -> CounterRecords<'a> {
        let mut rest = self.body;
        CounterRecords::new(rest.u32().unwrap_or(0), rest)
    }
}

/// What samples or counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DataSource {
    /// 0: an interface, 1: a VLAN, 2: a physical entity (RFC 4133).
    pub kind: u32,
    /// Number of the interface, VLAN or entity.
    pub index: u32,
}

/// An interface as a flow sample names it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Interface {
    /// ifIndex; 0 where it isn't known.
    Index(u32),
    /// The packet was discarded for this reason.
    Discarded(u32),
    /// So many interfaces; 0 where their number isn't known.
    Multiple(u32),
    /// The device itself sent or received the packet.
    Internal,
    /// A format that the specification doesn't have.
    Unknown {
        /// 3, or what an expanded sample has.
        format: u32,
        /// As sent.
        value: u32,
    },
}

impl Interface {
    /// The interface number that stands for the device itself.
    pub const INTERNAL: u32 = 0x3fff_ffff;

    const fn new(format: u32, value: u32) -> Self {
        match format {
            0 if value == Self::INTERNAL => Self::Internal,
            0 => Self::Index(value),
            1 => Self::Discarded(value),
            2 => Self::Multiple(value),
            _ => Self::Unknown { format, value },
        }
    }

    /// The format in the two top bits.
    const fn packed(word: u32) -> Self {
        Self::new(word >> 30, word & 0x3fff_ffff)
    }
}

/// The samples of a datagram. A sample that goes past the end is the last.
#[derive(Clone, Debug)]
pub struct Samples<'a> {
    left: u32,
    rest: Xdr<'a>,
}

impl<'a> Iterator for Samples<'a> {
    type Item = Result<Sample<'a>, SampleError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let offset = self.rest.offset();
        let Some((enterprise, format, body)) = self.rest.tagged() else {
            self.left = 0;
            return Some(Err(SampleError::Truncated { offset }));
        };
        let sample = sample(enterprise, format, body);
        Some(sample.ok_or(SampleError::Malformed { offset, format }))
    }
}

#[inline]
fn sample(enterprise: u32, format: u32, mut body: Xdr<'_>) -> Option<Sample<'_>> {
    let xdr = &mut body;
    Some(match (enterprise, format) {
        (0, 1) => {
            let [sequence, source, rate, pool, drops, input, output, records] = xdr.words()?;
            Sample::Flow(FlowSample {
                kind: FlowKind::Flow,
                sequence,
                source: packed_source(source),
                sampling_rate: Some(rate),
                pool: Some(pool),
                drops,
                input: Interface::packed(input),
                output: Interface::packed(output),
                reason: None,
                records,
                body,
            })
        }
        (0, 3) => {
            let [sequence, kind, index, rate, pool, drops] = xdr.words()?;
            let source = DataSource { kind, index };
            let [in_format, input, out_format, output, records] = xdr.words()?;
            let input = Interface::new(in_format, input);
            let output = Interface::new(out_format, output);
            Sample::Flow(FlowSample {
                kind: FlowKind::Expanded,
                sequence,
                source,
                sampling_rate: Some(rate),
                pool: Some(pool),
                drops,
                input,
                output,
                reason: None,
                records,
                body,
            })
        }
        (0, 5) => {
            let sequence = xdr.u32()?;
            let source = source(xdr)?;
            let drops = xdr.u32()?;
            let (input, output) = (xdr.u32()?, xdr.u32()?);
            Sample::Flow(FlowSample {
                kind: FlowKind::Discarded,
                sequence,
                source,
                sampling_rate: None,
                pool: None,
                drops,
                input: Interface::new(0, input),
                output: Interface::new(0, output),
                reason: Some(xdr.u32()?),
                records: xdr.u32()?,
                body,
            })
        }
        (0, 2) => Sample::Counters(CounterSample {
            sequence: xdr.u32()?,
            source: packed_source(xdr.u32()?),
            body,
        }),
        (0, 4) => Sample::Counters(CounterSample {
            sequence: xdr.u32()?,
            source: source(xdr)?,
            body,
        }),
        _ => Sample::Other { enterprise, format },
    })
}

fn source(xdr: &mut Xdr<'_>) -> Option<DataSource> {
    Some(DataSource {
        kind: xdr.u32()?,
        index: xdr.u32()?,
    })
}

/// The kind in the top octet.
const fn packed_source(word: u32) -> DataSource {
    DataSource {
        kind: word >> 24,
        index: word & 0x00ff_ffff,
    }
}
