//! What can be wrong with a whole file.

use std::io;

/// Why a capture can't be read, or not further.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// There is nothing in it.
    #[error("it is empty")]
    Empty,
    /// Its first octets are of no format that is read.
    #[error(
        "it is neither pcap, pcapng (or gzip of them), an IPFIX File, nor hexadecimal text; it begins with {head}"
    )]
    Unknown {
        /// The first octets in hexadecimal.
        head: String,
    },
    /// It ends in the middle of something.
    #[error("it ends in the middle of a packet")]
    CutShort,
    /// Its structure is broken.
    #[error("it is damaged: {what}")]
    Damaged {
        /// What is broken.
        what: String,
    },
    /// Reading failed.
    #[error(transparent)]
    Io(io::Error),
}

impl CaptureError {
    pub(super) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged { what: what.into() }
    }

    /// Nothing of the file can be used, as opposed to: not all of it.
    #[must_use]
    pub fn is_unreadable(&self) -> bool {
        matches!(self, Self::Empty | Self::Unknown { .. } | Self::Io(_))
    }
}

impl From<io::Error> for CaptureError {
    /// Decompression tells what is wrong with the octets as an error of reading.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::CutShort,
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
                Self::damaged(error.to_string())
            }
            _ => Self::Io(error),
        }
    }
}
