//! Message headers of every version. The version is looked at here; behind it there are Sets and records.
//!
//! Sources: Cisco's "NetFlow Export Datagram Format" (v1, v5, v7), RFC 3954 section 5.1 (v9),
//! RFC 7011 section 3.1 (IPFIX).

use crate::error::MessageError;
use crate::octets::{u16_at, u32_at};

/// The version of a message.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Version {
    /// NetFlow v1.
    V1,
    /// NetFlow v5.
    V5,
    /// NetFlow v7 (Catalyst 5000).
    V7,
    /// NetFlow v9.
    V9,
    /// IPFIX, version 10.
    Ipfix,
}

impl Version {
    /// The number in the header.
    #[must_use]
    pub const fn number(self) -> u16 {
        match self {
            Self::V1 => 1,
            Self::V5 => 5,
            Self::V7 => 7,
            Self::V9 => 9,
            Self::Ipfix => 10,
        }
    }

    const fn header_octets(self) -> usize {
        match self {
            Self::V1 | Self::Ipfix => 16,
            Self::V5 | Self::V7 => 24,
            Self::V9 => 20,
        }
    }
}

/// How a v5 exporter samples, from its header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct HeaderSampling {
    /// The top two bits: 0 none said, 1 deterministic, 2 random.
    pub mode: u8,
    /// One packet in so many; 0 where it isn't said.
    pub interval: u16,
}

/// What a message says of itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    /// The version.
    pub version: Version,
    /// Records (v1, v5, v7), records or FlowSets, as the exporter likes (v9), octets (IPFIX).
    pub count: u16,
    /// Milliseconds since the device started; IPFIX hasn't it.
    pub sys_uptime_ms: Option<u32>,
    /// When the message left, in nanoseconds since 1970; v9 and IPFIX know seconds only.
    pub export_time: u64,
    /// Flows (v5, v7), messages (v9) or Data Records (IPFIX) sent before; v1 hasn't it.
    pub sequence: Option<u32>,
    /// Observation Domain ID (IPFIX), Source ID (v9), engine type and id (v5), else 0.
    pub observation_domain: u32,
    /// v5 only.
    pub sampling: Option<HeaderSampling>,
}

/// A datagram whose header was understood.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Its header.
    pub header: Header,
    /// The whole datagram, so that offsets count from its first octet.
    octets: &'a [u8],
    /// Where Sets may begin: the end of the message as its header says, or of the datagram.
    end: usize,
}

impl<'a> Message<'a> {
    /// Reads the header of a datagram.
    ///
    /// An IPFIX length beyond the datagram is taken for the datagram's: the Sets that are whole are good.
    ///
    /// # Errors
    /// [`MessageError`]: nothing of the datagram can be used.
    pub fn parse(octets: &'a [u8]) -> Result<Self, MessageError> {
        let Some(version) = u16_at(octets, 0) else {
            return Err(MessageError::Truncated {
                octets: octets.len(),
                needed: 2,
            });
        };
        let version = match version {
            1 => Version::V1,
            5 => Version::V5,
            7 => Version::V7,
            9 => Version::V9,
            10 => Version::Ipfix,
            0 if u32_at(octets, 0) == Some(5) => return Err(MessageError::Sflow),
            version => return Err(MessageError::UnknownVersion { version }),
        };
        let needed = version.header_octets();
        let truncated = MessageError::Truncated {
            octets: octets.len(),
            needed,
        };
        if octets.len() < needed {
            return Err(truncated);
        }
        let (Some(count), Some(word4), Some(word8), Some(word12)) = (
            u16_at(octets, 2),
            u32_at(octets, 4),
            u32_at(octets, 8),
            u32_at(octets, 12),
        ) else {
            return Err(truncated);
        };
        let seconds = |word: u32| u64::from(word) * 1_000_000_000;
        let fixed = Header {
            version,
            count,
            sys_uptime_ms: Some(word4),
            export_time: seconds(word8),
            sequence: None,
            observation_domain: 0,
            sampling: None,
        };
        // Residual nanoseconds of a second; larger ones are an exporter's error and are added anyway.
        let with_nanos = seconds(word8) + u64::from(word12);
        let header = match version {
            Version::V1 => Header {
                export_time: with_nanos,
                ..fixed
            },
            Version::V5 => {
                let (engine, sampling) = (
                    u16_at(octets, 20).unwrap_or(0),
                    u16_at(octets, 22).unwrap_or(0),
                );
                Header {
                    export_time: with_nanos,
                    sequence: u32_at(octets, 16),
                    observation_domain: u32::from(engine),
                    sampling: Some(HeaderSampling {
                        mode: (sampling >> 14) as u8,
                        interval: sampling & 0x3fff,
                    }),
                    ..fixed
                }
            }
            Version::V7 => Header {
                export_time: with_nanos,
                sequence: u32_at(octets, 16),
                ..fixed
            },
            Version::V9 => Header {
                sequence: Some(word12),
                observation_domain: u32_at(octets, 16).unwrap_or(0),
                ..fixed
            },
            Version::Ipfix => Header {
                sys_uptime_ms: None,
                export_time: seconds(word4),
                sequence: Some(word8),
                observation_domain: word12,
                ..fixed
            },
        };
        let mut end = octets.len();
        if version == Version::Ipfix {
            if usize::from(count) < needed {
                return Err(MessageError::BadLength { length: count });
            }
            end = end.min(usize::from(count));
        }
        Ok(Self {
            header,
            octets,
            end,
        })
    }

    /// The datagram's octets.
    #[must_use]
    pub fn octets(&self) -> &'a [u8] {
        self.octets
    }

    /// Offset of the first octet behind the header.
    #[must_use]
    pub fn body_offset(&self) -> usize {
        self.header.version.header_octets()
    }

    /// Where the last Set may begin at the latest. It may end after that, as long as it is within the
    /// datagram: some exporters leave padding out of the message's length.
    #[must_use]
    pub fn end(&self) -> usize {
        self.end
    }
}
