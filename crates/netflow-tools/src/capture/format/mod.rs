//! File formats: packets, or messages without packets around them.

mod hex_text;
mod ipfix_file;
mod pcap;
mod pcapng;

use std::io::Read;

use otlp_wire::UnixNanos;

use super::error::CaptureError;
use super::input::Input;
use hex_text::HexText;
use ipfix_file::IpfixFile;
use pcap::Pcap;
use pcapng::PcapNg;

/// What a packet's octets begin with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Layer {
    /// A header of this link type, as the registry of `LINKTYPE_` values has it.
    Link(u16),
    /// A flow message.
    Message,
}

/// What is said of a packet; its octets are in the caller's buffer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Packet {
    pub(super) layer: Layer,
    /// Where the format has its own; else packets are counted.
    pub(super) number: Option<u64>,
    pub(super) at: Option<UnixNanos>,
    /// Octets it had before the capture cut it.
    pub(super) original_octets: usize,
}

#[derive(Debug)]
pub(super) enum Format {
    Pcap(Pcap),
    PcapNg(PcapNg),
    IpfixFile(IpfixFile),
    HexText(HexText),
}

/// Octets of a line that a message may show.
const MAX_SHOWN: usize = 256;

/// Files that are taken for captures, by their first octets.
const OTHERS: &[(&[u8], &str)] = &[
    (b"PK\x03\x04", "a zip archive"),
    (
        b"\xfd7zXZ\0",
        "a file compressed with xz (decompress it first)",
    ),
    (
        b"\x28\xb5\x2f\xfd",
        "a file compressed with zstd (decompress it first)",
    ),
    (b"BZh", "a file compressed with bzip2 (decompress it first)"),
    (
        b"\x04\x22\x4d\x18",
        "a file compressed with lz4 (decompress it first)",
    ),
    (b"\x0c\xa5", "a file of nfcapd (nfdump reads those)"),
    (b"\xa5\x0c", "a file of nfcapd (nfdump reads those)"),
    (b"\x7fELF", "a program"),
    (b"%PDF", "a PDF document"),
    (b"SQLite format 3\0", "an SQLite database"),
];

impl Format {
    /// Tells by the first octets, and reads the file's header if there is one.
    pub(super) fn recognise<R: Read>(input: &mut Input<R>) -> Result<Self, CaptureError> {
        let head = input.head();
        if head.is_empty() {
            return Err(CaptureError::Empty);
        }
        if let Some(dialect) = pcap::dialect(head) {
            return Ok(Self::Pcap(Pcap::open(dialect, input)?));
        }
        if pcapng::is_section_header(head) {
            return Ok(Self::PcapNg(PcapNg::default()));
        }
        if ipfix_file::is_message(head) {
            return Ok(Self::IpfixFile(IpfixFile));
        }
        if hex_text::is_text(head) {
            return Ok(Self::HexText(HexText::default()));
        }
        if let Some((_, what)) = OTHERS.iter().find(|(magic, _)| head.starts_with(magic)) {
            return Err(CaptureError::Other { what });
        }
        if hex_text::is_other_text(head) {
            let mut line = Vec::new();
            // If it can't be read on, what is there is enough for the message.
            let _ = input.line(MAX_SHOWN, &mut line);
            return Err(CaptureError::text(&line));
        }
        Err(CaptureError::Unknown {
            head: head.iter().map(|octet| format!("{octet:02x}")).collect(),
        })
    }

    /// Puts the next packet's octets into the empty `buffer`; `None` at the end of the file.
    pub(super) fn next<R: Read>(
        &mut self,
        input: &mut Input<R>,
        buffer: &mut Vec<u8>,
    ) -> Result<Option<Packet>, CaptureError> {
        match self {
            Self::Pcap(pcap) => pcap.next(input, buffer),
            Self::PcapNg(pcapng) => pcapng.next(input, buffer),
            Self::IpfixFile(file) => file.next(input, buffer),
            Self::HexText(text) => text.next(input, buffer),
        }
    }
}
