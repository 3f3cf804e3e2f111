//! Counts of packets, and of those that gave no whole payload, by reason.

use std::collections::BTreeMap;
use std::fmt;

use super::contents::Content;

/// Why a packet gave no payload, or not a whole one.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Skipped {
    /// Something else than UDP over IP.
    NotUdp,
    /// A fragment that others were waited for, and which came: no loss.
    PartOfDatagram,
    /// A segment of a TCP connection whose messages are given out: no loss.
    PartOfStream,
    /// Segments of a TCP connection with IPFIX are not in the capture, or not whole.
    StreamGap,
    /// Its link type is not read.
    UnknownLink(u16),
    /// A header of IP or UDP doesn't hold together.
    Malformed,
    /// The capture stopped before the UDP payload.
    CutHeader,
    /// The capture holds only the beginning of the payload, which was given out.
    Cut,
    /// The other fragments of its datagram are not in the capture, or come too late.
    FragmentMissing,
    /// Fragments that contradict each other.
    FragmentOverlap,
    /// A fragment that is itself cut by the capture.
    FragmentCut,
}

impl Skipped {
    /// Something was in the packet that could not be got out.
    #[must_use]
    pub fn is_loss(self) -> bool {
        !matches!(
            self,
            Self::NotUdp | Self::PartOfDatagram | Self::PartOfStream
        )
    }
}

impl fmt::Display for Skipped {
    /// To stand behind a number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownLink(link) => {
                return write!(f, "packets with link type {link}, which is not supported");
            }
            Self::NotUdp => "packets that aren't UDP",
            Self::PartOfDatagram => "reassembled fragments",
            Self::PartOfStream => "reassembled TCP segments with IPFIX",
            Self::StreamGap => {
                "gaps in TCP connections with IPFIX: segments are missing from the capture, or cut by it"
            }
            Self::Malformed => "packets with a damaged IP or UDP header",
            Self::CutHeader => {
                "packets that the capture cut before their payload (capture with a larger snapshot length)"
            }
            Self::Cut => {
                "datagrams that the capture cut, decoded as far as they go (capture with a larger snapshot length)"
            }
            Self::FragmentMissing => "fragmented datagrams of which fragments are missing",
            Self::FragmentOverlap => "fragmented datagrams whose fragments overlap",
            Self::FragmentCut => {
                "fragments that the capture cut (capture with a larger snapshot length)"
            }
        })
    }
}

/// How often something was seen, and first where.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Seen {
    /// Packets.
    pub count: u64,
    /// The frame of the first.
    pub first_frame: u64,
}

/// What was read of a capture.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Packets, messages or lines.
    pub packets: u64,
    /// Payloads given out.
    pub payloads: u64,
    /// IP fragments among the packets.
    pub fragments: u64,
    skipped: BTreeMap<Skipped, Seen>,
    contents: BTreeMap<Content, Seen>,
}

/// Kinds of other traffic that are counted separately.
const MAX_CONTENTS: usize = 64;

impl Tally {
    /// Packets that gave no whole payload, by reason.
    pub fn skipped(&self) -> impl Iterator<Item = (Skipped, Seen)> {
        self.skipped.iter().map(|(skipped, seen)| (*skipped, *seen))
    }

    /// What was found that is no flow export, as far as it can be named; only the first kinds of many.
    pub fn contents(&self) -> impl Iterator<Item = (Content, Seen)> {
        self.contents
            .iter()
            .map(|(content, seen)| (*content, *seen))
    }

    /// Notes something that is no flow export.
    pub fn note(&mut self, content: Content, frame: u64) {
        if self.contents.len() >= MAX_CONTENTS && !self.contents.contains_key(&content) {
            return;
        }
        let seen = self.contents.entry(content).or_insert(Seen {
            count: 0,
            first_frame: frame,
        });
        seen.count += 1;
    }

    pub(super) fn skip(&mut self, skipped: Skipped, frame: u64) {
        let seen = self.skipped.entry(skipped).or_insert(Seen {
            count: 0,
            first_frame: frame,
        });
        seen.count += 1;
        seen.first_frame = seen.first_frame.min(frame);
    }
}
