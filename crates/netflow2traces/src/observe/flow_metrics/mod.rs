//! Flow metrics as they are shown: at `/metrics` and over OTLP, under the names of one table.

mod devices;
pub mod families;
pub mod otlp;
mod source;
pub mod text;

pub use source::FlowSource;
mod top;
