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
    /// Text that is not of hexadecimal octets.
    #[error("it is a text file, not a capture; it begins with {beginning:?}")]
    Text {
        /// The beginning of its first line that has something in it.
        beginning: String,
    },
    /// A known format of something else.
    #[error("it is {what}, not a capture")]
    Other {
        /// What it is, with an article.
        what: &'static str,
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
    pub(super) fn text(line: &[u8]) -> Self {
        let line = String::from_utf8_lossy(line);
        Self::Text {
            beginning: line.trim().chars().take(40).collect(),
        }
    }

    pub(super) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged { what: what.into() }
    }

    /// Nothing of the file can be used, as opposed to: not all of it.
    #[must_use]
    pub fn is_unreadable(&self) -> bool {
        matches!(
            self,
            Self::Empty
                | Self::Unknown { .. }
                | Self::Text { .. }
                | Self::Other { .. }
                | Self::Io(_)
        )
    }
}

impl From<io::Error> for CaptureError {
    /// Decompression reports damaged octets as an error of reading.
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
