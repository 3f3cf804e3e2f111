//! Builds NetFlow v1, v5, v7, v9, IPFIX and sFlow messages: values in, the octets of one datagram out.
//!
//! Nothing here reads a clock, keeps a sequence number or knows the decoder: times and numbers are
//! the caller's, so that a test can say anything. What is built is well-formed unless the caller
//! asks for the contrary (a `count` or `length` of its own, [`MessageWriter::raw`],
//! [`MessageWriter::raw_set`]): malformed messages are test material too.
//!
//! ```
//! use netflow_wire::write::{Field, IpfixHeader, MessageWriter};
//!
//! let template = [Field::new(8, 4), Field::new(12, 4), Field::new(1, 8)];
//! let header = IpfixHeader { export_time: 1_700_000_000, sequence: 0, ..Default::default() };
//! let octets = MessageWriter::ipfix(header)
//!     .template(256, &template)
//!     .data_set(256, |set| {
//!         set.record(|r| {
//!             r.ipv4([10, 0, 0, 1]).ipv4([10, 0, 0, 2]).u64(1500);
//!         });
//!     })
//!     .finish()?;
//! assert_eq!(octets.len(), 16 + (4 + 4 + 3 * 4) + (4 + 16));
//! # Ok::<(), netflow_wire::write::WriteError>(())
//! ```

mod fixed;
mod message;
mod record;
mod sflow;
#[cfg(test)]
mod tests;

pub use fixed::{
    V1_MAX_RECORDS, V1Header, V1Record, V5_MAX_RECORDS, V5Header, V5Record, V7_MAX_RECORDS,
    V7Header, V7Record, v1, v5, v7,
};
pub use message::{Field, IpfixHeader, MessageWriter, SetWriter, V9Header, VARIABLE_LENGTH};
pub use record::{ListSemantic, MultiList, Record};
pub use sflow::{SflowHeader, SflowRecords, SflowSample, SflowWriter};

/// Why a message can't be built. The first mistake is the one reported.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// A message is at most 65,535 octets long: its length field (RFC 7011 section 3.1), and the
    /// UDP length that bounds the versions without one.
    #[error("the message would be {octets} octets long; at most 65535 fit")]
    MessageTooLong {
        /// Octets that the message would have.
        octets: usize,
    },
    /// A Set's length field holds at most 65,535 (RFC 7011 section 3.3.2, RFC 3954 section 5.2).
    #[error("set {set_id} would be {octets} octets long; at most 65535 fit")]
    SetTooLong {
        /// Set ID.
        set_id: u16,
        /// Octets that the Set would have, with its header.
        octets: usize,
    },
    /// The header's count field holds at most 65,535 records.
    #[error("the message would hold {records} records; the header counts at most 65535")]
    TooManyRecords {
        /// Records that the message would hold.
        records: usize,
    },
    /// A template's count or length field holds at most 65,535.
    #[error("template {template_id} has {fields} fields; its header can't count them")]
    TooManyFields {
        /// Template ID.
        template_id: u16,
        /// Fields given.
        fields: usize,
    },
    /// A record has another number of fields than its template.
    #[error("template {template_id} has {expected} fields; the record has {written}")]
    FieldCount {
        /// Template ID.
        template_id: u16,
        /// Fields of the template.
        expected: usize,
        /// Fields written.
        written: usize,
    },
    /// A field's octets don't fit the length that its template gives.
    #[error("field {field} of template {template_id} is {expected} octets long; {written} written")]
    FieldLength {
        /// Template ID.
        template_id: u16,
        /// Position of the field, from 0.
        field: usize,
        /// Length in the template; 65,535 stands for variable length (RFC 7011 section 7).
        expected: u16,
        /// Octets written, length prefix included.
        written: usize,
    },
    /// A field of variable length holds at most 65,535 octets (RFC 7011 section 7).
    #[error("a value of {octets} octets is too long for a field of variable length")]
    ValueTooLong {
        /// Octets of the value.
        octets: usize,
    },
    /// A number needs more octets than the reduced size given (RFC 7011 section 6.2).
    #[error("{value} doesn't fit in {length} octets")]
    ValueTooLarge {
        /// The number.
        value: u64,
        /// Octets asked for.
        length: usize,
    },
    /// NetFlow v9 has no enterprise elements, no variable length and no withdrawal (RFC 3954).
    #[error("NetFlow v9 has no {what}")]
    NotInV9 {
        /// What was asked for.
        what: &'static str,
    },
    /// The top bit of an IPFIX element's number is the enterprise bit (RFC 7011 section 3.2).
    #[error("element {element} is out of range: IPFIX elements are below 32768")]
    ElementOutOfRange {
        /// Element number.
        element: u16,
    },
    /// Template IDs and the IDs of data sets begin at 256 (RFC 7011 section 3.4.1).
    #[error("{id} is reserved: templates and data sets begin at 256")]
    ReservedId {
        /// The ID given.
        id: u16,
    },
}

/// The low 16 bits of a length that was checked to fit, or the largest length.
fn length16(octets: usize) -> u16 {
    u16::try_from(octets).unwrap_or(u16::MAX)
}
