//! Decodes NetFlow v1, v5, v7, v9, IPFIX and sFlow: octets in, records out, without I/O, clock or unsafe code.
//!
//! [`Message::parse`] reads a header; a [`Decoder`] per exporter turns the Sets behind it into Data Records
//! by the Templates it has learnt. The fixed versions have built-in Templates, so that behind the header
//! there is one shape of record. [`sflow`] has its own datagrams and samples, and [`frame`] dissects the headers
//! that samples of either kind carry. Nothing panics on any input, every loop advances, and what is held is
//! bounded by [`Limits`].
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod decoder;
mod error;
mod fixed;
pub mod foreign;
pub mod frame;
mod held;
mod limits;
mod message;
mod octets;
mod record;
mod session;
mod set;
pub mod sflow;
mod template;
mod template_cache;

pub use decoder::{DataSet, Decoder, Event, Siblings, Visitor};
pub use error::{MessageError, SetError};
pub use held::HeldSet;
pub use limits::Limits;
pub use message::{Header, HeaderSampling, Message, Version};
pub use octets::{signed, u16_at, u32_at, unsigned};
pub use record::{DataRecords, Front, Located, Location};
pub use session::{Session, Transport};
pub use set::{Set, SetKind, Sets};
pub use template::{
    FieldSpecifier, Template, TemplateRecord, TemplateRecords, V9_SCOPE, VARIABLE_LENGTH,
};
pub use template_cache::{Learning, Learnt, TemplateCache, TemplateKey, Uptime};
pub mod ie;

#[cfg(feature = "write")]
pub mod write;
