//! Decodes NetFlow v1, v5, v7, v9 and IPFIX.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod ie;
