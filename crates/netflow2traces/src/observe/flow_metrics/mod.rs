//! Flow metrics as they are shown: at `/metrics` and over OTLP, under the names of one table.

mod devices;
mod families;
mod labels;
mod names;
pub mod otlp;
mod source;
pub mod text;
mod top;

pub use families::Exposition;
pub use names::{Kind, Name, names};
pub use source::FlowSource;
