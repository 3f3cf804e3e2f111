//! What can be wrong with octets, by how much of them it costs.
//!
//! Offsets count from the first octet of the datagram. `reason()` is a short stable word for a counter.

/// The datagram is unusable from its header on.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// Fewer octets than the header of its version has.
    #[error("{octets} octets are fewer than the header's {needed}")]
    Truncated {
        /// Octets of the datagram.
        octets: usize,
        /// Octets of the header.
        needed: usize,
    },
    /// Neither 1, 5, 7, 9 nor 10.
    #[error("version {version} is unknown")]
    UnknownVersion {
        /// The first two octets.
        version: u16,
    },
    /// sFlow: its first four octets are the version, 5. [`sflow::Datagram`](crate::sflow::Datagram) reads it.
    #[error("an sFlow datagram is no NetFlow message")]
    Sflow,
    /// The length in an IPFIX header is smaller than the header (RFC 7011, section 3.1).
    #[error("message length {length} is less than 16")]
    BadLength {
        /// The length as stated.
        length: u16,
    },
}

impl MessageError {
    /// A stable word for a counter.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Truncated { .. } => "truncated",
            Self::UnknownVersion { .. } => "unknown_version",
            Self::Sflow => "sflow",
            Self::BadLength { .. } => "bad_length",
        }
    }
}

/// One Set is unusable, or the rest of it; its neighbours aren't touched unless said so.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SetError {
    /// The Set's length is below 4 and it isn't zero padding: what follows can't be found.
    #[error("set at octet {offset}: length {length} is less than 4")]
    BadLength {
        /// Of the Set.
        offset: usize,
        /// As stated.
        length: u16,
    },
    /// The Set's length goes past the datagram's end.
    #[error("set at octet {offset}: length {length} goes past the end")]
    Truncated {
        /// Of the Set.
        offset: usize,
        /// As stated.
        length: u16,
    },
    /// A Set ID that the standards reserve (RFC 7011, section 3.3.2).
    #[error("set at octet {offset}: id {id} is reserved")]
    ReservedId {
        /// Of the Set.
        offset: usize,
        /// The Set ID.
        id: u16,
    },
    /// A Template's fields go past the end of its Set, or its ID is below 256.
    #[error("set at octet {offset}: malformed template {template_id}")]
    MalformedTemplate {
        /// Of the Set.
        offset: usize,
        /// The Template ID.
        template_id: u16,
    },
    /// A Template has more fields than the limit, or more that are empty.
    #[error(
        "set at octet {offset}: template {template_id} has {fields} fields, more than the limit"
    )]
    TooManyFields {
        /// Of the Set.
        offset: usize,
        /// The Template ID.
        template_id: u16,
        /// As stated, or those that are empty.
        fields: usize,
    },
    /// The Template's records would be zero octets long, so the Set would never end.
    #[error("set at octet {offset}: records of template {template_id} are empty")]
    EmptyRecord {
        /// Of the Set.
        offset: usize,
        /// The Template ID.
        template_id: u16,
    },
    /// A variable-length field goes past the end of the Set; the records before it are good.
    #[error("set at octet {offset}: a record of template {template_id} goes past the end")]
    TruncatedRecord {
        /// Of the Set.
        offset: usize,
        /// The Template ID.
        template_id: u16,
    },
}

impl SetError {
    /// A stable word for a counter.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::BadLength { .. } => "bad_set_length",
            Self::Truncated { .. } => "truncated_set",
            Self::ReservedId { .. } => "reserved_set_id",
            Self::MalformedTemplate { .. } => "malformed_template",
            Self::TooManyFields { .. } => "too_many_fields",
            Self::EmptyRecord { .. } => "empty_record",
            Self::TruncatedRecord { .. } => "truncated_record",
        }
    }
}
