//! Decodes NetFlow v1, v5, v7, v9 and IPFIX.
#![forbid(unsafe_code)]

#[cfg(feature = "write")]
pub mod write;
