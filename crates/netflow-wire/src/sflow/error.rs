//! What can be wrong with an sFlow datagram, by how much of it that costs.
//!
//! Offsets count from the first octet of the datagram. `reason()` is a short stable word for a counter.

/// The datagram is unusable from its header on.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DatagramError {
    /// Fewer octets than the header has.
    #[error("{octets} octets are fewer than an sFlow header has")]
    Truncated {
        /// Octets of the datagram.
        octets: usize,
    },
    /// Not 5.
    #[error("sFlow version {version} is unknown")]
    UnknownVersion {
        /// The first four octets.
        version: u32,
    },
    /// The agent's address is neither IPv4, IPv6 nor unknown, so that nothing behind it can be found.
    #[error("agent address of type {kind} is unknown")]
    UnknownAddressType {
        /// As stated.
        kind: u32,
    },
}

impl DatagramError {
    /// A stable word for a counter.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Truncated { .. } => "truncated",
            Self::UnknownVersion { .. } => "unknown_version",
            Self::UnknownAddressType { .. } => "unknown_address_type",
        }
    }
}

/// A sample or a record of one is unusable.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SampleError {
    /// The sample goes past the datagram's end, or the header counts more samples than there are: nothing
    /// follows.
    #[error("sample at octet {offset} goes past the end")]
    Truncated {
        /// Of the sample.
        offset: usize,
    },
    /// The sample's fields go past its own length; the next one is good.
    #[error("sample at octet {offset}: too short for format {format}")]
    Malformed {
        /// Of the sample.
        offset: usize,
        /// As stated.
        format: u32,
    },
    /// A flow record goes past its sample's end, or the sample counts more records than there are: what was
    /// read of the sample is good.
    #[error("record at octet {offset} goes past its sample's end")]
    TruncatedRecord {
        /// Of the record.
        offset: usize,
    },
    /// A flow record's fields go past its own length; the next one is good.
    #[error("record at octet {offset}: too short for format {format}")]
    MalformedRecord {
        /// Of the record.
        offset: usize,
        /// As stated.
        format: u32,
    },
}

impl SampleError {
    /// A stable word for a counter.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Truncated { .. } => "truncated_sample",
            Self::Malformed { .. } => "malformed_sample",
            Self::TruncatedRecord { .. } => "truncated_record",
            Self::MalformedRecord { .. } => "malformed_record",
        }
    }
}
