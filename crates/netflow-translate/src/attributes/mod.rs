//! Which attributes a span has, and their values.

pub(crate) mod application_id;
pub(crate) mod encoded;
pub(crate) mod names;
pub(crate) mod protocols;
pub mod reference;
pub mod sflow_reference;
pub(crate) mod short_text;
pub(crate) mod table;
pub(crate) mod vocabulary;
