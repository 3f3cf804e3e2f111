//! `NETFLOW_TEMPLATE_STORE`: what exporters reported survives a restart. Workers say what changed when
//! they are asked; the file is written here, away from their threads, and only when something changed.

pub(crate) mod conversation_key;
mod file;
pub(crate) mod format;
mod keeper;

pub use file::check;
pub use keeper::{Counters, Keeper, Keeping};
